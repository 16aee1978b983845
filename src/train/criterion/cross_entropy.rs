//! Cross entropy: `torch.nn.CrossEntropyLoss(weight, ignore_index=255)`.

use tch::{Kind, Reduction, Tensor};

use super::Target;
use crate::error::Result;
use crate::metrics::IGNORE_INDEX;

/// libtorch's `label_smoothing`: the target class has the whole probability.
const NO_LABEL_SMOOTHING: f64 = 0.0;

/// Computes the sum over pixels of `weight[class] * -log p(class)`, divided by the sum of the
/// counted pixels' weights in the whole batch.
pub(super) fn cross_entropy_loss(
    logits: &Tensor,
    target: &Target<'_>,
    weights: Option<&[f64]>,
) -> Result<Tensor> {
    let total_weight = match weights {
        None => target.batch_counts.counted_pixels(),
        Some(weights) => {
            let pixels = weights.iter().zip(target.batch_counts.pixels.iter());
            let weighted_pixels: f64 = pixels.map(|(weight, &n)| weight * n as f64).sum();
            // If all counted pixels are of classes of weight 0, their losses are 0 too.
            if weighted_pixels > 0.0 { weighted_pixels } else { 1.0 }
        }
    };
    // The losses of pixels are summed here, because libtorch's own sum on a GPU differs in its last
    // digits from run to run.
    let losses = logits.f_cross_entropy_loss(
        target.ids,
        target.class_weights,
        Reduction::None,
        i64::from(IGNORE_INDEX),
        NO_LABEL_SMOOTHING,
    )?;
    Ok(losses.f_sum(None::<Kind>)?.f_div_scalar(total_weight)?)
}
