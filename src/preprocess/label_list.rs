//! Lists of labels on the command line, such as `--ignore sky,water`.
//!
//! Labels may hold commas, so a value is split only where the labels are known: a value that is a
//! label as a whole is one label. Else it is split at its commas, and where neighboring pieces
//! together are a label, the longest such label is meant.

use crate::error::{Problems, did_you_mean};
use crate::files::normalize_name;

/// Labels that can be named, and their origin in messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownLabels<'a> {
    pub names: &'a [&'a str],
    /// File or "the annotations".
    pub source: &'a str,
}

/// Returns the labels that the values of a flag name, each once, in their order. Names that are no
/// label are problems.
pub(super) fn parse_label_list(
    flag: &str,
    values: &[String],
    known: KnownLabels<'_>,
    problems: &mut Problems,
) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for value in values {
        for label in split_value(flag, value, known, problems) {
            if !labels.iter().any(|other| other == label) {
                labels.push(label.to_owned());
            }
        }
    }
    labels
}

/// Returns the labels that one value of a flag names.
fn split_value<'a>(
    flag: &str,
    value: &str,
    known: KnownLabels<'a>,
    problems: &mut Problems,
) -> Vec<&'a str> {
    if let Some(label) = find_label(value, known) {
        return vec![label];
    }
    // Byte positions at which pieces begin; the last is behind the value and its comma.
    let mut starts = vec![0];
    starts.extend(value.match_indices(',').map(|(position, _)| position + 1));
    starts.push(value.len() + 1);
    let mut labels = Vec::new();
    let mut unknown = Vec::new();
    let mut piece = 0;
    while piece + 1 < starts.len() {
        let found = longest_label(value, &starts[piece..], known);
        if let Some(found) = found {
            tell_unknown(flag, &unknown, known, problems);
            unknown.clear();
            labels.push(found.label);
            piece += found.pieces;
            continue;
        }
        let text = value[starts[piece]..starts[piece + 1] - 1].trim();
        if !text.is_empty() {
            unknown.push(text);
        }
        piece += 1;
    }
    tell_unknown(flag, &unknown, known, problems);
    labels
}

/// Label that begins with a piece of a value.
struct FoundLabel<'a> {
    label: &'a str,
    /// Number of pieces that the label takes.
    pieces: usize,
}

/// Finds the label that takes the most pieces from the first on. The pieces lie between `starts`.
fn longest_label<'a>(
    value: &str,
    starts: &[usize],
    known: KnownLabels<'a>,
) -> Option<FoundLabel<'a>> {
    // No label has more pieces, so long values cost no more than their length.
    let most_commas = known.names.iter().map(|name| name.matches(',').count()).max()?;
    let most_pieces = (most_commas + 1).min(starts.len() - 1);
    for pieces in (1..=most_pieces).rev() {
        if let Some(label) = find_label(&value[starts[0]..starts[pieces] - 1], known) {
            return Some(FoundLabel { label, pieces });
        }
    }
    None
}

/// Returns the label that a text names; spaces around either do not count. Unicode's forms of one
/// name are equal.
fn find_label<'a>(text: &str, known: KnownLabels<'a>) -> Option<&'a str> {
    let written = normalize_name(text);
    if let Some(name) = known.names.iter().find(|name| normalize_name(name) == written) {
        return Some(name);
    }
    let trimmed = normalize_name(text.trim());
    if trimmed.is_empty() {
        return None;
    }
    known.names.iter().find(|name| normalize_name(name.trim()) == trimmed).copied()
}

/// Records the problem of neighboring pieces that are no labels: as one name if that is near to a
/// label, else one by one.
fn tell_unknown(flag: &str, pieces: &[&str], known: KnownLabels<'_>, problems: &mut Problems) {
    let joined = pieces.join(", ");
    if pieces.len() > 1 {
        let hint = did_you_mean(&joined, known.names.iter().copied());
        if !hint.is_empty() {
            tell_name(flag, &joined, &hint, known, problems);
            return;
        }
    }
    for piece in pieces {
        let hint = did_you_mean(piece, known.names.iter().copied());
        tell_name(flag, piece, &hint, known, problems);
    }
}

