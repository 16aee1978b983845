//! Label Studio's labeling configuration, in XML.
//!
//! Names of tags and of attributes have any case: the editor makes both lower-case before it looks
//! at them (`Tree.tsx`). A control without `toName` belongs to the only object, if there is one.

use std::collections::HashSet;

use roxmltree::{Document, Node, ParsingOptions};

use super::{ImageTag, LabelConfig, LabelControl, LabelList, TaskObjects};
use crate::annotations::error::{Error, Result};
use crate::error::did_you_mean;

/// Tags whose labels can be those of areas of an image. `Labels` is used for text and sound too, so
/// the tag named by `toName` decides; key points have no area.
const LABEL_TAGS: [&str; 7] = [
    "brushlabels",
    "polygonlabels",
    "rectanglelabels",
    "ellipselabels",
    "bitmasklabels",
    "labels",
    // Only with `closable`: an open path has no area.
    "vectorlabels",
];

/// Tags that show a value of the task.
const OBJECT_TAGS: [&str; 14] = [
    "image",
    "text",
    "hypertext",
    "richtext",
    "audio",
    "audioplus",
    "video",
    "timeseries",
    "paragraphs",
    "list",
    "table",
    "pdf",
    "chat",
    "ranker",
];

/// Largest number of attributes of a tag.
const MAX_ATTRIBUTES: usize = 1000;

/// Largest number of tags that show a value of the task. The names of controls are compared with
/// all of them.
const MAX_OBJECTS: usize = 1000;

/// Largest number of warnings about unknown objects. One misspelled name may be in many tags.
const MAX_OBJECT_WARNINGS: usize = 10;

/// Largest number of objects that a warning lists.
const MAX_LISTED_OBJECTS: usize = 10;

/// A tag with labels of areas.
struct LabelTag<'a, 'input> {
    node: Node<'a, 'input>,
    /// Names of the objects that the tag belongs to.
    object_names: Vec<&'a str>,
}

/// Parses the classes and the objects of a labeling configuration.
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
    let mut has_named_image = false;
    for tag in document.root().descendants() {
        if let Some(name) = object_name(tag) {
            config.objects.names.push(name.to_owned());
            if is_tag(tag, "image") {
                has_named_image = true;
                add_image_tag(tag, name, &mut config);
            }
        }
    }
    if config.objects.names.len() > MAX_OBJECTS {
        let message = format!("has more than {MAX_OBJECTS} tags that show a value of the task");
        return Err(Error::TooLarge(message));
    }
    if !has_named_image {
        config
            .warnings
            .push("has no <Image> with a name: nothing in it is drawn on images".to_owned());
    }
    let label_tags = read_controls(&document, &mut config);
    if has_named_image {
        keep_training_images(&label_tags, &mut config);
    }
    let training_images: HashSet<String> = config.objects.training_images.iter().cloned().collect();
    let mut labels = LabelList::default();
    let mut seen_labels = HashSet::new();
    for LabelTag { node, object_names } in label_tags {
        // If no <Image> has a name, labels cannot be told apart by image, so all count.
        if !has_named_image || object_names.iter().any(|name| training_images.contains(*name)) {
            add_labels(node, &mut labels, &mut config.warnings, &mut seen_labels);
        }
        if object_names.iter().any(|name| training_images.contains(*name)) {
            config.label_controls.push(read_label_control(node, &object_names, &training_images));
        }
    }
    config.labels = labels.labels;
    Ok(config)
}

/// Returns true if a node is the given tag, in any case.
fn is_tag(node: Node<'_, '_>, tag: &str) -> bool {
    node.tag_name().name().eq_ignore_ascii_case(tag)
}

/// Returns an attribute whose name has any case. The last of several is meant, as in the editor.
fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let mut value = None;
    for attribute in node.attributes() {
        if attribute.name().eq_ignore_ascii_case(name) {
            value = Some(attribute.value());
        }
    }
    value
}

fn non_empty_attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    attribute(node, name).filter(|value| !value.trim().is_empty())
}

