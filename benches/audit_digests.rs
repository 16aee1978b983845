//! Measures the share of the digests of a data set in the time of its audit: `audit_digests DATA`,
//! where DATA holds `train` and `train_annotation`. `benches/audit_digests.sh` makes such data and
//! runs it.
//!
//! Prints a JSON line with seconds of processor time (all threads), and the bytes that the list of
//! samples adds to a checkpoint. Fails if the digests take more than 2 percent.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::path::PathBuf;

use maskmaker::data::audit::{SplitDescription, audit_samples};
use maskmaker::data::digest::SampleDigest;
use maskmaker::data::pairing;
use maskmaker::error::{Error, Problems, Result};
use maskmaker::sagemaker::channels::SplitFolders;
use maskmaker::train::data_record::SplitRecord;
use rustix::time::{ClockId, clock_gettime};

/// Largest share of the audit that the digests may take.
const MAX_SHARE: f64 = 0.02;

fn main() -> Result<()> {
    let data = std::env::args().nth(1).map(PathBuf::from);
    let data = data.ok_or_else(|| Error::input("usage: audit_digests DATA"))?;
    let split = SplitFolders {
        name: "train",
        images: data.join("train"),
        masks: data.join("train_annotation"),
    };
    let mut problems = Problems::new();
    let samples = pairing::pair_images_and_masks(&split, &mut problems);
    let description = SplitDescription::for_folders("train");
    let start = processor_seconds();
    let audit = audit_samples(&description, &samples, 4, &mut problems, || true);
    let audit_seconds = processor_seconds() - start;
    problems.into_result()?;

    let mut digest_seconds = 0.0;
    for sample in &samples {
        let (image, mask) = (sample.image.read()?, sample.mask.read()?);
        let start = processor_seconds();
        black_box(SampleDigest::new(&image, None, &mask));
        digest_seconds += processor_seconds() - start;
    }
    let start = processor_seconds();
    let record = SplitRecord::new(&samples, &audit.digests)?;
    let list_bytes = serde_json::to_vec(&record).map_or(0, |bytes| bytes.len());
    digest_seconds += processor_seconds() - start;
    let share = digest_seconds / audit_seconds;
    println!(
        "{{\"images\": {}, \"audit_seconds\": {audit_seconds:.2}, \"digest_seconds\": \
         {digest_seconds:.3}, \"share\": {share:.4}, \"list_bytes\": {list_bytes}}}",
        samples.len()
    );
    if share > MAX_SHARE {
        return Err(Error::input(format!("the digests take {share:.4} of the audit")));
    }
    Ok(())
}

/// Returns the processor time of all threads so far.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
