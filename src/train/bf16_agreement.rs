//! Comparison of a network's classes in bfloat16 with those in 32 bits. It is made once, when
//! training ends, so that a server on a device that is faster with 16 bits can choose at once.

use image::RgbImage;
use tch::Device;

use crate::data::Sample;
use crate::error::{ErrorContext, Result};
use crate::model::Network;
use crate::model::artifact::Bf16Agreement;
use crate::model::precision::{ComputePrecision, cpu_is_faster_in_bf16};
use crate::model::size::{DEFAULT_MAX_SIDE_PX, shrink_image};

/// Largest number of images that are compared.
const MAX_IMAGES: usize = 32;
/// Largest number of pixels that are compared. The first image may be larger.
const MAX_PIXELS: u64 = 16 << 20;
/// Largest number of pixels on a processor without bfloat16, which takes several times as long.
const MAX_PIXELS_WITHOUT_BF16: u64 = 2 << 20;

/// Compares the classes of validation images, evenly chosen, in both formats. Returns `None` if
/// `should_continue` returns false.
pub(super) fn measure_bf16_agreement(
    network: &Network,
    validation: &[Sample],
    should_continue: impl Fn() -> bool,
) -> Result<Option<Bf16Agreement>> {
    let (fp32_network, bf16_network) = (
        network.frozen_copy(ComputePrecision::Fp32)?,
        network.frozen_copy(ComputePrecision::Bf16)?,
    );
    let is_fast = network.device() != Device::Cpu || cpu_is_faster_in_bf16();
    let max_pixels = if is_fast { MAX_PIXELS } else { MAX_PIXELS_WITHOUT_BF16 };
    let mut agreement = Bf16Agreement::default();
    let mut differing_pixels = 0;
    for sample in validation.iter().step_by(validation.len().div_ceil(MAX_IMAGES).max(1)) {
        if !should_continue() {
            return Ok(None);
        }
        let (image, _) = sample.read()?;
        let image = shrink_image(&image, DEFAULT_MAX_SIDE_PX);
        let pixel_count = u64::from(image.width()) * u64::from(image.height());
        if agreement.pixels > 0 && agreement.pixels + pixel_count > max_pixels {
            break;
        }
        differing_pixels += count_differing_pixels(&fp32_network, &bf16_network, &image)?;
        agreement.images += 1;
        agreement.pixels += pixel_count;
    }
    agreement.differing = differing_pixels as f64 / agreement.pixels.max(1) as f64;
    Ok(Some(agreement))
}

fn count_differing_pixels(
    fp32_network: &Network,
    bf16_network: &Network,
    image: &RgbImage,
) -> Result<u64> {
    let advice = ": take a larger instance";
    let fp32_masks = fp32_network.predict_classes(&[image]).memory_advice(advice)?;
    let bf16_masks = bf16_network.predict_classes(&[image]).memory_advice(advice)?;
    let mut differing = 0;
    for (fp32_mask, bf16_mask) in fp32_masks.iter().zip(&bf16_masks) {
        for (fp32_id, bf16_id) in fp32_mask.as_raw().iter().zip(bf16_mask.as_raw()) {
            differing += u64::from(fp32_id != bf16_id);
        }
    }
    Ok(differing)
}
