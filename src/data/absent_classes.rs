//! Classes without a pixel in the masks of one split or of both. A job learns nothing of a class
//! that training never shows, and scores nothing of one that validation never shows.

use super::audit::Histogram;
use crate::error::{join_examples, pluralize};

/// Returns one warning about all classes that lack pixels, if there are any. `class_names` has one
/// name per class, class 0 first.
pub fn absent_classes_warning(
    training: &Histogram,
    validation: &Histogram,
    class_names: &[String],
) -> Option<String> {
    let (mut nowhere, mut unlearned, mut unscored) = (Vec::new(), Vec::new(), Vec::new());
    let mut learned = Vec::new();
    for (id, name) in class_names.iter().enumerate() {
        let (Some(&trained), Some(&validated)) = (training.get(id), validation.get(id)) else {
            continue;
        };
        let class = describe_class(id, name);
        match (trained, validated) {
            (0, 0) => nowhere.push(class),
            (0, pixels) => unlearned.push(with_pixels(&class, pixels)),
            (pixels, 0) => unscored.push(with_pixels(&class, pixels)),
            _ => {}
        }
        if trained > 0 {
            learned.push(with_pixels(&describe_class(id, name), trained));
        }
    }
    let mut parts = Vec::new();
    if let ([only], 2..) = (&learned[..], class_names.len()) {
        parts.push(format!("the training masks hold only {only}, so nothing else is learned"));
    }
    let kinds = [
        ("in no mask", nowhere),
        ("only in validation masks, so never learned", unlearned),
        ("only in training masks, so never scored", unscored),
    ];
    for (kind, classes) in kinds {
        if !classes.is_empty() {
            parts.push(format!(
                "{kind} ({}): {}",
                classes.len(),
                join_examples(classes.iter().cloned())
            ));
        }
    }
    if parts.is_empty() {
        return None;
    }
    Some(format!(
        "of {} some are without a pixel: {}; see that num_classes and the masks are those that are \
         meant",
        pluralize_classes(class_names.len()),
        parts.join("; ")
    ))
}

/// Returns the name of a class and its id, unless the name is the id.
fn describe_class(id: usize, name: &str) -> String {
    if name == format!("class {id}") { name.to_owned() } else { format!("{name} (class {id})") }
}

fn with_pixels(class: &str, pixels: u64) -> String {
    let pixels = pluralize(usize::try_from(pixels).unwrap_or(usize::MAX), "pixel");
    format!("{class} with {pixels}")
}

fn pluralize_classes(count: usize) -> String {
    format!("{count} {}", if count == 1 { "class" } else { "classes" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(training: &[u64], validation: &[u64], names: &[&str]) -> Option<String> {
        let [training, validation] = [training, validation].map(|counts| {
            let mut histogram: Box<Histogram> = Box::new([0; 256]);
            histogram[..counts.len()].copy_from_slice(counts);
            histogram
        });
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        absent_classes_warning(&training, &validation, &names)
    }

    #[test]
    fn all_classes_without_pixels_are_told_at_once() {
        let names = ["background", "sky", "road", "class 3", "car"];
        assert_eq!(warning(&[9, 9, 9, 9, 9], &[1, 1, 1, 1, 1], &names), None);
        assert_eq!(
            warning(&[9, 0, 7, 0, 5], &[9, 1, 0, 0, 5], &names).unwrap(),
            "of 5 classes some are without a pixel: in no mask (1): class 3; only in validation \
             masks, so never learned (1): sky (class 1) with 1 pixel; only in training masks, so \
             never scored (1): road (class 2) with 7 pixels; see that num_classes and the masks \
             are those that are meant"
        );
    }

    #[test]
    fn masks_of_one_class_and_far_too_many_classes_are_told() {
        let said = warning(&[90], &[10], &["background", "sky"]).unwrap();
        assert!(
            said.contains("hold only background (class 0) with 90 pixels, so nothing"),
            "{said}"
        );
        assert!(said.contains("in no mask (1): sky (class 1)"), "{said}");
        let said = warning(&[0, 90], &[0, 10], &["class 0", "class 1"]).unwrap();
        assert!(said.contains("hold only class 1 with 90 pixels"), "{said}");

        let names: Vec<String> = (0..21).map(|id| format!("class {id}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let said = warning(&[1, 1, 1, 1], &[1, 1, 1, 1], &names).unwrap();
        assert!(
            said.contains("in no mask (17): class 4, ") && said.contains(" and 12 more"),
            "{said}"
        );
    }
}
