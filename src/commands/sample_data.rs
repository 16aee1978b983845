//! `maskmaker sample-data` writes a small synthetic data set.

use std::path::Path;

use crate::console::print_stdout;
use crate::data::synthetic::SampleData;
use crate::error::Result;

/// Writes the data set into `folder` and prints the number of images of each split.
pub fn write_sample_data(folder: &Path, options: &SampleData) -> Result<()> {
    let summary = options.write(folder)?;
    print_stdout(format_args!(
        "{} images to train on, {} to validate on, in {}",
        summary.train,
        summary.validation,
        folder.display()
    ));
    Ok(())
}
