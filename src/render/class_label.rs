//! Names of classes as pictures show them.

use super::font::has_letters;

/// Class id of ignored pixels. It repeats `IGNORE_INDEX` of `metrics`, because rooms of one floor
/// do not import each other (`docs/architecture.md#imports-point-down`).
pub(super) const IGNORED_CLASS_ID: u8 = 255;

/// Returns the name of a class, or `class N` where there is none, or one with letters that the font
/// lacks: question marks in their places would be the same for many classes.
pub(super) fn class_label(id: usize, class_names: &[String]) -> String {
    match class_names.get(id) {
        Some(name) if !name.trim().is_empty() && has_letters(name) => name.clone(),
        None if id == usize::from(IGNORED_CLASS_ID) => "ignored".to_owned(),
        _ => format!("class {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_drawn_are_numbers() {
        let names = ["Himmel", "道路", "Дорога", " "].map(str::to_owned);
        let labels: Vec<String> = (0..5).map(|id| class_label(id, &names)).collect();
        assert_eq!(labels, ["Himmel", "class 1", "Дорога", "class 3", "class 4"]);
        assert_eq!(class_label(255, &names), "ignored");
    }
}
