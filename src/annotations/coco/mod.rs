//! COCO's instance annotations: polygons in pixels, and run-length encoded masks.
//!
//! The file is read once for its images, its categories and the positions of its annotations. Each
//! annotation is then read from its position when its image is processed. Format:
//! <https://cocodataset.org/#format-data>. The text of an error completes a sentence that begins
//! with the name of the file or of the annotation.

mod id;
mod index;
mod origin;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

pub use self::id::CocoId;
pub use self::index::{CocoImage, CocoIndex, read_coco_index};
pub use self::origin::is_label_studio_export;
use super::error::{Error, Result};
use super::json::{Number, SideLength, StringOrNumber, parse_json};
use super::json_objects;
use super::runs::Runs;
use super::shapes::FillRule;
use super::{coco_rle, shapes};

/// Largest number of polygons of one annotation. Drawn objects have a few, traced noise has
/// thousands.
const MAX_POLYGONS: usize = 100_000;

/// Number of runs of polygons that are collected before they are merged.
const MAX_PENDING_RUNS: usize = 1 << 20;

/// Returns true if a document is COCO's: an object with a list of images or of categories. Reads no
/// further than that takes.
pub fn is_coco(reader: impl Read) -> bool {
    json_objects::has_object_list(reader, &["images", "categories"])
}

/// One annotation with its segmentation.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoAnnotation {
    /// Id of the annotation as text, if it has one.
    pub id: Option<String>,
    /// Id of the annotation's category.
    pub category_id: CocoId,
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
        id: Option<StringOrNumber>,
        category_id: CocoId,
        segmentation: Option<RawSegmentation>,
        bbox: Option<IgnoredAny>,
        keypoints: Option<IgnoredAny>,
    }
    let raw: RawAnnotation = parse_json(bytes)?;
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
    let id = raw.id.map(|StringOrNumber(id)| id);
    Ok(CocoAnnotation { id, category_id: raw.category_id, segmentation, image_size })
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
                    // pycocotools fills by this rule.
                    let drawn =
                        shapes::rasterize_polygon(polygon, FillRule::EvenOdd, width, height)?;
                    pending_ranges.extend(drawn.iter());
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
