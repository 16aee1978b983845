//! Archives of a training job's results, which are the same bytes for the same files.

use std::fs::File;
use std::path::Path;

use flate2::{Compression, GzBuilder};

use super::places::PlaceFile;
use crate::error::Result;
use crate::files::{PathContext, write_atomically_with};

/// Permissions of files in archives.
const FILE_MODE: u32 = 0o644;

/// Packs files into a `.tar.gz`. Names, order and times do not depend on when and where.
pub(super) fn pack_files(files: &[PlaceFile], archive: &Path) -> Result<()> {
    write_atomically_with(archive, |partial| {
        let target = File::create(partial).with_path("write", archive)?;
        // Weights are noise to a compressor: a higher level takes seconds and gains nothing.
        let gzip = GzBuilder::new().mtime(0).write(target, Compression::fast());
        let mut builder = tar::Builder::new(gzip);
        for file in files {
            let mut content = File::open(&file.path).with_path("read", &file.path)?;
            let metadata = content.metadata().with_path("read", &file.path)?;
            let mut header = tar::Header::new_gnu();
            header.set_size(metadata.len());
            header.set_mode(FILE_MODE);
            header.set_mtime(0);
            builder
                .append_data(&mut header, &file.name, &mut content)
                .with_path("write", archive)?;
        }
        let gzip = builder.into_inner().with_path("write", archive)?;
        gzip.finish().map(drop).with_path("write", archive)
    })
}
