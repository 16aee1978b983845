//! The criterion: a weighted sum of losses of the main head, plus half of the same of the auxiliary
//! head, as in torchvision's segmentation references.
//!
//! A batch may be computed in several parts ([gradient accumulation](Criterion::loss)), each of
//! which knows the [counts](BatchCounts) of the whole batch. The losses of the parts that are means
//! over pixels then add up to the loss of the whole batch. Dice and lovasz are no means over
//! pixels; they are averaged over the parts' images.

mod cross_entropy;
mod dice;
mod focal;
mod loss;
mod lovasz;

pub use loss::{ClassWeights, Loss, LossTerm};

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::metrics::IGNORE_INDEX;
use crate::model::forward::Logits;

/// Weight of the auxiliary head's loss, as in torchvision's segmentation references.
const AUX_WEIGHT: f64 = 0.5;

/// The function of logits and class ids that training minimizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Criterion {
    /// Terms and their weights.
    pub loss: Loss,
    /// Weight of each class in the cross entropy; without them all are 1.
    pub class_weights: Option<Vec<f64>>,
    /// Exponent of the focal loss.
    pub focal_gamma: f64,
}

impl Default for Criterion {
    /// Returns the cross entropy alone, without class weights.
    fn default() -> Self {
        Self { loss: Loss::default(), class_weights: None, focal_gamma: 2.0 }
    }
}

/// Numbers of images and of pixels of each class in a batch or a part of it. They are counted on
/// the bytes in host memory, so that no device has to be waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchCounts {
    images: usize,
    pixels: Box<[u64; 256]>,
}

impl BatchCounts {
    /// Counts the class ids of `images` images.
    pub fn from_ids(images: usize, ids: &[u8]) -> Self {
        let mut pixels = Box::new([0; 256]);
        for &id in ids {
            pixels[usize::from(id)] += 1;
        }
        Self { images, pixels }
    }

    /// Returns the number of images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Returns the counts of all parts together.
    pub fn sum(parts: &[Self]) -> Self {
        let mut sum = Self { images: 0, pixels: Box::new([0; 256]) };
        for part in parts {
            sum.images += part.images;
            for (total, count) in sum.pixels.iter_mut().zip(part.pixels.iter()) {
                *total += count;
            }
        }
        sum
    }

    /// Returns the number of images and the pixels of each id, as integers that can be added up.
    pub(super) fn to_integers(&self) -> Vec<i64> {
        let mut integers = vec![self.images as i64];
        for &pixels in &*self.pixels {
            integers.push(pixels as i64);
        }
        integers
    }

    /// Reads the integers of [`to_integers`](Self::to_integers), or sums of them.
    pub(super) fn from_integers(integers: &[i64]) -> Self {
        let (images, ids) = integers.split_first().unwrap_or((&0, &[]));
        let mut pixels = Box::new([0; 256]);
        for (total, &count) in pixels.iter_mut().zip(ids) {
            *total = count as u64;
        }
        Self { images: *images as usize, pixels }
    }

    /// Returns the number of pixels that are not ignored, at least 1, so that a batch without any
    /// has loss 0 (PyTorch's mean would be NaN).
    fn counted_pixels(&self) -> f64 {
        self.pixels[..usize::from(IGNORE_INDEX)].iter().sum::<u64>().max(1) as f64
    }

    fn has_class(&self, class: usize) -> bool {
        self.pixels[class] > 0
    }
}

/// Class ids of a part of a batch, with the counts that its losses are divided by.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Class ids `[images, height, width]` on the logits' device; 255 is not counted.
    pub ids: &'a Tensor,
    /// Result of [`Criterion::class_weight_tensor`].
    pub class_weights: Option<&'a Tensor>,
    /// Counts of `ids`.
    pub part_counts: &'a BatchCounts,
    /// Counts of the batch that `ids` are a part of.
    pub batch_counts: &'a BatchCounts,
}

impl Target<'_> {
    /// Returns 1 where a pixel is counted, else 0: `[images, 1, height, width]`.
    fn valid_mask(&self, kind: Kind) -> Result<Tensor> {
        Ok(self.ids.f_ne(i64::from(IGNORE_INDEX))?.f_unsqueeze(1)?.f_to_kind(kind)?)
    }

    /// Returns 1 in the plane of a counted pixel's class, else 0: `[images, classes, height,
    /// width]`.
    fn one_hot(&self, logits: &Tensor) -> Result<Tensor> {
        let classes = Tensor::f_arange(logits.size()[1], (Kind::Int64, logits.device()))?;
        let has_class = self.ids.f_unsqueeze(1)?.f_eq_tensor(&classes.f_view([1, -1, 1, 1])?)?;
        // An ignored pixel's id could be the number of a plane.
        Ok(has_class.f_to_kind(logits.kind())?.f_mul(&self.valid_mask(logits.kind())?)?)
    }

    /// Returns the share of the batch's images that are in this part, 0 to 1.
    fn image_fraction(&self) -> f64 {
        self.part_counts.images as f64 / self.batch_counts.images.max(1) as f64
    }
}

impl Criterion {
    /// Returns the weights of the classes as a tensor, if there are any. A training step makes it
    /// once, because copies from the host wait for the device.
    pub fn class_weight_tensor(&self, kind: Kind, device: Device) -> Result<Option<Tensor>> {
        let Some(weights) = &self.class_weights else { return Ok(None) };
        Ok(Some(Tensor::f_from_slice(weights)?.f_to_kind(kind)?.f_to_device(device)?))
    }

    /// Computes the loss, a scalar, of logits against class ids. The losses of all parts of a batch
    /// add up to the loss of the batch.
    pub fn loss(&self, logits: &Logits, target: Target<'_>) -> Result<Tensor> {
        if self.class_weights.is_some() != target.class_weights.is_some() {
            return Err(Error::internal("class weights are those of another criterion"));
        }
        let ids = target.ids.f_to_kind(Kind::Int64)?;
        let target = Target { ids: &ids, ..target };
        let mut total = self.head_loss(&logits.out, &target)?;
        if let Some(aux) = &logits.aux {
            total = total.f_add(&self.head_loss(aux, &target)?.f_mul_scalar(AUX_WEIGHT)?)?;
        }
        Ok(total)
    }

    /// Computes the loss of a whole batch.
    pub fn batch_loss(&self, logits: &Logits, ids: &Tensor) -> Result<Tensor> {
        let bytes = Vec::<u8>::try_from(ids.f_flatten(0, -1)?)?;
        let counts = BatchCounts::from_ids(ids.size()[0] as usize, &bytes);
        let (kind, device) = (logits.out.kind(), logits.out.device());
        let class_weights = self.class_weight_tensor(kind, device)?;
        let target = Target {
            ids: &ids.f_to_device(device)?,
            class_weights: class_weights.as_ref(),
            part_counts: &counts,
            batch_counts: &counts,
        };
        self.loss(logits, target)
    }

    /// Computes the weighted sum of the terms for one head.
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
