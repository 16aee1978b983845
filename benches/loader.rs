//! Loads training batches as `loader.py` does with torchvision's `DataLoader`: `base_size` 520,
//! `crop_size` 240, batches of 16, to normalized float tensors. Prints a JSON line with the images,
//! the wall-clock seconds and the processor seconds (all threads). `loader.sh` runs both in turn.
//!
//! `--decoders` instead times what decodes a JPEG: the crate `image`, and ours at each reduction.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use maskmaker::data::augment::{Augmentations, Transforms};
use maskmaker::data::batch_parts::RankShare;
use maskmaker::data::loader::{BatchPosition, DataLoaderConfig};
use maskmaker::data::pairing;
use maskmaker::error::{Error, Problems, Result};
use maskmaker::imaging::{DecodeLimits, LazyImage, Region};
use maskmaker::sagemaker::channels::SplitFolders;
use rustix::time::{ClockId, clock_gettime};
use tch::{Kind, Tensor};

#[derive(Parser)]
struct Arguments {
    /// Holds `train` and `train_annotation`.
    data: PathBuf,
    /// Batches that are timed.
    #[arg(long, default_value_t = 20)]
    batches: usize,
    #[arg(long, default_value_t = 2)]
    warmup: usize,
    #[arg(long, default_value_t = 16)]
    batch_size: usize,
    /// Threads that decode; all cores without it.
    #[arg(long)]
    threads: Option<usize>,
    #[arg(long)]
    decoders: bool,
    /// As the hyperparameter.
    #[arg(long, default_value = "hflip")]
    augmentations: String,
}

fn main() -> Result<()> {
    maskmaker::torch::set_library_variables();
    let arguments = Arguments::parse();
    // The mean and deviation are taken by the training thread; libtorch is to use it alone.
    tch::set_num_threads(1);
    if let Some(threads) = arguments.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|e| Error::internal(e.to_string()))?;
    }
    let split = SplitFolders {
        name: "train",
        images: arguments.data.join("train"),
        masks: arguments.data.join("train_annotation"),
    };
    let mut problems = Problems::new();
    let samples = pairing::pair_images_and_masks(&split, &mut problems);
    problems.into_result()?;
    let plan = DataLoaderConfig {
        samples: Arc::new(samples),
        transforms: Transforms {
            base_size: 520,
            crop_size: 240,
            augmentations: Augmentations::parse(&arguments.augmentations)?,
        },
        batch_size: arguments.batch_size,
        micro_batch_size: arguments.batch_size,
        share: RankShare::default(),
        shards: None,
        seed: 1,
    };
    if arguments.decoders { time_decoders(&plan) } else { time_batches(&plan, &arguments) }
}

fn time_batches(plan: &DataLoaderConfig, arguments: &Arguments) -> Result<()> {
    // One value for each byte of a row: libtorch's loops over three channels are slow. (In training
    // the device does this, see `Network::logits`; here it stands for ToTensor and Normalize.)
    let row =
        |values: &[f32; 3]| Tensor::from_slice(&values.repeat(plan.transforms.crop_size as usize));
    let (mean, deviation) = (row(&[0.485, 0.456, 0.406]), row(&[0.229, 0.224, 0.225]));
    let mut started = (Instant::now(), 0.0);
    let mut images = 0;
    let loader = plan.start(BatchPosition { epoch: 0, step: 0 }, 1 << 30)?;
    for (index, batch) in loader.take(arguments.warmup + arguments.batches).enumerate() {
        if index == arguments.warmup {
            started = (Instant::now(), processor_seconds());
        }
        let batch = batch?;
        let (count, side) = (batch.dropout_seeds.len() as i64, i64::from(batch.crop_size));
        let size = [count, side, side * 3];
        let pixels = Tensor::f_from_data_size(&batch.pixels, &size, Kind::Uint8)?;
        let ids = Tensor::f_from_data_size(&batch.ids, &[count, side, side], Kind::Uint8)?;
        let mut pixels = pixels.f_to_kind(Kind::Float)?.f_div_scalar_(255.0)?;
        let pixels = pixels.f_sub_(&mean)?.f_div_(&deviation)?;
        drop(black_box((pixels, ids.f_to_kind(Kind::Int64)?)));
        if index >= arguments.warmup {
            images += count;
        }
    }
    let (wall, processor) = (started.0.elapsed().as_secs_f64(), processor_seconds() - started.1);
    println!("{{\"images\": {images}, \"wall\": {wall:.4}, \"processor\": {processor:.4}}}");
    Ok(())
}

/// What all threads of this process have computed so far, those that ended too.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Prints the best of five rounds, in milliseconds per image, for every decoder.
fn time_decoders(plan: &DataLoaderConfig) -> Result<()> {
    let files: Vec<Vec<u8>> =
        plan.samples.iter().take(16).map(|sample| sample.image.read()).collect::<Result<_>>()?;
    let time = |name: &str, decode: &dyn Fn(&[u8]) -> bool| {
        let round = || {
            let start = Instant::now();
            assert!(files.iter().all(|file| decode(file)), "{name}");
            start.elapsed().as_secs_f64() * 1e3 / files.len() as f64
        };
        let best = (0..5).map(|_| round()).fold(f64::INFINITY, f64::min);
        println!("{name:34} {best:8.3} ms");
    };
    time("crate image, whole", &|file| image::load_from_memory(file).is_ok());
    time("ours, whole", &|file| {
        LazyImage::open(file, DecodeLimits::default()).and_then(LazyImage::decode).is_ok()
    });
    for divisor in [2, 4, 8] {
        time(&format!("ours, 1/{divisor}"), &|file| {
            let Ok(picture) = LazyImage::open(file, DecodeLimits::default()) else { return false };
            let (width, height) = picture.dimensions();
            // A region of few pixels: what is timed is the decoding.
            let region = Region {
                width: f64::from(divisor),
                height: f64::from(divisor),
                ..Region::whole(width, height)
            };
            picture.crop_and_resize(region, 1, 1).is_ok()
        });
    }
    Ok(())
}
