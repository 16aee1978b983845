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

use super::json::{Id, Number, SideLength, parse_json};
use super::json_objects::{self, KeyedObjects};
use super::runs::Runs;
use super::{coco_rle, shapes};

/// Longest image, category or annotation, in bytes. A mask of 64 megapixels with a run per pixel is
/// that long.
const MAX_ELEMENT_BYTES: usize = 256 << 20;

/// Most polygons of one annotation. What people draw has a few, traced noise has thousands.
const MAX_POLYGONS: usize = 100_000;

/// Runs of polygons that are joined at once.
const MAX_PENDING_RUNS: usize = 1 << 20;

/// What a file says, drawings left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CocoIndex {
    /// In the order of the file.
    pub images: Vec<CocoImage>,
    /// Ids and names, in the order of the file.
    pub categories: Vec<(i64, String)>,
    /// By the image's id: where each of its annotations begins in the file and how long it is, in bytes; in the order
    /// of the file.
    pub annotation_spans: BTreeMap<i64, Vec<(u64, usize)>>,
    /// How many annotations are of images that the file does not list.
    pub orphan_annotations: u64,
}

/// An image that the file lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoImage {
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
    json_objects::has_object_list(reader, &["images", "categories"])
}

#[derive(Deserialize)]
struct RawImage {
    id: Id,
    file_name: String,
    path: Option<String>,
    width: Option<SideLength>,
    height: Option<SideLength>,
}

#[derive(Deserialize)]
struct RawCategory {
    id: Id,
    name: String,
}

#[derive(Deserialize)]
struct ImageReference {
    image_id: Id,
}