fn tell_name(flag: &str, name: &str, hint: &str, known: KnownLabels<'_>, problems: &mut Problems) {
    problems.push(format!(
        "{flag} names {name:?}{hint}, which is no label of {}; there are {}",
        known.source,
        known.names.join(", ")
    ));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LABELS: [&str; 7] = ["a", "b", "a,b", "void, unclear", "R&D lab", "x,y,z", "y"];

    fn parse(values: &[&str]) -> (Vec<String>, Vec<String>) {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let known = KnownLabels { names: &LABELS, source: "c.xml" };
        let mut problems = Problems::new();
        let labels = parse_label_list("--ignore", &values, known, &mut problems);
        let told = problems.into_result().map_err(|error| error.problems().to_vec());
        (labels, told.err().unwrap_or_default())
    }

    fn labels(values: &[&str]) -> Vec<String> {
        let (labels, problems) = parse(values);
        assert_eq!(problems, [""; 0]);
        labels
    }

    #[test]
    fn a_known_label_with_commas_is_one_label() {
        assert_eq!(labels(&["void, unclear"]), ["void, unclear"]);
        assert_eq!(labels(&["void, unclear,R&D lab"]), ["void, unclear", "R&D lab"]);
        assert_eq!(labels(&[" b ,  void, unclear , y"]), ["b", "void, unclear", "y"]);
        assert_eq!(labels(&["a,b"]), ["a,b"]);
        assert_eq!(labels(&["a,b,b,a"]), ["a,b", "b", "a"]);
        assert_eq!(labels(&["a, b"]), ["a", "b"]);
        assert_eq!(labels(&["a", "b", "a"]), ["a", "b"]);
        assert_eq!(labels(&["y,x,y,z"]), ["y", "x,y,z"]);
        assert_eq!(labels(&["a,,y,", ""]), ["a", "y"]);
    }

    #[test]
    fn spaces_around_a_label_may_be_left_out() {
        let known = KnownLabels { names: &[" road", "sky ", "sky"], source: "c.xml" };
        let mut problems = Problems::new();
        let values = ["road,sky".to_owned(), "sky ".to_owned()];
        let found = parse_label_list("--ignore", &values, known, &mut problems);
        assert_eq!(found, [" road", "sky", "sky "]);
        assert!(problems.is_empty());
    }

    #[test]
    fn unknown_names_are_told_with_near_ones() {
        let (found, problems) = parse(&["a,void, unclaer,y", "q, b"]);
        assert_eq!(found, ["a", "y", "b"]);
        assert_eq!(
            problems,
            [
                "--ignore names \"void, unclaer\" (did you mean \"void, unclear\"?), which is no label \
                 of c.xml; there are a, b, a,b, void, unclear, R&D lab, x,y,z, y",
                "--ignore names \"q\", which is no label of c.xml; there are a, b, a,b, void, unclear, \
                 R&D lab, x,y,z, y",
            ]
        );
        assert_eq!(parse(&["p, q"]).1.len(), 2);
    }

    proptest! {
        #[test]
        fn every_list_of_labels_can_be_written(
            names in prop::collection::btree_set("[ab, ]{0,4}[ab]", 1..6),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
        ) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let known = KnownLabels { names: &names, source: "x" };
            let mut written = Vec::new();
            let mut expected: Vec<String> = Vec::new();
            for pick in picks {
                let name = pick.get(&names).to_string();
                written.push(name.clone());
                if !expected.contains(&name) {
                    expected.push(name);
                }
            }
            let mut problems = Problems::new();
            prop_assert_eq!(parse_label_list("--f", &written, known, &mut problems), expected);
            prop_assert!(problems.is_empty());
        }

        #[test]
        fn any_value_is_known_labels_or_problems(
            names in prop::collection::vec("[ab, é]{1,5}", 0..6),
            value in "[ab, é]{0,16}",
        ) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let known = KnownLabels { names: &names, source: "x" };
            let mut problems = Problems::new();
            let found = parse_label_list("--f", std::slice::from_ref(&value), known, &mut problems);
            for label in &found {
                prop_assert!(names.contains(&label.as_str()) && value.contains(label.trim()));
            }
            let has_text = value.split(',').any(|piece| !piece.trim().is_empty());
            prop_assert!(!has_text || !found.is_empty() || !problems.is_empty());
        }
    }
}
