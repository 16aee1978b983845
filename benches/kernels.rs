//! Times 3x3 convolutions of 32-bit floats by oneDNN and by Winograd's algorithm, in turn, at
//! shapes of fcn, psp and deeplab. Prints the median times, their ratio and the ratio that the
//! program expects, and at the end one constant of the choice (`TRANSFORM_COST` in
//! src/kernels/tuning.rs) as each shape would have it, with the median. The other constants there
//! are not printed. `ONEDNN_MAX_CPU_ISA` selects an older set of instructions.
//!   kernels [--rounds 7] [--threads 2]
#![allow(clippy::print_stdout)]

use std::time::Instant;

use clap::Parser;
use maskmaker::error::Result;
use maskmaker::kernels::{ConvolutionAlgorithm, PackedConvolution, WinogradCost};
use maskmaker::torch::{Geometry, with_seed};
use tch::{Device, Kind, Tensor};

#[derive(Parser)]
struct Arguments {
    /// Number of timed rounds per algorithm; the medians are printed
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    #[arg(long, default_value_t = 2)]
    threads: i32,
}

/// Batch, input channels, height, width, output channels, dilation.
const SHAPES: [[i64; 6]; 12] = [
    [1, 64, 120, 160, 64, 1],
    [1, 128, 60, 80, 128, 1],
    [1, 256, 60, 80, 256, 2],
    [1, 512, 60, 80, 512, 4],
    [1, 2048, 60, 80, 512, 1],
    [1, 4096, 60, 60, 512, 1],
    [1, 2048, 60, 60, 256, 12],
    [1, 512, 15, 20, 512, 4],
    [1, 2048, 15, 20, 512, 1],
    [2, 2048, 15, 20, 512, 1],
    [4, 2048, 15, 20, 512, 1],
    [8, 512, 15, 20, 512, 4],
];

fn main() -> Result<()> {
    maskmaker::torch::set_library_variables();
    let Arguments { rounds, threads } = Arguments::parse();
    tch::set_num_threads(threads);
    println!("batch  in     height width  out   dilation  direct ms  Winograd ms  ratio  expected");
    let mut constants = Vec::new();
    for shape in SHAPES {
        let [batch, channels, height, width, outputs, dilation] = shape;
        let options = (Kind::Float, Device::Cpu);
        let (weight, input) = with_seed(1, || {
            let weight = Tensor::f_randn([outputs, channels, 3, 3], options)?;
            Ok((weight, Tensor::f_randn([batch, height, width, channels], options)?))
        })?;
        let input = input.f_permute([0, 3, 1, 2])?;
        let geometry = Geometry { padding: dilation, stride: 1, dilation };
        let by =
            |algorithm| PackedConvolution::new(&weight, None, geometry)?.with_algorithm(algorithm);
        let both = [by(ConvolutionAlgorithm::Direct)?, by(ConvolutionAlgorithm::Winograd)?];
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..=rounds {
            for (convolution, times) in both.iter().zip(&mut times) {
                let start = Instant::now();
                let _ = convolution.forward(&input, false)?;
                // The first round packs the weights.
                if round > 0 {
                    times.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        let [direct, winograd] = times.map(median);
        let ratio = winograd / direct;
        let cost = WinogradCost::new([batch, channels, height, width], outputs, dilation);
        let expected = cost.expected_ratio();
        println!(
            "{batch:5}  {channels:5}  {height:5} {width:5}  {outputs:5} {dilation:8}  {direct:9.2}  {winograd:11.2}  {ratio:5.2}  {expected:8.2}"
        );
        let transform_cost = (ratio * cost.direct_multiplications as f64
            - cost.product_multiplications as f64)
            / cost.transformed_values as f64;
        constants.push(transform_cost);
    }
    let all: Vec<String> = constants.iter().map(|constant| format!("{constant:.0}")).collect();
    println!("TRANSFORM_COST by shape: {}; median {:.0}", all.join(" "), median(constants));
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
