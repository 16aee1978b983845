//! JSON as Python's `json` module writes it: with NaN, Infinity and -Infinity, which JSON has not.
//!
//! pandas writes NaN for every value that is missing, and JavaScript writes null for the same
//! numbers. So all three are read as null: harmless where a value may be missing, and no number
//! where one is needed. A text without them costs nothing more, because it is parsed as it is
//! first.

use serde::de::DeserializeOwned;

/// The numbers that Python writes and JSON does not know.
const NON_FINITE_NUMBERS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// Text that stands in place of such a number.
const NULL: &[u8] = b"null";

/// Mark with which some editors begin a file.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Parses JSON that may begin with a byte order mark and may hold NaN, Infinity and -Infinity,
/// which are read as null.
pub fn parse_python_json<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    match serde_json::from_slice(text) {
        Ok(value) => Ok(value),
        Err(error) => match replace_non_finite_numbers(text) {
            Some(replaced) => serde_json::from_slice(&replaced),
            None => Err(error),
        },
    }
}

/// Returns JSON in which null stands in place of every NaN, Infinity and -Infinity outside of
/// strings. Returns none if the text has none of them.
pub fn replace_non_finite_numbers(text: &[u8]) -> Option<Vec<u8>> {
    let mut replaced = Vec::new();
    // End of the part of `text` that `replaced` holds already.
    let mut copied = 0;
    let mut position = 0;
    // True if a value may begin at `position`: not in the middle of a word such as `xNaN`.
    let mut is_at_start = true;
    while let Some(&byte) = text.get(position) {
        if byte == b'"' {
            position += string_length(&text[position..]);
            is_at_start = false;
            continue;
        }
        let length = non_finite_length(&text[position..]);
        if is_at_start && length > 0 {
            replaced.extend_from_slice(&text[copied..position]);
            replaced.extend_from_slice(NULL);
            position += length;
            copied = position;
            is_at_start = false;
            continue;
        }
        is_at_start = !is_word_byte(byte);
        position += 1;
    }
    if copied == 0 {
        return None;
    }
    replaced.extend_from_slice(&text[copied..]);
    Some(replaced)
}

/// Returns the length of the number without a value with which `text` begins, in bytes; 0 if it
/// begins with another text.
fn non_finite_length(text: &[u8]) -> usize {
    for number in NON_FINITE_NUMBERS {
        if let Some(rest) = text.strip_prefix(number)
            && !rest.first().is_some_and(|byte| is_word_byte(*byte))
        {
            return number.len();
        }
    }
    0
}

/// Returns the length in bytes of the string with which `text` begins, both quotes included. A
/// string that does not end goes to the end of the text.
fn string_length(text: &[u8]) -> usize {
    let mut position = 1;
    while let Some(offset) = memchr::memchr2(b'"', b'\\', text.get(position..).unwrap_or(&[])) {
        position += offset + 1;
        if text[position - 1] == b'"' {
            return position;
        }
        // The byte behind a backslash ends no string.
        position += 1;
    }
    text.len()
}

/// Returns true for a byte that is part of a word or a number.
fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn replace(text: &str) -> String {
        let replaced = replace_non_finite_numbers(text.as_bytes());
        String::from_utf8(replaced.unwrap_or_else(|| text.into())).unwrap()
    }

    #[test]
    fn numbers_without_a_value_become_null_outside_of_strings_only() {
        assert_eq!(replace("NaN"), "null");
        assert_eq!(replace("[NaN,-Infinity, Infinity]"), "[null,null, null]");
        assert_eq!(replace("{\"NaN\": NaN\n}"), "{\"NaN\": null\n}");
        for kept in
            ["[\"NaN\"]", r#"["\"NaN", "\\"]"#, "[nan]", "NaNs", "xNaN", "1NaN", "--Infinity"]
        {
            assert_eq!(replace(kept), kept);
        }
        assert_eq!(replace_non_finite_numbers(b"[1, \"Infinity"), None);
        // A string that ends with a backslash has its quote behind it.
        assert_eq!(replace(r#"["a\\", NaN]"#), r#"["a\\", null]"#);
        assert_eq!(replace(r#"["a\", NaN"#), r#"["a\", NaN"#);
    }

    #[test]
    fn a_byte_order_mark_and_missing_numbers_are_read_and_other_errors_stay() {
        let read: Value = parse_python_json(b"\xEF\xBB\xBF{\"area\": NaN, \"id\": 3}").unwrap();
        assert_eq!(read, json!({"area": null, "id": 3}));
        assert!(parse_python_json::<Value>(b"[NaN, }").is_err());
        assert!(parse_python_json::<Value>(b"[nan]").is_err());
        assert!(parse_python_json::<f64>(b"NaN").is_err());
    }

    /// JSON with numbers that have no value: the text with them, and the value with null.
    fn python_json() -> impl Strategy<Value = (String, Value)> {
        let number = prop_oneof!["NaN", "Infinity", "-Infinity"];
        let leaf = prop_oneof![
            number.prop_map(|text| (text, Value::Null)),
            "[\\\\\"NaInfity\\-]{0,8}".prop_map(|text| (json!(text).to_string(), json!(text))),
            any::<i32>().prop_map(|number| (number.to_string(), json!(number))),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            prop::collection::vec(inner, 0..5).prop_map(|list| {
                let (texts, values): (Vec<String>, Vec<Value>) = list.into_iter().unzip();
                (format!("[{}]", texts.join(", ")), Value::Array(values))
            })
        })
    }

    proptest! {
        #[test]
        fn what_python_writes_is_read_with_null_in_place((text, expected) in python_json()) {
            prop_assert_eq!(parse_python_json::<Value>(text.as_bytes()).unwrap(), expected);
        }

        #[test]
        fn valid_json_stays_as_it_is(text in ".{0,20}", number: f64) {
            let written = json!({ "a": text, text: [number] }).to_string();
            prop_assert_eq!(replace_non_finite_numbers(written.as_bytes()), None);
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>, text in "[NaInfity\"\\\\,:{}\\[\\]-]{0,40}") {
            let _ = parse_python_json::<Value>(&bytes);
            let _ = parse_python_json::<Value>(text.as_bytes());
        }
    }
}
