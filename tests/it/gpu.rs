//! What needs a GPU: `make test-gpu` runs these.

use std::sync::Arc;
use std::time::{Duration, Instant};

use maskmaker::data::loader::Batch;
use maskmaker::distributed::ExchangeTest;
use maskmaker::model::forward::ForwardMode;
use maskmaker::model::precision::ComputePrecision;
use maskmaker::model::{Algorithm, Architecture, Backbone, Network};
use maskmaker::torch::{BatchNormTensors, ProcessGroup, Store, UploadStream, sync_batch_norm};
use maskmaker::train::optimizer::OptimizerConfig;
use maskmaker::train::{DeviceBatch, TrainConfig, TrainStep};
use tch::{Device, Kind, Tensor};

use crate::job::Job;

fn gpu() -> Device {
    let device = maskmaker::torch::default_device();
    assert!(matches!(device, Device::Cuda(_)), "there is a GPU, but libtorch cannot use it");
    device
}

fn on_device(batch: Batch) -> DeviceBatch {
    DeviceBatch::new(batch, &UploadStream::new(gpu()).unwrap()).unwrap()
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn bytes_that_are_copied_while_the_gpu_computes_arrive_whole() {
    let device = gpu();
    let stream = UploadStream::new(device).unwrap();
    // A sum that did not wait for its copy, which takes tens of milliseconds, would be another.
    let large = stream.start_upload(&vec![1; 1 << 30], &[1 << 30]).unwrap();
    assert_eq!(large.tensor().unwrap().sum(Kind::Int64).int64_value(&[]), 1 << 30);
    // The sums wait behind these computations, while tensors are freed and their memory is asked for
    // by the next copies.
    let _busy = keep_busy(device);
    let mut sums = Vec::new();
    for byte in 1..=20u8 {
        let upload = stream.start_upload(&vec![byte; 1 << 22], &[1 << 22]).unwrap();
        sums.push(upload.tensor().unwrap().sum(Kind::Int64));
    }
    for (byte, sum) in (1..=20i64).zip(sums) {
        assert_eq!(sum.int64_value(&[]), byte << 22);
    }
}

/// Queues computations that take a GPU of any kind at least half a second, and returns a scalar that
/// is there when they are done.
fn keep_busy(device: Device) -> Tensor {
    let mut product = Tensor::rand([8192, 8192], (Kind::Float, device));
    for _ in 0..50 {
        product = product.matmul(&product).clamp(0.0, 1.0);
    }
    product.sum(Kind::Float)
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn a_step_is_queued_while_the_gpu_is_busy() {
    let device = gpu();
    for compute in [ComputePrecision::Fp32, ComputePrecision::Bf16] {
        let architecture = Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet50 };
        let network = Network::random(architecture, 4, 1, device).unwrap();
        let rule = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 1e-4 };
        let config = TrainConfig { compute, clip_norm: Some(1.0), ..TrainConfig::new(rule) };
        let mut train_step = TrainStep::new(network, config).unwrap();
        let batch = on_device(Batch {
            pixels: vec![7; 2 * 64 * 64 * 3],
            ids: vec![1; 2 * 64 * 64],
            dropout_seeds: vec![1, 2],
            crop_size: 64,
            part_sizes: vec![2],
        });
        for _ in 0..3 {
            let loss = train_step.run(&batch, 0.01).unwrap();
            assert!(loss.double_value(&[]).is_finite());
        }
        let start = Instant::now();
        let done = keep_busy(device);
        let loss = train_step.run(&batch, 0.01).unwrap();
        let queued = start.elapsed();
        assert!(done.double_value(&[]).is_finite() && loss.double_value(&[]).is_finite());
        let computed = start.elapsed();
        assert!(queued < computed / 2, "{compute:?}: queued after {queued:?} of {computed:?}");
    }
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn logits_are_those_of_the_processor() {
    let device = gpu();
    let bytes: Vec<u8> = (0..65 * 72 * 3).map(|i| (i * 7919 % 251) as u8).collect();
    let picture = Tensor::f_from_data_size(&bytes, &[1, 65, 72, 3], Kind::Uint8).unwrap();
    for algorithm in Algorithm::ALL {
        let logits = |device| {
            let architecture = Architecture { algorithm, backbone: Backbone::Resnet50 };
            let network = Network::random(architecture, 4, 1, device).unwrap();
            let mode = ForwardMode::Eval { aux: false };
            let logits = tch::no_grad(|| network.logits(&picture, mode)).unwrap();
            logits.out.to_device(Device::Cpu)
        };
        let (there, here) = (logits(device), logits(Device::Cpu));
        let largest = here.abs().max().double_value(&[]);
        let difference = (there - here).abs().max().double_value(&[]);
        // Convolutions on GPUs round their inputs to 10 bits (TF32).
        assert!(difference <= 5e-3 * largest, "{algorithm:?}: {difference} of {largest}");
    }
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn a_job_trains_on_the_gpu_in_every_precision_and_goes_on_from_its_checkpoint() {
    gpu();
    for precision in ["fp32", "bf16", "fp16", "auto"] {
        let job = Job::new().with("precision", precision).with("ema_decay", "0.9");
        let run = job.run(&["train"]);
        assert_eq!(run.code, Some(0), "{precision}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("training on GPU 0"), "{}", run.stdout);
        let longer = job.with("epochs", "2");
        let run = longer.run(&["train"]);
        assert_eq!(run.code, Some(0), "{precision}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("going on from the checkpoint"), "{}", run.stdout);
    }
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn a_deterministic_job_gives_the_same_bytes_each_time() {
    gpu();
    for algorithm in ["fcn", "psp", "deeplab"] {
        let train = || {
            let job = Job::new()
                .with("algorithm", algorithm)
                .with("deterministic", "True")
                .with("base_size", "272")
                .with("crop_size", "256")
                .with("epochs", "3")
                .with("loss", "cross_entropy,dice,focal,lovasz");
            job.train();
            std::fs::read(job.path("model/model.safetensors")).unwrap()
        };
        assert!(train() == train(), "{algorithm}");
    }
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn a_batch_that_does_not_fit_names_the_fix() {
    const IMAGES: usize = 1024;
    const SIDE: usize = 1024;
    let architecture = Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet101 };
    let network = Network::random(architecture, 4, 1, gpu()).unwrap();
    let rule = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 };
    let mut stepper = TrainStep::new(network, TrainConfig::new(rule)).unwrap();
    let batch = Batch {
        pixels: vec![0; IMAGES * SIDE * SIDE * 3],
        ids: vec![0; IMAGES * SIDE * SIDE],
        dropout_seeds: vec![0; IMAGES],
        crop_size: SIDE as u32,
        part_sizes: vec![IMAGES],
    };
    let error = stepper.run(&on_device(batch), 0.1).unwrap_err().to_string();
    assert!(error.contains("lower mini_batch_size"), "{error}");
    assert!(error.contains("set precision to bf16"), "{error}");
}

/// Returns the only rank of a group that exchanges tensors on the GPU by NCCL.
fn nccl_group() -> Arc<ProcessGroup> {
    const TIMEOUT: Duration = Duration::from_mins(2);
    gpu();
    let store = Store::serve_on_loopback(TIMEOUT).unwrap();
    let group = ProcessGroup::join(&store, 0, 1, "127.0.0.1", TIMEOUT, TIMEOUT).unwrap();
    group.add_nccl(&store, 0, TIMEOUT).unwrap();
    Arc::new(group)
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn nccl_sums_and_broadcasts_every_kind_of_tensor() {
    let (device, group) = (gpu(), nccl_group());
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16, Kind::Int64] {
        let plain = Tensor::arange(120, (kind, device)).view([2, 3, 4, 5]);
        // Channels-last memory, as that of convolutions' weights.
        let channels_last = maskmaker::torch::to_channels_last(&plain).unwrap();
        for tensor in [&plain, &channels_last] {
            let exchanged = [tensor.copy()];
            group.sum_over_ranks(&exchanged).unwrap();
            group.broadcast(&exchanged, 0).unwrap();
            assert!(exchanged[0].equal(tensor), "{kind:?}");
        }
    }
    // Tensors of both devices in one call, as the state before the first step has them.
    let both = [Tensor::from_slice(&[1i64, 2]), Tensor::ones([3], (Kind::Float, device))];
    group.broadcast(&both, 0).unwrap();
    assert_eq!(Vec::<i64>::try_from(&both[0]).unwrap(), [1, 2]);
    let test = ExchangeTest::run(&group, device).unwrap();
    assert!(test.describe().starts_with("64 MiB in "));
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn batch_norm_over_nccl_is_that_of_one_process() {
    let (device, group) = (gpu(), nccl_group());
    let options = (Kind::Float, device);
    let input = Tensor::randn([4, 5, 6, 7], options);
    let normalize = |group: Option<&ProcessGroup>| {
        let input = input.copy().set_requires_grad(true);
        let weight = Tensor::full([5], 1.5, options).set_requires_grad(true);
        let bias = Tensor::full([5], 0.5, options).set_requires_grad(true);
        let (running_mean, running_var) =
            (&Tensor::zeros([5], options), &Tensor::ones([5], options));
        let output = match group {
            Some(group) => {
                let (weight, bias) = (&weight, &bias);
                let tensors = BatchNormTensors { weight, bias, running_mean, running_var };
                sync_batch_norm(&input, tensors, 0.1, 1e-5, group).unwrap()
            }
            None => input.batch_norm(
                Some(&weight),
                Some(&bias),
                Some(running_mean),
                Some(running_var),
                true,
                0.1,
                1e-5,
                true,
            ),
        };
        output.square().sum(Kind::Float).backward();
        [output.detach(), input.grad(), weight.grad(), bias.grad(), running_var.copy()]
    };
    for (ours, expected) in normalize(Some(&group)).iter().zip(normalize(None)) {
        let largest = expected.abs().max().double_value(&[]).max(1.0);
        let difference = (ours - &expected).abs().max().double_value(&[]);
        assert!(difference <= 1e-5 * largest, "{difference} of {largest}");
    }
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn a_step_over_nccl_is_that_of_one_process() {
    const SIDE: usize = 64;
    let device = gpu();
    let batch = || Batch {
        pixels: (0..2 * SIDE * SIDE * 3).map(|i| (i * 7919 % 251) as u8).collect(),
        ids: (0..2 * SIDE * SIDE).map(|i| (i / 97 % 4) as u8).collect(),
        dropout_seeds: vec![1, 2],
        crop_size: SIDE as u32,
        part_sizes: vec![2],
    };
    let step = |group: Option<Arc<ProcessGroup>>| {
        let architecture = Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet50 };
        let network = Network::random(architecture, 4, 1, device).unwrap();
        let rule = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 };
        let mut train_step = TrainStep::new(network, TrainConfig::new(rule)).unwrap();
        if let Some(group) = group {
            train_step.join_group(group).unwrap();
        }
        let loss = train_step.run(&on_device(batch()), 0.01).unwrap().double_value(&[]);
        (loss, train_step.network.weights.tensors().unwrap())
    };
    let (loss, weights) = step(Some(nccl_group()));
    let (expected_loss, expected_weights) = step(None);
    assert!((loss - expected_loss).abs() <= 1e-3 * expected_loss, "{loss} {expected_loss}");
    for (ours, expected) in weights.iter().zip(&expected_weights) {
        // Sums on a GPU are added in another order each time, in TF32.
        let expected = expected.to_kind(Kind::Double);
        let difference = (ours.to_kind(Kind::Double) - &expected).norm().double_value(&[]);
        let norm = expected.norm().double_value(&[]).max(1e-3);
        assert!(difference <= 1e-2 * norm, "{difference} of {norm}");
    }
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn every_gpu_of_the_host_trains() {
    gpu();
    let gpus = maskmaker::torch::gpu_count();
    if gpus == 1 {
        // One process trains alone.
        return;
    }
    let job = Job::new().with("mini_batch_size", &gpus.to_string());
    let run = job.run(&["train"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("GPUs sum over NCCL"), "{}", run.stdout);
    assert!(run.stdout.contains(&format!("{gpus} workers on 1 host")), "{}", run.stdout);
}
