use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(text: &str) -> LabelsJson {
    LabelsJson::parse(text.as_bytes()).unwrap()
}

fn names(labels: &LabelsJson) -> Vec<&str> {
    labels.classes.iter().map(|class| class.name.as_str()).collect()
}

fn problems(text: &str) -> Vec<String> {
    LabelsJson::parse(text.as_bytes()).unwrap_err().problems().to_vec()
}

#[test]
fn every_form_gives_the_same_classes() {
    for text in [
        r#"["background", "road", "sky"]"#,
        r#"{"2": "sky", "0": "background", "1": "road"}"#,
        r#"{"1": "road", "2": "sky"}"#,
        "\u{feff}[\"background\", \"road\", \"sky\"]",
        r#"["background", {"name": "road"}, {"name": "sky", "color": null, "more": []}]"#,
        r#"{" 0": {"name": "background"}, "02": "sky", "1": {"name": "road"}}"#,
    ] {
        let labels = read(text);
        assert_eq!(names(&labels), ["background", "road", "sky"], "{text}");
        assert_eq!(labels.is_list, text.contains('['), "{text}");
    }
    assert_eq!(names(&read("{}")), ["background"]);
    assert_eq!(names(&read("[]")), [""; 0]);
    assert_eq!(names(&read(r#"[" sky\n", {"name": "deep sea "}]"#)), ["sky", "deep sea"]);
}

#[test]
fn colors_of_every_class_are_read_in_each_notation() {
    let labels = read(
        r##"{"0": {"name": "bg", "colour": [48, 112.0, 32]}, "1": {"color": "#ff8000", "name": "a"},
             "2": {"name": "b", "color": [0, 0, 255]}, "3": "c"}"##,
    );
    let colors: Vec<_> = labels.classes.iter().map(|class| class.color).collect();
    assert_eq!(colors, [Some([48, 112, 32]), Some([255, 128, 0]), Some([0, 0, 255]), None]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    assert_eq!(
        problems(
            r#"{"0": "a", "00": "b", "3": 7, "road": "d", "255": "void", "-1": "x", "7": {"color": "?"},
                "8": {"name": "e", "color": [1, 2], "colour": null}, "9": " ", "10": {"name": []}}"#
        ),
        [
            "has class 0 twice; keep one of its names",
            "has the number 7 for class 3; expected a name or {\"name\": \"road\", \"color\": [255, 0, 0]}",
            "has the key \"road\", which is no class; allowed: whole numbers from 0 to 254 (255 is what \
             is ignored)",
            "has the key \"255\", which is no class; allowed: whole numbers from 0 to 254 (255 is what \
             is ignored)",
            "has the key \"-1\", which is no class; allowed: whole numbers from 0 to 254 (255 is what \
             is ignored)",
            "has the color the text \"?\" for class 7; allowed: red, green and blue from 0 to 255, as in \
             [255, 0, 0], or \"#ff0000\"",
            "has an object without a name for class 7",
            "has two values of colour for class 8; keep one",
            "has a name for class 9 that is empty or unprintable",
            "has [] as the name of class 10; expected a text",
            "has no classes 1 to 2 but a class 3; name every class",
            "has no classes 4 to 6 but a class 7; name every class",
        ]
    );
    assert_eq!(
        problems(r#"{"1": "a", "3": {"name": "b", "color": [0, 256, 0]}}"#),
        [
            "has the color [0, 256, 0] for class 3; allowed: red, green and blue from 0 to 255, as in \
             [255, 0, 0], or \"#ff0000\"",
            "has no class 2 but a class 3; name every class",
        ]
    );
    assert_eq!(problems("[\"a\", null, true]").len(), 2);
    assert!(problems("3")[0].starts_with("is the number 3; expected [\"background\""));
    assert!(problems("[\"a\"")[0].starts_with("is no JSON: EOF"));
    assert!(problems("")[0].contains("expected [\"background\""));
    let many = json!(vec!["x"; 256]).to_string();
    assert_eq!(problems(&many), ["has 256 classes; 255 are allowed, 0 to 254"]);
    assert_eq!(problems(&" ".repeat(MAX_BYTES + 1)), ["has 1048577 bytes; 1048576 are allowed"]);
    let long = problems(&json!({ "x".repeat(5000): 1 }).to_string());
    assert!(long[0].len() < 300, "{long:?}");
}

#[test]
fn a_name_for_two_classes_is_told_with_both() {
    let labels = read(r#"["a", "b", "a", "a"]"#);
    assert_eq!(
        labels.check_unique_names().unwrap_err().problems(),
        [
            "has the name \"a\" for the classes 0 and 2; give each a name of its own",
            "has the name \"a\" for the classes 2 and 3; give each a name of its own",
        ]
    );
    for twice in ["[\"a\", \"\u{e9}\", \"e\u{301}\"]", r#"["a", "b", " b"]"#] {
        let error = read(twice).check_unique_names().unwrap_err().to_string();
        assert!(error.contains("for the classes 1 and 2"), "{error}");
    }
    assert_eq!(read(r#"["a", "b"]"#).check_unique_names(), Ok(()));
}

/// Returns a strategy for JSON values as deep as two levels.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|truth| json!(truth)),
        (-2..300_i64).prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        "[a-c#0-9]{0,3}".prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let key = prop_oneof!["[0-3]", "name", "color", ".{0,3}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| json!(values)),
            prop::collection::btree_map(key, inner, 0..4).prop_map(|values| json!(values)),
        ]
    })
}

proptest! {
    #[test]
    fn any_file_is_classes_or_problems(bytes: Vec<u8>, value in any_json()) {
        let _ = LabelsJson::parse(&bytes);
        match LabelsJson::parse(value.to_string().as_bytes()) {
            Ok(labels) => {
                prop_assert!(labels.classes.len() <= MAX_CLASS + 1);
                prop_assert!(labels.classes.iter().all(|class| !class.name.trim().is_empty()));
                let _ = labels.check_unique_names();
            }
            Err(error) => prop_assert!(!error.problems().is_empty()),
        }
    }

    #[test]
    fn a_list_and_the_map_of_its_names_are_the_same_classes(
        written in prop::collection::vec("[a-z ]{0,3}x", 1..30),
    ) {
        let list = LabelsJson::parse(json!(written).to_string().as_bytes()).unwrap();
        let by_class: serde_json::Map<String, serde_json::Value> = written
            .iter()
            .enumerate()
            .map(|(class, name)| (class.to_string(), json!({"name": name})))
            .collect();
        let map = LabelsJson::parse(json!(by_class).to_string().as_bytes()).unwrap();
        prop_assert_eq!(&list.classes, &map.classes);
        for (class, name) in list.classes.iter().zip(&written) {
            prop_assert_eq!(&class.name, name.trim());
        }
    }
}
