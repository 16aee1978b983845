//! COCO's instance annotations: polygons in pixels, and run-length encoded masks.
//!
//! The file is read once for its images, its categories and the positions of its annotations. Each
//! annotation is then read from its position when its image is processed. Format:
//! <https://cocodataset.org/#format-data>. The text of an error completes a sentence that begins
//! with the name of the file or of the annotation.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{BufReader, Read};

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::{Error, Result};
use super::json::{Id, Number, SideLength, parse_json};
use super::json_objects::{self, JsonObject, KeyedObjects};
use super::runs::Runs;
use super::{coco_rle, shapes};

/// Largest image, category or annotation, in bytes. A mask of 64 megapixels with a run per pixel is
/// that long.
const MAX_ELEMENT_BYTES: usize = 256 << 20;

/// Largest number of polygons of one annotation. Drawn objects have a few, traced noise has
/// thousands.
const MAX_POLYGONS: usize = 100_000;

/// Number of runs of polygons that are collected before they are merged.
const MAX_PENDING_RUNS: usize = 1 << 20;

/// Contents of a file without its segmentations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CocoIndex {
    /// Images, in the order of the file.
    pub images: Vec<CocoImage>,
    /// Ids and names of the categories, in the order of the file.
    pub categories: Vec<(i64, String)>,
    /// Position and length of each annotation, in bytes, by the id of its image; in the order of
    /// the file.
    pub annotation_spans: BTreeMap<i64, Vec<(u64, usize)>>,
    /// Number of annotations whose image the file does not list.
    pub orphan_annotations: u64,
}

/// An image that the file lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoImage {
    /// Id, unique in the file.
    pub id: i64,
    /// Name of the image file, often with folders, which need not exist.
    pub file_name: String,
    /// Path of the image file, which some writers give as well.
    pub path: Option<String>,
    /// Width in pixels, if given.
    pub width: Option<u32>,
    /// Height in pixels, if given.
    pub height: Option<u32>,
}

/// Returns true if a document is COCO's: an object with a list of images or of categories. Reads no
/// further than that takes.
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

/// Reads the index of a file in one pass.
pub fn read_coco_index(reader: impl Read) -> Result<CocoIndex> {
    const KEYS: &[&str] = &["images", "categories", "annotations"];
    let mut index = CocoIndex::default();
    let (mut image_ids, mut category_ids) = (HashSet::new(), HashSet::new());
    for member in
        KeyedObjects::new(BufReader::with_capacity(1 << 18, reader), KEYS, MAX_ELEMENT_BYTES)
    {
        let (key, element) = member?;
        let added = match key {
            "images" => add_image(&element.bytes, &mut image_ids, &mut index.images),
            "categories" => add_category(&element.bytes, &mut category_ids, &mut index.categories),
            _ => add_annotation_span(&element, &mut index.annotation_spans),
        };
        if let Err(error) = added {
            return Err(error.located(format!("has at byte {} in {key}: ", element.offset), ""));
        }
    }
    if image_ids.is_empty() {
        return Err(Error::UnexpectedFormat(
            "lists no images; expected COCO's images, annotations and categories".to_owned(),
        ));
    }
    // Annotations may come before the images, so orphans are only known at the end.
    index.annotation_spans.retain(|id, spans| {
        let listed = image_ids.contains(id);
        index.orphan_annotations += if listed { 0 } else { spans.len() as u64 };
        listed
    });
    Ok(index)
}

fn add_image(bytes: &[u8], seen_ids: &mut HashSet<i64>, images: &mut Vec<CocoImage>) -> Result<()> {
    let RawImage { id, file_name, path, width, height } = parse_json(bytes)?;
    let id = require_new_id(id, seen_ids)?;
    let (width, height) = (width.map(u32::from), height.map(u32::from));
    images.push(CocoImage { id, file_name, path, width, height });
    Ok(())
}

fn add_category(
    bytes: &[u8],
    seen_ids: &mut HashSet<i64>,
    categories: &mut Vec<(i64, String)>,
) -> Result<()> {
    let RawCategory { id, name } = parse_json(bytes)?;
    categories.push((require_new_id(id, seen_ids)?, name));
    Ok(())
}

