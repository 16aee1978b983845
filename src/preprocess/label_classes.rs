//! Classes of a run, from the labeling configuration or from the labels in the annotations.

use std::path::Path;

use super::PreprocessSettings;
use super::annotated_image::ImageOutcome;
use super::classes::{Classes, LabelColor};
use super::sources::AnnotationSources;
use crate::annotations::label_config::{self, LabelConfig};
use crate::error::{Error, Result};
use crate::files;
use crate::metrics::IGNORE_INDEX;

/// Reads a labeling configuration of Label Studio, or a `labels.json`.
pub(super) fn read_label_config(path: &Path) -> Result<LabelConfig> {
    let config = match label_config::parse_label_config(&files::read_file(path)?) {
        Ok(config) => config,
        Err(message) => return Err(Error::input(format!("{}: {message}", path.display()))),
    };
    if config.labels.is_empty() {
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
        return classes_from_config(settings, config, path, &mut sources.warnings);
    }
    if let Some(host) = &settings.host {
        return Err(Error::input(format!(
            "{host} is one of several instances, and the annotations of one of them may lack a \
             label: without a labeling configuration their classes could differ; give it with \
             --label-config"
        )));
    }
    if sources.has_only_unnamed_masks() {
        return Ok(Classes::unnamed(IGNORE_INDEX - 1));
    }
    classes_from_annotations(settings, sources)
}

fn classes_from_config(
    settings: &PreprocessSettings,
    config: &LabelConfig,
    path: &Path,
    warnings: &mut Vec<String>,
) -> Result<Classes> {
    for warning in &config.warnings {
        warnings.push(format!("{} {warning}", path.display()));
    }
    let mut labels: Vec<LabelColor> = Vec::new();
    for label in &config.labels {
        labels.push((label.name.clone(), label.color));
    }
    Classes::new(labels, &settings.ignore, &settings.priority, &path.display().to_string())
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
