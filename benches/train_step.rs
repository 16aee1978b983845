//! Times our training step as `train_step.py` times torchvision's: fcn with resnet-50, 4 classes,
//! auxiliary head, channels last, SGD with momentum. Prints a JSON line per
//! step. `train_step.sh` runs both in turn, `scaling.sh` as several ranks, and `gpu.sh` on a GPU.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use maskmaker::data::loader::Batch;
use maskmaker::error::Result;
use maskmaker::model::precision::ComputePrecision;
use maskmaker::model::{Algorithm, Architecture, Backbone, Network};
use maskmaker::torch::{
    DeviceChoice, ProcessGroup, Store, UploadStream, choose_device, default_device,
    set_convolution_autotuning,
};
use maskmaker::train::optimizer::OptimizerConfig;
use maskmaker::train::{DeviceBatch, TrainConfig, TrainStep};

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 3)]
    steps: usize,
    #[arg(long, default_value_t = 1)]
    warmup: usize,
    /// Images of a batch, over all ranks.
    #[arg(long, default_value_t = 4)]
    images: usize,
    /// Side of the images, in pixels.
    #[arg(long, default_value_t = 240)]
    side: usize,
    /// Comma list of `SIDExIMAGES`, timed one after the other with the same network.
    #[arg(long, value_delimiter = ',', value_parser = parse_shape)]
    shapes: Vec<(usize, usize)>,
    /// Number of steps between two readings of the loss, each of which waits for the device.
    #[arg(long, default_value_t = 1)]
    steps_per_reading: usize,
    /// cpu, or cuda: the first GPU.
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
    #[arg(long)]
    threads: Option<i32>,
    /// fp32, bf16 or fp16.
    #[arg(long, default_value = "fp32")]
    precision: String,
    /// Number of processes that share each batch.
    #[arg(long, default_value_t = 1)]
    world_size: usize,
    /// Number of this process, from 0.
    #[arg(long, default_value_t = 0)]
    rank: usize,
    /// Port of 127.0.0.1 on which rank 0 listens for the others.
    #[arg(long, default_value_t = 29_500)]
    port: u16,
}

/// Reads the side and the number of images of `480x16`.
fn parse_shape(text: &str) -> std::result::Result<(usize, usize), String> {
    let numbers = text
        .split_once('x')
        .and_then(|(side, images)| Some((side.parse().ok()?, images.parse().ok()?)));
    numbers.ok_or_else(|| format!("{text} is not SIDExIMAGES"))
}

/// Longest time until all ranks are there, and of an exchange.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Joins the other ranks, and starts to exchange gradients with them.
fn join_ranks(arguments: &Arguments, train_step: &mut TrainStep) -> Result<Option<Store>> {
    let Arguments { world_size, rank, port, .. } = *arguments;
    if world_size == 1 {
        return Ok(None);
    }
    let store = if rank == 0 {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port));
        Store::serve(listener.expect("the port is free"), TIMEOUT)?
    } else {
        Store::connect("127.0.0.1", port, TIMEOUT)?
    };
    let group = ProcessGroup::join(&store, rank, world_size, "127.0.0.1", TIMEOUT, TIMEOUT)?;
    train_step.join_group(Arc::new(group))?;
    Ok(Some(store))
}

fn main() -> Result<()> {
    maskmaker::torch::set_library_variables();
    let arguments = Arguments::parse();
    if let Some(threads) = arguments.threads {
        tch::set_num_threads(threads);
    }
    let compute = match arguments.precision.as_str() {
        "bf16" => ComputePrecision::Bf16,
        "fp16" => ComputePrecision::Fp16,
        _ => ComputePrecision::Fp32,
    };
    let architecture = Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet50 };
    choose_device(arguments.device)?;
    let device = default_device();
    assert!(
        arguments.device == DeviceChoice::Cpu || device.is_cuda(),
        "libtorch can use no GPU; `maskmaker doctor` says why"
    );
    let network = Network::random(architecture, 4, 1, device)?;
    let optimizer = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 1e-4 };
    let mut train_step =
        TrainStep::new(network, TrainConfig { compute, ..TrainConfig::new(optimizer) })?;
    train_step.apply_gpu_math()?;
    set_convolution_autotuning(true);
    let _store = join_ranks(&arguments, &mut train_step)?;
    let stream = UploadStream::new(device)?;
    let mut shapes = arguments.shapes.clone();
    if shapes.is_empty() {
        shapes.push((arguments.side, arguments.images));
    }
    for (side, images) in shapes {
        let batch = DeviceBatch::new(make_batch(side, images / arguments.world_size), &stream)?;
        time_steps(&arguments, &mut train_step, &batch, (side, images))?;
    }
    Ok(())
}

fn make_batch(side: usize, images: usize) -> Batch {
    let pixels = images * side * side;
    Batch {
        pixels: (0..pixels * 3).map(|i| (i * 7919 % 251) as u8).collect(),
        ids: (0..pixels).map(|i| (i / 100 % 4) as u8).collect(),
        dropout_seeds: (0..images as u64).collect(),
        crop_size: side as u32,
        part_sizes: vec![images],
    }
}

/// Prints a line for each reading of the loss, with the mean time of the steps before it.
fn time_steps(
    arguments: &Arguments,
    train_step: &mut TrainStep,
    batch: &DeviceBatch,
    (side, images): (usize, usize),
) -> Result<()> {
    for reading in 0..arguments.warmup + arguments.steps {
        let start = Instant::now();
        let mut loss = train_step.run(batch, 1e-4)?;
        for _ in 1..arguments.steps_per_reading {
            loss = train_step.run(batch, 1e-4)?;
        }
        let loss = loss.f_double_value(&[])?;
        let seconds = start.elapsed().as_secs_f64() / arguments.steps_per_reading as f64;
        if let Some(step) = reading.checked_sub(arguments.warmup) {
            println!(
                "{{\"side\": {side}, \"images\": {images}, \"step\": {step}, \"seconds\": {seconds:.6}, \
                 \"loss\": {loss:.6}}}"
            );
        }
    }
    Ok(())
}
