use std::fmt::Write as _;

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
    ImageTag { name: name.to_owned(), value: format!("${key}"), is_list: false }
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
fn thousands_of_labels_in_several_tags_are_each_one_class() {
    let (mut composed, mut decomposed) = (String::new(), String::new());
    for number in 0..3000 {
        write!(composed, "<Label value='\u{e9}{number}'/>").unwrap();
        write!(decomposed, "<Label value='e\u{301}{number}' background='red'/>").unwrap();
    }
    let config = read(&format!(
        "<View><Image name='i' value='$a'/><BrushLabels name='b' toName='i'>{composed}</BrushLabels>
         <PolygonLabels name='p' toName='i'>{decomposed}</PolygonLabels></View>"
    ));
    assert_eq!(config.labels.len(), 3000);
    for (number, label) in config.labels.iter().enumerate() {
        assert_eq!(label.name, format!("\u{e9}{number}"));
        assert_eq!(label.color, Some([255, 0, 0]));
    }
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
        "<View><Image name='i' value='$image'/><Image name='j'/><Image name='p_{{idx}}' \
         value='$pages[{{idx}}]'/><BrushLabels name='b' toName='i' value='$classes'>\
         <Label background='red'/></BrushLabels></View>",
    );
    let [no_value, repeated, dynamic, nameless] = &config.warnings[..] else {
        panic!("{config:?}")
    };
    assert!(
        no_value.starts_with("has the <Image> j without a value; expected a key of the tasks'")
    );
    assert!(repeated.contains("in a <Repeater>, which is not supported"));
    assert!(
        dynamic.starts_with("takes the labels of <BrushLabels name=\"b\"> from the tasks' data")
    );
    assert_eq!(nameless, "has a <Label> without value in <BrushLabels name=\"b\">");
    let config =
        read("<View><BrushLabels name='b' toName='i'><Label value='a'/></BrushLabels></View>");
    assert_eq!((names(&config), config.warnings.len()), (vec!["a"], 1));
}

/// Returns the configuration of these objects and controls.
fn view(inner: &str) -> LabelConfig {
    read(&format!("<View>{inner}</View>"))
}

const BOTH_IMAGES: &str = "<Image name='photo' value='$photo'/><Image name='before' value='$b'/>";

#[test]
fn an_image_without_labels_of_areas_is_no_image_to_train_on() {
    let config = view(&format!(
        "{BOTH_IMAGES}<PolygonLabels name='p' toName='photo'><Label value='a'/></PolygonLabels>\
         <Choices name='c' toName='before'><Choice value='yes'/></Choices>\
         <KeyPointLabels name='k' toName='before'><Label value='corner'/></KeyPointLabels>"
    ));
    assert_eq!(config.image_tags, [tag("photo", "photo")]);
    assert_eq!((names(&config), &config.warnings[..]), (vec!["a"], &[][..]));
    assert_eq!(config.objects.names, ["photo", "before"]);
    assert_eq!(config.objects.training_images, ["photo"]);
    assert_eq!(config.objects.controls["k"], ["before"]);
}

#[test]
fn an_image_with_a_fixed_address_is_no_image_to_train_on_and_has_no_classes() {
    let config = view(
        "<Image name='photo' value='$photo'/><Image name='legend' value='https://x/l.png'/>\
         <PolygonLabels name='p' toName='photo'><Label value='a'/></PolygonLabels>\
         <PolygonLabels name='q' toName='legend'><Label value='z'/><Label value='a'/></PolygonLabels>",
    );
    assert_eq!((names(&config), config.image_tags.len()), (vec!["a"], 1));
    assert_eq!(config.warnings, [""; 0]);
    let alone = view(
        "<Image name='legend' value='https://x/l.png'/>\
         <PolygonLabels name='q' toName='legend'><Label value='z'/></PolygonLabels>",
    );
    assert_eq!((names(&alone).len(), alone.image_tags.len()), (0, 0));
    assert!(
        alone.warnings[0].starts_with("has no <Image> that shows an image of the tasks; expected")
    );
}

#[test]
fn attributes_have_any_case_and_the_only_object_needs_no_name_in_its_controls() {
    for attributes in ["toname='i'", "TONAME='i'", "toName='i'", "toName='' NAME='x'", ""] {
        let config = view(&format!(
            "<Image NAME='i' Value='$a'/><PolygonLabels {attributes}>\
             <Label VALUE='car' BackGround='#ff0000' Alias='c'/></PolygonLabels>"
        ));
        assert_eq!(config.labels, [Label { name: "c".to_owned(), color: Some([255, 0, 0]) }]);
        assert_eq!(config.image_tags, [tag("i", "a")], "{attributes}");
        assert_eq!(config.warnings, [""; 0], "{attributes}");
    }
    let several = view(&format!(
        "{BOTH_IMAGES}<PolygonLabels name='p'><Label value='a'/></PolygonLabels>\
         <PolygonLabels name='q' toName='befor'><Label value='b'/></PolygonLabels>\
         <PolygonLabels name='r' toName='photo'><Label value='c'/></PolygonLabels>"
    ));
    assert_eq!(names(&several), ["c"]);
    assert_eq!(
        several.warnings,
        [
            "has <PolygonLabels name=\"p\"> without toName, although it shows several objects (photo, \
             before); its labels are left out",
            "has <PolygonLabels name=\"q\"> with toName \"befor\" (did you mean \"before\"?), which is \
             no object of it; there are photo, before",
        ]
    );
    // A text is an object too.
    let with_text = view(
        "<Image name='i' value='$a'/><Text name='t' value='$b'/>\
         <PolygonLabels name='p'><Label value='a'/></PolygonLabels>",
    );
    assert!(with_text.labels.is_empty() && with_text.warnings.len() == 2, "{with_text:?}");
}

