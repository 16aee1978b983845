//! Lovász-Softmax: `segmentation_models_pytorch.losses.LovaszLoss("multiclass", per_image=False,
//! ignore_index=255)` (Berman et al. 2018).

use tch::{Kind, Tensor};

use super::Target;
use crate::error::Result;

/// Computes the mean, over the classes that counted pixels have, of the Lovász extension of
/// `1 - IoU` at the errors of the class's probabilities; 0 when no pixel is counted.
pub(super) fn lovasz_loss(logits: &Tensor, target: &Target<'_>) -> Result<Tensor> {
    let kind = logits.kind();
    let valid_mask = target.valid_mask(kind)?.f_flatten(0, -1)?;
    let ids = target.ids.f_flatten(0, -1)?;
    let probabilities = logits.f_softmax(1, None::<Kind>)?;
    let mut losses = Vec::new();
    for class in (0..logits.size()[1]).filter(|&class| target.part_counts.has_class(class as usize))
    {
        let foreground = ids.f_eq(class)?.f_to_kind(kind)?;
        let class_probabilities = probabilities.f_select(1, class)?.f_flatten(0, -1)?;
        // An ignored pixel has error 0 and belongs to no class: it is sorted to the end, where it
        // changes nothing.
        let errors = foreground.f_sub(&class_probabilities)?.f_abs()?.f_mul(&valid_mask)?;
        let (errors, order) = errors.f_sort(0, true)?;
        let gradient = lovasz_gradient(&foreground.f_index_select(0, &order)?)?;
        losses.push(errors.f_dot(&gradient)?);
    }
    if losses.is_empty() {
        return Ok(logits.f_sum(None::<Kind>)?.f_mul_scalar(0.0)?);
    }
    let loss = Tensor::f_stack(&losses, 0)?.f_mean(None::<Kind>)?;
    Ok(loss.f_mul_scalar(target.image_fraction())?)
}

/// Computes the amount that each pixel adds to `1 - IoU` when pixels are taken in this order
/// (algorithm 1 of the paper).
fn lovasz_gradient(sorted_foreground: &Tensor) -> Result<Tensor> {
    let kind = sorted_foreground.kind();
    let foreground_total = sorted_foreground.f_sum(None::<Kind>)?;
    // Pixels are counted as integers: sums of floats on a GPU may differ from run to run, and those
    // of 32 bits are not exact above 2^24.
    let counted_foreground = sorted_foreground.f_to_kind(Kind::Int64)?;
    let counted_background = counted_foreground.f_neg()?.f_add_scalar(1)?;
    let cumulative_foreground = counted_foreground.f_cumsum(0, None::<Kind>)?.f_to_kind(kind)?;
    let cumulative_background = counted_background.f_cumsum(0, None::<Kind>)?.f_to_kind(kind)?;
    let iou = foreground_total
        .f_sub(&cumulative_foreground)?
        .f_div(&foreground_total.f_add(&cumulative_background)?)?;
    let jaccard_loss = iou.f_neg()?.f_add_scalar(1.0)?;
    let pixels = sorted_foreground.size()[0];
    let first_loss = jaccard_loss.f_narrow(0, 0, 1)?;
    let loss_increments = jaccard_loss
        .f_narrow(0, 1, pixels - 1)?
        .f_sub(&jaccard_loss.f_narrow(0, 0, pixels - 1)?)?;
    Ok(Tensor::f_cat(&[first_loss, loss_increments], 0)?)
}
