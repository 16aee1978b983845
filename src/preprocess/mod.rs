//! Annotations become channels: images and masks to train on, to validate with, and to keep for a test.
//!
//! Everything is looked at twice: first what stands where (light enough to keep for every task), then, image by image on
//! all cores, what was drawn. Memory does not grow with what is drawn.

pub mod classes;
mod drawing;
mod folder;
mod grouping;
mod item;
mod output;
mod reference;
mod report;
mod select;
mod sheet;
pub mod sources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use self::classes::Classes;
use self::drawing::Style;
use self::folder::{Folder, folder_exists};
use self::grouping::{Grouped, group};
use self::item::{Item, Outcome};
use self::output::{LABEL_MAP, LABELS, Output};
pub use self::report::Report;
pub use self::select::Several;
pub use self::sources::Format;
use self::sources::{Search, Skipped, Sources};
use crate::annotations::label_config::{self, LabelConfig};
use crate::annotations::split::Split;
use crate::console::note;
use crate::error::{Error, Problems, Result};
use crate::files;
use crate::imaging::{Limits, encode_png};
use crate::progress::Progress;
use crate::sagemaker::Stop;

/// What is read, what is written, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of annotations.
    pub annotations: PathBuf,
    /// The folder of images.
    pub images: PathBuf,
    /// The folder that gets the channels.
    pub output: PathBuf,
    /// Label Studio's labelling configuration, or a `labels.json`.
    pub label_config: Option<PathBuf>,
    /// Only annotations of this format.
    pub format: Option<Format>,
    /// The attribute of Ground Truth's manifests, where a line has several.
    pub attribute: Option<String>,
    /// How images are shared out.
    pub split: Split,
    /// What to do with several annotations of one image.
    pub several: Several,
    /// Leaves out images on which nothing was drawn.
    pub skip_empty: bool,
    /// Labels whose regions become 255.
    pub ignore: Vec<String>,
    /// Labels that are above all others, the topmost first.
    pub priority: Vec<String>,
    /// Whether anything that had to be skipped is an error.
    pub strict: bool,
    /// Whether images are copied even where a hard link would do.
    pub copy: bool,
    /// Of images and masks.
    pub limits: Limits,
    /// This instance's name, if there are several.
    pub host: Option<String>,
}

/// Writes the channels and says what is in them.
///
/// # Errors
/// Folders that cannot be used, a labelling configuration that cannot be read, annotations of several formats, names
/// that several images have, nothing that could be used; with `strict` whatever was skipped. After an error, and after
/// `stop`, the output is marked as unfinished.
pub fn run(settings: &Settings, stop: &Stop) -> Result<Report> {
    let mut problems = Problems::new();
    folder_exists(&settings.annotations, "annotations", "--annotations", &mut problems);
    folder_exists(&settings.images, "images", "--images", &mut problems);
    let config = settings.label_config.as_deref().map(read_config);
    let config = config.and_then(|config| problems.check(config));
    problems.into_result()?;

    let mut problems = Problems::new();
    let search = Search {
        folder: &settings.annotations,
        format: settings.format,
        images: config.as_ref().map_or(&[], |config| &config.images),
        attribute: settings.attribute.as_deref(),
    };
    let mut sources = sources::read(&search, &mut problems);
    let images = Folder::list(&settings.images, &mut problems);
    // Of fewer images than instances some get none.
    if images.is_empty() && settings.host.is_none() {
        problems.push(format!("{} holds no images", settings.images.display()));
    }
    let classes = classes_of(settings, config.as_ref(), &mut sources);
    let classes = problems.check(classes);
    let found = std::mem::take(&mut sources.found);
    let grouped = group(found, &images, settings.host.is_some(), &mut problems);
    let items = items(grouped, &images, settings, &mut sources, &mut problems);
    problems.into_result()?;
    let (Some(classes), (items, tally)) = (classes, items) else {
        return Err(Error::internal("a check failed without a problem"));
    };
    if items.is_empty() && tally.elsewhere == 0 {
        return Err(nothing(settings, &sources, &tally));
    }

    let inputs = [settings.annotations.as_path(), settings.images.as_path()];
    let host = settings.host.as_deref();
    let output = Output::begin(&settings.output, &settings.split, inputs, (settings.copy, host))?;
    let style = Style { classes: &classes, is_closed: config.is_some(), limits: settings.limits };
    let outcomes = draw(&items, (&images, &output), style, settings, stop)?;
    let classes = named_by_use(classes, config.is_none(), &sources, &outcomes);
    let report = Report::new(settings, (&classes, sources, tally), &items, outcomes);
    finish(&report, &classes, output, settings)?;
    Ok(report)
}