#[test]
fn labels_of_vectors_count_where_a_path_can_be_closed() {
    for (closable, expected) in [("closable='true'", vec!["a", "v"]), ("", vec!["a"])] {
        let config = view(&format!(
            "<Image name='i' value='$i'/><PolygonLabels name='p' toName='i'><Label value='a'/>\
             </PolygonLabels><VectorLabels name='w' toName='i' {closable}><Label value='v'/>\
             </VectorLabels>"
        ));
        assert_eq!(names(&config), expected);
    }
}

#[test]
fn lists_and_parts_of_addresses_are_images_of_the_tasks() {
    let config = view(
        "<Image name='pages' valueList='$pages'/><Image name='local' value='/data/?d=$path'/>\
         <BrushLabels name='b' toName='pages,local'><Label value='a'/></BrushLabels>",
    );
    let [pages, local] = &config.image_tags[..] else { panic!("{config:?}") };
    assert!(pages.is_list && pages.data_keys() == ["pages"]);
    assert!(!local.is_list && local.data_keys() == ["path"]);
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn a_labels_json_is_read_as_train_reads_it() {
    let config = read("\u{feff}[\"unlabeled\", \"road\", \"car\"]");
    assert_eq!((names(&config), config.image_tags.len()), (vec!["road", "car"], 0));
    assert!(config.is_name_list);
    assert_eq!(config.class_zero.unwrap().name, "unlabeled");
    let config =
        read(r#"{"2": {"name": "car"}, "0": {"name": "bg", "color": [9, 8, 7]}, "1": "road"}"#);
    assert_eq!((names(&config), config.is_name_list), (vec!["road", "car"], false));
    let class_zero = Label { name: "bg".to_owned(), color: Some([9, 8, 7]) };
    assert_eq!(config.class_zero, Some(class_zero));
    let config = read(r#"{"1": {"name": "a", "colour": [1, 2, 3]}}"#);
    assert_eq!(config.labels[0].color, Some([1, 2, 3]));
    assert_eq!(config.class_zero.unwrap().name, "background");
}

#[test]
fn other_documents_are_told_what_is_expected() {
    assert!(parse_error("").starts_with("is empty; expected the XML of a labeling config"));
    assert!(parse_error("road, car").starts_with("is neither XML nor JSON; expected"));
    assert!(parse_error("[1]").starts_with("has the number 1 for class 0; expected a name"));
    assert!(parse_error("{\"tasks\": 1}").contains("has the key \"tasks\", which is no class"));
    assert!(parse_error("[\"a\", \"a\"]").contains("the name \"a\" for the classes 0 and 1"));
    assert!(parse_error("[\"a\", \"\"]").contains("a name for class 1 that is empty"));
    assert_eq!(read("[\"road\"]").warnings, ["is a list of one name"]);
    for only_class_zero in ["[]", "{}", "{\"0\": \"road\"}"] {
        assert!(parse_error(only_class_zero).contains("has no label"), "{only_class_zero}");
    }
    let several = parse_error(r#"{"1": {"name": "a", "color": [256, 0, 0]}, "3": "b", "x": "c"}"#);
    for part in
        ["color [256, 0, 0] for class 1", "; it has the key \"x\"", "no class 2 but a class 3"]
    {
        assert!(several.contains(part), "{several}");
    }
    assert!(parse_error(r#"{"label_config": "<View"}"#).ends_with("(label_config)"));
    assert!(
        parse_error(r#"{"label_config": 3}"#).contains("label_config: invalid type: integer `3`")
    );
    let no_labels = read("<View><Image name='i' value='$i'/></View>");
    assert!(
        no_labels.labels.is_empty() && no_labels.warnings[0].contains("has no labels of areas")
    );
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
    let images = "<Image name='i' value='$i'/>".repeat(1001);
    let crowded = parse_error(&format!("<View>{images}</View>"));
    assert_eq!(crowded, "has more than 1000 tags that show a value of the task");
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
    fn any_tags_and_attributes_are_a_config_or_an_error(
        tags in prop::collection::vec(
            (
                prop_oneof![
                    Just("Image"), Just("Text"), Just("Labels"), Just("PolygonLabels"),
                    Just("vectorlabels"), Just("Choices"), Just("View"),
                ],
                prop::collection::vec(
                    (
                        prop_oneof![
                            Just("name"), Just("Name"), Just("toName"), Just("TONAME"),
                            Just("value"), Just("valueList"), Just("closable"),
                        ],
                        "[ab$,. {}\\[\\]]{0,5}|true",
                    ),
                    0..4,
                ),
            ),
            0..7,
        ),
    ) {
        let mut xml = "<View>".to_owned();
        for (tag, attributes) in tags {
            let mut written = std::collections::BTreeMap::new();
            written.extend(attributes);
            write!(xml, "<{tag}").unwrap();
            for (name, value) in written {
                write!(xml, " {name}=\"{value}\"").unwrap();
            }
            write!(xml, "><Label value=\"l\"/></{tag}>").unwrap();
        }
        xml.push_str("</View>");
        if let Ok(config) = parse_label_config(xml.as_bytes()) {
            prop_assert!(!config.labels.is_empty() || !config.warnings.is_empty(), "{}", xml);
            for image_tag in &config.image_tags {
                prop_assert!(!image_tag.data_keys().is_empty(), "{}", xml);
                prop_assert!(config.objects.is_training_image(&image_tag.name), "{}", xml);
            }
        }
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
