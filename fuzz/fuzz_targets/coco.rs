//! Fuzzes COCO files: any bytes are an index, annotations and pixels, or an error at one of these
//! steps.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maskmaker::annotations::coco;

/// Largest side for which pixels are made, in pixels.
const LARGEST: u32 = 512;

fuzz_target!(|bytes: &[u8]| {
    coco::is_coco(bytes);
    let Ok(index) = coco::read_coco_index(bytes) else { return };
    for image in &index.images {
        let small = image.width.zip(image.height);
        let small = small.filter(|&(width, height)| width.max(height) <= LARGEST);
        let (width, height) = small.unwrap_or((48, 32));
        for &(offset, length) in index.annotation_spans.get(&image.id).into_iter().flatten() {
            let Ok(annotation) = coco::parse_annotation(&bytes[offset as usize..][..length]) else {
                continue;
            };
            if let Ok(runs) = annotation.rasterize(width, height) {
                assert!(runs.area() <= u64::from(width) * u64::from(height));
            }
        }
    }
});
