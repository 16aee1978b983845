//! Access to the pictures of the tests, which `tests/fixtures/images/make_images.py` makes.

use std::fs;
use std::path::Path;

const FIXTURE_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images");

/// Reads the picture of this name.
pub(super) fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(FIXTURE_DIR).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Reads all pictures, sorted by name.
pub(super) fn all_fixtures() -> impl Iterator<Item = (String, Vec<u8>)> {
    let entries = fs::read_dir(FIXTURE_DIR).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != "make_images.py");
    names.sort();
    names.into_iter().map(|name| (name.clone(), fixture(&name)))
}
