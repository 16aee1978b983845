//! `maskmaker augment-preview`: a contact sheet of what the network will see of the training images.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use image::{GrayImage, RgbImage};

use super::train::inputs::Inputs;
use super::train::s3::connect;
use super::train::{Options, initial_weights, known_names, recipe};
use crate::console::say;
use crate::data::Sample;
use crate::data::class_names::class_names;
use crate::data::fifo::Patience;
use crate::data::loader::Plan;
use crate::data::objects::{self, Objects, Room};
use crate::error::{Error, Problems, Result};
use crate::files::write_atomically;
use crate::imaging::{Region, encode_png, resize_image};
use crate::model::size::shrink;
use crate::render::{Row, cell, contact_sheet, painted};
use crate::sagemaker::hyperparameters::Augmentations;
use crate::sagemaker::{Channels, Hyperparameters, MlRoot, Stop};

/// How long a stream may bring nothing.
const PATIENCE: Duration = Duration::from_mins(10);
/// The same for S3.
const S3_PATIENCE: Duration = Duration::from_mins(1);

/// What is to be on the sheet.
#[derive(Debug)]
pub struct Wanted {
    /// Rows at most.
    pub samples: usize,
    /// Crops of each sample: those of the first epochs.
    pub epochs: u32,
    /// In place of the hyperparameter.
    pub augmentations: Option<String>,
    /// Without classes over the pictures.
    pub plain: bool,
}

/// Writes the sheet of the job under `root` to `output`, or where SageMaker collects what a job writes.
pub fn run(root: &MlRoot, output: Option<PathBuf>, wanted: &Wanted) -> Result<()> {
    let stop = Stop::listen()?;
    let mut problems = Problems::new();
    let hyperparameters = problems.check(Hyperparameters::read(&root.hyperparameters()));
    let channels = problems.check(Channels::read(root));
    let instead = wanted.augmentations.as_deref().map(Augmentations::parse);
    let instead = instead.and_then(|list| problems.check(list));
    problems.into_result()?;
    let (Some(mut hyperparameters), Some(channels)) = (hyperparameters, channels) else {
        return Err(Error::internal("a check failed without a problem"));
    };
    if let Some(instead) = instead {
        hyperparameters.augmentations = instead;
    }

    let classes = hyperparameters.num_classes;
    let mut problems = Problems::new();
    let given = hyperparameters.class_names.as_deref();
    let labels = channels.label_map.labels.as_deref();
    let names = problems.check(class_names(given, labels, classes)).flatten();
    let patience = Patience { idle: PATIENCE, stop: &stop };
    // The spool lives as long as the files in it are read.
    let connect = connect(S3_PATIENCE, &stop);
    // A model that is trained on decides what the classes of colour maps are.
    let initial = channels.model.as_ref().and_then(|_| {
        let options = Options::default();
        problems.check(initial_weights(&hyperparameters, &channels, &options, &connect))
    });
    let known = known_names(names.as_deref(), given.is_some(), initial.as_ref(), classes);
    let objects = Objects::new(connect, Room { limit: None, reserve: objects::RESERVE });
    let places = (root.path(), &objects);
    let Inputs { training, class_names: found, _spool, .. } =
        Inputs::of_training(places, &channels, classes, known, patience, &mut problems);
    if stop.is_requested() {
        say("asked to stop: nothing is written");
        return Ok(());
    }
    problems.into_result()?;
    let plan = Plan {
        samples: Arc::new(training),
        recipe: recipe(&hyperparameters),
        batch_size: hyperparameters.mini_batch_size,
        seed: hyperparameters.seed,
    };
    let names = names.or(found).or_else(|| initial?.class_names().map(<[_]>::to_vec));
    let Some(sheet) = draw(&plan, &names.unwrap_or_default(), wanted, &stop)? else {
        say("asked to stop: nothing is written");
        return Ok(());
    };
    let output = output.unwrap_or_else(|| root.output_data().join("augment-preview.png"));
    write_atomically(&output, &encode_png(&sheet))?;
    say(format_args!("augmentations {} -> {}", plan.recipe.augmentations, output.display()));
    Ok(())
}

/// Draws the sheet from the crops that the loader makes; without one, someone asked to stop.
fn draw(
    plan: &Plan,
    class_names: &[String],
    wanted: &Wanted,
    stop: &Stop,
) -> Result<Option<RgbImage>> {
    let cell = cell(plan.recipe.crop_size);
    let paint = |image: RgbImage, ids: &GrayImage| {
        if wanted.plain { image } else { painted(&image, ids) }
    };
    let count = plan.samples.len().min(wanted.samples);
    let mut seen = Vec::new();
    let mut rows = Vec::new();
    let mut problems = Problems::new();
    for index in (0..count).map(|row| row * plan.samples.len() / count) {
        if stop.is_requested() {
            return Ok(None);
        }
        let sample = &plan.samples[index];
        // A file that cannot be read does not keep the others from being told too.
        let Some(original) = problems.check(original(sample, cell)) else { continue };
        let mut pictures = vec![paint(original.0, &original.1)];
        for epoch in 0..u64::from(wanted.epochs) {
            let Some((pixels, ids)) = problems.check(plan.crop(index, epoch)) else { continue };
            pictures.push(shrink(&paint(pixels, &ids), cell).into_owned());
            seen.extend(ids.into_raw());
        }
        rows.push(Row { name: sample.key.clone(), pictures });
    }
    problems.into_result()?;
    let columns: Vec<String> = std::iter::once("original".to_owned())
        .chain((1..=wanted.epochs).map(|epoch| format!("epoch {epoch}")))
        .collect();
    let crate::data::augment::Recipe { base_size, crop_size, augmentations } = plan.recipe;
    let title = [
        format!("augmentations {augmentations}"),
        format!(
            "base_size {base_size}, crop_size {crop_size}, seed {}; {count} of {} images; the legend is of the crops",
            plan.seed,
            plan.samples.len()
        ),
    ];
    let ids = GrayImage::from_raw(seen.len() as u32, 1, seen).unwrap_or_default();
    let (rows, classes) = ((&rows[..], cell), (&ids, class_names));
    Ok(Some(contact_sheet(&title, &columns, rows, classes)))
}

/// A sample as it is stored, upright, in a size for the sheet; the mask keeps its own.
fn original(sample: &Sample, cell: u32) -> Result<(RgbImage, GrayImage)> {
    let (image, mask) = sample.read()?;
    let (width, height) = image.dimensions();
    let scale = f64::from(cell) / f64::from(width.max(height));
    let side = |side: u32| ((f64::from(side) * scale).round() as u32).clamp(1, cell);
    let image = resize_image(&image, Region::whole(width, height), side(width), side(height));
    Ok((image, mask))
}
