//! Fuzzes Label Studio's documents: any bytes are objects, summaries, regions and pixels, or an
//! error at one of these steps.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maskmaker::annotations::json_objects::JsonObjects;
use maskmaker::annotations::shapes::FillRule;
use maskmaker::annotations::{label_config, label_studio};

/// Largest side for which pixels are made, in pixels.
const LARGEST: u32 = 512;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = label_config::parse_label_config(bytes) {
        assert!(config.labels.iter().all(|label| !label.name.is_empty()));
        assert!(!config.labels.is_empty() || !config.warnings.is_empty());
    }
    for element in JsonObjects::new(bytes, bytes.len()) {
        let Ok(element) = element else { return };
        assert_eq!(&bytes[element.offset as usize..][..element.bytes.len()], &element.bytes[..]);
        let Ok(entry) = label_studio::read_task_summary(&element.bytes) else { continue };
        for (number, summary) in entry.annotations.iter().enumerate() {
            let Ok(drawn) = label_studio::read_regions(&element.bytes, number) else { continue };
            assert_eq!(drawn.regions.len(), summary.region_count);
            for mut region in drawn.regions {
                assert!(region.labels.iter().all(|label| summary.labels.contains(label)));
                let small =
                    region.image_size.filter(|&(width, height)| width.max(height) <= LARGEST);
                let (width, height) = small.unwrap_or((48, 32));
                region.image_size = small;
                let nonzero = region.rasterize(width, height, FillRule::NonZero);
                let even_odd = region.rasterize(width, height, FillRule::EvenOdd);
                assert_eq!(nonzero.is_ok(), even_odd.is_ok());
                if let (Ok(nonzero), Ok(even_odd)) = (nonzero, even_odd) {
                    assert!(nonzero.area() <= u64::from(width) * u64::from(height));
                    assert_eq!(nonzero.union(&even_odd), nonzero);
                }
            }
        }
        assert!(label_studio::read_regions(&element.bytes, entry.annotations.len()).is_err());
    }
});
