//! `maskmaker augment-preview`: a contact sheet of what the network will see of the training
//! images.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use image::{GrayImage, RgbImage};

use super::training_job::console_listener::ConsoleListener;
use super::training_job::initial_weights::{find_initial_weights, model_class_names};
use super::training_job::s3::lazy_s3_connection;
use super::training_job::{read_hyperparameters, training_transforms};
use crate::console::print_stdout;
use crate::data::Sample;
use crate::data::augment::{Augmentations, Transforms};
use crate::data::batch_parts::RankShare;
use crate::data::class_names::{ClassNames, GivenClassNames};
use crate::data::dataset::{DatasetReader, Spool, TrainingSplit};
use crate::data::fifo::WaitLimits;
use crate::data::loader::DataLoaderConfig;
use crate::data::objects::{self, DiskBudget, ObjectCache};
use crate::error::{Problems, Result};
use crate::files::write_atomically;
use crate::imaging::{Region, encode_png, resize_image};
use crate::model::size::shrink_image;
use crate::render::{
    ContactSheet, SheetRow, cell_side_px, draw_classes, draw_contact_sheet, rasterize,
};
use crate::sagemaker::{Channels, MlRoot, StopSignal};
use crate::train::Hyperparameters;

/// Longest time that a stream may bring nothing.
const STREAM_TIMEOUT: Duration = Duration::from_mins(10);
/// Longest time that S3 may bring nothing.
const S3_TIMEOUT: Duration = Duration::from_mins(1);

/// Settings of the command line.
#[derive(Debug)]
pub struct PreviewOptions {
    /// Largest number of rows.
    pub samples: usize,
    /// Number of crops of each sample, which are those of the first epochs.
    pub epochs: u32,
    /// Augmentations in place of the hyperparameter.
    pub augmentations: Option<String>,
    /// True for pictures without their classes.
    pub without_classes: bool,
}

/// Writes the sheet of the job under `root` to `output`, or to the folder that SageMaker collects.
pub fn run_augment_preview(
    root: &MlRoot,
    output: Option<PathBuf>,
    options: &PreviewOptions,
) -> Result<()> {
    let stop = StopSignal::listen()?;
    let job = PreviewJob::read(root, options)?;
    let Some(inputs) = PreviewInputs::read(root, &job, &stop)? else {
        print_stdout("asked to stop: nothing is written");
        return Ok(());
    };
    let PreviewInputs { samples, class_names, spool: _spool } = inputs;
    let plan = DataLoaderConfig {
        samples: Arc::new(samples),
        transforms: training_transforms(&job.hyperparameters),
        batch_size: job.hyperparameters.mini_batch_size,
        micro_batch_size: job.hyperparameters.mini_batch_size,
        share: RankShare::default(),
        shards: None,
        seed: job.hyperparameters.seed,
    };
    let Some(image) = draw_sheet(&plan, &class_names, options, &stop)? else {
        print_stdout("asked to stop: nothing is written");
        return Ok(());
    };
    let output = output.unwrap_or_else(|| root.output_data_folder().join("augment-preview.png"));
    write_atomically(&output, &encode_png(&image))?;
    print_stdout(format_args!(
        "augmentations {} -> {}",
        plan.transforms.augmentations,
        output.display()
    ));
    Ok(())
}

/// Settings of the job, with the augmentations of the command line.
#[derive(Debug)]
struct PreviewJob {
    hyperparameters: Hyperparameters,
    channels: Channels,
}

impl PreviewJob {
    fn read(root: &MlRoot, options: &PreviewOptions) -> Result<Self> {
        let mut problems = Problems::new();
        let hyperparameters = problems.check(read_hyperparameters(root));
        let channels = problems.check(Channels::read(root));
        let augmentations = options.augmentations.as_deref().map(Augmentations::parse).transpose();
        let augmentations = problems.check(augmentations);
        let (hyperparameters, channels, augmentations) =
            problems.finish_with((hyperparameters, channels, augmentations))?;
        let mut hyperparameters = hyperparameters.hyperparameters;
        if let Some(augmentations) = augmentations {
            hyperparameters.augmentations = augmentations;
        }
        Ok(Self { hyperparameters, channels })
    }
}

/// Training samples and class names of the job.
#[derive(Debug)]
struct PreviewInputs {
    samples: Vec<Sample>,
    /// One name per class, class 0 first; empty if no source has names.
    class_names: Vec<String>,
    /// Files of streams and objects, which lie on disk until this is dropped.
    spool: Spool,
}

