//! One training step: forward, criterion, backward, update.

use std::ops::Range;

use tch::{Kind, Tensor};

use super::criterion::Counts;
use super::ema::Ema;
use super::gradients;
use super::learning::Learning;
use super::loss_scale::LossScale;
use super::optimizer::Optimizer;
use crate::data::loader::Batch;
use crate::error::Result;
use crate::model::Network;
use crate::model::forward::Mode;
use crate::model::precision::Compute;

/// A network in training.
#[derive(Debug)]
pub struct Stepper {
    /// The network as of the last step.
    pub network: Network,
    /// Its update rule with the state as of the last step.
    pub optimizer: Optimizer,
    /// The average of the weights, if there is one.
    pub ema: Option<Ema>,
    /// What the loss is multiplied by, if the format needs that.
    pub loss_scale: Option<LossScale>,
    learning: Learning,
    learned: Vec<Tensor>,
}

impl Stepper {
    /// Starts training `network` with fresh state.
    pub fn new(mut network: Network, learning: Learning) -> Result<Self> {
        network.compute = learning.compute;
        let named = network.weights.learned()?;
        let learned = named.iter().map(|(_, tensor)| tensor.shallow_clone()).collect();
        let optimizer = Optimizer::new(learning.rule, named)?;
        let ema = learning.ema_decay.map(|decay| Ema::new(decay, &network)).transpose()?;
        let loss_scale = (learning.compute == Compute::Fp16).then(LossScale::default);
        Ok(Self { network, optimizer, ema, loss_scale, learning, learned })
    }

    /// The network that is scored and kept: the average if there is one.
    pub fn evaluated(&self) -> &Network {
        self.ema.as_ref().map_or(&self.network, |ema| &ema.network)
    }

    /// Learns from one batch at the given learning rate. The loss, a scalar, stays on the device
    /// until someone reads it.
    pub fn step(&mut self, batch: &Batch, rate: f64) -> Result<Tensor> {
        let precision = match self.learning.compute {
            Compute::Fp32 => ", set precision to bf16",
            Compute::Bf16 | Compute::Fp16 => "",
        };
        let advice = format!(
            ": lower mini_batch_size (gradient_accumulation_steps makes up for it) or \
             crop_size{precision}, or take a larger instance"
        );
        self.try_step(batch, rate).map_err(|error| error.when_out_of_memory(&advice))
    }

    fn try_step(&mut self, batch: &Batch, rate: f64) -> Result<Tensor> {
        let images = batch.dropout_seeds.len();
        let whole = Counts::of(images, &batch.ids);
        let mut sum: Option<(Tensor, Vec<Tensor>)> = None;
        for part in parts(images, self.learning.images_at_a_time) {
            let (loss, gradients) = self.backward(batch, part, &whole)?;
            sum = Some(match sum {
                None => (loss, gradients),
                Some((mut total, mut all)) => {
                    let _ = total.f_add_(&loss)?;
                    gradients::add(&mut all, &gradients)?;
                    (total, all)
                }
            });
            self.network.weights.count_batch();
        }
        let Some((loss, mut gradients)) = sum else { return Ok(Tensor::from(0.0f32)) };
        if let Some(scale) = &mut self.loss_scale
            && !scale.unscale(&mut gradients)?
        {
            // Overflow: these gradients say nothing. The scale is smaller from now on.
            return Ok(loss);
        }
        if let Some(norm) = self.learning.clip_norm {
            gradients::clip(&mut gradients, norm)?;
        }
        self.optimizer.step(rate, gradients)?;
        if let Some(ema) = &mut self.ema {
            ema.update(&self.network, self.optimizer.steps())?;
        }
        Ok(loss)
    }

    /// The loss of a part of a batch, and the gradients of all that is learned.
    fn backward(
        &self,
        batch: &Batch,
        part: Range<usize>,
        whole: &Counts,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let (images, side) = (part.len() as i64, i64::from(batch.crop_size));
        let area = (side * side) as usize;
        let ids = &batch.ids[part.start * area..part.end * area];
        let pixels = &batch.pixels[part.start * area * 3..part.end * area * 3];
        let counts = Counts::of(part.len(), ids);
        let pixels = Tensor::f_from_data_size(pixels, &[images, side, side, 3], Kind::Uint8)?;
        let ids = Tensor::f_from_data_size(ids, &[images, side, side], Kind::Uint8)?;
        let mode = Mode::Train { dropout_seeds: &batch.dropout_seeds[part] };
        let logits = self.network.logits(&pixels, mode)?;
        let loss = self.learning.criterion.loss(&logits, &ids, &counts, whole)?;
        let scaled = match &self.loss_scale {
            Some(scale) => loss.f_mul_scalar(scale.scale())?,
            None => loss.shallow_clone(),
        };
        let gradients = Tensor::f_run_backward(&[&scaled], &self.learned, false, false)?;
        Ok((loss.f_detach()?, gradients))
    }
}

/// Ranges of at most `most` images; the last is longer by one rather than alone, because BatchNorm
/// over maps of 1x1 needs two.
fn parts(images: usize, most: usize) -> Vec<Range<usize>> {
    let most = most.max(1);
    let mut parts: Vec<Range<usize>> = (0..images)
        .step_by(most.min(images.max(1)))
        .map(|start| start..images.min(start.saturating_add(most)))
        .collect();
    if most > 1
        && let [.., before, last] = parts.as_mut_slice()
        && last.len() == 1
    {
        before.end = last.end;
        parts.pop();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init)]
    fn parts_cover_a_batch_and_none_is_a_single_image_unless_all_are() {
        assert_eq!(parts(4, 2), [0..2, 2..4]);
        assert_eq!(parts(5, 2), [0..2, 2..5]);
        assert_eq!(parts(3, 1), [0..1, 1..2, 2..3]);
        assert_eq!(parts(1, 2), vec![0..1]);
        assert_eq!(parts(7, usize::MAX), vec![0..7]);
        assert!(parts(0, 2).is_empty());
    }
}
