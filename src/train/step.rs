//! One training step: forward, criterion, backward, update.

use tch::{Kind, Tensor};

use super::criterion::criterion;
use super::optimizer::{Optimizer, Rule};
use crate::data::loader::Batch;
use crate::error::Result;
use crate::model::Network;
use crate::model::forward::Mode;

/// A network in training.
#[derive(Debug)]
pub struct Stepper {
    /// The network as of the last step.
    pub network: Network,
    /// Its update rule with the state as of the last step.
    pub optimizer: Optimizer,
    learned: Vec<Tensor>,
}

impl Stepper {
    /// Starts training `network` with fresh optimizer state.
    pub fn new(network: Network, rule: Rule) -> Result<Self> {
        let named = network.weights.learned()?;
        let learned = named.iter().map(|(_, tensor)| tensor.shallow_clone()).collect();
        let optimizer = Optimizer::new(rule, named)?;
        Ok(Self { network, optimizer, learned })
    }

    /// Learns from one batch at the given learning rate. The loss, a scalar, stays on the device
    /// until someone reads it.
    pub fn step(&mut self, batch: &Batch, rate: f64) -> Result<Tensor> {
        let advice = ": lower mini_batch_size or crop_size, or take a larger instance";
        self.try_step(batch, rate).map_err(|error| error.when_out_of_memory(advice))
    }

    fn try_step(&mut self, batch: &Batch, rate: f64) -> Result<Tensor> {
        let (images, side) = (batch.dropout_seeds.len() as i64, i64::from(batch.crop_size));
        let pixels =
            Tensor::f_from_data_size(&batch.pixels, &[images, side, side, 3], Kind::Uint8)?;
        let ids = Tensor::f_from_data_size(&batch.ids, &[images, side, side], Kind::Uint8)?;
        let mode = Mode::Train { dropout_seeds: &batch.dropout_seeds };
        let loss = criterion(&self.network.logits(&pixels, mode)?, &ids)?;
        let gradients = Tensor::f_run_backward(&[&loss], &self.learned, false, false)?;
        self.optimizer.step(rate, gradients)?;
        self.network.weights.count_batch();
        Ok(loss.f_detach()?)
    }
}
