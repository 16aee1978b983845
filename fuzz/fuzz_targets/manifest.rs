//! Manifests: any lines are samples or problems, and no sample lies outside of its root.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use maskmaker::data::manifest;
use maskmaker::error::Problems;

fuzz_target!(|bytes: &[u8]| {
    let mut problems = Problems::new();
    // A folder that exists everywhere, so that references to its files are samples.
    let root = Path::new("/etc");
    let (samples, _) =
        manifest::read_from(bytes, Path::new("/etc/train.manifest"), root, &mut problems);
    assert!(!samples.is_empty() || !problems.is_empty());
    for sample in samples {
        assert!(sample.image.starts_with(root) && sample.mask.starts_with(root));
        assert!(sample.image.components().all(|part| part.as_os_str() != ".."));
    }
});
