//! Names of classes as pictures show them.

use super::font::{clean_text, has_letters};

/// Class id of ignored pixels. It repeats `IGNORE_INDEX` of `metrics`, because rooms of one floor
/// do not import each other (`docs/architecture.md#imports-point-down`).
pub(super) const IGNORED_CLASS_ID: u8 = 255;

/// Returns the name of a class, or `class N` where there is none, or one with letters that the font
/// lacks: question marks in their places would be the same for many classes.
pub fn class_label(id: usize, class_names: &[String]) -> String {
    let Some(name) = class_names.get(id) else {
        let is_ignored = id == usize::from(IGNORED_CLASS_ID);
        return if is_ignored { "ignored".to_owned() } else { format!("class {id}") };
    };
    let name = clean_text(name);
    if name.is_empty() || !has_letters(&name) { format!("class {id}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_drawn_are_numbers() {
        let names = ["Himmel", "道路", "Дорога", "\u{200b} ", "Ba\u{308}ume"].map(str::to_owned);
        let labels: Vec<String> = (0..6).map(|id| class_label(id, &names)).collect();
        assert_eq!(labels, ["Himmel", "class 1", "Дорога", "class 3", "Bäume", "class 5"]);
        assert_eq!(class_label(255, &names), "ignored");
    }
}
