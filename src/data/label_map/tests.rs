use super::*;

/// Returns the classes of some pixel values under a map for 3 classes.
fn apply_map(text: &str, values: &[u8]) -> Vec<u8> {
    let map = LabelMap::parse(text.as_bytes(), 3).unwrap().unwrap();
    let mut mask = values.to_vec();
    map.apply(&mut mask).unwrap();
    mask
}

fn parse_problems(text: &str) -> Vec<String> {
    LabelMap::parse(text.as_bytes(), 3).unwrap_err().problems().to_vec()
}

#[test]
fn a_scale_divides_and_rounds_down_and_255_stays_ignored() {
    for text in [r#"{"scale": "3"}"#, r#"{"scale": 3}"#, "\u{feff}{\"scale\": \" 3 \"}"] {
        assert_eq!(apply_map(text, &[0, 2, 3, 8, 100, 254, 255]), [0, 0, 1, 2, 33, 84, 255]);
    }
    assert_eq!(LabelMap::parse(br#"{"scale": "1"}"#, 3).unwrap(), None);
}

#[test]
fn a_scale_that_makes_255_a_class_leaves_open_what_it_is() {
    let map = LabelMap::parse(br#"{"scale": 255}"#, 3).unwrap().unwrap();
    assert_eq!(map.apply(&mut [0, 254]), Ok(()), "masks without it are fine");
    assert_eq!(map.apply(&mut [255, 0, 255]), Err(BTreeMap::from([(255, 2)])));
    assert!(
        map.missing_value_advice().contains("scale 255 makes 255 class 1, while"),
        "{}",
        map.missing_value_advice()
    );
    // A map can express either meaning.
    assert_eq!(apply_map(r#"{"map": {"0": 0, "1": 255}}"#, &[0, 255]), [0, 1]);
    assert_eq!(apply_map(r#"{"map": {"0": 0, "1": 85}}"#, &[85, 255]), [1, 255]);
}

#[test]
fn keys_of_a_map_are_classes_as_in_the_example_of_the_built_ins_documentation() {
    for text in
        [r#"{"map": {"0": 5, "1": 0, "2": 2}}"#, r#"{"map": {"0": "5", "1": [0], "2": ["2"]}}"#]
    {
        assert_eq!(apply_map(text, &[0, 5, 2, 255]), [1, 0, 2, 255]);
    }
}

#[test]
fn a_class_may_have_several_pixel_values_and_255_takes_what_is_to_be_ignored() {
    let map = r#"{"map": {"0": 0, "1": [10, 11], "255": [7]}}"#;
    assert_eq!(apply_map(map, &[0, 10, 11, 7, 255]), [0, 1, 1, 255, 255]);
}

#[test]
fn values_without_an_entry_come_back_with_their_pixels() {
    let map = LabelMap::parse(br#"{"map": {"0": 5, "1": 0}}"#, 3).unwrap().unwrap();
    assert_eq!(map.apply(&mut [5, 9, 7, 9, 255]), Err(BTreeMap::from([(7, 1), (9, 2)])));
    assert!(
        map.missing_value_advice().contains("list it under 255"),
        "{}",
        map.missing_value_advice()
    );
}

#[test]
fn a_map_that_can_be_read_in_two_ways_is_refused_with_both() {
    let found = parse_problems(r#"{"map": {"0": 1, "1": 2, "2": 0}}"#);
    assert_eq!(
        found,
        [
            "keys are classes and values are pixel values, but this one can be read the other way round \
          too, and would mean another thing. Write the values as lists: {\"map\": {\"0\": [1], \"1\": \
          [2], \"2\": [0]}} if the keys are classes, {\"map\": {\"0\": [2], \"1\": [0], \"2\": [1]}} \
          if they are pixel values"
        ]
    );
    assert_eq!(apply_map(r#"{"map": {"0": [1], "1": [2], "2": [0]}}"#, &[0, 1, 2]), [2, 0, 1]);
    assert_eq!(apply_map(r#"{"map": {"0": [2], "1": [0], "2": [1]}}"#, &[0, 1, 2]), [1, 2, 0]);
    // The map reads the same either way.
    assert_eq!(apply_map(r#"{"map": {"0": 1, "1": 0, "2": 2}}"#, &[0, 1, 2]), [1, 0, 2]);
}

#[test]
fn a_map_the_wrong_way_round_is_told_how_to_write_it() {
    let found = parse_problems(r#"{"map": {"0": 0, "85": 1, "170": 2, "171": 2}}"#);
    assert!(found[0].starts_with("map has the key 85, which is no class of num_classes 3"));
    assert!(
        found
            .last()
            .unwrap()
            .ends_with(r#"pixel values, write {"map": {"0": [0], "1": [85], "2": [170, 171]}}"#),
        "{found:?}"
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    assert_eq!(
        parse_problems(r#"{"map": {"0": 5, "00": 6, "1": [5], "3": 9}}"#),
        [
            "map names class 0 twice; list its pixel values in one entry, as in {\"map\": {\"0\": [5, 6]}}",
            "map gives the pixel value 5 to class 0 and to class 1; keep one",
            "map has the key 3, which is no class of num_classes 3; allowed: 0 to 2 and 255 (ignored)",
        ]
    );
    assert_eq!(
        parse_problems(r#"{"map": {"road": 5, "1": 256, "2": -1}, "scal": 1}"#),
        [
            "\"scal\" is no key of a label map (did you mean \"scale\"?); allowed: scale, map",
            "a key of map is \"road\"; allowed: a whole number from 0 to 255",
            "the pixel value of \"1\" in map is 256; allowed: a whole number from 0 to 255",
            "the pixel value of \"2\" in map is -1; allowed: a whole number from 0 to 255",
        ]
    );
    for scale in ["0", "\"x\"", "2.5", "null", "256", "[3]"] {
        let found = parse_problems(&format!("{{\"scale\": {scale}}}"));
        assert_eq!(found, [format!("scale is {scale}; allowed: a whole number from 1 to 255")]);
    }
    for (text, problem) in [
        (r#"{"scale": 3, "scale": 4}"#, "the key scale comes 2 times; keep one"),
        (r#"{"map": {"0": 5}, "map": {}}"#, "the key map comes 2 times; keep one"),
        (r#"{"scale": 3, "map": {"0": 5}}"#, "scale and map are both given"),
        ("{}", "neither scale nor map is there; expected {\"scale\""),
        (r#"{"map": {}}"#, "map is empty"),
        (r#"{"map": 3}"#, "expected an object"),
        ("[]", "expected an object"),
        ("{", "EOF"),
    ] {
        assert!(parse_problems(text)[0].contains(problem), "{text}: {:?}", parse_problems(text));
    }
}

#[test]
fn the_log_tells_how_a_map_is_read() {
    let shown = |text: &str| LabelMap::parse(text.as_bytes(), 254).unwrap().unwrap().to_string();
    assert_eq!(shown(r#"{"scale": 3}"#), "class = pixel value / 3, rounded down");
    let small = shown(r#"{"map": {"0": [5], "1": [0], "255": [9]}}"#);
    assert_eq!(small, "0 is class 1, 5 is class 0, 9 is ignored, 255 is ignored");
    let long = |first: u8| {
        let entries =
            (0..20_u8).map(|i| format!("\"{i}\": [{}]", if i < 13 { i } else { i + first }));
        shown(&format!("{{\"map\": {{{}}}}}", entries.collect::<Vec<_>>().join(", ")))
    };
    assert!(long(1).contains("11 is class 11 and 9 more (checksum "), "{}", long(1));
    assert_ne!(long(1), long(2), "what is not shown counts too");
}

proptest::proptest! {
    #[test]
    fn arbitrary_files_never_panic(bytes: Vec<u8>, key in ".{0,4}", value in -9..300_i64, classes in 2..255_usize) {
        let _ = LabelMap::parse(&bytes, classes);
        for inner in [serde_json::json!(value), serde_json::json!(key), serde_json::json!([value, key])] {
            for text in [serde_json::json!({"scale": inner}), serde_json::json!({"map": {key.clone(): inner}})] {
                let _ = LabelMap::parse(text.to_string().as_bytes(), classes);
            }
        }
    }

    #[test]
    fn whatever_a_map_accepts_it_maps_to_classes_or_ignores(
        values in proptest::collection::vec((0..256_u16, 0..256_u16), 1..9), classes in 2..255_usize
    ) {
        let entries = values.iter().map(|(class, value)| format!("\"{class}\": [{value}]"));
        let text = format!("{{\"map\": {{{}}}}}", entries.collect::<Vec<_>>().join(", "));
        if let Ok(Some(map)) = LabelMap::parse(text.as_bytes(), classes) {
            for value in 0..=255 {
                let mut mask = [value];
                if map.apply(&mut mask).is_ok() {
                    proptest::prop_assert!(usize::from(mask[0]) < classes || mask[0] == IGNORE_INDEX);
                }
            }
        }
    }
}
