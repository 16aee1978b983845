//! The objects of a labeling configuration: the tags that show a task's data, and which controls
//! draw on them.

use std::collections::BTreeMap;

/// An `<Image>` tag, which says which values of a task's data name the image or the images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTag {
    /// Name that regions have as `to_name`.
    pub name: String,
    /// Value of the tag, such as `$image` or `https://example.com/$file`: each `$` with a key
    /// stands for that value of the task's data.
    pub value: String,
    /// True if the value is a list of images (`valueList`).
    pub is_list: bool,
}

/// An image of a task that a tag shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownImage {
    /// Index in the list of images, from 0; 0 without a list.
    pub index: usize,
    /// Reference to the image, as the task's data have it.
    pub reference: String,
}

impl ShownImage {
    /// Makes the only image of a tag.
    fn single(reference: String) -> Self {
        Self { index: 0, reference }
    }
}

/// Objects of a labeling configuration. Empty if the document is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskObjects {
    /// Names of all objects: images, texts and so on.
    pub names: Vec<String>,
    /// Names of the images on which areas with labels are drawn.
    pub training_images: Vec<String>,
    /// Names of the objects that each control tag belongs to, by the control's name.
    pub controls: BTreeMap<String, Vec<String>>,
}

impl TaskObjects {
    /// Returns true if there is an object of this name.
    pub fn has_object(&self, name: &str) -> bool {
        self.names.iter().any(|object_name| object_name == name)
    }

    /// Returns true if areas with labels are drawn on the image of this name.
    pub fn is_training_image(&self, name: &str) -> bool {
        self.training_images.iter().any(|image_name| image_name == name)
    }
}

/// A part of an image tag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValuePart<'a> {
    Text(&'a str),
    /// Path to a value of the task's data.
    DataKey(&'a str),
}

impl ImageTag {
    /// Returns the keys of the task's data that the tag shows.
    pub fn data_keys(&self) -> Vec<&str> {
        let mut keys = Vec::new();
        for part in split_value(&self.value) {
            if let ValuePart::DataKey(key) = part {
                keys.push(key);
            }
        }
        keys
    }

    /// Returns the images of a task, several only for a list of images, and none if the data lack
    /// them. Elements of a list that are no texts are left out, and the others keep their index.
    /// `nested_data` has the texts within lists and objects of the data.
    pub fn find_images(
        &self,
        data: &BTreeMap<String, String>,
        nested_data: &BTreeMap<String, String>,
    ) -> Vec<ShownImage> {
        if self.is_list {
            return self.find_list(data, nested_data);
        }
        // Keys with signs that the editor does not take, such as hyphens.
        if let Some(text) = self.value.strip_prefix('$').and_then(|key| data.get(key)) {
            return vec![ShownImage::single(text.clone())];
        }
        let mut reference = String::new();
        for part in split_value(&self.value) {
            match part {
                ValuePart::Text(text) => reference.push_str(text),
                ValuePart::DataKey(key) => match find_text(key, data, nested_data) {
                    Some(text) => reference.push_str(text),
                    None => return Vec::new(),
                },
            }
        }
        vec![ShownImage::single(reference)]
    }

    /// Returns the images of a list in their order. A single text is a list of one image.
    fn find_list(
        &self,
        data: &BTreeMap<String, String>,
        nested_data: &BTreeMap<String, String>,
    ) -> Vec<ShownImage> {
        let [key] = self.data_keys()[..] else { return Vec::new() };
        if let Some(text) = find_text(key, data, nested_data) {
            return vec![ShownImage::single(text.to_owned())];
        }
        let prefix = normalize_path(key) + ".";
        let mut images = Vec::new();
        for (path, text) in nested_data.range(prefix.clone()..) {
            let Some(index_text) = path.strip_prefix(&prefix) else { break };
            // Deeper texts and keys of objects are no elements of the list.
            if let Ok(index) = index_text.parse::<usize>()
                && index.to_string() == index_text
            {
                images.push(ShownImage { index, reference: text.clone() });
            }
        }
        images.sort_by_key(|image| image.index);
        images
    }
}

/// Returns the text at a path to a task's data, such as `image`, `page.url` or `pages[0]`.
fn find_text<'a>(
    path: &str,
    data: &'a BTreeMap<String, String>,
    nested_data: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    let text = data.get(path).or_else(|| nested_data.get(&normalize_path(path)))?;
    Some(text.as_str())
}

