//! The criterion: a weighted sum of losses of the main head, plus half of the same of the auxiliary
//! head, as in torchvision's segmentation references.
//!
//! A batch may be computed in several parts ([gradient accumulation](Criterion::loss)), each of which
//! knows the [counts](Counts) of the whole. Losses that are means over pixels then come out as those of
//! the whole batch; dice and lovasz, which are no means, are averaged over the parts' images.

mod cross_entropy;
mod dice;
mod focal;
mod lovasz;

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::metrics::IGNORE_INDEX;
use crate::model::forward::Logits;
use crate::sagemaker::hyperparameters::{Loss, LossTerm};

/// Weight of the auxiliary head's loss.
const AUX_WEIGHT: f64 = 0.5;

/// What is minimized.
#[derive(Debug, Clone, PartialEq)]
pub struct Criterion {
    /// The parts and their weights.
    pub loss: Loss,
    /// Weight of each class in the cross entropy; all 1 when there are none.
    pub class_weights: Option<Vec<f64>>,
    /// The exponent of the focal loss.
    pub focal_gamma: f64,
}

impl Default for Criterion {
    /// The plain cross entropy.
    fn default() -> Self {
        Self { loss: Loss::default(), class_weights: None, focal_gamma: 2.0 }
    }
}

/// How many images and pixels of each class some class ids hold. Counted on the bytes, so that no
/// device has to be waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchCounts {
    images: usize,
    pixels: Box<[u64; 256]>,
}

impl BatchCounts {
    /// Counts the class ids of so many images.
    pub fn from_ids(images: usize, ids: &[u8]) -> Self {
        let mut pixels = Box::new([0; 256]);
        for &id in ids {
            pixels[usize::from(id)] += 1;
        }
        Self { images, pixels }
    }

    /// Pixels that are not ignored, at least 1: a batch without any has loss 0 (PyTorch's mean would be
    /// NaN).
    fn counted_pixels(&self) -> f64 {
        self.pixels[..usize::from(IGNORE_INDEX)].iter().sum::<u64>().max(1) as f64
    }

    fn has_class(&self, class: usize) -> bool {
        self.pixels[class] > 0
    }
}

/// Class ids as a part of a batch is computed with them.
struct Target<'a> {
    /// i64 `[images, height, width]`.
    ids: &'a Tensor,
    /// Of the part.
    part_counts: &'a BatchCounts,
    /// Of the whole batch.
    batch_counts: &'a BatchCounts,
}

impl Target<'_> {
    /// 1 where a pixel is counted, else 0: `[images, 1, height, width]`.
    fn valid_mask(&self, kind: Kind) -> Result<Tensor> {
        Ok(self.ids.f_ne(i64::from(IGNORE_INDEX))?.f_unsqueeze(1)?.f_to_kind(kind)?)
    }

    /// 1 in the plane of a counted pixel's class, else 0: `[images, classes, height, width]`.
    fn one_hot(&self, logits: &Tensor) -> Result<Tensor> {
        let valid_mask = self.valid_mask(logits.kind())?;
        // An ignored pixel's id is no plane's number; the mask takes out what this one gets.
        let plane_ids = self.ids.f_unsqueeze(1)?.f_masked_fill(&valid_mask.f_eq(0.0)?, 0)?;
        let zeros = logits.f_detach()?.f_zeros_like()?;
        Ok(zeros.f_scatter(1, &plane_ids, &valid_mask)?)
    }

    /// The share of the batch's images that are in this part.
    fn image_fraction(&self) -> f64 {
        self.part_counts.images as f64 / self.batch_counts.images.max(1) as f64
    }
}

impl Criterion {
    /// The loss, a scalar, of logits against class ids u8 `[images, height, width]`; 255 is not
    /// counted. `counts` are those of `ids`, `whole` those of the batch that they are a part of: the
    /// losses of all its parts add up to the batch's.
    pub fn loss(
        &self,
        logits: &Logits,
        ids: &Tensor,
        part_counts: &BatchCounts,
        batch_counts: &BatchCounts,
    ) -> Result<Tensor> {
        let ids = ids.f_to_device(logits.out.device())?.f_to_kind(Kind::Int64)?;
        let target = Target { ids: &ids, part_counts, batch_counts };
        let mut total = self.head_loss(&logits.out, &target)?;
        if let Some(aux) = &logits.aux {
            total = total.f_add(&self.head_loss(aux, &target)?.f_mul_scalar(AUX_WEIGHT)?)?;
        }
        Ok(total)
    }

    /// The loss of a whole batch.
    pub fn batch_loss(&self, logits: &Logits, ids: &Tensor) -> Result<Tensor> {
        let bytes = Vec::<u8>::try_from(ids.f_flatten(0, -1)?)?;
        let counts = BatchCounts::from_ids(ids.size()[0] as usize, &bytes);
        self.loss(logits, ids, &counts, &counts)
    }

    /// The sum of the parts for one head.
    fn head_loss(&self, logits: &Tensor, target: &Target<'_>) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for &(term, weight) in self.loss.terms() {
            let loss = match term {
                LossTerm::CrossEntropy => cross_entropy::cross_entropy_loss(
                    logits,
                    target,
                    self.class_weights.as_deref(),
                )?,
                LossTerm::Dice => dice::dice_loss(logits, target)?,
                LossTerm::Focal => focal::focal_loss(logits, target, self.focal_gamma)?,
                LossTerm::Lovasz => lovasz::lovasz_loss(logits, target)?,
            };
            let loss = loss.f_mul_scalar(weight)?;
            sum = Some(match sum {
                Some(sum) => sum.f_add(&loss)?,
                None => loss,
            });
        }
        Ok(sum.unwrap_or_else(|| Tensor::from(0.0f32)))
    }
}

#[cfg(test)]
mod tests;