fn read_config(path: &Path) -> Result<LabelConfig> {
    let wrong = |what: String| Error::input(format!("{}: {what}", path.display()));
    let config = label_config::parse(&files::read(path)?).map_err(wrong)?;
    if config.labels.is_empty() {
        let mut why = vec!["has no label that areas of an image can have".to_owned()];
        why.extend(config.warnings);
        return Err(wrong(why.join("; it ")));
    }
    Ok(config)
}

/// The classes by the labelling configuration; without one the labels' names, sorted.
fn classes_of(
    settings: &Settings,
    config: Option<&LabelConfig>,
    sources: &mut Sources,
) -> Result<Classes> {
    let choice = (&settings.ignore[..], &settings.priority[..]);
    if let (Some(config), Some(path)) = (config, &settings.label_config) {
        let named = |text: &String| format!("{} {text}", path.display());
        sources.warnings.extend(config.warnings.iter().map(named));
        let labels = config.labels.iter().map(|label| (label.name.clone(), label.colour)).collect();
        return Classes::new(labels, choice, &path.display().to_string());
    }
    if let Some(host) = &settings.host {
        return Err(Error::input(format!(
            "{host} is one of several instances, and the annotations of one of them may lack a label: without a \
             labelling configuration their classes could differ; give it with --label-config"
        )));
    }
    if sources.labels.is_empty() && sources.formats.contains(&Format::Masks) {
        return Ok(Classes::unnamed(254));
    }
    let labels = sources.labels.iter().map(|name| (name.clone(), None)).collect();
    let classes = Classes::new(labels, choice, "the annotations")?;
    let order: Vec<String> =
        classes.names().iter().enumerate().map(|(id, name)| format!("{id} {name}")).collect();
    sources.warnings.push(format!(
        "no labelling configuration: the classes are the labels' names in the order of the alphabet ({}); a label \
         that comes later would change their numbers, so give --label-config",
        order.join(", ")
    ));
    Ok(classes)
}

/// Chooses among the annotations of each image, and names what is written.
fn items(
    grouped: Grouped,
    images: &Folder,
    settings: &Settings,
    sources: &mut Sources,
    problems: &mut Problems,
) -> (Vec<Item>, report::Tally) {
    let mut tally = report::Tally::default();
    let mut items = Vec::new();
    let known: Vec<usize> = grouped.by_image.keys().copied().collect();
    sources.warnings.extend(grouped.warnings);
    sources.skipped.extend(grouped.conflicts);
    for (image, annotations) in grouped.by_image {
        let key = images.key(image);
        if settings.several != Several::Majority
            && let Some(files) = undated_of_several_files(&annotations)
        {
            sources.skipped.push(Skipped::fault(key, format!(
                "has annotations in {}, and nothing says which are newer: leave one, or join the files",
                sources::examples(files)
            )));
            continue;
        }
        let selection = select::select(annotations, settings.several);
        tally.add(&selection);
        let deleted = "seems to be deleted: its task counts or lists fewer annotations";
        sources
            .skipped
            .extend(selection.stale.into_iter().map(|place| Skipped::proper(place, deleted)));
        if selection.used.is_empty() {
            sources
                .skipped
                .push(Skipped::proper(key, "every annotation was skipped by its annotator"));
        } else {
            let side = settings.split.side(&key);
            items.push(Item { image, key, name: String::new(), side, annotations: selection.used });
        }
    }
    let elsewhere: Vec<_> =
        grouped.missing.iter().filter_map(|name| reference::Reference::parse(name)).collect();
    let used: Vec<usize> = items.iter().map(|item| item.image).collect();
    for (item, name) in items.iter_mut().zip(images.names((&used, &known), &elsewhere, problems)) {
        item.name = name;
    }
    if settings.host.is_some() {
        // They are another instance's share.
        tally.elsewhere = grouped.missing.len();
        let here = grouped.missing.iter().map(|name| Skipped::proper(name, "not on this instance"));
        sources.skipped.extend(here);
        if items.is_empty()
            && let Some((image, path)) = grouped.elsewhere.first_key_value()
        {
            sources.warnings.push(format!(
                "no annotation is of an image of this instance; {path} has the name of {image}, and lies in another \
                 folder: if it is that image, mount the folder above as --images so that paths end as annotations say"
            ));
        }
    } else {
        let reason = format!("no such image below {}", settings.images.display());
        sources
            .skipped
            .extend(grouped.missing.into_iter().map(|name| Skipped::fault(name, reason.clone())));
    }
    (items, tally)
}

