//! The image of a task whose regions are read: regions of other objects are not its own.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::AnnotationSummary;
use super::document::ResultItem;
use crate::annotations::error::{Error, Result};
use crate::annotations::json::Number;
use crate::annotations::label_config::TaskObjects;

/// Image of a task whose regions are read.
///
/// Without a name the regions of every object are those of the image.
#[derive(Debug, Clone, Default)]
pub struct RegionTarget {
    /// Name of the image's `<Image>` tag, if it is known.
    pub image_name: Option<Arc<str>>,
    /// Objects of the labeling configuration.
    pub objects: Arc<TaskObjects>,
    /// Names of the `<Image>` tags that show an image of the task.
    pub shown_images: Arc<[String]>,
    /// Place of the image, if its tag shows a list of images.
    pub list_item: Option<ListItem>,
    /// Indices at which that list has images.
    pub list_indices: Arc<BTreeSet<usize>>,
    /// True for the image of a task at which regions are told that are on none of its images, so
    /// that they are told once.
    pub tells_strays: bool,
}

/// Place of an image in a list of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListItem {
    /// Index of the image in the list, from 0.
    pub index: usize,
    /// Number of places in the list up to the last image; some may have no image.
    pub count: usize,
}

/// Place of which a result says that it lies there. Texts are empty where it does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultPlace {
    /// Name of the object tag, `to_name`.
    object_name: String,
    /// Name of the control tag, `from_name`.
    control_name: String,
    /// Index of the image in a list of images; 0 without a list.
    item_index: f64,
}

impl ResultPlace {
    pub(super) fn from_result<G>(result: &ResultItem<G>) -> Self {
        Self {
            object_name: result.to_name.clone().unwrap_or_default(),
            control_name: result.from_name.clone().unwrap_or_default(),
            item_index: result.item_index.map_or(0.0, |Number(index)| index),
        }
    }
}

/// Numbers of drawn results by their place.
#[derive(Debug, Default)]
pub(super) struct PlaceCounts {
    /// Places in the order of their first result.
    pub(super) counts: Vec<(ResultPlace, usize)>,
    /// Indices of the places by what tells them apart.
    index_by_key: HashMap<PlaceKey, usize>,
}

/// Key of a place, by which equal places are counted together.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PlaceKey {
    object_name: String,
    control_name: String,
    /// Bits of the number, which has no order or hash of its own.
    item_index_bits: u64,
}

impl PlaceCounts {
    /// Adds 1 to the number of results at a place.
    pub(super) fn add(&mut self, place: ResultPlace) {
        let key = PlaceKey {
            object_name: place.object_name.clone(),
            control_name: place.control_name.clone(),
            item_index_bits: place.item_index.to_bits(),
        };
        match self.index_by_key.entry(key) {
            Entry::Occupied(entry) => self.counts[*entry.get()].1 += 1,
            Entry::Vacant(entry) => {
                entry.insert(self.counts.len());
                self.counts.push((place, 1));
            }
        }
    }
}

/// Relation of a result to the image of a target.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// The result lies on the image.
    Here,
    /// The result lies on another image that gets its regions itself.
    OtherImage,
    /// The result lies on no image of the task that gets regions. The text follows the result's
    /// description.
    Stray(String),
}

impl RegionTarget {
    /// Returns the number of drawn results of an annotation that are drawn on the image or told of
    /// with it.
    pub fn count_results(&self, summary: &AnnotationSummary) -> usize {
        let mut total = 0;
        for (place, count) in &summary.drawn_places {
            let belongs_here = match self.place(place) {
                Ok(Placement::Here) => true,
                Ok(Placement::OtherImage) => false,
                // An error is told with each image of the task, and counts once.
                Ok(Placement::Stray(_)) | Err(_) => self.tells_strays,
            };
            total += if belongs_here { *count } else { 0 };
        }
        total
    }

    /// Finds out if a result lies on the image. An object that the labeling configuration does not
    /// have is an error, because then the configuration is of another project. The text of an error
    /// follows the result's description.
    pub(super) fn place(&self, place: &ResultPlace) -> Result<Placement> {
        let Some(image_name) = &self.image_name else { return self.place_in_list(place) };
        let object_name = place.object_name.as_str();
        if object_name.is_empty() {
            return self.place_by_control(image_name, place);
        }
        if object_name == &**image_name {
            return self.place_in_list(place);
        }
        if self.objects.is_training_image(object_name) {
            return Ok(self.place_on_other_image(object_name));
        }
        if self.objects.names.is_empty() || self.objects.has_object(object_name) {
            return Ok(Placement::Stray(format!(
                "lies on {object_name}, which is no image to train on"
            )));
        }
        Err(Error::InvalidValue(format!(
            "lies on the object {object_name}, which the labeling configuration lacks: it has {}; \
             give the configuration of the project",
            self.objects.names.join(", ")
        )))
    }

    /// Returns the placement of a result on another image to train on, which the task may lack.
    fn place_on_other_image(&self, object_name: &str) -> Placement {
        if self.shown_images.iter().any(|name| name == object_name) {
            return Placement::OtherImage;
        }
        Placement::Stray(format!("lies on {object_name}, of which the task's data name no image"))
    }

    /// Finds out if a result lies on the image whose object it does not name, as in rows of
    /// `JSON_MIN`: by the control tag with which it was drawn.
    fn place_by_control(&self, image_name: &str, place: &ResultPlace) -> Result<Placement> {
        let control_name = place.control_name.as_str();
        let is_only_image = self.objects.training_images.len() <= 1;
        match self.objects.controls.get(control_name) {
            Some(object_names) if object_names.iter().any(|name| name == image_name) => {
                let is_shared = object_names
                    .iter()
                    .any(|name| name != image_name && self.objects.is_training_image(name));
                if !is_shared {
                    return self.place_in_list(place);
                }
            }
            Some(object_names) => {
                for name in object_names {
                    if self.objects.is_training_image(name) {
                        return Ok(self.place_on_other_image(name));
                    }
                }
                return Ok(Placement::Stray(format!(
                    "lies on {}, which is no image to train on",
                    object_names.join(" or ")
                )));
            }
            None if is_only_image => return self.place_in_list(place),
            None => {}
        }
        Ok(Placement::Stray(
            "does not say on which image of its task it lies; export as JSON".to_owned(),
        ))
    }

    /// Finds out if a result of the image's tag lies on the image, which may be one of a list.
    fn place_in_list(&self, place: &ResultPlace) -> Result<Placement> {
        let item_index = place.item_index;
        let Some(ListItem { index, count }) = self.list_item else {
            if item_index == 0.0 {
                return Ok(Placement::Here);
            }
            return Err(Error::Unsupported(format!(
                "lies on another than the first image of a list (item_index {item_index}); which \
                 images are in the list says the labeling configuration (valueList)"
            )));
        };
        let is_index = item_index >= 0.0 && item_index.fract() == 0.0;
        if is_index && item_index as usize == index {
            return Ok(Placement::Here);
        }
        if is_index && self.list_indices.contains(&(item_index as usize)) {
            return Ok(Placement::OtherImage);
        }
        if is_index && item_index < count as f64 {
            return Ok(Placement::Stray(format!(
                "lies on the element with the index {item_index} of a list, which names no image"
            )));
        }
        Ok(Placement::Stray(format!(
            "lies on the image with the index {item_index} of a list of {count} images"
        )))
    }
}
