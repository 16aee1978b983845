//! Evaluates a model by the library's `evaluate`, as `maskmaker evaluate` does, and prints a JSON
//! line with the seconds of all scores ("work") and of each stage. `evaluate.py` does the same work in PyTorch, and
//! `evaluate.sh` has both take turns.
//!
//! `--parts` instead prints the milliseconds that each part of an image takes. It times a part alone
//! and on one thread, but the network on all.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use image::RgbImage;
use maskmaker::aws::S3Error;
use maskmaker::data::Sample;
use maskmaker::data::pairing::pair_images_and_masks;
use maskmaker::error::{Error, Problems, Result};
use maskmaker::evaluate::{Candidate, EvaluateSettings, GateRules, evaluate, prepare_output};
use maskmaker::inference::{
    Engine, EngineOptions, InferencePrecision, ModelInfo, OutputDetail, Segment, SegmentOptions,
    Segmentation,
};
use maskmaker::metrics::{
    Bootstrap, Calibration, ConfusionMatrix, DEFAULT_BOUNDARY_TOLERANCE, count_objects,
    score_boundaries,
};
use maskmaker::sagemaker::StopSignal;
use maskmaker::sagemaker::channels::SplitFolders;
use rustix::time::{ClockId, clock_gettime};

/// Number of images whose parts are timed.
const IMAGES_OF_PARTS: usize = 12;

#[derive(Parser)]
struct Arguments {
    /// Folder of the model.
    model: PathBuf,
    /// Folder with `test` and `test_annotation`.
    data: PathBuf,
    /// Folder of the results.
    output: PathBuf,
    /// auto, fp32, bf16 or fp16.
    #[arg(long, value_enum, default_value = "auto")]
    precision: InferencePrecision,
    /// Threads of the network's layers; one per core without it.
    #[arg(long)]
    threads: Option<usize>,
    #[arg(long)]
    parts: bool,
}

/// Seconds since the start of the evaluation at which its stages ended, and those within calls of
/// the engine.
#[derive(Default)]
struct Stages {
    /// Start of the first call, when the first images were decoded.
    first_call: Option<f64>,
    /// End of the last call for the scores.
    last_answer: f64,
    /// Sum over the calls for the scores.
    in_engine: f64,
    /// Start of the first call for the report's pictures, when all scores were estimated, and the
    /// processor's seconds until then.
    estimated: Option<(f64, f64)>,
}

/// An engine that notes when it was called. The evaluation computes each image once for the scores,
/// and then some of them again for the report.
struct TimedEngine {
    engine: Engine,
    start: Instant,
    images: usize,
    computed: usize,
    stages: Stages,
}

impl Segment for TimedEngine {
    fn segment(
        &mut self,
        images: &[&RgbImage],
        options: &SegmentOptions,
    ) -> Result<Vec<Segmentation>> {
        let called = self.start.elapsed().as_secs_f64();
        let is_for_report = self.computed == self.images;
        if is_for_report {
            self.stages.estimated.get_or_insert_with(|| (called, processor_seconds()));
            return self.engine.segment(images, options);
        }
        let answer = self.engine.segment(images, options);
        self.computed += images.len();
        let answered = self.start.elapsed().as_secs_f64();
        self.stages.first_call.get_or_insert(called);
        self.stages.in_engine += answered - called;
        self.stages.last_answer = answered;
        answer
    }

    fn info(&self) -> &ModelInfo {
        self.engine.info()
    }
}

