//! COCO's instance annotations: polygons in pixels, and run-length encoded masks.
//!
//! The file is read once for its images, its categories and where its annotations stand; each annotation is read from
//! there when its image's turn comes. Format: <https://cocodataset.org/#format-data>. Errors complete a sentence that
//! begins with the file's name, or with that of the annotation.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{BufReader, Read};

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::elements::{self, Members};
use super::json::{Id, Number, Side, parse};
use super::runs::Runs;
use super::{coco_rle, shapes};

/// Longest image, category or annotation, in bytes. A mask of 64 megapixels with a run per pixel is
/// that long.
const LIMIT: usize = 256 << 20;

/// Most polygons of one annotation. What people draw has a few, traced noise has thousands.
const MOST_PARTS: usize = 100_000;

/// Runs of polygons that are joined at once.
const MOST_WAITING: usize = 1 << 20;

/// What a file says, drawings left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// In the order of the file.
    pub images: Vec<Image>,
    /// Ids and names, in the order of the file.
    pub categories: Vec<(i64, String)>,
    /// By the image's id: where each of its annotations begins in the file and how long it is, in bytes; in the order
    /// of the file.
    pub annotations: BTreeMap<i64, Vec<(u64, usize)>>,
    /// How many annotations are of images that the file does not list.
    pub orphans: u64,
}

/// An image that the file lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Unique in the file.
    pub id: i64,
    /// Often with folders before the name, not always ones that exist.
    pub file_name: String,
    /// Some writers give the path as well.
    pub path: Option<String>,
    /// Columns in pixels, if given.
    pub width: Option<u32>,
    /// Rows in pixels, if given.
    pub height: Option<u32>,
}

/// Whether a document is COCO's: an object with a list of images or of categories. Read no further than it takes to know.
pub fn is_coco(reader: impl Read) -> bool {
    elements::has_list(reader, &["images", "categories"])
}

#[derive(Deserialize)]
struct RawImage {
    id: Id,
    file_name: String,
    path: Option<String>,
    width: Option<Side>,
    height: Option<Side>,
}

#[derive(Deserialize)]
struct RawCategory {
    id: Id,
    name: String,
}

#[derive(Deserialize)]
struct Belongs {
    image_id: Id,
}

/// Reads a file once.
pub fn index(reader: impl Read) -> Result<Index, String> {
    const KEYS: &[&str] = &["images", "categories", "annotations"];
    let mut index = Index::default();
    let (mut images, mut categories) = (HashSet::new(), HashSet::new());
    for member in Members::new(BufReader::with_capacity(1 << 18, reader), KEYS, LIMIT) {
        let (key, element) = member?;
        let within = |text| format!("has at byte {} in {key}: {text}", element.offset);
        let known = |Id(id): Id| id.ok_or_else(|| within("an id that is no number".to_owned()));
        let twice = |id| within(format!("the id {id}, which another one has already"));
        match key {
            "images" => {
                let image: RawImage = parse(&element.bytes).map_err(within)?;
                let id = known(image.id)?;
                if !images.insert(id) {
                    return Err(twice(id));
                }
                index.images.push(Image {
                    id,
                    file_name: image.file_name,
                    path: image.path,
                    width: image.width.map(|Side(side)| side),
                    height: image.height.map(|Side(side)| side),
                });
            }
            "categories" => {
                let category: RawCategory = parse(&element.bytes).map_err(within)?;
                let id = known(category.id)?;
                if !categories.insert(id) {
                    return Err(twice(id));
                }
                index.categories.push((id, category.name));
            }
            _ => {
                let Belongs { image_id } = parse(&element.bytes).map_err(within)?;
                let place = (element.offset, element.bytes.len());
                index.annotations.entry(known(image_id)?).or_default().push(place);
            }
        }
    }
    if images.is_empty() {
        return Err(
            "lists no images; expected COCO's images, annotations and categories".to_owned()
        );
    }
    // Annotations may come before the images.
    index.annotations.retain(|id, places| {
        let listed = images.contains(id);
        index.orphans += if listed { 0 } else { places.len() as u64 };
        listed
    });
    Ok(index)
}

/// One annotation.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoAnnotation {
    /// The id of its category.
    pub category_id: i64,
    /// What it covers.
    pub drawn: Drawn,
    /// Width and height in pixels of the image that it was drawn on, if it says so. (The file has the height first.)
    pub size: Option<(u32, u32)>,
}