fn add_annotation_span(
    element: &JsonObject,
    annotation_spans: &mut BTreeMap<i64, Vec<(u64, usize)>>,
) -> Result<()> {
    let ImageReference { image_id } = parse_json(&element.bytes)?;
    let span = (element.offset, element.bytes.len());
    annotation_spans.entry(require_id(image_id)?).or_default().push(span);
    Ok(())
}

fn require_id(Id(id): Id) -> Result<i64> {
    id.ok_or_else(|| Error::InvalidValue("an id that is no number".to_owned()))
}

/// Returns an id that is not among `seen_ids`, and adds it to them.
fn require_new_id(id: Id, seen_ids: &mut HashSet<i64>) -> Result<i64> {
    let id = require_id(id)?;
    if !seen_ids.insert(id) {
        let message = format!("the id {id}, which another one has already");
        return Err(Error::InvalidValue(message));
    }
    Ok(id)
}

/// One annotation with its segmentation.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoAnnotation {
    /// Id of the annotation's category.
    pub category_id: i64,
    pub segmentation: CocoSegmentation,
    /// Width and height, in pixels, of the image on which the annotation was drawn, if it gives
    /// them. (The file has the height first.)
    pub image_size: Option<(u32, u32)>,
}

/// Area that an annotation covers.
#[derive(Debug, Clone, PartialEq)]
pub enum CocoSegmentation {
    /// Parts of an object, whose union is covered; corners as [x, y] in pixels.
    Polygons(Vec<Vec<[f64; 2]>>),
    /// Lengths of runs, in pixels, in turn outside and inside, column after column.
    UncompressedRle(Vec<u32>),
    /// The same lengths, packed by pycocotools.
    CompressedRle(String),
    /// No area, with the reason.
    Missing(&'static str),
}

/// Parses one annotation.
pub fn parse_annotation(bytes: &[u8]) -> Result<CocoAnnotation> {
    #[derive(Deserialize)]
    struct RawAnnotation {
        category_id: Id,
        segmentation: Option<RawSegmentation>,
        bbox: Option<serde::de::IgnoredAny>,
        keypoints: Option<serde::de::IgnoredAny>,
    }
    let raw: RawAnnotation = parse_json(bytes)?;
    let Id(Some(category_id)) = raw.category_id else {
        return Err(Error::InvalidValue("category_id: expected a whole number".to_owned()));
    };
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
    /// Returns the pixels that the annotation covers in an image of `width` x `height` pixels. A
    /// polygon covers a pixel if the pixel's center is inside.
    pub fn rasterize(&self, width: u32, height: u32) -> Result<Runs> {
        if let Some((drawn_width, drawn_height)) = self.image_size
            && (drawn_width, drawn_height) != (width, height)
        {
            return Err(Error::WrongSize(format!(
                "is of an image of {drawn_width} x {drawn_height} pixels (width x height), but the \
                 image has {width} x {height}; use the image that was annotated"
            )));
        }
        match &self.segmentation {
            CocoSegmentation::Polygons(polygons) => {
                if polygons.len() > MAX_POLYGONS {
                    let polygon_count = polygons.len();
                    return Err(Error::TooLarge(format!(
                        "has {polygon_count} polygons, and {MAX_POLYGONS} are allowed; write a \
                         mask instead"
                    )));
                }
                // Merges the runs of many polygons at once: merging one by one would cost the sum
                // of all before for each polygon.
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
            CocoSegmentation::Missing(reason) => Err(Error::NoArea(reason)),
        }
    }
}

/// Segmentation as written: polygons for an object, RLE for a crowd (many tools write RLE for
/// objects too).
enum RawSegmentation {
    Polygons(Vec<Points>),
    Rle(RawRle),
}

#[derive(Deserialize)]
struct RawRle {
    counts: RawCounts,
    /// Height and width, in pixels.
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

/// A polygon, written as x and y in turn.
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

/// Runs of a mask, as a list or as packed text.
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