fn main() -> Result<()> {
    maskmaker::torch::set_library_variables();
    let Arguments { model, data, output, precision, threads, parts } = Arguments::parse();
    let options = EngineOptions { precision, max_side: 2048, tile_side: 1024, threads };
    let samples = list_samples(&data)?;
    if parts {
        return print_parts(&mut Engine::load(&model, options)?, &samples);
    }
    let settings = EvaluateSettings {
        data,
        output,
        gate: GateRules::default(),
        boundary_tolerance: DEFAULT_BOUNDARY_TOLERANCE,
        bootstrap: Bootstrap { draws: 1000, seed: 0 },
        robustness_images: None,
        explain: None,
        group: None,
        save_masks: false,
        strict: true,
    };
    prepare_output(&settings)?;
    let engine = Engine::load(&model, options)?;
    let (images, stages) = (samples.len(), Stages::default());
    let start_of_processor = processor_seconds();
    let mut timed = TimedEngine { engine, start: Instant::now(), images, computed: 0, stages };
    let candidate =
        Candidate { engine: &mut timed, network: None, path: &model, seen_images: None };
    let connect = Arc::new(|| Err(S3Error::for_all_objects("all images are files", "")));
    evaluate(&settings, candidate, None, connect, &StopSignal::default())?;
    let all = timed.start.elapsed().as_secs_f64();
    let Stages { first_call, last_answer, in_engine, estimated } = timed.stages;
    let (Some(first_call), Some((estimated, processor))) = (first_call, estimated) else {
        return Err(Error::internal("no image was computed for the report"));
    };
    let processor = processor - start_of_processor;
    println!(
        "{{\"images\": {images}, \"precision\": \"{}\", \"work\": {estimated:.4}, \
         \"processor\": {processor:.4}, \
         \"until_first_call\": {first_call:.4}, \"in_engine\": {in_engine:.4}, \
         \"between_calls\": {:.4}, \"after_last_call\": {:.4}, \"report\": {:.4}}}",
        timed.engine.info().precision,
        last_answer - first_call - in_engine,
        estimated - last_answer,
        all - estimated,
    );
    Ok(())
}

fn list_samples(data: &std::path::Path) -> Result<Vec<Sample>> {
    let (images, masks) = (data.join("test"), data.join("test_annotation"));
    let split = SplitFolders { name: "test", images, masks };
    let mut problems = Problems::new();
    let samples = pair_images_and_masks(&split, &mut problems);
    problems.into_result()?;
    Ok(samples)
}

/// Returns the seconds that all threads of this process have computed so far.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Prints the milliseconds of each part of an image, medians over some images.
fn print_parts(engine: &mut Engine, samples: &[Sample]) -> Result<()> {
    let classes = engine.info().class_names.len();
    let with_detail = |detail| SegmentOptions { detail, ..SegmentOptions::default() };
    let only_classes = with_detail(OutputDetail::Classes);
    let with_probability = with_detail(OutputDetail::PixelConfidence);
    let mut milliseconds: [Vec<f64>; 7] = Default::default();
    for sample in samples.iter().take(IMAGES_OF_PARTS) {
        let [decode, network, probabilities, matrix, calibration, boundaries, objects] =
            &mut milliseconds;
        let read = time(decode, || sample.read_for_audit())?;
        let images = [&read.image];
        time(network, || engine.segment(&images, &only_classes))?;
        let answer = time(probabilities, || engine.segment(&images, &with_probability))?.pop();
        let answer = answer.ok_or_else(|| Error::internal("the engine answered nothing"))?;
        let (truth, predicted) = (read.mask.as_raw(), answer.ids.as_raw());
        let width = read.mask.width();
        time(matrix, || ConfusionMatrix::new(classes).update(truth, predicted));
        time(calibration, || {
            Calibration::default().update(truth, predicted, &answer.pixel_confidence);
        });
        time(boundaries, || score_boundaries(truth, predicted, width, DEFAULT_BOUNDARY_TOLERANCE));
        time(objects, || count_objects(truth, predicted, width));
    }
    // The network computed each image once with and once without them.
    let [_, network, probabilities, ..] = &mut milliseconds;
    for (with, without) in probabilities.iter_mut().zip(network) {
        *with -= *without;
    }
    let [decode, network, probabilities, matrix, calibration, boundaries, objects] =
        milliseconds.map(find_median);
    println!(
        "{{\"decode\": {decode:.2}, \"network\": {network:.2}, \"confusion_matrix\": {matrix:.2}, \
         \"probabilities\": {probabilities:.2}, \"calibration\": {calibration:.2}, \
         \"boundary_f1\": {boundaries:.2}, \"objects\": {objects:.2}}}"
    );
    Ok(())
}

/// Does something and adds the milliseconds that it took to a list.
fn time<T>(milliseconds: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = black_box(work());
    milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    result
}

fn find_median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