/// What an annotation covers.
#[derive(Debug, Clone, PartialEq)]
pub enum Drawn {
    /// The parts of an object, corners as x and y in pixels; nothing is taken out of them.
    Polygons(Vec<Vec<[f64; 2]>>),
    /// Lengths of runs in turn outside and inside, column after column.
    Counts(Vec<u32>),
    /// The same, packed by pycocotools.
    Text(String),
    /// Nothing: why not.
    Nothing(&'static str),
}

/// Reads one annotation.
pub fn annotation(bytes: &[u8]) -> Result<CocoAnnotation, String> {
    #[derive(Deserialize)]
    struct Raw {
        category_id: Id,
        segmentation: Option<Segmentation>,
        bbox: Option<serde::de::IgnoredAny>,
        keypoints: Option<serde::de::IgnoredAny>,
    }
    let raw: Raw = parse(bytes)?;
    let category_id = raw.category_id.0.ok_or("category_id: expected a whole number")?;
    let (drawn, size) = match raw.segmentation {
        Some(Segmentation::Polygons(parts)) if !parts.is_empty() => {
            (Drawn::Polygons(parts.into_iter().map(|Points(points)| points).collect()), None)
        }
        Some(Segmentation::Mask(Mask { counts, size: [Side(height), Side(width)] })) => {
            let drawn = match counts {
                Counts::List(counts) => Drawn::Counts(counts),
                Counts::Text(text) => Drawn::Text(text),
            };
            (drawn, Some((width, height)))
        }
        _ if raw.keypoints.is_some() => {
            (Drawn::Nothing("has key points and no segmentation"), None)
        }
        _ if raw.bbox.is_some() => (Drawn::Nothing("has a box (bbox) and no segmentation"), None),
        _ => (Drawn::Nothing("has no segmentation"), None),
    };
    Ok(CocoAnnotation { category_id, drawn, size })
}

impl CocoAnnotation {
    /// The pixels of a `width` x `height` image that it covers; polygons by the centres of pixels.
    pub fn rasterise(&self, width: u32, height: u32) -> Result<Runs, String> {
        if let Some((drawn_width, drawn_height)) = self.size
            && (drawn_width, drawn_height) != (width, height)
        {
            return Err(format!(
                "is of an image of {drawn_width} x {drawn_height} pixels (width x height), but the \
                 image has {width} x {height}; use the image that was annotated"
            ));
        }
        match &self.drawn {
            Drawn::Polygons(parts) => {
                if parts.len() > MOST_PARTS {
                    let parts = parts.len();
                    return Err(format!(
                        "has {parts} polygons, and {MOST_PARTS} are allowed; write a mask instead"
                    ));
                }
                // Joined many at a time: one by one each would cost as much as all before it.
                let (mut runs, mut waiting) = (Runs::new(width, height), Vec::new());
                for (number, part) in parts.iter().enumerate() {
                    waiting.extend(shapes::polygon(part, width, height)?.iter());
                    if waiting.len() > MOST_WAITING || number + 1 == parts.len() {
                        let joined = Runs::from_unsorted(width, height, waiting.drain(..));
                        runs = runs.union(&joined);
                    }
                }
                Ok(runs)
            }
            Drawn::Counts(counts) => coco_rle::decode_counts(counts, width, height),
            Drawn::Text(text) => coco_rle::decode_text(text, width, height),
            Drawn::Nothing(why) => Err((*why).to_owned()),
        }
    }
}

/// Of an object its parts, of a crowd (and from many tools) a mask.
enum Segmentation {
    Polygons(Vec<Points>),
    Mask(Mask),
}

#[derive(Deserialize)]
struct Mask {
    counts: Counts,
    /// Height and width.
    size: [Side; 2],
}

impl<'de> Deserialize<'de> for Segmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Segmentation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of polygons, or an object with counts and size")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Segmentation, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = list.next_element()? {
                    parts.push(part);
                }
                Ok(Segmentation::Polygons(parts))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Segmentation, A::Error> {
                Mask::deserialize(MapAccessDeserializer::new(map)).map(Segmentation::Mask)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A polygon as x and y in turn.
struct Points(Vec<[f64; 2]>);

impl<'de> Deserialize<'de> for Points {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Points;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a polygon as a list of x and y in turn")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Points, A::Error> {
                let mut points = Vec::new();
                while let Some(Number(x)) = list.next_element()? {
                    let Some(Number(y)) = list.next_element()? else {
                        return Err(serde::de::Error::invalid_length(2 * points.len() + 1, &self));
                    };
                    points.push([x, y]);
                }
                Ok(Points(points))
            }
        }
        deserializer.deserialize_seq(Pairs)
    }
}

/// The runs of a mask, as they are or packed.
enum Counts {
    List(Vec<u32>),
    Text(String),
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Counts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the runs of a mask, as a list of whole numbers or as packed text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Counts, E> {
                Ok(Counts::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Counts, A::Error> {
                let mut counts = Vec::new();
                while let Some(count) = list.next_element()? {
                    counts.push(count);
                }
                Ok(Counts::List(counts))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
