//! Classes of a run, from the labeling configuration or from the labels in the annotations.

use std::path::Path;

use super::PreprocessSettings;
use super::annotated_image::ImageOutcome;
use super::classes::{Classes, LabelColor};
use super::sources::AnnotationSources;
use crate::annotations::label_config::{self, Label, LabelConfig};
use crate::error::{Error, Problems, Result};
use crate::files;
use crate::metrics::IGNORE_INDEX;

/// Reads a labeling configuration of Label Studio, or a `labels.json`.
pub(super) fn read_label_config(path: &Path) -> Result<LabelConfig> {
    let config = match label_config::parse_label_config(&files::read_file(path)?) {
        Ok(config) => config,
        Err(message) => return Err(Error::input(format!("{}: {message}", path.display()))),
    };
    let lacks_background = match &config.class_zero {
        Some(class_zero) => config.is_name_list && !names_background(&class_zero.name),
        None => false,
    };
    if config.labels.is_empty() && !lacks_background {
        let mut reasons = vec!["has no label that areas of an image can have".to_owned()];
        reasons.extend(config.warnings);
        return Err(Error::input(format!("{}: {}", path.display(), reasons.join("; it "))));
    }
    Ok(config)
}

/// Takes the classes from the labeling configuration; without one from the labels' sorted names.
/// Adds warnings to `sources`.
pub(super) fn build_classes(
    settings: &PreprocessSettings,
    config: Option<&LabelConfig>,
    sources: &mut AnnotationSources,
) -> Result<Classes> {
    if let (Some(config), Some(path)) = (config, &settings.label_config) {
        return classes_from_config(settings, config, path, sources);
    }
    if let Some(host) = &settings.host {
        return Err(Error::input(format!(
            "{host} is one of several instances, and the annotations of one of them may lack a \
             label: without a labeling configuration their classes could differ; give it with \
             --label-config"
        )));
    }
    if sources.has_only_unnamed_masks() {
        check_no_label_flags(settings)?;
        return Ok(Classes::unnamed(IGNORE_INDEX - 1));
    }
    classes_from_annotations(settings, sources)
}

/// Names for class 0 that say that its pixels are no object, in small letters and without signs.
const BACKGROUND_NAMES: [&str; 7] =
    ["background", "bg", "unlabeled", "unlabelled", "void", "none", "nothing"];

/// Fails if a flag names labels although the masks' classes have no names.
fn check_no_label_flags(settings: &PreprocessSettings) -> Result<()> {
    let mut problems = Problems::new();
    for (flag, values) in [("--ignore", &settings.ignore), ("--priority", &settings.priority)] {
        if !values.is_empty() {
            problems.push(format!(
                "{flag} names {}, but the classes of the masks have no names; give them with \
                 --label-config",
                values.join(", ")
            ));
        }
    }
    problems.into_result()
}

fn classes_from_config(
    settings: &PreprocessSettings,
    config: &LabelConfig,
    path: &Path,
    sources: &mut AnnotationSources,
) -> Result<Classes> {
    let source = path.display().to_string();
    for warning in &config.warnings {
        sources.warnings.push(format!("{source} {warning}"));
    }
    let others: Vec<LabelColor> = config.labels.iter().map(label_color).collect();
    let (ignored, priority) = (&settings.ignore[..], &settings.priority[..]);
    let Some(class_zero) = &config.class_zero else {
        return Classes::new(others, ignored, priority, &source);
    };
    let has_masks_only = sources.has_only_unnamed_masks();
    if !names_background(&class_zero.name) {
        if config.is_name_list && !has_masks_only {
            sources.warnings.push(list_without_background_warning(&source, class_zero));
            let mut labels = vec![label_color(class_zero)];
            labels.extend(others);
            return Classes::new(labels, ignored, priority, &source);
        }
        sources.warnings.push(class_zero_warning(&source, class_zero, has_masks_only));
    }
    let class_zero = vec![label_color(class_zero)];
    Classes::from_numbered_labels(class_zero, others, ignored, priority, &source)
}

fn label_color(label: &Label) -> LabelColor {
    (label.name.clone(), label.color)
}

/// Returns true if a name of class 0 says that its pixels are no object: `_background_`, `BG`.
fn names_background(name: &str) -> bool {
    let letters: String = name.chars().filter(|sign| sign.is_alphanumeric()).collect();
    BACKGROUND_NAMES.contains(&letters.to_lowercase().as_str())
}

/// Returns the warning of a list that begins with an object, for annotations that name labels.
fn list_without_background_warning(source: &str, first: &Label) -> String {
    format!(
        "{source} is a list whose first name, {}, is no background, so the background is put in front \
         as class 0 and {0} is class 1, while train takes the first name as class 0: give train the \
         written label_map/labels.json, or write \"background\" first",
        first.name
    )
}

/// Returns the warning of a `labels.json` whose class 0 seems to be an object.
fn class_zero_warning(source: &str, class_zero: &Label, has_masks_only: bool) -> String {
    let name = &class_zero.name;
    if has_masks_only {
        return format!(
            "{source} names class 0, the value 0 of the masks, {name}; if 0 is the background, put \
             \"background\" in front of it"
        );
    }
    format!(
        "{source} names class 0 {name}, so pixels outside of all regions become {name}; if they are \
         background, number the classes from 1"
    )
}

fn classes_from_annotations(
    settings: &PreprocessSettings,
    sources: &mut AnnotationSources,
) -> Result<Classes> {
    let mut labels: Vec<LabelColor> = Vec::new();
    for name in &sources.labels {
        labels.push((name.clone(), None));
    }
    let classes = Classes::new(labels, &settings.ignore, &settings.priority, "the annotations")?;
    let mut numbered_names = Vec::new();
    for (id, name) in classes.names().iter().enumerate() {
        numbered_names.push(format!("{id} {name}"));
    }
    sources.warnings.push(format!(
        "no labeling configuration: the classes are the labels' names in the order of the alphabet \
         ({}); a label that comes later would change their numbers, so give --label-config",
        numbered_names.join(", ")
    ));
    Ok(classes)
}

/// Returns unnamed classes up to the largest id in the written masks; 255 is no class.
pub(super) fn trim_unnamed_classes(outcomes: &[ImageOutcome]) -> Classes {
    let mut largest_id = 0;
    for outcome in outcomes {
        let ImageOutcome::Written(written) = outcome else { continue };
        for &(id, _) in &written.pixel_counts {
            if id != IGNORE_INDEX {
                largest_id = largest_id.max(id);
            }
        }
    }
    Classes::unnamed(largest_id)
}
