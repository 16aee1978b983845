//! Compact form of the lists of numbers of brush regions, which make up most of a document. Read as
//! numbers by a general JSON parser, they would cost five times as much as the rasterization.
//!
//! Before an element is parsed, its well-formed lists under `rle` are replaced by texts, which any
//! parser skips or copies fast. All other lists stay, and the parser reports what is wrong with
//! them.

use std::borrow::Cow;

use memchr::memmem;

/// Prefix of a packed list. Two hexadecimal digits per number follow.
pub(super) const PACKED_PREFIX: &str = "bytes:";

const RLE_KEY: &[u8] = b"\"rle\"";

/// Returns the element with its lists packed.
///
/// Quotes inside of a JSON text are escaped, so the key with its quotes, a colon and a bracket is
/// never part of a text.
pub(super) fn pack_rle_lists(element: &[u8]) -> Cow<'_, [u8]> {
    let mut packed = Vec::new();
    let mut copied = 0;
    for key_start in memmem::find_iter(element, RLE_KEY) {
        let key_end = key_start + RLE_KEY.len();
        let Some(start) = find_list_start(element, key_end) else { continue };
        if start < copied {
            continue;
        }
        let packed_length = packed.len();
        packed.extend_from_slice(&element[copied..start]);
        packed.push(b'"');
        packed.extend_from_slice(PACKED_PREFIX.as_bytes());
        if let Some(list_length) = pack_list(&element[start..], &mut packed) {
            packed.push(b'"');
            copied = start + list_length;
        } else {
            packed.truncate(packed_length);
        }
    }
    if copied == 0 {
        return Cow::Borrowed(element);
    }
    packed.extend_from_slice(&element[copied..]);
    Cow::Owned(packed)
}

/// Returns the position of the list that belongs to a key which ends at `key_end`.
fn find_list_start(element: &[u8], key_end: usize) -> Option<usize> {
    let colon = skip_spaces(element, key_end);
    let list_start =
        skip_spaces(element, (element.get(colon) == Some(&b':')).then_some(colon + 1)?);
    (element.get(list_start) == Some(&b'[')).then_some(list_start)
}

fn skip_spaces(bytes: &[u8], mut position: usize) -> usize {
    while matches!(bytes.get(position), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        position += 1;
    }
    position
}

/// Packs the list with which `bytes` begins, and returns its length in bytes; none if the list
/// holds anything but numbers from 0 to 255.
fn pack_list(bytes: &[u8], packed: &mut Vec<u8>) -> Option<usize> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut position = 1;
    loop {
        position = skip_spaces(bytes, position);
        let (mut number, start) = (0_u16, position);
        while let Some(digit @ b'0'..=b'9') = bytes.get(position) {
            number = number * 10 + u16::from(digit - b'0');
            position += 1;
            if position - start > 3 {
                return None;
            }
        }
        // JSON allows no leading zeros.
        let is_number = position > start && (position == start + 1 || bytes[start] != b'0');
        if !is_number {
            return None;
        }
        let byte = u8::try_from(number).ok()?;
        packed.push(DIGITS[usize::from(byte >> 4)]);
        packed.push(DIGITS[usize::from(byte & 15)]);
        position = skip_spaces(bytes, position);
        match bytes.get(position) {
            Some(b',') => position += 1,
            Some(b']') => return Some(position + 1),
            _ => return None,
        }
    }
}

/// Returns the numbers of a packed list; none if the text is no packed list.
pub(super) fn unpack_list(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(PACKED_PREFIX)?.as_bytes();
    if digits.len() % 2 != 0 {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| Some(hex_value(pair[0])? << 4 | hex_value(pair[1])?))
        .collect()
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(element: &str) -> String {
        String::from_utf8(pack_rle_lists(element.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn lists_of_bytes_are_packed_and_everything_else_stays() {
        assert_eq!(
            text("{\"rle\" : [ 0,1 ,255], \"b\":[1]}"),
            "{\"rle\" : \"bytes:0001ff\", \"b\":[1]}"
        );
        assert_eq!(
            text(r#"[{"rle":[16]},{"rle":[7,8]}]"#),
            r#"[{"rle":"bytes:10"},{"rle":"bytes:0708"}]"#
        );
        for same in [
            r#"{"rle":[]}"#,
            r#"{"rle":[256]}"#,
            r#"{"rle":[1000]}"#,
            r#"{"rle":[01]}"#,
            r#"{"rle":[-1]}"#,
            r#"{"rle":[1.5]}"#,
            r#"{"rle":[1,]}"#,
            r#"{"rle":[1"#,
            r#"{"rle":["rle":[1]]}x"#,
            r#"{"rle":null,"x":"rle"}"#,
            r#"{"x":"\"rle\":[1]"}"#,
        ] {
            let expected = same.replace(r#""rle":[1]]"#, r#""rle":"bytes:01"]"#);
            assert_eq!(text(same), expected);
        }
    }

    #[test]
    fn only_packed_lists_are_unpacked() {
        assert_eq!(unpack_list("bytes:00ff"), Some(vec![0, 255]));
        for wrong in ["00ff", "bytes:0", "bytes:0g", "bytes:0F", ""] {
            assert_eq!(unpack_list(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn packing_keeps_the_numbers(bytes: Vec<u8>) {
            prop_assume!(!bytes.is_empty());
            let element = serde_json::json!({"rle": bytes}).to_string();
            let value: serde_json::Value = serde_json::from_slice(&pack_rle_lists(element.as_bytes())).unwrap();
            prop_assert_eq!(unpack_list(value["rle"].as_str().unwrap()), Some(bytes));
        }

        #[test]
        fn any_bytes_are_packed_or_stay(bytes: Vec<u8>, text in r#"["rle:\[\]0-9, ]{0,40}"#) {
            let _ = pack_rle_lists(&bytes);
            let _ = pack_rle_lists(text.as_bytes());
        }
    }
}
