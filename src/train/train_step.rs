//! One training step: forward, criterion, backward, update.

use std::sync::Arc;

use tch::Tensor;

use super::criterion::{BatchCounts, Target};
use super::data_parallel::DataParallel;
use super::device_batch::{BatchPart, DeviceBatch};
use super::ema::Ema;
use super::gradients;
use super::loss_scale::LossScale;
use super::optimizer::Optimizer;
use super::train_config::TrainConfig;
use crate::error::{ErrorContext, Result};
use crate::metrics::ConfusionMatrix;
use crate::model::Network;
use crate::model::forward::ForwardMode;
use crate::model::precision::ComputePrecision;
use crate::torch::ProcessGroup;

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
    /// Class weights of the criterion, on the network's device.
    class_weights: Option<Tensor>,
    /// Exchange with the other ranks, if several train together.
    data_parallel: Option<DataParallel>,
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
        let kind = network.logit_kind();
        let class_weights = config.criterion.class_weight_tensor(kind, network.device())?;
        let data_parallel = None;
        Ok(Self {
            network,
            optimizer,
            ema,
            loss_scale,
            config,
            trainable,
            class_weights,
            data_parallel,
        })
    }

    /// Makes this one of several ranks that train together: takes over all state of rank 0, and
    /// averages gradients from now on. Every rank calls it, with a network of the same
    /// architecture and the same settings.
    pub fn join_group(&mut self, group: Arc<ProcessGroup>) -> Result<()> {
        let mut counters = vec![self.network.weights.batches_tracked(), self.optimizer.steps()];
        let mut loss_scale = self.loss_scale.clone().unwrap_or_default().to_numbers();
        let counter_tensor = Tensor::f_from_slice(&counters)?;
        let loss_scale_tensor = Tensor::f_from_slice(&loss_scale)?;
        let mut state = vec![counter_tensor.shallow_clone(), loss_scale_tensor.shallow_clone()];
        state.extend(self.state_tensors()?);
        self.data_parallel = Some(DataParallel::new(
            group,
            self.trainable.iter().map(Tensor::shallow_clone).collect(),
            &state,
        )?);
        counters = Vec::try_from(&counter_tensor)?;
        loss_scale = Vec::try_from(&loss_scale_tensor)?;
        self.network.weights.set_batches_tracked(counters[0]);
        if let Some(ema) = &mut self.ema {
            ema.network.weights.set_batches_tracked(counters[0]);
        }
        self.optimizer.set_steps(counters[1]);
        if let Some(own) = &mut self.loss_scale {
            *own = LossScale::from_numbers(&loss_scale);
        }
        Ok(())
    }

    /// Makes BatchNorm's running statistics the same on all ranks, which learned from different
    /// images. Ranks call it before they validate or write weights.
    pub fn average_running_statistics(&mut self) -> Result<()> {
        let Some(data_parallel) = &mut self.data_parallel else { return Ok(()) };
        let mut weights = vec![&self.network.weights];
        if let Some(ema) = &self.ema {
            weights.push(&ema.network.weights);
        }
        data_parallel.average_running_statistics(&weights)
    }

    /// Returns all tensors that the next step depends on, in the same order on all ranks.
    fn state_tensors(&self) -> Result<Vec<Tensor>> {
        let mut state = self.network.weights.tensors()?;
        state.extend(self.optimizer.state_tensors());
        if let Some(ema) = &self.ema {
            state.extend(ema.network.weights.tensors()?);
        }
        Ok(state)
    }

    /// Makes the state that of rank 0 on all ranks if it differs, and returns true if it did.
    pub fn unify_state(&mut self) -> Result<bool> {
        let state = self.state_tensors()?;
        match &self.data_parallel {
            Some(data_parallel) => data_parallel.unify(&state),
            None => Ok(false),
        }
    }

    /// Returns for each of `own` if it is true on any rank.
    pub fn is_any_true<const N: usize>(&self, own: [bool; N]) -> Result<[bool; N]> {
        match &self.data_parallel {
            Some(data_parallel) => data_parallel.is_any_true(own),
            None => Ok(own),
        }
    }

    /// Returns the sum of the matrices of all ranks. Returns nothing if a rank has none, because it
    /// was asked to stop.
    pub fn sum_matrices(
        &self,
        own: Option<ConfusionMatrix>,
        classes: usize,
    ) -> Result<Option<ConfusionMatrix>> {
        match &self.data_parallel {
            Some(data_parallel) => data_parallel.sum_matrices(own, classes),
            None => Ok(own),
        }
    }

    /// Returns the network that is scored and kept: the average if there is one.
    pub fn eval_network(&self) -> &Network {
        self.ema.as_ref().map_or(&self.network, |ema| &ema.network)
    }

    /// Returns true if a GPU is to give the same bits each time.
    pub fn is_deterministic(&self) -> bool {
        self.config.gpu_math.deterministic
    }

    /// Makes the settings of a GPU's arithmetic those of the process.
    pub fn apply_gpu_math(&self) -> Result<()> {
        self.config.gpu_math.apply()
    }

    /// Returns what to do if a batch does not fit into the device's memory.
    pub fn memory_advice(&self) -> String {
        self.config.memory_advice()
    }

    /// Learns from one batch, of which each rank has its images, at the given learning rate.
    /// Returns the loss of all ranks' images, a scalar, which may still be computed on the device.
    ///
    /// In bf16 and fp32 one process queues all computations without waiting for a GPU. In fp16 it
    /// waits once, to see if gradients overflowed. Deterministic training with the loss lovasz waits
    /// for its sorted pixels.
    pub fn run(&mut self, batch: &DeviceBatch, lr: f64) -> Result<Tensor> {
        let memory_advice = self.memory_advice();
        self.try_run(batch, lr).memory_advice(&memory_advice)
    }

    fn try_run(&mut self, batch: &DeviceBatch, lr: f64) -> Result<Tensor> {
        let image_count = batch.dropout_seeds.len();
        let mut batch_counts = BatchCounts::sum(&batch.part_counts);
        if let Some(data_parallel) = &mut self.data_parallel {
            batch_counts = data_parallel.sum_counts(&batch_counts)?;
            data_parallel.start_step(image_count)?;
        }
        let mut accumulated: Option<(Tensor, Vec<Tensor>)> = None;
        let mut start = 0;
        for part_counts in &batch.part_counts {
            let range = start..start + part_counts.images();
            start = range.end;
            let part = batch.part(range)?;
            let (loss, gradients) =
                self.backward(&part, part_counts, &batch_counts, start == image_count)?;
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
        let Some((mut loss, mut gradients)) = accumulated else {
            return Ok(Tensor::from(0.0f32));
        };
        if let Some(data_parallel) = &self.data_parallel {
            loss = data_parallel.sum_scalar(&loss)?;
            for parameter in &self.trainable {
                gradients.push(parameter.f_grad()?);
            }
        }
        self.update_weights(lr, gradients)?;
        Ok(loss)
    }

    /// Changes the weights by the gradients of a step.
    fn update_weights(&mut self, lr: f64, mut gradients: Vec<Tensor>) -> Result<()> {
        let mut is_usable = true;
        if self.loss_scale.is_some() {
            let is_finite = self.gradient_norm(&gradients)?.f_double_value(&[])?.is_finite();
            if let Some(loss_scale) = &mut self.loss_scale {
                // Gradients that overflowed are dropped; the scale is smaller from now on.
                is_usable = loss_scale.unscale(&mut gradients, is_finite)?;
            }
        }
        if is_usable {
            if let Some(max_norm) = self.config.clip_norm {
                let norm = self.gradient_norm(&gradients)?;
                gradients::clip_gradients(&mut gradients, &norm, max_norm)?;
            }
            self.optimizer.step(lr, gradients)?;
            if let Some(ema) = &mut self.ema {
                ema.update(&self.network, self.optimizer.steps())?;
            }
        }
        Ok(())
    }

    /// Computes the norm of all gradients together, a scalar that is the same on all ranks.
    fn gradient_norm(&self, gradients: &[Tensor]) -> Result<Tensor> {
        let norm = gradients::gradient_norm(gradients)?;
        match &self.data_parallel {
            Some(data_parallel) => data_parallel.agree_on_scalar(&norm),
            None => Ok(norm),
        }
    }

    /// Computes the loss of a part of a batch, and the gradients of all trainable tensors. The loss
    /// is the rank's own and not scaled; the gradients are those of the loss times the loss scale.
    ///
    /// Several ranks add the gradients to those that the tensors hold, where the Reducer finds
    /// them, average them with the last part, and return none. One process gets them directly,
    /// which saves copies to the tensors' memory layout.
    fn backward(
        &mut self,
        part: &BatchPart<'_>,
        part_counts: &BatchCounts,
        batch_counts: &BatchCounts,
        is_last: bool,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let group = match &self.data_parallel {
            Some(data_parallel) if self.config.sync_batch_norm => Some(data_parallel.group()),
            _ => None,
        };
        let mode = ForwardMode::Train {
            dropout_seeds: part.dropout_seeds,
            group,
            deterministic: self.config.gpu_math.deterministic,
        };
        let logits = self.network.logits(&part.pixels, mode)?;
        let class_weights = self.class_weights.as_ref();
        let target = Target { ids: &part.ids, class_weights, part_counts, batch_counts };
        let loss = self.config.criterion.loss(&logits, target)?;
        let mut scaled_loss = loss.shallow_clone();
        if let Some(loss_scale) = &self.loss_scale {
            scaled_loss = scaled_loss.f_mul_scalar(loss_scale.scale())?;
        }
        if let Some(data_parallel) = &mut self.data_parallel {
            scaled_loss = scaled_loss.f_mul_scalar(data_parallel.loss_factor())?;
            if is_last {
                data_parallel.prepare_exchange()?;
            }
            scaled_loss.f_backward()?;
            return Ok((loss.f_detach()?, Vec::new()));
        }
        let gradients = Tensor::f_run_backward(&[&scaled_loss], &self.trainable, false, false)?;
        Ok((loss.f_detach()?, gradients))
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::data::loader::Batch;
    use crate::model::{Algorithm, Architecture, Backbone};
    use crate::torch::{UploadStream, count_operators, count_waits};
    use crate::train::criterion::{Criterion, Loss};
    use crate::train::optimizer::OptimizerConfig;

    const SIDE: usize = 32;

    /// Returns a batch of 4 images that is computed in two parts.
    fn batch() -> DeviceBatch {
        let batch = Batch {
            pixels: (0..4 * SIDE * SIDE * 3).map(|at| (at * 7919 % 251) as u8).collect(),
            ids: (0..4 * SIDE * SIDE).map(|at| [0, 1, 2, 255][at / 97 % 4]).collect(),
            dropout_seeds: vec![1, 2, 3, 4],
            crop_size: SIDE as u32,
            part_sizes: vec![2, 2],
        };
        DeviceBatch::new(batch, &UploadStream::new(Device::Cpu).unwrap()).unwrap()
    }

    /// Returns the number of times that a step would wait for a GPU.
    fn count_waits_of_step(algorithm: Algorithm, config: TrainConfig) -> i64 {
        let architecture = Architecture { algorithm, backbone: Backbone::Resnet18 };
        let network = Network::random(architecture, 3, 1, Device::Cpu).unwrap();
        let mut step = TrainStep::new(network, config).unwrap();
        let batch = batch();
        let (_, counts) = count_operators(|| step.run(&batch, 0.01)).unwrap();
        assert!(counts.contains_key("aten::_foreach_add_.List"), "the update is counted");
        count_waits(&counts)
    }

    /// Returns settings under which a step does all that it ever does.
    fn full_config(compute: ComputePrecision, optimizer: OptimizerConfig) -> TrainConfig {
        let criterion = Criterion {
            loss: Loss::parse("cross_entropy,dice,focal,lovasz").unwrap(),
            class_weights: Some(vec![1.0, 2.0, 0.5]),
            ..Criterion::default()
        };
        TrainConfig {
            criterion,
            compute,
            clip_norm: Some(1.0),
            ema_decay: Some(0.99),
            ..TrainConfig::new(optimizer)
        }
    }

    #[test]
    fn a_step_waits_for_the_device_in_half_precision_alone_and_there_once() {
        let sgd = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 1e-4 };
        for (compute, waits) in
            [(ComputePrecision::Fp32, 0), (ComputePrecision::Bf16, 0), (ComputePrecision::Fp16, 1)]
        {
            for algorithm in Algorithm::ALL {
                let counted = count_waits_of_step(algorithm, full_config(compute, sgd));
                assert_eq!(counted, waits, "{compute:?} {algorithm:?}");
            }
        }
        for optimizer in [
            OptimizerConfig::Nag { momentum: 0.9, weight_decay: 1e-4 },
            OptimizerConfig::Adamw { weight_decay: 0.01 },
            OptimizerConfig::Adagrad,
            OptimizerConfig::Rmsprop { alpha: 0.9, momentum: 0.9 },
        ] {
            let config = full_config(ComputePrecision::Fp32, optimizer);
            assert_eq!(count_waits_of_step(Algorithm::Fcn, config), 0, "{optimizer:?}");
        }
    }

    #[test]
    fn a_deterministic_step_has_no_sums_in_random_order_and_the_same_result() {
        // libtorch refuses these on a GPU under `torch.use_deterministic_algorithms`, and computes
        // the last one by a sort that the host waits for.
        const REFUSED: [&str; 5] = [
            "aten::upsample_bilinear2d_backward",
            "aten::_adaptive_avg_pool2d_backward",
            "aten::cumsum of Float",
            "aten::nll_loss2d_forward with reduction",
            "aten::scatter.src",
        ];
        let sgd = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 1e-4 };
        for algorithm in Algorithm::ALL {
            let run = |deterministic| {
                let mut config = full_config(ComputePrecision::Fp32, sgd);
                config.gpu_math.deterministic = deterministic;
                let architecture = Architecture { algorithm, backbone: Backbone::Resnet18 };
                let network = Network::random(architecture, 3, 1, Device::Cpu).unwrap();
                let mut step = TrainStep::new(network, config).unwrap();
                let batch = batch();
                let (loss, counts) = count_operators(|| step.run(&batch, 0.01)).unwrap();
                let is_refused = REFUSED.iter().any(|&name| counts.contains_key(name));
                let layer = &step.network.graph().classifier_layers().next().unwrap().name;
                let bias = step.network.weights.get(layer, "bias").unwrap();
                (loss.double_value(&[]), is_refused, Vec::<f32>::try_from(bias.detach()).unwrap())
            };
            let (loss, is_refused, bias) = run(true);
            let (expected_loss, is_usually_refused, expected_bias) = run(false);
            assert!(!is_refused && is_usually_refused, "{algorithm:?}");
            assert!((loss - expected_loss).abs() < 1e-5 * expected_loss, "{loss} {expected_loss}");
            for (found, expected) in bias.iter().zip(&expected_bias) {
                assert!((found - expected).abs() < 1e-5, "{bias:?} {expected_bias:?}");
            }
        }
    }

    #[test]
    fn gradients_lie_as_their_parameters_do() {
        // A GPU computes lists of tensors together only if their strides are the same, but for those
        // of dimensions of size 1.
        let architecture =
            Architecture { algorithm: Algorithm::Deeplab, backbone: Backbone::Resnet50 };
        let network = Network::random(architecture, 3, 1, Device::Cpu).unwrap();
        let rule = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 };
        let mut step = TrainStep::new(network, TrainConfig::new(rule)).unwrap();
        let batch = batch();
        let part = batch.part(0..2).unwrap();
        let counts = &batch.part_counts[0];
        let (_, gradients) = step.backward(&part, counts, counts, true).unwrap();
        for (gradient, parameter) in gradients.iter().zip(&step.trainable) {
            let (size, strides) = (parameter.size(), parameter.stride());
            for (dimension, stride) in gradient.stride().into_iter().enumerate() {
                assert!(size[dimension] == 1 || stride == strides[dimension], "{size:?}");
            }
        }
    }
}
