//! Fuzzes manifests: any lines are samples or problems, no file lies outside of the root, and no
//! object of S3 is requested.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use maskmaker::data::content::Content;
use maskmaker::data::manifest;
use maskmaker::data::objects::{DiskBudget, ObjectCache};
use maskmaker::error::Problems;

fuzz_target!(|bytes: &[u8]| {
    let mut problems = Problems::new();
    // The folder exists everywhere, so that references to its files are samples.
    let root = Path::new("/etc");
    let connect = Arc::new(|| panic!("nothing is read, so nothing is connected to"));
    let objects = ObjectCache::new(connect, DiskBudget { max_bytes: None, reserved_bytes: 0 });
    let file = Path::new("/etc/train.manifest");
    let (samples, _) = manifest::read_manifest_from(bytes, file, root, &objects, &mut problems);
    assert!(!samples.is_empty() || !problems.is_empty());
    for sample in samples {
        for content in [&sample.image, &sample.mask] {
            if let Content::File(path) = content {
                assert!(path.starts_with(root));
                assert!(path.components().all(|part| part.as_os_str() != ".."));
            }
        }
    }
});
