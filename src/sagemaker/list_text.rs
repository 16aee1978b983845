//! Lists in text settings. SDKs write a list of Python as JSON (`["a", "b"]`), programs that call
//! `str` write Python's own form (`['a', 'b']`), and people write `a, b`.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

/// Characters that quote items. The last ones come from word processors, and are an error.
const QUOTES: [char; 8] = ['\'', '"', '`', '“', '”', '‘', '’', '„'];

/// Reads the items of a list, without space around them and without quotes. The error completes a
/// sentence about the text.
pub(crate) fn parse_list(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    let inner = if let Some(rest) = text.strip_prefix('[') {
        rest.strip_suffix(']').ok_or("begins with [ and does not end with ]")?
    } else if let Some(inner) = tuple_content(text) {
        inner
    } else if text.starts_with('{') {
        return Err("is no list but a map or a set, which has no order".to_owned());
    } else if starts_with_quote(text) {
        text
    } else {
        return split_plain(text);
    };
    let items = parse_items(inner)?;
    match &items[..] {
        // The whole text is quoted once more.
        [only] if inner.len() == text.len() => parse_unquoted(only),
        _ => Ok(items),
    }
}

/// Returns a list as text with commas. Texts that are no lists in brackets or quotes are returned
/// as they are, for a parser with messages of its own.
pub(crate) fn join_list(text: &str) -> Result<Cow<'_, str>, String> {
    let text = text.trim();
    if text.starts_with('[') || tuple_content(text).is_some() || starts_with_quote(text) {
        return Ok(parse_list(text)?.join(",").into());
    }
    Ok(text.into())
}

/// Returns the text between the parentheses of a tuple. Names may have parentheses too.
fn tuple_content(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    (starts_with_quote(inner.trim_start()) || !inner.contains(['(', ')'])).then_some(inner)
}

/// Returns true if a quoted text comes first, which Python 2 may begin with `u`.
fn starts_with_quote(text: &str) -> bool {
    text.strip_prefix('u').unwrap_or(text).starts_with(['\'', '"'])
}

/// Reads a text that was quoted as a whole. Its depth is limited, because each step is as long as
/// the text.
fn parse_unquoted(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    match text.strip_prefix('[') {
        Some(inner) => parse_items(inner.strip_suffix(']').ok_or("has [ without ]")?),
        None => split_plain(text),
    }
}

/// Splits a text without brackets at its commas.
fn split_plain(text: &str) -> Result<Vec<String>, String> {
    let mut items = Vec::new();
    for item in text.split(',') {
        let item = item.trim();
        let has_lost_bracket = item.ends_with(']') && !item.contains('[');
        if item.starts_with('[') || item.starts_with(QUOTES) || has_lost_bracket {
            return Err(format!("has the item {item:?}, whose bracket or quote cannot be meant"));
        }
        items.push(item.to_owned());
    }
    Ok(items)
}

/// Reads the items between the brackets of a list: texts in single or double quotes, or words. Words
/// beside quoted texts are numbers, because `None` is no text.
fn parse_items(inner: &str) -> Result<Vec<String>, String> {
    let mut items: Vec<String> = Vec::new();
    let (mut has_quoted, mut words) = (false, Vec::new());
    let mut chars = inner.chars().peekable();
    loop {
        skip_space(&mut chars);
        if chars.peek().is_none() {
            break;
        }
        let item = if let Some(quote) = read_quote(&mut chars) {
            has_quoted = true;
            read_quoted(&mut chars, quote)?.trim().to_owned()
        } else {
            let word = read_word(&mut chars)?;
            words.push(word.clone());
            word
        };
        items.push(item);
        skip_space(&mut chars);
        match chars.next() {
            None => break,
            Some(',') => {}
            Some(other) => {
                let number = items.len();
                return Err(format!("has {other:?} after item {number} where a comma belongs"));
            }
        }
    }
    if has_quoted && let Some(word) = words.iter().find(|word| word.parse::<f64>().is_err()) {
        return Err(format!("has the item {word} without quotes beside items with quotes"));
    }
    Ok(items)
}

fn skip_space(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| c.is_whitespace()).is_some() {}
}

/// Reads the opening quote of an item, which Python 2 may begin with `u`.
fn read_quote(chars: &mut Peekable<Chars<'_>>) -> Option<char> {
    let mut ahead = chars.clone();
    let is_unicode_prefix = ahead.next() == Some('u') && matches!(ahead.next(), Some('\'' | '"'));
    if is_unicode_prefix {
        chars.next();
    }
    chars.next_if(|c| matches!(c, '\'' | '"'))
}

/// Reads a word up to the next comma.
fn read_word(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let mut word = String::new();
    while let Some(c) = chars.next_if(|c| *c != ',') {
        word.push(c);
    }
    let word = word.trim();
    if word.is_empty() {
        return Err("has an empty item".to_owned());
    }
    if word.contains(QUOTES) || word.contains(['[', ']', '{', '}', '\\']) {
        return Err(format!("has the item {word:?}, whose bracket or quote cannot be meant"));
    }
    Ok(word.to_owned())
}

/// Reads an item up to its closing quote, with the escapes of JSON and Python.
fn read_quoted(chars: &mut Peekable<Chars<'_>>, quote: char) -> Result<String, String> {
    let mut units: Vec<u16> = Vec::new();
    let mut buffer = [0; 2];
    loop {
        let c = chars.next().ok_or("has a quote that does not end")?;
        if c == quote {
            // JSON writes characters beyond 16 bits as two escapes.
            return String::from_utf16(&units).map_err(|_| "has half a character".to_owned());
        }
        if c == '\\' {
            read_escape(chars, &mut units)?;
        } else {
            units.extend_from_slice(c.encode_utf16(&mut buffer));
        }
    }
}

