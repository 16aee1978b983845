//! Where a network looks for a class: Seg-Grad-CAM (Vinogradova, Dibrov and Myers, "Towards
//! Interpretable Semantic Segmentation via Gradient-Weighted Class Activation Mapping", AAAI 2020).

use image::RgbImage;
use tch::{Kind, Tensor};

use super::Network;
use super::forward::forward_from_features;
use crate::error::{Error, ErrorContext, Result};

/// Importance of each pixel for a class.
#[derive(Debug, Clone, PartialEq)]
pub struct GradCam {
    /// Importance row by row, 0 to 1, at the image's size. All zeros if nothing speaks for the class.
    pub importance: Vec<f32>,
    /// Number of pixels that are predicted as the class, whose logits are explained.
    pub pixels: u64,
}

impl Network {
    /// Computes the importance of each pixel for the pixels that are predicted as `class`. Returns
    /// nothing if there are none. The network must be one in 32 bits.
    ///
    /// With features A of the backbone's last layer, logits y of the class, and M the pixels that are
    /// predicted as it, channel k counts by the mean over A's positions of the gradient of the sum of
    /// y over M. The importance is the sum of the channels so weighted, where it is positive, relative
    /// to its maximum, resized to the image.
    pub fn grad_cam(&self, image: &RgbImage, class: usize) -> Result<Option<GradCam>> {
        let (width, height) = image.dimensions();
        let (height, width) = (i64::from(height), i64::from(width));
        let advice = ": explain smaller images, by --max-side";
        self.compute_grad_cam(image, [height, width], class).memory_advice(advice)
    }

    fn compute_grad_cam(
        &self,
        image: &RgbImage,
        [height, width]: [i64; 2],
        class: usize,
    ) -> Result<Option<GradCam>> {
        let bytes = Tensor::f_from_data_size(image.as_raw(), &[1, height, width, 3], Kind::Uint8)?;
        let input = self.normalize(&bytes)?;
        // The layers before the features need no gradients, which would take most of the memory.
        let pass = forward_from_features(self.graph(), &self.weights, &input)?;
        let is_class = pass.out.f_argmax(1, false)?.f_eq(class as i64)?;
        let pixels = is_class.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        if pixels == 0 {
            return Ok(None);
        }
        let logits = pass.out.f_select(1, class as i64)?;
        let score = logits.f_masked_select(&is_class)?.f_sum(Kind::Double)?;
        let gradients = Tensor::f_run_backward(&[&score], &[&pass.features], false, false)?;
        let Some(gradient) = gradients.first() else {
            return Err(Error::internal("the features have no gradient"));
        };
        let weights = gradient.f_mean_dim(&[2_i64, 3][..], true, Kind::Float)?;
        let weighted = pass.features.f_detach()?.f_mul(&weights)?;
        let map = weighted.f_sum_dim_intlist(&[1_i64][..], true, Kind::Float)?.f_relu()?;
        let largest = map.f_max()?.f_double_value(&[])?;
        let map = if largest > 0.0 { map.f_div_scalar(largest)? } else { map };
        let map = map.f_upsample_bilinear2d([height, width], false, None, None)?;
        let importance = Vec::<f32>::try_from(map.f_flatten(0, -1)?.f_contiguous()?)?;
        Ok(Some(GradCam { importance, pixels: pixels as u64 }))
    }
}
