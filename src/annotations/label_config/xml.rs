//! Label Studio's labelling config.

use std::collections::HashSet;

use roxmltree::{Document, Node, ParsingOptions};

use super::{ImageTag, LabelConfig};

/// Tags whose labels can be those of areas of an image. `Labels` are also used for text and sound, so the tag that they
/// belong to decides; key points and vectors have no area.
const LABELS: [&str; 6] =
    ["brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels", "bitmasklabels", "labels"];

/// Most attributes of a tag.
const MOST_ATTRIBUTES: usize = 1000;

/// Reads the classes of a config.
pub(super) fn parse(text: &str) -> Result<LabelConfig, String> {
    // Attributes are compared with each other; `<` begins nothing but tags.
    if text.split('<').any(|tag| tag.bytes().filter(|&byte| byte == b'=').count() > MOST_ATTRIBUTES)
    {
        return Err(format!("has a tag with more than {MOST_ATTRIBUTES} attributes"));
    }
    // No DTD: it could expand to any size.
    let options = ParsingOptions { allow_dtd: false, nodes_limit: 100_000, ..Default::default() };
    let document = Document::parse_with_options(text, options)
        .map_err(|cause| format!("is no XML that can be read: {cause}"))?;
    let mut config = LabelConfig::default();
    let tags = || document.root().descendants().filter(Node::is_element);
    for tag in tags().filter(|tag| is(*tag, "image")) {
        image(tag, &mut config);
    }
    let images: HashSet<&str> =
        tags().filter(|tag| is(*tag, "image")).filter_map(|tag| tag.attribute("name")).collect();
    if images.is_empty() {
        config
            .warnings
            .push("has no <Image> with a name: nothing in it is drawn on images".to_owned());
    }
    let mut seen = HashSet::new();
    for tag in tags() {
        let kind = tag.tag_name().name();
        if !LABELS.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
            continue;
        }
        // Without a name of its own an image has any.
        let to_names = tag.attribute("toName").unwrap_or_default();
        if to_names.split(',').any(|name| images.contains(name.trim())) || images.is_empty() {
            labels(tag, &mut config, &mut seen);
        }
    }
    Ok(config)
}

/// Label Studio takes tags in any case.
fn is(node: Node<'_, '_>, tag: &str) -> bool {
    node.tag_name().name().eq_ignore_ascii_case(tag)
}

fn image(tag: Node<'_, '_>, config: &mut LabelConfig) {
    let Some(name) = tag.attribute("name") else { return };
    if tag.attribute("valueList").is_some() && tag.attribute("value").is_none() {
        config.warnings.push(format!(
            "has the <Image> {name} with a list of images (valueList), which is not supported; make \
             one task of each image"
        ));
        return;
    }
    let value = tag.attribute("value").unwrap_or_default().trim();
    match value.strip_prefix('$').filter(|key| !key.is_empty()) {
        Some(key) => {
            config.images.push(ImageTag { name: name.to_owned(), key: key.to_owned() });
        }
        None => config.warnings.push(format!(
            "has the <Image> {name} with value {value:?}; expected a key of the tasks' data, such as \
             \"$image\""
        )),
    }
}

/// The labels below a tag, also within `<View>`s.
fn labels<'a>(tag: Node<'a, '_>, config: &mut LabelConfig, seen: &mut HashSet<(&'a str, &'a str)>) {
    let (kind, name) = (tag.tag_name().name(), tag.attribute("name").unwrap_or_default());
    if let Some(value) = tag.attribute("value").filter(|value| value.starts_with('$')) {
        config.warnings.push(format!(
            "takes the labels of <{kind} name={name:?}> from the tasks' data ({value}): their classes \
             cannot be known from it"
        ));
    }
    for label in tag.descendants().filter(|node| is(*node, "label")) {
        // What the frontend writes into results (SelectedModel.js, `selectedValues`) and the SDK takes (`parse_config`).
        let alias = label.attribute("alias").filter(|alias| !alias.is_empty());
        let written = alias.or(label.attribute("value")).filter(|name| !name.is_empty());
        let Some(written) = written else {
            config.warnings.push(format!("has a <Label> without value in <{kind} name={name:?}>"));
            continue;
        };
        let background = label.attribute("background").unwrap_or_default();
        // The same label stands in the tags of several tools.
        if !seen.insert((written, background)) {
            continue;
        }
        let colour = colour(background, written, &mut config.warnings);
        config.add(written, colour);
    }
}

fn colour(background: &str, label: &str, warnings: &mut Vec<String>) -> Option<[u8; 3]> {
    if background.is_empty() {
        return None;
    }
    if let Ok(colour) = csscolorparser::parse(background) {
        let [red, green, blue, _] = colour.to_rgba8();
        return Some([red, green, blue]);
    }
    warnings.push(format!(
        "has the label {label} with background {background:?}, which is no colour of CSS; allowed: \
         #ff0000, red, rgb(255, 0, 0), ..."
    ));
    None
}
