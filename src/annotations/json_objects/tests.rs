use proptest::prelude::*;

use super::scanner::MAX_DEPTH;
use super::*;

/// A reader that returns one byte at a time.
struct OneByteReader<'a>(&'a [u8]);

impl Read for OneByteReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.len().min(buffer.len()).min(1);
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn read(text: &str) -> Result<Vec<(u64, String)>, String> {
    let whole = |element: JsonObject| (element.offset, String::from_utf8(element.bytes).unwrap());
    let at_once: Result<Vec<_>, Error> = JsonObjects::new(text.as_bytes(), 1000).collect();
    let at_once = at_once.map_err(String::from);
    let by_byte: Result<Vec<_>, Error> =
        JsonObjects::new(OneByteReader(text.as_bytes()), 1000).collect();
    assert_eq!(at_once, by_byte.map_err(String::from));
    at_once.map(|elements| elements.into_iter().map(whole).collect())
}

fn parse_error(text: &str) -> String {
    read(text).unwrap_err()
}

#[test]
fn an_array_an_object_and_lines_give_their_objects_with_offsets() {
    let two = vec![(1, "{\"a\":1}".to_owned()), (10, "{}".to_owned())];
    assert_eq!(read("[{\"a\":1}, {}]").unwrap(), two);
    let lines = vec![(1, "{\"a\":1}".to_owned()), (11, "{}".to_owned())];
    assert_eq!(read("\n{\"a\":1}\r\n {}\n").unwrap(), lines);
    assert_eq!(read("{}{}").unwrap().len(), 2);
    assert_eq!(read("{}").unwrap(), [(0, "{}".to_owned())]);
    assert_eq!(read(" [ ] ").unwrap(), []);
    let marked = read("\u{feff}[{}]").unwrap();
    assert_eq!(marked, [(4, "{}".to_owned())]);
}

#[test]
fn brackets_and_quotes_in_strings_do_not_count() {
    let text = r#"[{"a}": "]\"}\\", "b\\": [{"c": "\u007b"}]}, {"": "{"}]"#;
    let found = read(text).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1], (45, r#"{"": "{"}"#.to_owned()));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    assert_eq!(parse_error(""), "is empty; expected JSON");
    assert_eq!(parse_error("\u{feff} \n"), "is empty; expected JSON");
    assert_eq!(parse_error("hello"), "has h at byte 0 where { or [ belongs");
    assert_eq!(parse_error("[{}] x"), "has x at byte 5 where the end of the document belongs");
    assert_eq!(parse_error("[{} {}]"), "has { at byte 4 where , or ] belongs");
    assert_eq!(parse_error("[{},]"), "has ] at byte 4 where an object belongs");
    assert_eq!(parse_error("[,{}]"), "has , at byte 1 where an object or ] belongs");
    assert_eq!(parse_error("[1]"), "has 1 at byte 1 where an object or ] belongs");
    assert_eq!(parse_error("{},{}"), "has , at byte 2 where another object or the end belongs");
    assert_eq!(parse_error("[{}"), "ends at byte 3 where , or ] belongs");
    assert_eq!(parse_error("[\u{e9}]"), "has the byte 0xc3 at byte 1 where an object or ] belongs");
    let cut = "ends at byte 9 inside of the value that begins at byte 1: it was cut off";
    assert_eq!(parse_error("[{\"a\": \"}"), cut);
    let crossed = "has ] at byte 6 where } belongs, in the value that begins at byte 0";
    assert_eq!(parse_error("{\"a\": ]"), crossed);
    let utf_16 = JsonObjects::new(&b"\xFF\xFE[\0"[..], 10).next().unwrap().unwrap_err().to_string();
    assert_eq!(utf_16, "is UTF-16 text; save it as UTF-8");
}

#[test]
fn after_an_error_there_is_nothing_more() {
    let mut elements = JsonObjects::new(&b"[{} {}]"[..], 10);
    assert!(elements.next().unwrap().is_ok());
    assert!(elements.next().unwrap().is_err());
    assert!(elements.next().is_none());
}

#[test]
fn an_element_over_the_limit_is_refused_before_it_is_held() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            buffer.fill(b'1');
            if self.0 == 0 {
                buffer[..2].copy_from_slice(b"{[");
            }
            self.0 += buffer.len() as u64;
            assert!(self.0 < 2 << 20, "more is read than the limit allows");
            Ok(buffer.len())
        }
    }
    let text = JsonObjects::new(Endless(0), 1 << 20).next().unwrap().unwrap_err().to_string();
    let told = "has a value at byte 0 that is longer than 1048576 bytes, the limit for one";
    assert_eq!(text, told);
    assert_eq!(JsonObjects::new(&b"[{\"a\":1}]"[..], 7).count(), 1);
    assert!(JsonObjects::new(&b"[{\"a\":1}]"[..], 7).next().unwrap().is_ok());
    assert!(JsonObjects::new(&b"[{\"a\":1}]"[..], 6).next().unwrap().is_err());
}

