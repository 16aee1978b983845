//! Lovász-Softmax: `segmentation_models_pytorch.losses.LovaszLoss("multiclass", per_image=False,
//! ignore_index=255)` (Berman et al. 2018).

use tch::{Kind, Tensor};

use super::Target;
use crate::error::Result;

/// The mean, over the classes that counted pixels have, of the Lovász extension of `1 - IoU` at the
/// errors of the class's probabilities; 0 when no pixel is counted.
pub(super) fn loss(logits: &Tensor, target: &Target<'_>) -> Result<Tensor> {
    let kind = logits.kind();
    let mask = target.mask(kind)?.f_flatten(0, -1)?;
    let ids = target.ids.f_flatten(0, -1)?;
    let probabilities = logits.f_softmax(1, None::<Kind>)?;
    let mut losses = Vec::new();
    for class in (0..logits.size()[1]).filter(|&class| target.counts.holds(class as usize)) {
        let truth = ids.f_eq(class)?.f_to_kind(kind)?;
        let found = probabilities.f_select(1, class)?.f_flatten(0, -1)?;
        // An ignored pixel has no error and is nobody's truth: sorted to the end, where errors are 0,
        // it changes nothing.
        let errors = truth.f_sub(&found)?.f_abs()?.f_mul(&mask)?;
        let (errors, order) = errors.f_sort(0, true)?;
        let slope = slope(&truth.f_index_select(0, &order)?)?;
        losses.push(errors.f_dot(&slope)?);
    }
    if losses.is_empty() {
        return Ok(logits.f_sum(None::<Kind>)?.f_mul_scalar(0.0)?);
    }
    let loss = Tensor::f_stack(&losses, 0)?.f_mean(None::<Kind>)?;
    Ok(loss.f_mul_scalar(target.share())?)
}

/// How much each pixel adds to `1 - IoU` when pixels are taken in this order (the paper's algorithm 1).
fn slope(truth: &Tensor) -> Result<Tensor> {
    let all = truth.f_sum(None::<Kind>)?;
    let taken = truth.f_cumsum(0, None::<Kind>)?;
    let others = truth.f_neg()?.f_add_scalar(1.0)?.f_cumsum(0, None::<Kind>)?;
    let overlap = all.f_sub(&taken)?.f_div(&all.f_add(&others)?)?;
    let lost = overlap.f_neg()?.f_add_scalar(1.0)?;
    let pixels = truth.size()[0];
    let first = lost.f_narrow(0, 0, 1)?;
    let further = lost.f_narrow(0, 1, pixels - 1)?.f_sub(&lost.f_narrow(0, 0, pixels - 1)?)?;
    Ok(Tensor::f_cat(&[first, further], 0)?)
}
