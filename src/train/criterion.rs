//! The criterion of torchvision's segmentation references: cross entropy over the counted pixels of
//! the main head plus half of the auxiliary head's.

use tch::{Kind, Reduction, Tensor};

use crate::error::Result;
use crate::metrics::IGNORE;
use crate::model::forward::Logits;

/// Weight of the auxiliary head's loss.
const AUX_WEIGHT: f64 = 0.5;

/// The loss, a scalar, of logits against class ids u8 `[batch, height, width]`; 255 is not counted.
/// A batch without a counted pixel has loss 0 (PyTorch's mean would be NaN).
pub fn criterion(logits: &Logits, ids: &Tensor) -> Result<Tensor> {
    let target = ids.f_to_device(logits.out.device())?.f_to_kind(Kind::Int64)?;
    let ignored = i64::from(IGNORE);
    let counted = target.f_ne(ignored)?.f_sum(Kind::Float)?.f_clamp_min(1.0)?;
    let loss = |logits: &Tensor| -> Result<Tensor> {
        let weight = None::<Tensor>;
        Ok(logits.f_cross_entropy_loss(&target, weight, Reduction::Sum, ignored, 0.0)?)
    };
    let mut total = loss(&logits.out)?;
    if let Some(aux) = &logits.aux {
        total = total.f_add(&loss(aux)?.f_mul_scalar(AUX_WEIGHT)?)?;
    }
    Ok(total.f_div(&counted)?)
}