/// The files with annotations of one image of which nothing says how old they are, if there are several.
fn undated_of_several_files(annotations: &[select::Annotation]) -> Option<BTreeSet<String>> {
    let undated = annotations.iter().filter(|annotation| annotation.is_undated());
    let files: BTreeSet<String> = undated.map(|one| one.file.display().to_string()).collect();
    (files.len() > 1).then_some(files)
}

/// Why there is nothing to write.
fn nothing(settings: &Settings, sources: &Sources, tally: &report::Tally) -> Error {
    let folder = settings.annotations.display();
    let mut parts = vec![format!("{folder} gives no image with an annotation")];
    if sources.unlabelled > 0 {
        parts.push(format!("{} tasks are not labelled yet", sources.unlabelled));
    }
    if tally.cancelled > 0 {
        parts.push(format!("{} annotations were skipped by their annotators", tally.cancelled));
    }
    if !sources.skipped.is_empty() {
        let reasons = sources.skipped.iter().map(|s| format!("{}: {}", s.what, s.reason));
        parts.push(format!("skipped: {}", sources::examples(reasons)));
    }
    Error::input(parts.join("; "))
}

/// Draws every item on all cores; in the order of the items.
fn draw(
    items: &[Item],
    places: (&Folder, &Output),
    style: Style<'_>,
    settings: &Settings,
    stop: &Stop,
) -> Result<Vec<Outcome>> {
    let progress = Mutex::new(Progress::new("masks", items.len()));
    let outcomes = items
        .par_iter()
        .map(|item| {
            if stop.is_requested() {
                return Err(Error::input(format!(
                    "asked to stop: {} is not complete and is marked so; run again",
                    settings.output.display()
                )));
            }
            let outcome = item.draw(places, style, settings.skip_empty)?;
            progress.lock().unwrap_or_else(PoisonError::into_inner).advance(1, || None);
            Ok(outcome)
        })
        .collect();
    progress.lock().unwrap_or_else(PoisonError::into_inner).finish();
    outcomes
}

/// Of masks without names the classes end with the largest id that occurs.
fn named_by_use(
    classes: Classes,
    is_open: bool,
    sources: &Sources,
    outcomes: &[Outcome],
) -> Classes {
    if !(is_open && sources.labels.is_empty() && sources.formats.contains(&Format::Masks)) {
        return classes;
    }
    let ids = outcomes.iter().filter_map(Outcome::written).flat_map(|written| &written.pixels);
    let largest = ids.map(|(id, _)| *id).filter(|id| *id != classes::IGNORED).max();
    Classes::unnamed(largest.unwrap_or(0))
}

/// Writes what describes the channels; the report last, and the marks go only if all is as it was asked for.
fn finish(report: &Report, classes: &Classes, output: Output, settings: &Settings) -> Result<()> {
    let colours: Vec<[u8; 3]> = (0..=u8::MAX).map(|id| classes.colour(id)).collect();
    let labels = crate::model::labels::Labels { names: classes.names(), colours: Some(&colours) };
    let labels = serde_json::to_vec_pretty(&labels).map_err(|e| Error::internal(e.to_string()))?;
    files::write_atomically(&output.root().join(LABEL_MAP).join(LABELS), &labels)?;
    if let Some(sheet) = sheet::draw(report, classes, &output)? {
        files::write_atomically(&output.sheet(), &encode_png(&sheet))?;
    }
    files::write_atomically(&output.report(), &report.to_json()?)?;
    let path = output.report();
    if report.images() == 0 && !report.is_all_elsewhere() {
        return Err(Error::input(format!("no image could be used: {}", report.faults(&path))));
    }
    if settings.strict && report.has_faults() {
        return Err(Error::input(format!("--strict, and {}", report.faults(&path))));
    }
    output.finish()?;
    for warning in report.warnings() {
        note(format_args!("warning: {warning}"));
    }
    if report.has_faults() {
        note(format_args!("warning: {}", report.faults(&path)));
    }
    Ok(())
}