/// Returns the name of a tag that shows a value of the task, or none if the tag is another one.
fn object_name<'a>(tag: Node<'a, '_>) -> Option<&'a str> {
    if !OBJECT_TAGS.iter().any(|object_tag| is_tag(tag, object_tag)) {
        return None;
    }
    non_empty_attribute(tag, "name")
}

/// Returns true if the tag has labels that areas can have.
fn is_label_tag(tag: Node<'_, '_>) -> bool {
    if is_tag(tag, "vectorlabels") {
        return attribute(tag, "closable").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    }
    LABEL_TAGS.iter().any(|label_tag| is_tag(tag, label_tag))
}

/// Adds an image whose value is part of the tasks' data. One with a fixed address, such as a
/// legend, is the same in all tasks and no image to train on.
fn add_image_tag(tag: Node<'_, '_>, name: &str, config: &mut LabelConfig) {
    let value_list = non_empty_attribute(tag, "valueList");
    let (value, is_list) = match (non_empty_attribute(tag, "value"), value_list) {
        (Some(value), _) => (value, false),
        (None, Some(value)) => (value, true),
        (None, None) => {
            config.warnings.push(format!("has the <Image> {name} without a value{EXPECTED_VALUE}"));
            return;
        }
    };
    if value.contains("{{") {
        config.warnings.push(format!(
            "has the <Image> {name} in a <Repeater>, which is not supported; make one task of each \
             image"
        ));
        return;
    }
    let tag = ImageTag { name: name.to_owned(), value: value.trim().to_owned(), is_list };
    if !tag.data_keys().is_empty() {
        config.image_tags.push(tag);
    }
}

/// Value that an image tag needs, as the end of a message that says what was found.
const EXPECTED_VALUE: &str = "; expected a key of the tasks' data, such as \"$image\"";

/// Records which control belongs to which objects, and returns the tags with labels of areas.
fn read_controls<'a, 'input>(
    document: &'a Document<'input>,
    config: &mut LabelConfig,
) -> Vec<LabelTag<'a, 'input>> {
    let mut label_tags = Vec::new();
    let mut warnings = Vec::new();
    for node in document.root().descendants() {
        if !node.is_element() || object_name(node).is_some() {
            continue;
        }
        let has_labels = is_label_tag(node);
        let name = non_empty_attribute(node, "name");
        if !has_labels && (name.is_none() || attribute(node, "toName").is_none()) {
            continue;
        }
        let object_names = control_objects(node, &config.objects);
        if let Some(name) = name {
            let object_names = object_names.iter().map(|name| (*name).to_owned()).collect();
            config.objects.controls.insert(name.to_owned(), object_names);
        }
        if has_labels {
            if warnings.len() < MAX_OBJECT_WARNINGS {
                warnings.extend(unknown_objects_warning(node, &object_names, &config.objects));
            }
            label_tags.push(LabelTag { node, object_names });
        }
    }
    config.warnings.extend(warnings);
    label_tags
}

/// Returns the names of the objects that a control belongs to.
fn control_objects<'a>(node: Node<'a, '_>, objects: &TaskObjects) -> Vec<&'a str> {
    if let Some(names) = non_empty_attribute(node, "toName") {
        return names.split(',').map(str::trim).collect();
    }
    let mut object_names = Vec::new();
    if objects.names.len() == 1 {
        let document_root = node.document().root();
        object_names.extend(document_root.descendants().find_map(object_name));
    }
    object_names
}

/// Returns a warning if a tag with labels names no object, or one that there is not.
fn unknown_objects_warning(
    node: Node<'_, '_>,
    object_names: &[&str],
    objects: &TaskObjects,
) -> Option<String> {
    if objects.names.is_empty() {
        return None;
    }
    let (tag_name, name) = (node.tag_name().name(), attribute(node, "name").unwrap_or_default());
    if object_names.is_empty() {
        return Some(format!(
            "has <{tag_name} name={name:?}> without toName, although it shows several objects ({}); \
             its labels are left out",
            list_objects(objects)
        ));
    }
    let unknown_name =
        object_names.iter().take(MAX_OBJECTS).find(|name| !objects.has_object(name))?;
    let hint = did_you_mean(unknown_name, objects.names.iter().map(String::as_str));
    Some(format!(
        "has <{tag_name} name={name:?}> with toName {unknown_name:?}{hint}, which is no object of it; \
         there are {}",
        list_objects(objects)
    ))
}

