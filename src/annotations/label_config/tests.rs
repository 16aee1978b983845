use proptest::prelude::*;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/annotations/labelstudio/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

fn names(config: &LabelConfig) -> Vec<&str> {
    config.labels.iter().map(|label| label.name.as_str()).collect()
}

fn read(text: &str) -> LabelConfig {
    parse_label_config(text.as_bytes()).unwrap()
}

fn parse_error(text: &str) -> String {
    parse_label_config(text.as_bytes()).unwrap_err().to_string()
}

fn tag(name: &str, key: &str) -> ImageTag {
    ImageTag { name: name.to_owned(), data_key: key.to_owned() }
}

#[test]
fn a_config_gives_its_labels_once_in_order_with_colors() {
    let xml = parse_label_config(&fixture("label_config_seg.xml")).unwrap();
    assert_eq!(names(&xml), ["road", "car", "árvore 树", "person/rider"]);
    let colors: Vec<_> = xml.labels.iter().map(|label| label.color.unwrap()).collect();
    assert_eq!(colors, [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 165, 0]]);
    assert_eq!(xml.image_tags, [tag("image", "image")]);
    assert_eq!(xml.warnings, [""; 0]);
    // The project holds the same text.
    assert_eq!(parse_label_config(&fixture("project_create_response.json")).unwrap(), xml);
}

#[test]
fn the_other_captured_configs_are_read() {
    let boxes = parse_label_config(&fixture("label_config_det.xml")).unwrap();
    assert_eq!(names(&boxes), ["gato", "cão 犬", "bird", "fish"]);
    assert!(boxes.labels.iter().all(|label| label.color.is_none()));
    let mix = parse_label_config(&fixture("label_config_mix.xml")).unwrap();
    assert_eq!(names(&mix), ["A", "B", "C", "D"]);
    assert_eq!(mix.image_tags, [tag("img", "photo")]);
}

#[test]
fn only_tags_that_make_areas_of_an_image_count() {
    let config = read(
        r#"<?xml version="1.0"?><!-- x --><view><Style>.a > b {}</Style>
        <image name="i" value="$a"/><Image name="j" value="$b"/><Text name="t" value="$c"/>
        <KeyPointLabels name="k" toName="i"><Label value="point"/></KeyPointLabels>
        <Labels name="w" toName="t"><Label value="word"/></Labels>
        <labels name="l" toName="i, j"><View><label value="nested" background="RED"/></View></labels>
        <RectangleLabels name="r" toName="j"><Label value="box"/><Label value="nested"/>
        </RectangleLabels><Choices name="c" toName="i"><Choice value="wet"/></Choices></view>"#,
    );
    assert_eq!(names(&config), ["nested", "box"]);
    assert_eq!(config.labels[0].color, Some([255, 0, 0]));
    assert_eq!(config.image_tags, [tag("i", "a"), tag("j", "b")]);
    assert_eq!(config.warnings, [""; 0]);
}

fn one_label(attributes: &str) -> LabelConfig {
    read(&format!(
        "<View><Image name='i' value='$i'/><BrushLabels name='b' toName='i'><Label {attributes}/>\
         </BrushLabels></View>"
    ))
}

#[test]
fn an_alias_is_the_name_in_annotations() {
    assert_eq!(names(&one_label("value='Long name' alias='l'")), ["l"]);
    assert_eq!(names(&one_label("value='Long &amp; wide' alias=''")), ["Long & wide"]);
}

#[test]
fn colors_come_in_every_notation_of_css() {
    for notation in ["#f80", "#ff8800", "#FF8800FF", "rgb(255, 136, 0)", "hsl(32, 100%, 50%)"] {
        let config = one_label(&format!("value='a' background='{notation}'"));
        assert_eq!(config.labels[0].color, Some([255, 136, 0]), "{notation}");
    }
    let odd = one_label("value='a' background='reddish'");
    assert_eq!(odd.labels[0].color, None);
    let warning = "has the label a with background \"reddish\", which is no color of CSS";
    assert!(odd.warnings[0].starts_with(warning), "{:?}", odd.warnings);
}

#[test]
fn what_cannot_be_known_is_warned_of() {
    let config = read(
        "<View><Image name='i' valueList='$pages'/><Image name='j' value='fixed.png'/>\
         <BrushLabels name='b' toName='i' value='$classes'><Label background='red'/></BrushLabels>\
         </View>",
    );
    let [pages, fixed, dynamic, nameless] = &config.warnings[..] else { panic!("{config:?}") };
    assert!(pages.contains("list of images (valueList)"));
    assert!(fixed.contains("value \"fixed.png\""));
    assert!(
        dynamic.starts_with("takes the labels of <BrushLabels name=\"b\"> from the tasks' data")
    );
    assert_eq!(nameless, "has a <Label> without value in <BrushLabels name=\"b\">");
    let config =
        read("<View><BrushLabels name='b' toName='i'><Label value='a'/></BrushLabels></View>");
    assert_eq!((names(&config), config.warnings.len()), (vec!["a"], 1));
}

