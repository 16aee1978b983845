//! Differences of two JSON documents as lines for people.

use serde_json::Value;

use crate::error::shorten_text;

/// Largest part of a value that a line shows, in characters.
const MAX_VALUE_CHARS: usize = 80;

/// Keys that name an entry of a list in a definition.
const NAME_KEYS: [&str; 6] =
    ["Name", "ChannelName", "InputName", "OutputName", "PropertyFileName", "Key"];

/// Returns a line for each value that differs: its path, `before` and `after`. Entries of lists are
/// compared by their names where they have some, else by position.
pub(super) fn list_differences(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", Some(before), Some(after), &mut lines);
    lines
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, lines: &mut Vec<String>) {
    if before == after {
        return;
    }
    // Values of the environment may be secrets.
    if path.ends_with(".Environment") {
        lines.push(format!("{path}: changed"));
        return;
    }
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, before.get(key), after.get(key), lines);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            compare_lists(path, before, after, lines);
        }
        (Some(before), Some(after)) => {
            lines.push(format!("{path}: {} -> {}", show(before), show(after)));
        }
        (Some(before), None) => lines.push(format!("{path}: {} -> nothing", show(before))),
        (None, Some(after)) => lines.push(format!("{path}: nothing -> {}", show(after))),
        (None, None) => {}
    }
}

fn compare_lists(path: &str, before: &[Value], after: &[Value], lines: &mut Vec<String>) {
    let (Some(before_names), Some(after_names)) = (list_names(before), list_names(after)) else {
        for index in 0..before.len().max(after.len()) {
            let path = format!("{path}[{index}]");
            compare(&path, before.get(index), after.get(index), lines);
        }
        return;
    };
    let count_before = lines.len();
    for (name, entry) in before_names.iter().zip(before) {
        let position = after_names.iter().position(|other| other == name);
        let other = position.and_then(|position| after.get(position));
        compare(&format!("{path}[{name}]"), Some(entry), other, lines);
    }
    for (name, entry) in after_names.iter().zip(after) {
        if !before_names.contains(name) {
            compare(&format!("{path}[{name}]"), None, Some(entry), lines);
        }
    }
    if lines.len() == count_before {
        let (before, after) = (before_names.join(", "), after_names.join(", "));
        lines.push(format!("{path}: the order {before} -> {after}"));
    }
}

/// Returns the names of the entries of a list; nothing if one has none or two have the same.
fn list_names(entries: &[Value]) -> Option<Vec<&str>> {
    let mut names: Vec<&str> = Vec::new();
    for entry in entries {
        let name = NAME_KEYS.iter().find_map(|key| entry.get(key).and_then(Value::as_str))?;
        if names.contains(&name) {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

fn show(value: &Value) -> String {
    shorten_text(&value.to_string(), MAX_VALUE_CHARS).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_are_compared_by_their_names() {
        let before = json!({
            "Steps": [{"Name": "A", "x": 1, "Environment": {"K": "secret"}}, {"Name": "B"}],
            "v": [1, 2], "w": {}
        });
        let after = json!({
            "Steps": [{"Name": "C"}, {"Name": "A", "x": 2, "Environment": {}}], "v": [1, 3, 4]
        });
        assert_eq!(
            list_differences(&before, &after),
            [
                "Steps[A].Environment: changed",
                "Steps[A].x: 1 -> 2",
                "Steps[B]: {\"Name\":\"B\"} -> nothing",
                "Steps[C]: nothing -> {\"Name\":\"C\"}",
                "v[1]: 2 -> 3",
                "v[2]: nothing -> 4",
                "w: {} -> nothing",
            ]
        );
    }

    #[test]
    fn another_order_alone_is_a_difference() {
        let (before, after) =
            (json!([{"Name": "A"}, {"Name": "B"}]), json!([{"Name": "B"}, {"Name": "A"}]));
        assert_eq!(list_differences(&before, &after), [": the order A, B -> B, A"]);
        assert!(list_differences(&before, &before).is_empty());
    }
}