/// Reads an escape behind its backslash, and adds its UTF-16.
fn read_escape(chars: &mut Peekable<Chars<'_>>, units: &mut Vec<u16>) -> Result<(), String> {
    let letter = chars.next().ok_or("ends with a backslash")?;
    let digit_count = match letter {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => 0,
    };
    if digit_count == 0 {
        let plain = match letter {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '\\' | '\'' | '"' | '/' => letter,
            other => return Err(format!("has the unknown escape \\{other}")),
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
        return Ok(());
    }
    let mut code = 0_u32;
    for _ in 0..digit_count {
        let digit = chars.next().and_then(|c| c.to_digit(16));
        let digit = digit.ok_or_else(|| format!("has an escape \\{letter} without its digits"))?;
        code = code.wrapping_mul(16).wrapping_add(digit);
    }
    if let Ok(unit) = u16::try_from(code) {
        units.push(unit);
    } else {
        let c = char::from_u32(code).ok_or("has an escape of no character")?;
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_python_and_plain_lists_have_the_same_items() {
        for text in [
            r#"["sky", "road"]"#,
            "['sky', 'road']",
            "[u'sky', u\"road\"]",
            "('sky', 'road')",
            "[ 'sky' ,\n\"road\" , ]",
            "[sky, road]",
            "'sky', 'road'",
            "u'sky', u'road'",
            r#""sky","road""#,
            "sky, road",
            " sky,road ",
            "'sky, road'",
            r#"'["sky", "road"]'"#,
            r#""['sky', 'road']""#,
        ] {
            assert_eq!(parse_list(text).unwrap(), ["sky", "road"], "{text}");
        }
    }

    #[test]
    fn quoted_items_may_hold_commas_quotes_brackets_and_escapes() {
        for (text, item) in [
            (r#"["sky, blue"]"#, "sky, blue"),
            (r#"["driver's seat"]"#, "driver's seat"),
            (r"['driver\'s seat']", "driver's seat"),
            (r#"["[x]"]"#, "[x]"),
            (r#"["\u00e4 \ud83d\ude00"]"#, "ä 😀"),
            (r"['\xe4 \U0001F600']", "ä 😀"),
            (r#"["a\\b"]"#, "a\\b"),
        ] {
            assert_eq!(parse_list(text).unwrap(), [item], "{text}");
        }
        assert_eq!(parse_list("[1, 2.5, 'x']").unwrap(), ["1", "2.5", "x"]);
        assert_eq!(parse_list("[]").unwrap(), [""; 0]);
        assert_eq!(parse_list("driver's seat, car (parked)").unwrap()[1], "car (parked)");
        assert_eq!(parse_list("(a), (b)").unwrap(), ["(a)", "(b)"]);
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        for (text, said) in [
            ("[\"sky\", \"road\"", "does not end with ]"),
            ("['sky' 'road']", "after item 1 where a comma belongs"),
            ("['sky', road]", "has the item road without quotes"),
            ("['sky', None]", "has the item None without quotes"),
            ("[['sky'], ['road']]", "cannot be meant"),
            (r#"[\"sky\", \"road\"]"#, "cannot be meant"),
            ("sky, \"road\"", "has the item \"\\\"road\\\"\""),
            ("sky, road]", "cannot be meant"),
            ("“sky”, “road”", "cannot be meant"),
            ("{'sky', 'road'}", "a map or a set"),
            ("['sky", "does not end with ]"),
            ("'sky', 'road", "a quote that does not end"),
            (r#"["\ud83d"]"#, "half a character"),
            (r"['\q']", "unknown escape"),
            ("[, a]", "an empty item"),
        ] {
            let error = parse_list(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn other_settings_get_their_list_with_commas() {
        for text in ["[10, 20]", "['10', '20']", "(10, 20)"] {
            assert_eq!(join_list(text).unwrap(), "10,20");
        }
        assert_eq!(join_list("10, x").unwrap(), "10, x");
    }

    proptest::proptest! {
        #[test]
        fn any_names_are_read_back_from_json_and_from_python(
            names in proptest::collection::vec("[^\\p{C}\\s]([^\\p{C}]{0,6}[^\\p{C}\\s])?", 2..5),
        ) {
            let json = serde_json::to_string(&names).unwrap();
            proptest::prop_assert_eq!(parse_list(&json).unwrap(), names.clone());
            let python: Vec<String> = names
                .iter()
                .map(|name| format!("'{}'", name.replace('\\', "\\\\").replace('\'', "\\'")))
                .collect();
            let python = format!("[{}]", python.join(", "));
            proptest::prop_assert_eq!(parse_list(&python).unwrap(), names);
        }

        #[test]
        fn any_text_is_a_list_or_an_error(text in r#"[\[\]"'\\,u\( a-c]{0,30}"#, other in ".{0,20}") {
            for text in [text, other] {
                let _ = join_list(&text);
                if let Ok(items) = parse_list(&text) {
                    let is_bracketed = text.trim_start().starts_with(['[', '(', '\'', '"']);
                    proptest::prop_assert!(
                        is_bracketed || items.iter().all(|item| !item.starts_with(['[', '"', '\'']))
                    );
                }
            }
        }
    }
}