#[test]
fn lists_and_classes_of_labels_json_are_read() {
    let config = read("\u{feff}[\"road\", \"car\"]");
    assert_eq!((names(&config), config.image_tags.len()), (vec!["road", "car"], 0));
    let config = read(
        r#"{"2": {"name": "car"}, "0": {"name": "background", "color": [0, 0, 0]},
            "1": {"name": "road", "color": [1, 2, 255], "more": []}}"#,
    );
    assert_eq!(names(&config), ["road", "car"]);
    assert_eq!(config.labels[0].color, Some([1, 2, 255]));
    assert_eq!(
        read(r#"{"1": {"name": "a", "colour": [1, 2, 3]}}"#).labels[0].color,
        Some([1, 2, 3])
    );
}

#[test]
fn other_documents_are_told_what_is_expected() {
    assert!(parse_error("").starts_with("is empty; expected the XML of a labeling config"));
    assert!(parse_error("road, car").starts_with("is neither XML nor JSON; expected"));
    assert!(
        parse_error("[1]")
            .starts_with("is wrong: [0]: invalid type: integer `1`, expected a string")
    );
    assert!(parse_error("{\"tasks\": 1}").contains("the key \"tasks\" is no class, 0 to 255"));
    assert!(parse_error("[\"a\", \"a\"]").contains("the name a for two classes, the second is 2"));
    assert!(parse_error("[\"a\", \"\"]").contains("an empty name for class 2"));
    assert!(parse_error("[]").contains("has no label"));
    assert!(
        parse_error(r#"{"1": {"name": "a"}, "3": {"name": "b"}}"#)
            .contains("no class 2 but a class 3")
    );
    assert!(
        parse_error(r#"{"1": {"name": "a"}, "1": {"name": "b"}}"#).contains("class 1 comes twice")
    );
    assert!(
        parse_error(r#"{"1": {"name": "a", "color": [256, 0, 0]}}"#)
            .contains("1.color[0]: invalid")
    );
    assert!(parse_error(r#"{"label_config": "<View"}"#).ends_with("(label_config)"));
    assert!(
        parse_error(r#"{"label_config": 3}"#).contains("label_config: invalid type: integer `3`")
    );
    assert!(parse_error("<View><Image name='i' value='$i'/></View>").contains("has no label"));
    assert!(parse_error("<View></Wiev>").starts_with("is no XML that can be read: "));
    assert!(parse_error("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>").contains("is no XML"));
    assert!(
        parse_label_config(b"<View a='\xff'/>")
            .unwrap_err()
            .to_string()
            .starts_with("is not UTF-8")
    );
    assert!(
        parse_error(&" ".repeat(MAX_BYTES + 1)).starts_with("has 1048577 bytes, and 1048576 are")
    );
}

#[test]
fn bombs_within_the_limit_are_read_or_refused() {
    let deep = "<a>".repeat(MAX_BYTES / 8) + &"</a>".repeat(MAX_BYTES / 8);
    assert!(parse_label_config(deep.as_bytes()).is_err());
    let wide = |number: usize| {
        let attributes: Vec<_> = (0..number).map(|number| format!("a{number}=''")).collect();
        parse_label_config(format!("<View {}/>", attributes.join(" ")).as_bytes())
    };
    assert!(wide(900).is_ok_and(|config| config.labels.is_empty()));
    assert_eq!(wide(1001).unwrap_err().to_string(), "has a tag with more than 1000 attributes");
    let many: Vec<_> = (0..20_000).map(|number| format!("<Label value='{number}'/>")).collect();
    let many = many.concat();
    let labels =
        format!("<View><Image name='i' value='$i'/><Labels toName='i'>{many}</Labels></View>");
    assert_eq!(read(&labels).labels.len(), 20_000);
}

proptest! {
    #[test]
    fn any_text_is_a_config_or_an_error(text: String, bytes: Vec<u8>) {
        for lead in ["", "<", "{", "["] {
            let _ = parse_label_config(format!("{lead}{text}").as_bytes());
        }
        let _ = parse_label_config(&bytes);
    }

    #[test]
    fn damaged_configs_are_read_or_refused(
        name in prop_oneof![
            Just("label_config_seg.xml"), Just("label_config_mix.xml"),
            Just("project_create_response.json"),
        ],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = fixture(name);
        for (place, byte) in changes {
            let at = place.index(bytes.len());
            bytes[at] = if byte < 128 { byte } else { b"<>/\"'=$&;:{}"[usize::from(byte) % 12] };
        }
        if let Ok(config) = parse_label_config(&bytes) {
            prop_assert!(config.labels.iter().all(|label| !label.name.is_empty()));
        }
    }
}
