//! The index of a file: its images, its categories and the positions of its annotations.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufReader, Read};

use serde::Deserialize;
use serde::de::{IgnoredAny, SeqAccess};

use super::CocoId;
use crate::annotations::error::{Error, Result};
use crate::annotations::json::{AnyJson, FromAnyJson, SideLength, parse_json};
use crate::annotations::json_objects::{JsonObject, KeyedObjects};

/// Largest image, category or annotation, in bytes. A mask of 64 megapixels with a run per pixel is
/// that long.
const MAX_ELEMENT_BYTES: usize = 256 << 20;

/// Contents of a file without its segmentations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CocoIndex {
    /// Images, in the order of the file.
    pub images: Vec<CocoImage>,
    /// Ids and names of the categories, in the order of the file.
    pub categories: Vec<(CocoId, String)>,
    /// Position and length of each annotation, in bytes, by the id of its image; in the order of
    /// the file.
    pub annotation_spans: BTreeMap<CocoId, Vec<(u64, usize)>>,
    /// Ids of the images that have annotations of which none has a segmentation, such as boxes
    /// alone. Nothing tells which pixels they cover.
    pub undrawn_images: BTreeSet<CocoId>,
    /// Number of annotations whose image the file does not list.
    pub orphan_annotations: u64,
}

/// An image that the file lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoImage {
    /// Id, unique in the file.
    pub id: CocoId,
    /// Name of the image file, often with folders, which need not exist.
    pub file_name: String,
    /// Path of the image file, which some writers give as well.
    pub path: Option<String>,
    /// Width in pixels, if given.
    pub width: Option<u32>,
    /// Height in pixels, if given.
    pub height: Option<u32>,
}

#[derive(Deserialize)]
struct RawImage {
    id: CocoId,
    file_name: String,
    path: Option<String>,
    width: Option<SideLength>,
    height: Option<SideLength>,
}

#[derive(Deserialize)]
struct RawCategory {
    id: CocoId,
    name: String,
}

/// Keys of an annotation that tell its image and its kind.
#[derive(Deserialize)]
struct AnnotationHeader {
    image_id: CocoId,
    segmentation: Option<AnyJson<Drawing>>,
    segments_info: Option<IgnoredAny>,
    caption: Option<IgnoredAny>,
}

/// A segmentation of which only the presence is read: false for an empty list.
struct Drawing(bool);

impl FromAnyJson for Drawing {
    fn from_other() -> Self {
        Self(true)
    }

    fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut is_drawn = false;
        while list.next_element::<IgnoredAny>()?.is_some() {
            is_drawn = true;
        }
        Ok(Self(is_drawn))
    }
}

/// Reads the index of a file in one pass.
///
/// # Errors
/// [`Error::Unsupported`] for a file of COCO that has no segmentations: the panoptic format,
/// captions, boxes or key points.
pub fn read_coco_index(reader: impl Read) -> Result<CocoIndex> {
    const KEYS: &[&str] = &["images", "categories", "annotations"];
    let mut builder = IndexBuilder::default();
    for member in
        KeyedObjects::new(BufReader::with_capacity(1 << 18, reader), KEYS, MAX_ELEMENT_BYTES)
    {
        let (key, element) = member?;
        let added = match key {
            "images" => builder.add_image(&element.bytes),
            "categories" => builder.add_category(&element.bytes),
            _ => builder.add_annotation(&element),
        };
        match added {
            Ok(()) => {}
            Err(error @ Error::Unsupported(_)) => return Err(error),
            Err(error) => {
                return Err(error.located(format!("has at byte {} in {key}: ", element.offset), ""));
            }
        }
    }
    builder.finish()
}

/// Index of a file while it is read.
#[derive(Default)]
struct IndexBuilder {
    index: CocoIndex,
    image_ids: HashSet<CocoId>,
    category_ids: HashSet<CocoId>,
    /// Ids of the images of annotations that have a segmentation.
    drawn_images: HashSet<CocoId>,
    has_captions: bool,
}

impl IndexBuilder {
    fn add_image(&mut self, bytes: &[u8]) -> Result<()> {
        let RawImage { id, file_name, path, width, height } = parse_json(bytes)?;
        insert_new_id(&id, &mut self.image_ids)?;
        let (width, height) = (width.map(u32::from), height.map(u32::from));
        self.index.images.push(CocoImage { id, file_name, path, width, height });
        Ok(())
    }

    fn add_category(&mut self, bytes: &[u8]) -> Result<()> {
        let RawCategory { id, name } = parse_json(bytes)?;
        insert_new_id(&id, &mut self.category_ids)?;
        self.index.categories.push((id, name));
        Ok(())
    }

    fn add_annotation(&mut self, element: &JsonObject) -> Result<()> {
        let AnnotationHeader { image_id, segmentation, segments_info, caption } =
            parse_json(&element.bytes)?;
        let is_drawn = matches!(segmentation, Some(AnyJson(Drawing(true))));
        if segments_info.is_some() && !is_drawn {
            return Err(Error::Unsupported(
                "is COCO's panoptic format (segments_info), whose areas are in PNGs of segment \
                 ids, and is not read; give the instances of the same images (segmentation), or \
                 write masks of class ids with panopticapi and take them with --format masks"
                    .to_owned(),
            ));
        }
        self.has_captions |= caption.is_some();
        if is_drawn {
            self.drawn_images.insert(image_id.clone());
        }
        let span = (element.offset, element.bytes.len());
        self.index.annotation_spans.entry(image_id).or_default().push(span);
        Ok(())
    }

    fn finish(self) -> Result<CocoIndex> {
        let mut index = self.index;
        if self.drawn_images.is_empty() && !index.annotation_spans.is_empty() {
            return Err(Error::Unsupported(undrawn_file_message(&index, self.has_captions)));
        }
        if self.image_ids.is_empty() {
            return Err(Error::UnexpectedFormat(
                "lists no images; expected COCO's images, annotations and categories".to_owned(),
            ));
        }
        // Annotations may come before the images, so orphans are only known at the end.
        index.annotation_spans.retain(|id, spans| {
            let listed = self.image_ids.contains(id);
            index.orphan_annotations += if listed { 0 } else { spans.len() as u64 };
            listed
        });
        for id in index.annotation_spans.keys() {
            if !self.drawn_images.contains(id) {
                index.undrawn_images.insert(id.clone());
            }
        }
        Ok(index)
    }
}

/// Returns the message for a file of annotations of which none has a segmentation.
fn undrawn_file_message(index: &CocoIndex, has_captions: bool) -> String {
    if has_captions {
        return "is COCO's caption format, which marks no areas; give the instances of the same \
                images instead"
            .to_owned();
    }
    let mut count = 0;
    for spans in index.annotation_spans.values() {
        count += spans.len();
    }
    format!(
        "has {count} annotations, none of them with a segmentation: it is for detection (boxes or \
         key points alone), and nothing tells which pixels are meant; export with polygons or masks"
    )
}

/// Adds an id to `seen_ids`. Fails if it is there already.
fn insert_new_id(id: &CocoId, seen_ids: &mut HashSet<CocoId>) -> Result<()> {
    if seen_ids.insert(id.clone()) {
        return Ok(());
    }
    Err(Error::InvalidValue(format!("the id {id}, which another one has already")))
}