fn list_objects(objects: &TaskObjects) -> String {
    let shown = objects.names.len().min(MAX_LISTED_OBJECTS);
    let more = if objects.names.len() > shown { ", ..." } else { "" };
    format!("{}{more}", objects.names[..shown].join(", "))
}

/// Keeps the images on which areas with labels are drawn. Others, such as one to compare with, are
/// not labeled: as images to train on they would be background all over.
fn keep_training_images(label_tags: &[LabelTag<'_, '_>], config: &mut LabelConfig) {
    let mut labeled_names: HashSet<&str> = HashSet::new();
    for label_tag in label_tags {
        labeled_names.extend(&label_tag.object_names);
    }
    let image_count = config.image_tags.len();
    config.image_tags.retain(|image_tag| labeled_names.contains(image_tag.name.as_str()));
    for image_tag in &config.image_tags {
        config.objects.training_images.push(image_tag.name.clone());
    }
    if config.image_tags.is_empty() {
        let reason = if image_count == 0 {
            format!("has no <Image> that shows an image of the tasks{EXPECTED_VALUE}")
        } else {
            "has no labels of areas for an <Image>: toName of <BrushLabels>, <PolygonLabels> and so \
             on names the image"
                .to_owned()
        };
        config.warnings.push(reason);
    }
}

/// Reads a tag with labels, as far as regions name it.
fn read_label_control(
    tag: Node<'_, '_>,
    object_names: &[&str],
    training_images: &HashSet<String>,
) -> LabelControl {
    let mut control = LabelControl {
        tag: tag.tag_name().name().to_ascii_lowercase(),
        name: non_empty_attribute(tag, "name").unwrap_or_default().to_owned(),
        image_names: Vec::new(),
        labels: Vec::new(),
    };
    for name in object_names {
        if training_images.contains(*name) {
            control.image_names.push((*name).to_owned());
        }
    }
    let mut seen = HashSet::new();
    for label in tag.descendants() {
        if is_tag(label, "label")
            && let Some(name) = label_name(label)
            && seen.insert(name)
        {
            control.labels.push(name.to_owned());
        }
    }
    control
}

/// Returns the name of a label in results: its alias if there is one. The frontend writes it
/// (SelectedModel.js, `selectedValues`), and the SDK reads it (`parse_config`).
fn label_name<'a>(label: Node<'a, '_>) -> Option<&'a str> {
    let alias = attribute(label, "alias").filter(|alias| !alias.is_empty());
    alias.or_else(|| attribute(label, "value").filter(|value| !value.is_empty()))
}

/// Adds the labels below a tag, those within `<View>`s too.
fn add_labels<'a>(
    tag: Node<'a, '_>,
    labels: &mut LabelList,
    warnings: &mut Vec<String>,
    seen_labels: &mut HashSet<(&'a str, &'a str)>,
) {
    let (tag_name, name) = (tag.tag_name().name(), attribute(tag, "name").unwrap_or_default());
    if let Some(value) = attribute(tag, "value")
        && value.starts_with('$')
    {
        warnings.push(format!(
            "takes the labels of <{tag_name} name={name:?}> from the tasks' data ({value}): their classes \
             cannot be known from it"
        ));
    }
    for label in tag.descendants() {
        if !is_tag(label, "label") {
            continue;
        }
        let Some(label_name) = label_name(label) else {
            warnings.push(format!("has a <Label> without value in <{tag_name} name={name:?}>"));
            continue;
        };
        let background = attribute(label, "background").unwrap_or_default();
        // The same label may be repeated in the tags of several tools.
        if !seen_labels.insert((label_name, background)) {
            continue;
        }
        let color = parse_color(background, label_name, warnings);
        labels.add(label_name, color);
    }
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
