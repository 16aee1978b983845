//! `maskmaker sample-data`: a data set for trying things.

use std::path::Path;

use crate::console::say;
use crate::data::synthetic::SampleData;
use crate::error::Result;

/// Writes the data set into `folder` and says what is there.
pub fn run(folder: &Path, options: &SampleData) -> Result<()> {
    let summary = options.write(folder)?;
    say(format_args!(
        "{} images to train on, {} to validate on, in {}",
        summary.train,
        summary.validation,
        folder.display()
    ));
    Ok(())
}
