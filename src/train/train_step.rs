//! One training step: forward, criterion, backward, update.

use std::ops::Range;

use tch::{Kind, Tensor};

use super::criterion::BatchCounts;
use super::ema::Ema;
use super::gradients;
use super::loss_scale::LossScale;
use super::optimizer::Optimizer;
use super::train_config::TrainConfig;
use crate::data::loader::Batch;
use crate::error::{ErrorContext, Result};
use crate::model::Network;
use crate::model::forward::ForwardMode;
use crate::model::precision::ComputePrecision;

/// A network in training, with its optimizer.
#[derive(Debug)]
pub struct TrainStep {
    /// Network after the last step.
    pub network: Network,
    /// Update rule with its state after the last step.
    pub optimizer: Optimizer,
    /// Average of the weights, if the settings ask for one.
    pub ema: Option<Ema>,
    /// Factor of the loss, for half precision only.
    pub loss_scale: Option<LossScale>,
    config: TrainConfig,
    trainable: Vec<Tensor>,
}

impl TrainStep {
    /// Starts training `network`, with an optimizer without state.
    pub fn new(mut network: Network, config: TrainConfig) -> Result<Self> {
        network.precision = config.compute;
        let named_parameters = network.weights.trainable_tensors()?;
        let trainable = named_parameters.iter().map(|(_, tensor)| tensor.shallow_clone()).collect();
        let optimizer = Optimizer::new(config.optimizer, named_parameters)?;
        let ema = config.ema_decay.map(|decay| Ema::new(decay, &network)).transpose()?;
        let loss_scale = (config.compute == ComputePrecision::Fp16).then(LossScale::default);
        Ok(Self { network, optimizer, ema, loss_scale, config, trainable })
    }

    /// Returns the network that is scored and kept: the average if there is one.
    pub fn eval_network(&self) -> &Network {
        self.ema.as_ref().map_or(&self.network, |ema| &ema.network)
    }

    /// Learns from one batch at the given learning rate. Returns the loss, a scalar, which may
    /// still be computed on the device.
    pub fn run(&mut self, batch: &Batch, lr: f64) -> Result<Tensor> {
        let precision_advice = match self.config.compute {
            ComputePrecision::Fp32 => ", set precision to bf16",
            ComputePrecision::Bf16 | ComputePrecision::Fp16 => "",
        };
        let advice = format!(
            ": lower mini_batch_size (gradient_accumulation_steps makes up for it) or \
             crop_size{precision_advice}, or take a larger instance"
        );
        self.try_run(batch, lr).memory_advice(&advice)
    }

    fn try_run(&mut self, batch: &Batch, lr: f64) -> Result<Tensor> {
        let image_count = batch.dropout_seeds.len();
        let batch_counts = BatchCounts::from_ids(image_count, &batch.ids);
        let mut accumulated: Option<(Tensor, Vec<Tensor>)> = None;
        for part in split_into_micro_batches(image_count, self.config.micro_batch_size) {
            let (loss, gradients) = self.backward(batch, part, &batch_counts)?;
            accumulated = Some(match accumulated {
                None => (loss, gradients),
                Some((mut total_loss, mut total_gradients)) => {
                    let _ = total_loss.f_add_(&loss)?;
                    gradients::accumulate_gradients(&mut total_gradients, &gradients)?;
                    (total_loss, total_gradients)
                }
            });
            self.network.weights.count_batch();
        }
        let Some((loss, mut gradients)) = accumulated else { return Ok(Tensor::from(0.0f32)) };
        if let Some(loss_scale) = &mut self.loss_scale
            && !loss_scale.unscale(&mut gradients)?
        {
            // These gradients overflowed and are dropped; the scale is smaller from now on.
            return Ok(loss);
        }
        if let Some(max_norm) = self.config.clip_norm {
            gradients::clip_gradient_norm(&mut gradients, max_norm)?;
        }
        self.optimizer.step(lr, gradients)?;
        if let Some(ema) = &mut self.ema {
            ema.update(&self.network, self.optimizer.steps())?;
        }
        Ok(loss)
    }

    /// Computes the loss of a part of a batch, and the gradients of all trainable tensors. The loss
    /// is not scaled, the gradients are.
    fn backward(
        &self,
        batch: &Batch,
        part: Range<usize>,
        batch_counts: &BatchCounts,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let (image_count, side) = (part.len() as i64, i64::from(batch.crop_size));
        let area = (side * side) as usize;
        let ids = &batch.ids[part.start * area..part.end * area];
        let pixels = &batch.pixels[part.start * area * 3..part.end * area * 3];
        let part_counts = BatchCounts::from_ids(part.len(), ids);
        let pixels = Tensor::f_from_data_size(pixels, &[image_count, side, side, 3], Kind::Uint8)?;
        let ids = Tensor::f_from_data_size(ids, &[image_count, side, side], Kind::Uint8)?;
        let mode = ForwardMode::Train { dropout_seeds: &batch.dropout_seeds[part] };
        let logits = self.network.logits(&pixels, mode)?;
        let loss = self.config.criterion.loss(&logits, &ids, &part_counts, batch_counts)?;
        let scaled_loss = match &self.loss_scale {
            Some(loss_scale) => loss.f_mul_scalar(loss_scale.scale())?,
            None => loss.shallow_clone(),
        };
        let gradients = Tensor::f_run_backward(&[&scaled_loss], &self.trainable, false, false)?;
        Ok((loss.f_detach()?, gradients))
    }
}

/// Splits `images` images into ranges of at most `max_images`. A last range of one image is added
/// to the range before it, because BatchNorm over maps of 1x1 needs two images.
fn split_into_micro_batches(images: usize, max_images: usize) -> Vec<Range<usize>> {
    let max_images = max_images.max(1);
    let mut ranges: Vec<Range<usize>> = (0..images)
        .step_by(max_images.min(images.max(1)))
        .map(|start| start..images.min(start.saturating_add(max_images)))
        .collect();
    if max_images > 1
        && let [.., second_to_last, last] = ranges.as_mut_slice()
        && last.len() == 1
    {
        second_to_last.end = last.end;
        ranges.pop();
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init)]
    fn parts_cover_a_batch_and_none_is_a_single_image_unless_all_are() {
        assert_eq!(split_into_micro_batches(4, 2), [0..2, 2..4]);
        assert_eq!(split_into_micro_batches(5, 2), [0..2, 2..5]);
        assert_eq!(split_into_micro_batches(3, 1), [0..1, 1..2, 2..3]);
        assert_eq!(split_into_micro_batches(1, 2), vec![0..1]);
        assert_eq!(split_into_micro_batches(7, usize::MAX), vec![0..7]);
        assert!(split_into_micro_batches(0, 2).is_empty());
    }
}