impl PreviewInputs {
    /// Reads and checks the inputs. Returns nothing if the command was asked to stop meanwhile.
    fn read(root: &MlRoot, job: &PreviewJob, stop: &StopSignal) -> Result<Option<Self>> {
        let PreviewJob { hyperparameters, channels } = job;
        let num_classes = hyperparameters.num_classes;
        let connect = lazy_s3_connection(S3_TIMEOUT, stop);
        let mut problems = Problems::new();
        let given = GivenClassNames::read(
            hyperparameters.class_names.as_deref(),
            channels.label_map.labels.as_deref(),
            num_classes,
        );
        let mut class_names =
            ClassNames { given: problems.record_err(given).flatten(), model: None };
        // A model that is trained on decides the classes of color maps.
        if channels.model.is_some() {
            let initial = find_initial_weights(hyperparameters, channels, None, &connect);
            if let Some(initial) = problems.record_err(initial) {
                class_names.model = model_class_names(&initial, num_classes);
            }
        }
        let reader = DatasetReader {
            root: root.path(),
            channels,
            num_classes,
            required_names: class_names.required(),
            objects: &ObjectCache::new(
                connect,
                DiskBudget { max_bytes: None, reserved_bytes: objects::RESERVED_DISK_BYTES },
            ),
            wait_limits: WaitLimits { idle_timeout: STREAM_TIMEOUT, stop },
            listener: &ConsoleListener::default(),
        };
        let split = reader.read_training_split(&mut problems);
        // A request to stop comes first: a stream that was given up looks like a problem.
        if stop.is_requested() {
            return Ok(None);
        }
        let TrainingSplit { samples, class_names: mask_names, spool } =
            problems.finish_with(split)?;
        let class_names = class_names.choose(mask_names).unwrap_or_default();
        Ok(Some(Self { samples, class_names, spool }))
    }
}

/// Draws the sheet of crops that the loader makes. Returns nothing if the command was asked to
/// stop.
fn draw_sheet(
    plan: &DataLoaderConfig,
    class_names: &[String],
    options: &PreviewOptions,
    stop: &StopSignal,
) -> Result<Option<RgbImage>> {
    let cell_px = cell_side_px(plan.transforms.crop_size);
    let row_count = plan.samples.len().min(options.samples);
    let mut crop_ids = Vec::new();
    let mut rows = Vec::new();
    let mut problems = Problems::new();
    for row in 0..row_count {
        let index = row * plan.samples.len() / row_count;
        if stop.is_requested() {
            return Ok(None);
        }
        let sample = &plan.samples[index];
        // A file that cannot be read must not hide problems of the others.
        let Some(stored_pair) = problems.record_err(read_original(sample, cell_px)) else {
            continue;
        };
        let mut pictures = vec![paint_classes(stored_pair.0, &stored_pair.1, options)];
        for epoch in 0..u64::from(options.epochs) {
            let Some((crop, ids)) = problems.record_err(plan.load_crop(index, epoch)) else {
                continue;
            };
            let picture = paint_classes(crop, &ids, options);
            pictures.push(shrink_image(&picture, cell_px).into_owned());
            crop_ids.extend(ids.into_raw());
        }
        rows.push(SheetRow { name: sample.key.clone(), pictures });
    }
    problems.into_result()?;
    let mut columns = vec!["original".to_owned()];
    for epoch in 1..=options.epochs {
        columns.push(format!("epoch {epoch}"));
    }
    let Transforms { base_size, crop_size, augmentations } = plan.transforms;
    let title = [
        format!("augmentations {augmentations}"),
        format!(
            "base_size {base_size}, crop_size {crop_size}, seed {}; {row_count} of {} images; the legend is of the crops",
            plan.seed,
            plan.samples.len()
        ),
    ];
    let legend_ids = GrayImage::from_raw(crop_ids.len() as u32, 1, crop_ids).unwrap_or_default();
    let sheet = draw_contact_sheet(&ContactSheet {
        title: &title,
        columns: &columns,
        rows: &rows,
        cell_px,
        ids: &legend_ids,
        class_names,
    });
    Ok(Some(rasterize(&sheet)))
}

fn paint_classes(image: RgbImage, ids: &GrayImage, options: &PreviewOptions) -> RgbImage {
    if options.without_classes { image } else { draw_classes(&image, ids) }
}

/// Reads a sample as it is stored, upright, and scales the image to at most `cell_px` pixels per
/// side. The mask keeps its size.
fn read_original(sample: &Sample, cell_px: u32) -> Result<(RgbImage, GrayImage)> {
    let (image, mask) = sample.read()?;
    let (width, height) = image.dimensions();
    let scale = f64::from(cell_px) / f64::from(width.max(height));
    let side = |side: u32| ((f64::from(side) * scale).round() as u32).clamp(1, cell_px);
    let image = resize_image(&image, Region::whole(width, height), side(width), side(height));
    Ok((image, mask))
}