#[test]
fn nesting_bombs_are_refused() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let most = MAX_DEPTH as usize - 1;
    assert!(JsonObjects::new(nested(most).as_bytes(), 1 << 20).next().unwrap().is_ok());
    let bomb = nested(1_000_000);
    for text in [nested(most + 1), bomb.clone()] {
        let told =
            JsonObjects::new(text.as_bytes(), 1 << 22).next().unwrap().unwrap_err().to_string();
        assert_eq!(told, "is nested deeper than 128 levels at byte 132; no annotation is");
    }
    assert!(read_object_keys(bomb.as_bytes()).is_err());
}

fn list_offsets(text: &str) -> Result<Vec<(&'static str, u64)>> {
    let read = KeyedObjects::new(text.as_bytes(), &["images", "notes"], 100);
    read.map(|member| member.map(|(key, element)| (key, element.offset))).collect()
}

#[test]
fn the_lists_under_named_keys_are_found_in_any_order() {
    let text =
        r#"{"info": {"images": [{}]}, "notes": [{}, {"a": []}], "x": -1.5e3, "im\u0061ges": [{}]}"#;
    assert_eq!(list_offsets(text).unwrap(), [("notes", 37), ("notes", 41), ("images", 82)]);
    assert_eq!(list_offsets(r#"{"images": null, "notes": []}"#).unwrap(), []);
    assert_eq!(list_offsets("{}").unwrap(), []);
    let told = |text| list_offsets(text).unwrap_err().to_string();
    assert_eq!(told("[]"), "has [ at byte 0 where { belongs");
    assert_eq!(told(r#"{"images": 3}"#), "has 3 at byte 11 where the list of images belongs");
    assert_eq!(
        told(r#"{"images": [1]}"#),
        "has 1 at byte 12 where an object or ] belongs (in images)"
    );
    let twice = told(r#"{"notes": [], "notes": []}"#);
    assert_eq!(twice, "has the key notes twice, the second time at byte 23");
    assert_eq!(told(r#"{"a": }"#), "has } at byte 6 where a value belongs");
    assert_eq!(told(r#"{"a" 1}"#), "has 1 at byte 5 where : belongs");
    assert_eq!(told("{a: 1}"), "has a at byte 1 where a key belongs");
    assert_eq!(told(r#"{"a": 1} {}"#), "has { at byte 9 where the end of the document belongs");
    assert!(told(r#"{"\q": 1}"#).starts_with("has a key at byte 1 that is no string: "));
}

#[test]
fn keys_are_those_of_the_object_itself() {
    assert_eq!(
        read_object_keys(br#" {"a": {"b": 1}, "c": [{"d": 2}], "e": "f"}"#).unwrap(),
        ["a", "c", "e"]
    );
    assert!(read_object_keys(b"[]").is_err());
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i32>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        "[\\\\\"{}\\[\\]]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn elements_are_what_serde_reads(
        list in prop::collection::vec(prop::collection::vec((any::<String>(), json()), 0..4), 0..5),
        pretty: bool,
    ) {
        let objects: Vec<serde_json::Value> = list
            .into_iter()
            .map(|pairs| serde_json::Value::Object(pairs.into_iter().collect()))
            .collect();
        let print = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
        let text = print(&objects).unwrap();
        for drops in [false, true] {
            let source: Box<dyn Read> =
                if drops { Box::new(OneByteReader(text.as_bytes())) } else { Box::new(text.as_bytes()) };
            let mut read = Vec::new();
            for element in JsonObjects::new(source, 1 << 20) {
                let JsonObject { offset, bytes } = element.unwrap();
                prop_assert_eq!(&text.as_bytes()[offset as usize..][..bytes.len()], &bytes[..]);
                read.push(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap());
            }
            prop_assert_eq!(&read, &objects);
        }
        for (object, value) in objects.iter().zip(JsonObjects::new(text.as_bytes(), 1 << 20)) {
            let mut expected: Vec<&String> = object.as_object().unwrap().keys().collect();
            let mut found = read_object_keys(&value.unwrap().bytes).unwrap();
            expected.sort();
            found.sort();
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn any_bytes_are_elements_or_an_error(bytes in "[\\[\\]{}\",:\\\\ 1a]{0,60}") {
        let at_once: Result<Vec<_>, _> = JsonObjects::new(bytes.as_bytes(), 40).collect();
        let by_byte: Result<Vec<_>, _> = JsonObjects::new(OneByteReader(bytes.as_bytes()), 40).collect();
        // A value that is too long is detected at another byte, and then the document is cut or
        // crossed.
        prop_assert_eq!(at_once.is_ok(), by_byte.is_ok());
        let members = KeyedObjects::new(bytes.as_bytes(), &["a", "1"], 40);
        let members: Result<Vec<_>, _> = members.collect();
        prop_assert!(members.is_ok() || members.is_err_and(|error| !error.to_string().is_empty()));
        let is_object = serde_json::from_str::<serde_json::Value>(&bytes).is_ok_and(|v| v.is_object());
        prop_assert!(!is_object || read_object_keys(bytes.as_bytes()).is_ok());
        has_object_list(bytes.as_bytes(), &["a"]);
    }
}
