//! Paths of `Std:JsonGet`: the part of `JSONPath` that names one value, such as
//! `segmentation_metrics.miou.value`, `$.classes[0].iou` or `classes['a b'].iou`.

use serde_json::Value;

use super::reference::{PathPart, PropertyPath};

/// Returns a path without the sign of the root, which may be left out.
pub(super) fn strip_root(path: &str) -> &str {
    path.strip_prefix("$.").unwrap_or(path)
}

/// Returns the value at a path; nothing if the path is malformed or leads nowhere.
pub(super) fn find_json_value<'a>(content: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = content;
    for part in PropertyPath::parse(strip_root(path))?.0 {
        value = match part {
            PathPart::Member(name) | PathPart::Key(name) => value.get(&name)?,
            PathPart::Index(index) => value.get(index)?,
        };
    }
    Some(value)
}
