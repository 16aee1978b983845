//! `maskmaker augment-preview`: a contact sheet of what the network will see of the training images.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use image::{GrayImage, RgbImage};

use super::train::inputs::TrainingData;
use super::train::s3::lazy_s3_connection;
use super::train::{TrainOptions, find_initial_weights, required_class_names, training_transforms};
use crate::console::print_stdout;
use crate::data::Sample;
use crate::data::augment::Augmentations;
use crate::data::class_names::read_class_names;
use crate::data::fifo::WaitLimits;
use crate::data::loader::DataLoaderConfig;
use crate::data::objects::{self, DiskBudget, ObjectCache};
use crate::error::{Error, Problems, Result};
use crate::files::write_atomically;
use crate::imaging::{Region, encode_png, resize_image};
use crate::model::size::shrink_image;
use crate::render::{ContactSheet, SheetRow, cell_side_px, draw_classes, draw_contact_sheet};
use crate::sagemaker::{Channels, MlRoot, StopSignal};
use crate::train::Hyperparameters;

/// How long a stream may bring nothing.
const STREAM_TIMEOUT: Duration = Duration::from_mins(10);
/// The same for S3.
const S3_TIMEOUT: Duration = Duration::from_mins(1);

/// What is to be on the sheet.
#[derive(Debug)]
pub struct PreviewOptions {
    /// Rows at most.
    pub samples: usize,
    /// Crops of each sample: those of the first epochs.
    pub epochs: u32,
    /// In place of the hyperparameter.
    pub augmentations: Option<String>,
    /// Without classes over the pictures.
    pub without_classes: bool,
}

/// Writes the sheet of the job under `root` to `output`, or where SageMaker collects what a job writes.
pub fn run_augment_preview(
    root: &MlRoot,
    output: Option<PathBuf>,
    options: &PreviewOptions,
) -> Result<()> {
    let stop = StopSignal::listen()?;
    let mut problems = Problems::new();
    let hyperparameters = problems.record_err(Hyperparameters::read(&root.hyperparameters_file()));
    let channels = problems.record_err(Channels::read(root));
    let augmentations_override = options.augmentations.as_deref().map(Augmentations::parse);
    let augmentations_override = augmentations_override.and_then(|list| problems.record_err(list));
    problems.into_result()?;
    let (Some(mut hyperparameters), Some(channels)) = (hyperparameters, channels) else {
        return Err(Error::internal("a check failed without a problem"));
    };
    if let Some(augmentations) = augmentations_override {
        hyperparameters.augmentations = augmentations;
    }

    let num_classes = hyperparameters.num_classes;
    let mut problems = Problems::new();
    let configured_names = hyperparameters.class_names.as_deref();
    let label_map_names = channels.label_map.labels.as_deref();
    let names = problems
        .record_err(read_class_names(configured_names, label_map_names, num_classes))
        .flatten();
    let wait_limits = WaitLimits { idle_timeout: STREAM_TIMEOUT, stop: &stop };
    // The spool lives as long as the files in it are read.
    let connect = lazy_s3_connection(S3_TIMEOUT, &stop);
    // A model that is trained on decides what the classes of color maps are.
    let initial = channels.model.as_ref().and_then(|_| {
        let train_options = TrainOptions::default();
        problems.record_err(find_initial_weights(
            &hyperparameters,
            &channels,
            &train_options,
            &connect,
        ))
    });
    let required_names = required_class_names(
        names.as_deref(),
        configured_names.is_some(),
        initial.as_ref(),
        num_classes,
    );
    let objects = ObjectCache::new(
        connect,
        DiskBudget { max_bytes: None, reserved_bytes: objects::RESERVED_DISK_BYTES },
    );
    let root_and_objects = (root.path(), &objects);
    let TrainingData { training, class_names: mask_class_names, _temp_dir: _spool, .. } =
        TrainingData::read_training_split(
            root_and_objects,
            &channels,
            num_classes,
            required_names,
            wait_limits,
            &mut problems,
        );
    if stop.is_requested() {
        print_stdout("asked to stop: nothing is written");
        return Ok(());
    }
    problems.into_result()?;
    let plan = DataLoaderConfig {
        samples: Arc::new(training),
        transforms: training_transforms(&hyperparameters),
        batch_size: hyperparameters.mini_batch_size,
        seed: hyperparameters.seed,
    };
    let names = names.or(mask_class_names).or_else(|| initial?.class_names().map(<[_]>::to_vec));
    let Some(image) = draw_sheet(&plan, &names.unwrap_or_default(), options, &stop)? else {
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

/// Draws the sheet from the crops that the loader makes; without one, someone asked to stop.
fn draw_sheet(
    plan: &DataLoaderConfig,
    class_names: &[String],
    options: &PreviewOptions,
    stop: &StopSignal,
) -> Result<Option<RgbImage>> {
    let cell_px = cell_side_px(plan.transforms.crop_size);
    let paint = |image: RgbImage, ids: &GrayImage| {
        if options.without_classes { image } else { draw_classes(&image, ids) }
    };
    let row_count = plan.samples.len().min(options.samples);
    let mut crop_ids = Vec::new();
    let mut rows = Vec::new();
    let mut problems = Problems::new();
    for index in (0..row_count).map(|row| row * plan.samples.len() / row_count) {
        if stop.is_requested() {
            return Ok(None);
        }
        let sample = &plan.samples[index];
        // A file that cannot be read does not keep the others from being told too.
        let Some(stored_pair) = problems.record_err(read_original(sample, cell_px)) else {
            continue;
        };
        let mut pictures = vec![paint(stored_pair.0, &stored_pair.1)];
        for epoch in 0..u64::from(options.epochs) {
            let Some((crop, ids)) = problems.record_err(plan.load_crop(index, epoch)) else {
                continue;
            };
            pictures.push(shrink_image(&paint(crop, &ids), cell_px).into_owned());
            crop_ids.extend(ids.into_raw());
        }
        rows.push(SheetRow { name: sample.key.clone(), pictures });
    }
    problems.into_result()?;
    let columns: Vec<String> = std::iter::once("original".to_owned())
        .chain((1..=options.epochs).map(|epoch| format!("epoch {epoch}")))
        .collect();
    let crate::data::augment::Transforms { base_size, crop_size, augmentations } = plan.transforms;
    let title = [
        format!("augmentations {augmentations}"),
        format!(
            "base_size {base_size}, crop_size {crop_size}, seed {}; {row_count} of {} images; the legend is of the crops",
            plan.seed,
            plan.samples.len()
        ),
    ];
    let legend_ids = GrayImage::from_raw(crop_ids.len() as u32, 1, crop_ids).unwrap_or_default();
    Ok(Some(draw_contact_sheet(&ContactSheet {
        title: &title,
        columns: &columns,
        rows: &rows,
        cell_px,
        ids: &legend_ids,
        class_names,
    })))
}

/// A sample as it is stored, upright, in a size for the sheet; the mask keeps its own.
fn read_original(sample: &Sample, cell_px: u32) -> Result<(RgbImage, GrayImage)> {
    let (image, mask) = sample.read()?;
    let (width, height) = image.dimensions();
    let scale = f64::from(cell_px) / f64::from(width.max(height));
    let side = |side: u32| ((f64::from(side) * scale).round() as u32).clamp(1, cell_px);
    let image = resize_image(&image, Region::whole(width, height), side(width), side(height));
    Ok((image, mask))
}