/// Returns a path with a dot before each of its parts but the first: `pages.0.url` for
/// `pages[0].url`.
fn normalize_path(path: &str) -> String {
    path.replace('[', ".").replace(']', "")
}

/// Splits the value of a tag as Label Studio's editor does: a key begins with `$` and goes on with
/// letters, digits, underscores, dots, brackets and braces.
fn split_value(value: &str) -> Vec<ValuePart<'_>> {
    let mut parts = Vec::new();
    let mut rest = value;
    while let Some(start) = rest.find('$') {
        let after = &rest[start + 1..];
        let length = after.find(|sign: char| !is_key_sign(sign)).unwrap_or(after.len());
        if length == 0 {
            // A dollar sign alone is text, with all before it.
            parts.push(ValuePart::Text(&rest[..=start]));
            rest = after;
            continue;
        }
        if start > 0 {
            parts.push(ValuePart::Text(&rest[..start]));
        }
        parts.push(ValuePart::DataKey(&after[..length]));
        rest = &after[length..];
    }
    if !rest.is_empty() {
        parts.push(ValuePart::Text(rest));
    }
    parts
}

fn is_key_sign(sign: char) -> bool {
    sign.is_alphanumeric() || "_.[]{}".contains(sign)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
    }

    fn images(value: &str, is_list: bool) -> Vec<String> {
        shown_images(value, is_list).into_iter().map(|image| image.reference).collect()
    }

    fn shown_images(value: &str, is_list: bool) -> Vec<ShownImage> {
        let tag = ImageTag { name: "i".to_owned(), value: value.to_owned(), is_list };
        let data = map(&[("image", "a.png"), ("my-image", "m.png"), ("x.y", "xy.png")]);
        let nested = map(&[
            ("pages.0", "p0.png"),
            ("pages.1", "p1.png"),
            ("page.url", "u.png"),
            ("scans.0.url", "s0.png"),
            // [null, "g1.png", 7, ..., "g10.png"], and what is not of the list.
            ("gaps.1", "g1.png"),
            ("gaps.10", "g10.png"),
            ("gaps.2.url", "g2.png"),
            ("gaps.3", "g3.png"),
            ("gaps.04", "no index"),
            ("gaps2.0", "of another list"),
        ]);
        tag.find_images(&data, &nested)
    }

    #[test]
    fn a_value_names_a_key_a_path_or_a_part_of_an_address() {
        assert_eq!(images("$image", false), ["a.png"]);
        assert_eq!(images("$my-image", false), ["m.png"]);
        assert_eq!(images("$x.y", false), ["xy.png"]);
        assert_eq!(images("$page.url", false), ["u.png"]);
        assert_eq!(images("$pages[1]", false), ["p1.png"]);
        assert_eq!(images("$scans[0].url", false), ["s0.png"]);
        assert_eq!(images("/data/local-files/?d=$image", false), ["/data/local-files/?d=a.png"]);
        assert_eq!(images("s3://$page.url/$image?a=$", false), ["s3://u.png/a.png?a=$"]);
        assert_eq!(images("$other", false), [""; 0]);
        assert_eq!(images("$image/$other", false), [""; 0]);
    }

    #[test]
    fn a_list_has_its_images_in_order() {
        assert_eq!(images("$pages", true), ["p0.png", "p1.png"]);
        assert_eq!(images("$image", true), ["a.png"]);
        assert_eq!(images("$scans", true), [""; 0]);
        assert_eq!(images("pages", true), [""; 0]);
    }

    #[test]
    fn a_list_with_gaps_has_the_images_behind_them_at_their_indices() {
        let mut found = Vec::new();
        for ShownImage { index, reference } in shown_images("$gaps", true) {
            found.push(format!("{index} {reference}"));
        }
        assert_eq!(found, ["1 g1.png", "3 g3.png", "10 g10.png"]);
    }

    proptest! {
        #[test]
        fn the_parts_of_a_value_are_the_value(value in "[$a.é\\[ ]{0,12}|.*") {
            let mut joined = String::new();
            for part in split_value(&value) {
                match part {
                    ValuePart::Text(text) => joined.push_str(text),
                    ValuePart::DataKey(key) => {
                        joined.push('$');
                        joined.push_str(key);
                    }
                }
            }
            prop_assert_eq!(joined, value);
        }
    }
}
