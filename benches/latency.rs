//! Times the engine as `latency.py` times its peers: one image of 480x480, fcn with resnet-50, 21
//! classes. It starts from 8-bit pixels and ends at class ids, so normalizing and the largest logit
//! of each pixel are timed too. Says when it is ready, then answers every line that it reads with
//! one pass and a JSON line, and writes the class ids to `FOLDER/ids/NAME`, a byte per pixel.
//! `latency.sh` has all take turns.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use image::{GrayImage, Rgb, RgbImage};
use maskmaker::error::{Error, Result};
use maskmaker::inference::{Engine, EngineOptions, InferencePrecision, Segment, SegmentOptions};
use rustix::time::{ClockId, clock_gettime};

const SIDE: u32 = 480;

#[derive(Parser)]
struct Arguments {
    /// The folder with config.json and model.safetensors.
    folder: PathBuf,
    #[arg(long, default_value_t = 2)]
    warmup: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// fp32, bf16 or fp16.
    #[arg(long, value_enum, default_value = "fp32")]
    precision: InferencePrecision,
    /// The file below `ids/`.
    #[arg(long, default_value = "maskmaker")]
    name: String,
}

fn main() -> Result<()> {
    maskmaker::torch::set_library_variables();
    let Arguments { folder, warmup, threads, precision, name } = Arguments::parse();
    let options =
        EngineOptions { precision, max_side: 2048, tile_side: 1024, threads: Some(threads) };
    let mut engine = Engine::load(&folder, options)?;
    let image = RgbImage::from_fn(SIDE, SIDE, |x, y| Rgb([0, 1, 2].map(|c| pixel(x, y, c))));
    let ids = pass(&mut engine, &image)?;
    let below = folder.join("ids");
    std::fs::create_dir_all(&below)
        .and_then(|()| std::fs::write(below.join(name), ids.as_raw()))
        .map_err(|cause| Error::input(format!("cannot write to {}: {cause}", below.display())))?;
    for _ in 0..warmup {
        pass(&mut engine, &image)?;
    }
    println!("ready");
    for _ in std::io::stdin().lines() {
        let (start, cpu) = (Instant::now(), processor_seconds());
        pass(&mut engine, &image)?;
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), processor_seconds() - cpu);
        println!("{{\"seconds\": {seconds:.6}, \"cpu_seconds\": {cpu:.6}}}");
    }
    Ok(())
}

/// What is timed.
fn pass(engine: &mut Engine, image: &RgbImage) -> Result<GrayImage> {
    let answer = engine.segment(&[image], &SegmentOptions::default())?.pop();
    answer.map(|answer| answer.ids).ok_or_else(|| Error::internal("the engine answered nothing"))
}

/// The same picture as `latency.py`'s: smooth with a little noise.
fn pixel(x: u32, y: u32, c: u32) -> u8 {
    let wave = (x * (c + 1) / 3 + y * (3 - c) / 3 + (x / 60) * (y / 60) * 7) % 256;
    let noise = (x * 7919 + y * 104_729 + c * 1_299_709) % 31;
    ((wave + noise) % 256) as u8
}

/// What all threads of this process have computed so far.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