/// Reads a file once.
pub fn read_coco_index(reader: impl Read) -> Result<CocoIndex, String> {
    const KEYS: &[&str] = &["images", "categories", "annotations"];
    let mut index = CocoIndex::default();
    let (mut image_ids, mut category_ids) = (HashSet::new(), HashSet::new());
    for member in
        KeyedObjects::new(BufReader::with_capacity(1 << 18, reader), KEYS, MAX_ELEMENT_BYTES)
    {
        let (key, element) = member?;
        let with_offset = |text| format!("has at byte {} in {key}: {text}", element.offset);
        let require_id =
            |Id(id): Id| id.ok_or_else(|| with_offset("an id that is no number".to_owned()));
        let duplicate_error =
            |id| with_offset(format!("the id {id}, which another one has already"));
        match key {
            "images" => {
                let image: RawImage = parse_json(&element.bytes).map_err(with_offset)?;
                let id = require_id(image.id)?;
                if !image_ids.insert(id) {
                    return Err(duplicate_error(id));
                }
                index.images.push(CocoImage {
                    id,
                    file_name: image.file_name,
                    path: image.path,
                    width: image.width.map(|SideLength(side)| side),
                    height: image.height.map(|SideLength(side)| side),
                });
            }
            "categories" => {
                let category: RawCategory = parse_json(&element.bytes).map_err(with_offset)?;
                let id = require_id(category.id)?;
                if !category_ids.insert(id) {
                    return Err(duplicate_error(id));
                }
                index.categories.push((id, category.name));
            }
            _ => {
                let ImageReference { image_id } =
                    parse_json(&element.bytes).map_err(with_offset)?;
                let span = (element.offset, element.bytes.len());
                index.annotation_spans.entry(require_id(image_id)?).or_default().push(span);
            }
        }
    }
    if image_ids.is_empty() {
        return Err(
            "lists no images; expected COCO's images, annotations and categories".to_owned()
        );
    }
    // Annotations may come before the images.
    index.annotation_spans.retain(|id, spans| {
        let listed = image_ids.contains(id);
        index.orphan_annotations += if listed { 0 } else { spans.len() as u64 };
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
    pub segmentation: CocoSegmentation,
    /// Width and height in pixels of the image that it was drawn on, if it says so. (The file has the height first.)
    pub image_size: Option<(u32, u32)>,
}

/// What an annotation covers.
#[derive(Debug, Clone, PartialEq)]
pub enum CocoSegmentation {
    /// The parts of an object, corners as x and y in pixels; nothing is taken out of them.
    Polygons(Vec<Vec<[f64; 2]>>),
    /// Lengths of runs in turn outside and inside, column after column.
    UncompressedRle(Vec<u32>),
    /// The same, packed by pycocotools.
    CompressedRle(String),
    /// Nothing: why not.
    Missing(&'static str),
}

/// Reads one annotation.
pub fn parse_annotation(bytes: &[u8]) -> Result<CocoAnnotation, String> {
    #[derive(Deserialize)]
    struct RawAnnotation {
        category_id: Id,
        segmentation: Option<RawSegmentation>,
        bbox: Option<serde::de::IgnoredAny>,
        keypoints: Option<serde::de::IgnoredAny>,
    }
    let raw: RawAnnotation = parse_json(bytes)?;
    let category_id = raw.category_id.0.ok_or("category_id: expected a whole number")?;
    let (segmentation, image_size) = match raw.segmentation {
        Some(RawSegmentation::Polygons(polygons)) if !polygons.is_empty() => (
            CocoSegmentation::Polygons(polygons.into_iter().map(|Points(points)| points).collect()),
            None,
        ),
        Some(RawSegmentation::Rle(RawRle {
            counts,
            size: [SideLength(height), SideLength(width)],
        })) => {
            let segmentation = match counts {
                RawCounts::Uncompressed(counts) => CocoSegmentation::UncompressedRle(counts),
                RawCounts::Compressed(text) => CocoSegmentation::CompressedRle(text),
            };
            (segmentation, Some((width, height)))
        }
        _ if raw.keypoints.is_some() => {
            (CocoSegmentation::Missing("has key points and no segmentation"), None)
        }
        _ if raw.bbox.is_some() => {
            (CocoSegmentation::Missing("has a box (bbox) and no segmentation"), None)
        }
        _ => (CocoSegmentation::Missing("has no segmentation"), None),
    };
    Ok(CocoAnnotation { category_id, segmentation, image_size })
}

impl CocoAnnotation {
    /// The pixels of a `width` x `height` image that it covers; polygons by the centers of pixels.
    pub fn rasterize(&self, width: u32, height: u32) -> Result<Runs, String> {
        if let Some((drawn_width, drawn_height)) = self.image_size
            && (drawn_width, drawn_height) != (width, height)
        {
            return Err(format!(
                "is of an image of {drawn_width} x {drawn_height} pixels (width x height), but the \
                 image has {width} x {height}; use the image that was annotated"
            ));
        }
        match &self.segmentation {
            CocoSegmentation::Polygons(polygons) => {
                if polygons.len() > MAX_POLYGONS {
                    let polygon_count = polygons.len();
                    return Err(format!(
                        "has {polygon_count} polygons, and {MAX_POLYGONS} are allowed; write a mask instead"
                    ));
                }
                // Joined many at a time: one by one each would cost as much as all before it.
                let (mut runs, mut pending_ranges) = (Runs::new(width, height), Vec::new());
                for (index, polygon) in polygons.iter().enumerate() {
                    pending_ranges
                        .extend(shapes::rasterize_polygon(polygon, width, height)?.iter());
                    if pending_ranges.len() > MAX_PENDING_RUNS || index + 1 == polygons.len() {
                        let joined = Runs::from_unsorted(width, height, pending_ranges.drain(..));
                        runs = runs.union(&joined);
                    }
                }
                Ok(runs)
            }
            CocoSegmentation::UncompressedRle(counts) => {
                coco_rle::decode_counts(counts, width, height)
            }
            CocoSegmentation::CompressedRle(text) => {
                coco_rle::decode_compressed(text, width, height)
            }
            CocoSegmentation::Missing(reason) => Err((*reason).to_owned()),
        }
    }
}

/// Of an object its parts, of a crowd (and from many tools) a mask.
enum RawSegmentation {
    Polygons(Vec<Points>),
    Rle(RawRle),
}

#[derive(Deserialize)]
struct RawRle {
    counts: RawCounts,
    /// Height and width.
    size: [SideLength; 2],
}

impl<'de> Deserialize<'de> for RawSegmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SegmentationVisitor;
        impl<'de> Visitor<'de> for SegmentationVisitor {
            type Value = RawSegmentation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of polygons, or an object with counts and size")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<RawSegmentation, A::Error> {
                let mut polygons = Vec::new();
                while let Some(polygon) = list.next_element()? {
                    polygons.push(polygon);
                }
                Ok(RawSegmentation::Polygons(polygons))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawSegmentation, A::Error> {
                RawRle::deserialize(MapAccessDeserializer::new(map)).map(RawSegmentation::Rle)
            }
        }
        deserializer.deserialize_any(SegmentationVisitor)
    }
}

/// A polygon as x and y in turn.
struct Points(Vec<[f64; 2]>);

impl<'de> Deserialize<'de> for Points {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PointsVisitor;
        impl<'de> Visitor<'de> for PointsVisitor {
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
        deserializer.deserialize_seq(PointsVisitor)
    }
}

/// The runs of a mask, as they are or packed.
enum RawCounts {
    Uncompressed(Vec<u32>),
    Compressed(String),
}

impl<'de> Deserialize<'de> for RawCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountsVisitor;
        impl<'de> Visitor<'de> for CountsVisitor {
            type Value = RawCounts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the runs of a mask, as a list of whole numbers or as packed text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RawCounts, E> {
                Ok(RawCounts::Compressed(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawCounts, A::Error> {
                let mut counts = Vec::new();
                while let Some(count) = list.next_element()? {
                    counts.push(count);
                }
                Ok(RawCounts::Uncompressed(counts))
            }
        }
        deserializer.deserialize_any(CountsVisitor)
    }
}
