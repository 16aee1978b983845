//! `labels.json` in place of a labeling configuration.

use super::{Label, LabelConfig};
use crate::annotations::error::{Error, Result};
use crate::labels_json::{LabelsJson, NamedClass};

/// Parses the names, and colors if there are some, of the classes.
pub(super) fn parse_labels(text: &str) -> Result<LabelConfig> {
    let labels = match LabelsJson::parse(text.as_bytes()) {
        Ok(labels) => labels,
        Err(error) => return Err(Error::InvalidValue(error.problems().join("; it "))),
    };
    if let Err(error) = labels.check_unique_names() {
        return Err(Error::InvalidValue(error.problems().join("; it ")));
    }
    let mut config = LabelConfig { is_name_list: labels.is_list, ..LabelConfig::default() };
    let mut classes = labels.classes.into_iter();
    config.class_zero = classes.next().map(Label::from);
    config.labels = classes.map(Label::from).collect();
    if config.is_name_list && config.class_zero.is_some() && config.labels.is_empty() {
        // It may be the only label beside a background that was not written.
        config.warnings.push("is a list of one name".to_owned());
    }
    Ok(config)
}

impl From<NamedClass> for Label {
    fn from(class: NamedClass) -> Self {
        Self { name: class.name, color: class.color }
    }
}
