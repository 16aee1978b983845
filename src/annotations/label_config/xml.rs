//! Label Studio's labeling configuration, in XML.

use std::collections::HashSet;

use roxmltree::{Document, Node, ParsingOptions};

use super::{ImageTag, LabelConfig};
use crate::annotations::error::{Error, Result};

/// Tags whose labels can be those of areas of an image. `Labels` is used for text and sound too, so
/// the tag named by `toName` decides; key points and vectors have no area.
const LABEL_TAGS: [&str; 6] =
    ["brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels", "bitmasklabels", "labels"];

/// Largest number of attributes of a tag.
const MAX_ATTRIBUTES: usize = 1000;

/// Parses the classes of a labeling configuration.
pub(super) fn parse_xml(text: &str) -> Result<LabelConfig> {
    // The XML parser compares each attribute of a tag with all others, so their number must be
    // bounded before. `<` begins nothing but tags.
    if text.split('<').any(|tag| tag.matches('=').count() > MAX_ATTRIBUTES) {
        let message = format!("has a tag with more than {MAX_ATTRIBUTES} attributes");
        return Err(Error::TooLarge(message));
    }
    // A DTD is refused because its entities could expand to any size.
    let options = ParsingOptions { allow_dtd: false, nodes_limit: 100_000, ..Default::default() };
    let document = match Document::parse_with_options(text, options) {
        Ok(document) => document,
        Err(cause) => {
            let message = format!("is no XML that can be read: {cause}");
            return Err(Error::syntax_with_cause(message, cause));
        }
    };
    let mut config = LabelConfig::default();
    let mut image_names = HashSet::new();
    for tag in document.root().descendants() {
        if is_tag(tag, "image") {
            add_image_tag(tag, &mut config);
            image_names.extend(tag.attribute("name"));
        }
    }
    if image_names.is_empty() {
        config
            .warnings
            .push("has no <Image> with a name: nothing in it is drawn on images".to_owned());
    }
    let mut seen_labels = HashSet::new();
    for tag in document.root().descendants() {
        let tag_name = tag.tag_name().name();
        if !LABEL_TAGS.iter().any(|label_tag| tag_name.eq_ignore_ascii_case(label_tag)) {
            continue;
        }
        // If no <Image> has a name, labels cannot be told apart by image, so all count.
        let to_names = tag.attribute("toName").unwrap_or_default();
        if to_names.split(',').any(|name| image_names.contains(name.trim()))
            || image_names.is_empty()
        {
            add_labels(tag, &mut config, &mut seen_labels);
        }
    }
    Ok(config)
}

/// Returns true if a node is the given tag, in any case, as Label Studio compares tags.
fn is_tag(node: Node<'_, '_>, tag: &str) -> bool {
    node.tag_name().name().eq_ignore_ascii_case(tag)
}

fn add_image_tag(tag: Node<'_, '_>, config: &mut LabelConfig) {
    let Some(name) = tag.attribute("name") else { return };
    if tag.attribute("valueList").is_some() && tag.attribute("value").is_none() {
        config.warnings.push(format!(
            "has the <Image> {name} with a list of images (valueList), which is not supported; make \
             one task of each image"
        ));
        return;
    }
    let value = tag.attribute("value").unwrap_or_default().trim();
    match value.strip_prefix('$') {
        Some(key) if !key.is_empty() => {
            config.image_tags.push(ImageTag { name: name.to_owned(), data_key: key.to_owned() });
        }
        _ => config.warnings.push(format!(
            "has the <Image> {name} with value {value:?}; expected a key of the tasks' data, such as \
             \"$image\""
        )),
    }
}

/// Adds the labels below a tag, those within `<View>`s too.
fn add_labels<'a>(
    tag: Node<'a, '_>,
    config: &mut LabelConfig,
    seen_labels: &mut HashSet<(&'a str, &'a str)>,
) {
    let (tag_name, name) = (tag.tag_name().name(), tag.attribute("name").unwrap_or_default());
    if let Some(value) = tag.attribute("value")
        && value.starts_with('$')
    {
        config.warnings.push(format!(
            "takes the labels of <{tag_name} name={name:?}> from the tasks' data ({value}): their classes \
             cannot be known from it"
        ));
    }
    for label in tag.descendants() {
        if !is_tag(label, "label") {
            continue;
        }
        // The alias is the name that the frontend writes into results (SelectedModel.js,
        // `selectedValues`) and that the SDK reads (`parse_config`).
        let alias = non_empty_attribute(label, "alias");
        let Some(label_name) = alias.or(non_empty_attribute(label, "value")) else {
            config
                .warnings
                .push(format!("has a <Label> without value in <{tag_name} name={name:?}>"));
            continue;
        };
        let background = label.attribute("background").unwrap_or_default();
        // The same label may be repeated in the tags of several tools.
        if !seen_labels.insert((label_name, background)) {
            continue;
        }
        let color = parse_color(background, label_name, &mut config.warnings);
        config.add_label(label_name, color);
    }
}

fn non_empty_attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attribute(name).filter(|value| !value.is_empty())
}

fn parse_color(background: &str, label: &str, warnings: &mut Vec<String>) -> Option<[u8; 3]> {
    if background.is_empty() {
        return None;
    }
    if let Ok(color) = csscolorparser::parse(background) {
        let [red, green, blue, _] = color.to_rgba8();
        return Some([red, green, blue]);
    }
    warnings.push(format!(
        "has the label {label} with background {background:?}, which is no color of CSS; allowed: \
         #ff0000, red, rgb(255, 0, 0), ..."
    ));
    None
}
