//! Fuzzes color maps: any metadata are a map or an error, and any pixels become classes of the map
//! or an error. The first line is the metadata, then come the kind of the pixels, the length of the
//! palette, and the samples.

#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use maskmaker::data::Sample;
use maskmaker::data::color_map::{ColorMaps, assign_class_ids};
use maskmaker::imaging::{ColorMask, ColorPixels};

fuzz_target!(|bytes: &[u8]| {
    let line = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(line);
    let Ok(metadata) = serde_json::from_slice(text) else { return };
    let Ok(Some(map)) = ColorMaps::default().parse_metadata(&metadata) else { return };
    let [_, kind, entries, samples @ ..] = rest else { return };
    let sample = Sample {
        key: "line 1".to_owned(),
        image: PathBuf::new().into(),
        mask: PathBuf::new().into(),
        label_map: None,
        color_map: Some(map),
    };
    // The map may or may not have a background, so both numbers of classes are tried.
    let entries_of_map = metadata["internal-color-map"].as_object().map_or(0, |map| map.len());
    for classes in [entries_of_map, entries_of_map + 1] {
        let mut training = [sample.clone()];
        let splits = [("train", &mut training[..]), ("validation", &mut [])];
        let Ok(Some(names)) = assign_class_ids(splits, None, classes) else { continue };
        assert_eq!(names.len(), classes);
        let (pixels, number) = match kind % 3 {
            0 => (ColorPixels::Rgb(samples.to_vec()), samples.len() / 3),
            1 => (ColorPixels::Rgba(samples.to_vec()), samples.len() / 4),
            _ => {
                let (palette, indices) = samples.split_at(samples.len().min(4 * usize::from(*entries)));
                let colors = palette.chunks_exact(4).map(|p| [p[0], p[1], p[2], p[3]]).collect();
                let number = indices.len();
                (ColorPixels::Palette { colors, indices: indices.to_vec() }, number)
            }
        };
        let mask = ColorMask { width: number as u32, height: 1, pixels };
        let map = training[0].color_map.as_ref().expect("it stays");
        match map.resolve(&mask) {
            Ok(resolved) => {
                assert_eq!(resolved.ids.len(), number);
                assert!(resolved.snapped_pixels <= number as u64);
                assert!(resolved.ids.iter().all(|&id| usize::from(id) < classes));
            }
            Err(text) => assert!(!text.is_empty()),
        }
    }
});
