//! Soft Dice loss over a batch: `segmentation_models_pytorch.losses.DiceLoss("multiclass",
//! ignore_index=255)`.

use tch::{Kind, Tensor};

use super::Target;
use crate::error::Result;

/// What keeps the divisor from 0.
const EPSILON: f64 = 1e-7;

/// The mean over all classes of `1 - 2 |p y| / (|p| + |y|)`, sums over the counted pixels; a class that
/// no counted pixel has adds 0.
pub(super) fn loss(logits: &Tensor, target: &Target<'_>) -> Result<Tensor> {
    let truth = target.one_hot(logits)?;
    let found = logits.f_softmax(1, None::<Kind>)?.f_mul(&target.mask(logits.kind())?)?;
    let per_class = |values: &Tensor| values.f_sum_dim_intlist([0, 2, 3].as_slice(), false, None);
    let both = per_class(&found.f_mul(&truth)?)?;
    let size = per_class(&found)?.f_add(&per_class(&truth)?)?.f_clamp_min(EPSILON)?;
    let score = both.f_mul_scalar(2.0)?.f_div(&size)?;
    let present = per_class(&truth)?.f_gt(0.0)?.f_to_kind(logits.kind())?;
    let loss = score.f_neg()?.f_add_scalar(1.0)?.f_mul(&present)?.f_mean(None::<Kind>)?;
    Ok(loss.f_mul_scalar(target.share())?)
}
