//! Ids of COCO's images and categories.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// Largest number of characters of an id in a message.
const MAX_SHOWN_CHARS: usize = 80;

/// Limit below which every whole number has a float of its own.
const MAX_EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

/// Id of an image or a category: a number or a text, as pycocotools takes any value.
///
/// Two ids are the same if they are the same number, however it is written: 7, 7.0, "7" and "7.0".
/// Writers mix these forms in one file. Other texts, of which "007" is one, are the same if they
/// are equal letter by letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CocoId(Repr);

/// The one form in which an id is kept, so that equal ids are equal values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Number(i64),
    Text(String),
}

impl CocoId {
    /// Makes the id that a text means: the number if it is written as JSON writes one.
    pub fn from_text(text: &str) -> Self {
        let text = text.trim();
        match parse_whole_number(text) {
            Some(number) => Self(Repr::Number(number)),
            None => Self(Repr::Text(text.to_owned())),
        }
    }

    /// Makes the id of a number that was written as a float.
    fn from_float(number: f64) -> Self {
        match float_to_whole(number) {
            Some(number) => Self(Repr::Number(number)),
            None => Self(Repr::Text(number.to_string())),
        }
    }
}

impl From<i64> for CocoId {
    fn from(number: i64) -> Self {
        Self(Repr::Number(number))
    }
}

/// Returns the whole number that a text writes as JSON would: `7` or `7.0`, and not `007` or `+7`.
fn parse_whole_number(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return (number.to_string() == text).then_some(number);
    }
    let (whole, fraction) = text.split_once('.')?;
    if fraction.is_empty() || !fraction.bytes().all(|digit| digit == b'0') {
        return None;
    }
    let number: i64 = whole.parse().ok()?;
    (number.to_string() == whole).then_some(number)
}

/// Returns a float as a whole number, if it is one and no other number has the same float.
fn float_to_whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < MAX_EXACT_FLOAT).then_some(number as i64)
}

/// Shows the id; a long text is cut.
impl fmt::Display for CocoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.0 {
            Repr::Number(number) => return write!(f, "{number}"),
            Repr::Text(text) => text,
        };
        match text.char_indices().nth(MAX_SHOWN_CHARS) {
            Some((length, _)) => write!(f, "{}...", &text[..length]),
            None => f.write_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for CocoId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = CocoId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id, a number or a text")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<CocoId, E> {
                Ok(CocoId::from(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<CocoId, E> {
                match i64::try_from(number) {
                    Ok(number) => Ok(CocoId::from(number)),
                    Err(_) => Ok(CocoId::from_text(&number.to_string())),
                }
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<CocoId, E> {
                Ok(CocoId::from_float(number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<CocoId, E> {
                if text.trim().is_empty() {
                    return Err(E::invalid_value(Unexpected::Str(text), &self));
                }
                Ok(CocoId::from_text(text))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn id(value: serde_json::Value) -> CocoId {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn one_number_is_one_id_however_it_is_written() {
        for same in [json!(7), json!(7.0), json!("7"), json!("7.0"), json!(" 7 "), json!("7.00")] {
            assert_eq!(id(same.clone()), CocoId::from(7), "{same}");
        }
        assert_eq!(id(json!(-3.0)), id(json!("-3")));
        assert_eq!(id(json!(u64::MAX)), id(json!(u64::MAX.to_string())));
        assert_eq!(id(json!(1.5)), id(json!("1.5")));
    }

    #[test]
    fn other_texts_are_equal_letter_by_letter() {
        let texts =
            ["007", "7", "+7", "7.", "7.5", "0x7", "a", "A", "0000001_02999", "img_b", "1e3"];
        for (first_index, first) in texts.iter().enumerate() {
            for (second_index, second) in texts.iter().enumerate() {
                let is_same = id(json!(first)) == id(json!(second));
                assert_eq!(is_same, first_index == second_index, "{first} {second}");
            }
        }
    }

    #[test]
    fn what_is_no_id_is_refused_and_long_texts_are_cut() {
        for wrong in [json!(null), json!(""), json!("  "), json!([1]), json!({}), json!(true)] {
            let error = serde_json::from_value::<CocoId>(wrong.clone()).unwrap_err().to_string();
            assert!(error.contains("expected an id, a number or a text"), "{wrong}: {error}");
        }
        let shown = id(json!("é".repeat(500))).to_string();
        assert_eq!(shown.chars().count(), MAX_SHOWN_CHARS + 3);
        assert_eq!(id(json!("img_b")).to_string(), "img_b");
        assert_eq!(id(json!(7.0)).to_string(), "7");
    }

    proptest! {
        #[test]
        fn numbers_are_equal_in_every_form(number in -(1_i64 << 53) + 1..1_i64 << 53, other: i64) {
            let forms = [json!(number), json!(number as f64), json!(number.to_string()),
                json!(format!("{number}.0"))];
            for form in forms {
                prop_assert_eq!(id(form), CocoId::from(number));
            }
            prop_assert_eq!(id(json!(other)) == CocoId::from(number), other == number);
        }

        #[test]
        fn different_texts_are_different_ids(first in "[0-9a.+-]{1,6}", second in "[0-9a.+-]{1,6}") {
            let is_same = id(json!(first)) == id(json!(second));
            let numbers = [&first, &second].map(|text| serde_json::from_str::<f64>(text).ok());
            let is_same_number = numbers[0].is_some() && numbers[0] == numbers[1];
            prop_assert!(!is_same || first == second || is_same_number);
            prop_assert!(first != second || is_same);
        }
    }
}
