//! Ranks end where one process does. Each rank is a thread with a group over loopback.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use super::*;
use crate::data::batch_parts::{RankShare, split_into_micro_batches};
use crate::data::loader::Batch;
use crate::model::forward::{ForwardMode, Logits};
use crate::model::precision::ComputePrecision;
use crate::model::{Algorithm, Architecture, Backbone, Network};
use crate::torch::{UploadStream, run_ranks};
use crate::train::criterion::{Criterion, Loss, Target};
use crate::train::optimizer::OptimizerConfig;
use crate::train::{DeviceBatch, TrainConfig, TrainStep};

const CLASSES: usize = 4;
const SIDE: usize = 32;
const LR: f64 = 0.01;

/// A batch over all ranks, and the way in which it is computed.
struct GlobalBatch {
    images: usize,
    micro_batch_size: usize,
    ids: Vec<u8>,
}

impl GlobalBatch {
    /// Makes images whose masks hold all classes and some ignored pixels.
    fn new(images: usize, micro_batch_size: usize) -> Self {
        let mut ids = Vec::new();
        for pixel in 0..images * SIDE * SIDE {
            let id = (pixel * 31 / 97 % CLASSES) as u8;
            // Images have different shares of ignored pixels, so that ranks have, too.
            let is_ignored = pixel % (5 + pixel / (SIDE * SIDE)) == 0;
            ids.push(if is_ignored { 255 } else { id });
        }
        Self { images, micro_batch_size, ids }
    }

    /// Ignores every pixel of the first images.
    fn without_pixels(mut self, images: usize) -> Self {
        self.ids[..images * SIDE * SIDE].fill(255);
        self
    }

    /// Returns the part that a rank loads.
    fn share(&self, share: RankShare) -> Batch {
        let (mut pixels, mut ids) = (Vec::new(), Vec::new());
        let (mut dropout_seeds, mut part_sizes) = (Vec::new(), Vec::new());
        for part in split_into_micro_batches(self.images, self.micro_batch_size, share.world_size) {
            let own = share.range(part.len());
            part_sizes.push(own.len());
            for image in part.start + own.start..part.start + own.end {
                for sample in 0..SIDE * SIDE * 3 {
                    // Spread evenly over all values by Knuth's multiplicative hash.
                    let number = (image * SIDE * SIDE * 3 + sample) as u32;
                    pixels.push((number.wrapping_mul(2_654_435_761) >> 24) as u8);
                }
                ids.extend_from_slice(&self.ids[image * SIDE * SIDE..(image + 1) * SIDE * SIDE]);
                dropout_seeds.push(image as u64);
            }
        }
        Batch { pixels, ids, dropout_seeds, crop_size: SIDE as u32, part_sizes }
    }
}

/// Returns settings of training in 64 bits. In 32 bits a ReLU whose input is near zero may be open in
/// one computation and closed in another, which changes gradients by far more than rounding.
fn config(loss: &str) -> TrainConfig {
    let optimizer = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 };
    let criterion = Criterion { loss: Loss::parse(loss).unwrap(), ..Criterion::default() };
    let compute = ComputePrecision::Fp64;
    TrainConfig { criterion, compute, sync_batch_norm: true, ..TrainConfig::new(optimizer) }
}

fn train_step(config: &TrainConfig, seed: u64) -> TrainStep {
    let architecture = Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet18 };
    let mut network = Network::random(architecture, CLASSES, seed, Device::Cpu).unwrap();
    if config.compute == ComputePrecision::Fp64 {
        network.weights.convert_to_double();
    }
    TrainStep::new(network, config.clone()).unwrap()
}

/// Elements of tensors by name, in 64 bits.
type Elements = BTreeMap<String, Vec<f64>>;

fn elements(tensors: Vec<(String, Tensor)>) -> Elements {
    let mut elements = BTreeMap::new();
    for (name, tensor) in tensors {
        let flat = tensor.detach().to_kind(Kind::Double).contiguous().flatten(0, -1);
        elements.insert(name, Vec::try_from(flat).unwrap());
    }
    elements
}

