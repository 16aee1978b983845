//! Whether a network answers in bfloat16 what it answers in 32 bits: measured once, when training ends,
//! so that a server on a processor that is faster with bfloat16 can choose at once.

use image::RgbImage;

use crate::console::note;
use crate::data::Sample;
use crate::error::Result;
use crate::model::Network;
use crate::model::artifact::Bf16Agreement;
use crate::model::precision::{Compute, cpu_has_bf16};
use crate::model::size::{MAX_SIDE, shrink};

/// Images that are looked at, at most.
const IMAGES: usize = 32;
/// Pixels that are looked at, at most, but for the first image.
const PIXELS: u64 = 16 << 20;
/// The same on a processor that has no bfloat16 and takes several times as long.
const PIXELS_SLOW: u64 = 2 << 20;

/// Compares the classes of validation images, evenly chosen, in both formats. Without a result someone
/// asked to stop, or an image could not be read.
pub(super) fn measure(
    network: &Network,
    validation: &[Sample],
    go_on: impl Fn() -> bool,
) -> Result<Option<Bf16Agreement>> {
    let (exact, fast) = (network.frozen(Compute::Fp32)?, network.frozen(Compute::Bf16)?);
    let most = if cpu_has_bf16() { PIXELS } else { PIXELS_SLOW };
    let mut agreement = Bf16Agreement::default();
    let mut differing = 0;
    for sample in validation.iter().step_by(validation.len().div_ceil(IMAGES).max(1)) {
        if !go_on() {
            return Ok(None);
        }
        // The model is trained: what cannot be read any more must not fail the job.
        let (image, _) = match sample.read() {
            Ok(pair) => pair,
            Err(error) => {
                note(format_args!("warning: bf16 was not compared with fp32: {error}"));
                return Ok(None);
            }
        };
        let image = shrink(&image, MAX_SIDE);
        let size = u64::from(image.width()) * u64::from(image.height());
        if agreement.pixels > 0 && agreement.pixels + size > most {
            break;
        }
        differing += differences(&exact, &fast, &image)?;
        agreement.images += 1;
        agreement.pixels += size;
    }
    agreement.differing = differing as f64 / agreement.pixels.max(1) as f64;
    Ok(Some(agreement))
}

fn differences(exact: &Network, fast: &Network, image: &RgbImage) -> Result<u64> {
    let advice = ": take a larger instance";
    let classes = |network: &Network| {
        network.classes(&[image]).map_err(|error| error.when_out_of_memory(advice))
    };
    let (exact, fast) = (classes(exact)?, classes(fast)?);
    let pairs = exact.iter().zip(&fast).flat_map(|(a, b)| a.as_raw().iter().zip(b.as_raw()));
    Ok(pairs.filter(|(a, b)| a != b).count() as u64)
}