/// The state after one step.
struct StepResult {
    loss: f64,
    weights: Elements,
    /// Gradients, which sgd's momentum holds after the first step.
    gradients: Elements,
}

fn on_device(batch: Batch) -> DeviceBatch {
    DeviceBatch::new(batch, &UploadStream::new(Device::Cpu).unwrap()).unwrap()
}

fn run_step(step: &mut TrainStep, batch: Batch) -> StepResult {
    let loss = step.run(&on_device(batch), LR).unwrap().double_value(&[]);
    let mut gradients = step.optimizer.state_dict();
    gradients.retain(|(name, _)| name.ends_with("momentum_buffer"));
    StepResult {
        loss,
        weights: elements(step.network.weights.named_tensors().unwrap()),
        gradients: elements(gradients),
    }
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[track_caller]
fn assert_close(found: &Elements, expected: &Elements, tolerance: f64, case: &str) {
    assert_eq!(found.len(), expected.len());
    for (name, values) in expected {
        for difference in differences(&found[name], values) {
            assert!(difference.abs() <= tolerance, "{case}: {name} is off by {difference}");
        }
    }
}

/// Computes what one step of one process leaves whose losses are computed on the images of each
/// rank, and their forward passes together. Losses that are no means over pixels, dice and lovasz,
/// depend on that.
fn run_step_by_shares(config: &TrainConfig, batch: &GlobalBatch, world_size: usize) -> StepResult {
    let step = train_step(config, 1);
    let whole = batch.share(RankShare::default());
    let batch_counts = BatchCounts::from_ids(batch.images, &whole.ids);
    let area = SIDE * SIDE;
    let mut loss = 0.0;
    for part in split_into_micro_batches(batch.images, batch.micro_batch_size, world_size) {
        let pixels = &whole.pixels[part.start * area * 3..part.end * area * 3];
        let shape = [part.len() as i64, SIDE as i64, SIDE as i64, 3];
        let pixels = Tensor::from_data_size(pixels, &shape, Kind::Uint8);
        let seeds = &whole.dropout_seeds[part.clone()];
        let mode = ForwardMode::Train { dropout_seeds: seeds, group: None, deterministic: false };
        let logits = step.network.logits(&pixels, mode).unwrap();
        let mut part_loss = Tensor::from(0.0f64);
        for rank in 0..world_size {
            let own = RankShare { rank, world_size }.range(part.len());
            let (start, count) = (own.start as i64, own.len() as i64);
            let first = part.start + own.start;
            let ids = &whole.ids[first * area..(first + own.len()) * area];
            let own_logits = Logits {
                out: logits.out.narrow(0, start, count),
                aux: logits.aux.as_ref().map(|aux| aux.narrow(0, start, count)),
            };
            let id_tensor =
                Tensor::from_data_size(ids, &[count, SIDE as i64, SIDE as i64], Kind::Uint8);
            let own_counts = BatchCounts::from_ids(own.len(), ids);
            let criterion = &config.criterion;
            let class_weights = criterion.class_weight_tensor(Kind::Double, Device::Cpu).unwrap();
            let target = Target {
                ids: &id_tensor,
                class_weights: class_weights.as_ref(),
                part_counts: &own_counts,
                batch_counts: &batch_counts,
            };
            part_loss += criterion.loss(&own_logits, target).unwrap();
        }
        part_loss.backward();
        loss += part_loss.double_value(&[]);
    }
    let (mut gradients, mut weights) = (Vec::new(), step.network.weights.named_tensors().unwrap());
    for (name, parameter) in step.network.weights.trainable_tensors().unwrap() {
        let gradient = parameter.grad();
        for (weight_name, weight) in &mut weights {
            if *weight_name == name {
                *weight = weight.detach() - &gradient * LR;
            }
        }
        gradients.push((format!("{name}.momentum_buffer"), gradient));
    }
    let mut weights = elements(weights);
    for (name, values) in &mut weights {
        if name.ends_with("num_batches_tracked") {
            let parts =
                split_into_micro_batches(batch.images, batch.micro_batch_size, world_size).len();
            values[0] = parts as f64;
        }
    }
    StepResult { loss, weights, gradients: elements(gradients) }
}

/// Compares what a step of several ranks leaves with that of one process.
#[track_caller]
fn check_step(case: &str, world_sizes: &[usize], config: &TrainConfig, batch: &GlobalBatch) {
    let alone = |_| run_step(&mut train_step(config, 1), batch.share(RankShare::default()));
    check_step_against(case, world_sizes, config, batch, alone);
}

/// Runs one step as several ranks, and compares what they leave with what `alone` returns for
/// their number.
#[track_caller]
fn check_step_against(
    case: &str,
    world_sizes: &[usize],
    config: &TrainConfig,
    batch: &GlobalBatch,
    alone: impl Fn(usize) -> StepResult,
) {
    let is_exact = config.compute == ComputePrecision::Fp64;
    let tolerance = if is_exact { 1e-10 } else { 1e-4 };
    for &world_size in world_sizes {
        let alone = alone(world_size);
        let ranks = run_ranks(world_size, |group| {
            let share = RankShare { rank: group.rank(), world_size };
            // Other weights than rank 0's, which all ranks take over.
            let mut step = train_step(config, 1 + share.rank as u64);
            step.join_group(group).unwrap();
            run_step(&mut step, batch.share(share))
        });
        for (rank, result) in ranks.iter().enumerate() {
            let case = format!("{case}, rank {rank} of {world_size}");
            assert!((result.loss - alone.loss).abs() < tolerance, "{case}: {}", result.loss);
            assert_close(&result.weights, &alone.weights, tolerance, &case);
            let (mut total_off, mut total_norm) = (0.0, 0.0);
            for (name, gradient) in &alone.gradients {
                let off = norm(&differences(&result.gradients[name], gradient));
                let allowed = 1e-8 * norm(gradient) + 1e-12;
                assert!(!is_exact || off <= allowed, "{case}: gradient {name} is off by {off}");
                total_off = norm(&[total_off, off]);
                total_norm = norm(&[total_norm, norm(gradient)]);
            }
            assert!(total_off <= 1e-2 * total_norm, "{case}: {total_off} of {total_norm}");
            // To the last bit.
            assert!(
                result.weights == ranks[0].weights
                    && result.loss.to_bits() == ranks[0].loss.to_bits(),
                "{case}"
            );
        }
    }
}

#[test]
fn ranks_with_uneven_shares_and_ignored_pixels_end_where_one_process_does() {
    check_step("uneven", &[2, 3], &config("cross_entropy"), &GlobalBatch::new(5, 5));
}

#[test]
fn a_rank_without_counted_pixels_takes_part() {
    let batch = GlobalBatch::new(6, 6).without_pixels(3);
    check_step("without pixels", &[2], &config("cross_entropy"), &batch);
}

#[test]
fn every_loss_with_class_weights_is_that_of_the_whole_batch() {
    for loss in ["cross_entropy", "focal"] {
        let mut config = config(loss);
        config.criterion.class_weights = Some(vec![0.5, 2.0, 1.0, 3.0]);
        check_step(loss, &[2], &config, &GlobalBatch::new(6, 6));
    }
    for loss in ["dice", "lovasz"] {
        let (config, batch) = (config(loss), GlobalBatch::new(5, 5));
        let alone = |world_size| run_step_by_shares(&config, &batch, world_size);
        check_step_against(loss, &[3], &config, &batch, alone);
    }
}

#[test]
fn accumulated_parts_are_cut_from_the_whole_batch_first() {
    check_step("two parts", &[3], &config("cross_entropy"), &GlobalBatch::new(8, 4));
    let (config, batch) = (config("cross_entropy,dice"), GlobalBatch::new(7, 3));
    let alone = |world_size| run_step_by_shares(&config, &batch, world_size);
    check_step_against("a short last part", &[2], &config, &batch, alone);
}

#[test]
fn clipping_is_by_the_norm_of_the_whole_batch() {
    let mut config = config("cross_entropy");
    config.clip_norm = Some(0.1);
    check_step("clipped", &[3], &config, &GlobalBatch::new(5, 5));
}

/// Compares in 32 bits, as jobs compute. Single gradients of one process differ by percents with
/// another number of threads, so that the norm over all counts; a loss that is weighted wrongly is
/// off by more.
#[test]
fn thirty_two_bits_stay_near() {
    let mut config = config("cross_entropy");
    config.compute = ComputePrecision::Fp32;
    check_step("32 bits", &[2], &config, &GlobalBatch::new(5, 5));
}

#[test]
fn running_statistics_are_averaged_by_images_and_then_the_same_on_all_ranks() {
    let mut config = config("cross_entropy");
    config.sync_batch_norm = false;
    config.compute = ComputePrecision::Fp32;
    let batch = GlobalBatch::new(3, 3);
    let ranks = run_ranks(2, |group| {
        let share = RankShare { rank: group.rank(), world_size: 2 };
        let mut step = train_step(&config, 1);
        step.join_group(group).unwrap();
        let name = "backbone.bn1.running_mean".to_owned();
        let before = run_step(&mut step, batch.share(share)).weights[&name].clone();
        step.average_running_statistics().unwrap();
        let after = elements(step.network.weights.named_tensors().unwrap());
        (before, after[&name].clone(), step.network.weights.to_safetensors().unwrap())
    });
    assert!(ranks[0].2 == ranks[1].2, "the weights' files differ");
    for channel in 0..ranks[0].0.len() {
        // Rank 0 has two images and rank 1 one.
        let expected = (2.0 * ranks[0].0[channel] + ranks[1].0[channel]) / 3.0;
        assert!((ranks[0].1[channel] - expected).abs() < 1e-6);
    }
    assert_ne!(ranks[0].0, ranks[1].0);
}

#[test]
fn state_of_rank_0_is_taken_over_whole() {
    let mut config = config("cross_entropy");
    config.ema_decay = Some(0.9);
    config.compute = ComputePrecision::Fp32;
    let batch = GlobalBatch::new(4, 4);
    let states = run_ranks(2, |group| {
        let rank = group.rank();
        let mut step = train_step(&config, 1 + rank as u64);
        if rank == 0 {
            for _ in 0..2 {
                run_step(&mut step, batch.share(RankShare::default()));
            }
        }
        step.join_group(group).unwrap();
        let average = step.ema.as_ref().unwrap().network.weights.to_safetensors().unwrap();
        let optimizer = elements(step.optimizer.state_dict());
        (step.network.weights.to_safetensors().unwrap(), average, optimizer)
    });
    assert!(states[0] == states[1]);
    assert_eq!(states[1].2["step"], [2.0]);
}

/// Trains three convolutions without BatchNorm, and returns the weights after each number of steps.
fn train_convolutions(kind: Kind, batch: &GlobalBatch, phases: &[(usize, usize)]) -> Elements {
    let mut weights: Vec<(String, Tensor)> = Vec::new();
    let shapes = [[8, 3, 3, 3], [8, 8, 3, 3], [CLASSES as i64, 8, 1, 1]];
    for (index, shape) in shapes.into_iter().enumerate() {
        let tensor = crate::torch::with_seed(index as u64, || {
            Ok(Tensor::randn(shape, (Kind::Double, Device::Cpu)) * 0.2)
        });
        weights.push((format!("{index}"), tensor.unwrap()));
    }
    let mut current = elements(weights);
    for &(world_size, steps) in phases {
        let start = &current;
        let ranks = run_ranks(world_size, |group| {
            let mut parameters = Vec::new();
            for (index, shape) in shapes.into_iter().enumerate() {
                let tensor = Tensor::from_slice(&start[&format!("{index}")]).reshape(shape);
                let tensor = tensor.to_kind(kind);
                parameters.push(tensor.set_requires_grad(true));
            }
            let share = RankShare { rank: group.rank(), world_size };
            let handles: Vec<Tensor> = parameters.iter().map(Tensor::shallow_clone).collect();
            let mut data_parallel = DataParallel::new(group, handles, &[]).unwrap();
            let own = batch.share(share);
            for _ in 0..steps {
                step_convolutions(&parameters, &mut data_parallel, &own, kind);
            }
            let named = parameters.into_iter().enumerate();
            elements(named.map(|(index, tensor)| (format!("{index}"), tensor)).collect())
        });
        for rank in &ranks {
            assert!(*rank == ranks[0], "ranks differ");
        }
        current = ranks.into_iter().next().unwrap();
    }
    current
}

fn step_convolutions(
    parameters: &[Tensor],
    data_parallel: &mut DataParallel,
    batch: &Batch,
    kind: Kind,
) {
    let criterion = Criterion::default();
    let images = batch.dropout_seeds.len();
    let counts = data_parallel.sum_counts(&BatchCounts::from_ids(images, &batch.ids)).unwrap();
    data_parallel.start_step(images).unwrap();
    let mut start = 0;
    for (index, &size) in batch.part_sizes.iter().enumerate() {
        let part_ids = &batch.ids[start * SIDE * SIDE..(start + size) * SIDE * SIDE];
        let part_pixels = &batch.pixels[start * SIDE * SIDE * 3..(start + size) * SIDE * SIDE * 3];
        let shape = [size as i64, SIDE as i64, SIDE as i64, 3];
        let pixels = Tensor::from_data_size(part_pixels, &shape, Kind::Uint8);
        let mut map = (pixels.to_kind(kind) / 255.0 - 0.5).permute([0, 3, 1, 2]);
        for (layer, parameter) in parameters.iter().enumerate() {
            let padding = [parameter.size()[2] / 2; 2];
            map = map.conv2d(parameter, None::<&Tensor>, [1, 1], padding, [1, 1], 1);
            if layer + 1 < parameters.len() {
                map = map.relu();
            }
        }
        let ids = Tensor::from_data_size(part_ids, &shape[..3], Kind::Uint8);
        let logits = Logits { out: map, aux: None };
        let part_counts = BatchCounts::from_ids(size, part_ids);
        let target = Target {
            ids: &ids,
            class_weights: None,
            part_counts: &part_counts,
            batch_counts: &counts,
        };
        let loss = criterion.loss(&logits, target).unwrap();
        if index + 1 == batch.part_sizes.len() {
            data_parallel.prepare_exchange().unwrap();
        }
        (loss * data_parallel.loss_factor()).backward();
        start += size;
    }
    tch::no_grad(|| {
        for parameter in parameters {
            let _ = parameter.shallow_clone().f_sub_(&(parameter.grad() * 0.1)).unwrap();
        }
    });
}

#[test]
fn twenty_steps_without_batch_norm_stay_together() {
    let batch = GlobalBatch::new(5, 3).without_pixels(1);
    for (kind, tolerance) in [(Kind::Float, 2e-7), (Kind::Double, 1e-10)] {
        let alone = train_convolutions(kind, &batch, &[(1, 20)]);
        for world_size in [2, 3] {
            let found = train_convolutions(kind, &batch, &[(world_size, 20)]);
            assert_close(&found, &alone, tolerance, &format!("{kind:?} on {world_size} ranks"));
        }
    }
}

#[test]
fn a_job_goes_on_with_another_number_of_ranks() {
    let batch = GlobalBatch::new(5, 5);
    let alone = train_convolutions(Kind::Double, &batch, &[(1, 6)]);
    let found = train_convolutions(Kind::Double, &batch, &[(1, 2), (2, 2), (3, 2)]);
    assert_close(&found, &alone, 1e-10, "1, 2 and 3 ranks");
}
