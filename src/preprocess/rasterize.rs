//! Rasterization of annotations to masks of class ids.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::GrayImage;

use super::classes::Classes;
use crate::annotations::region::Region;
use crate::annotations::runs::Runs;
use crate::annotations::{coco, label_studio};
use crate::colors::class_color;
use crate::data::color_map::ColorMap;
use crate::error::Error;
use crate::files;
use crate::imaging::{ColorMask, DecodeLimits, MaskError, decode_color_mask, decode_mask};
use crate::metrics::IGNORE_INDEX;

/// Position of some bytes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSpan {
    /// Start of the span, in bytes from the start of the file.
    pub offset: u64,
    /// Length of the span, in bytes.
    pub length: usize,
}

/// Place from which an annotation's drawing of one image is read when its mask is made.
#[derive(Debug)]
pub enum MaskSource {
    /// Regions of a Label Studio annotation.
    Regions {
        file: Arc<Path>,
        /// Element of the file: a task, an annotation or a row.
        span: ByteSpan,
        /// Index of the annotation in the element.
        annotation_index: usize,
        /// Name of the `<Image>` tag that regions must refer to, if a task has several images.
        to_name: Option<String>,
    },
    /// Annotations of one image in a COCO file.
    Coco {
        file: Arc<Path>,
        /// One span per annotation, in the order of the file.
        spans: Vec<ByteSpan>,
        /// Category names by category id.
        categories: Arc<HashMap<i64, String>>,
        /// Width and height of the image in pixels, according to the file.
        image_size: Option<(u32, u32)>,
    },
    /// Mask whose colors stand for label names.
    ColorMask {
        /// Path of a PNG.
        mask: PathBuf,
        /// Label names of the colors.
        color_map: Arc<ColorMap>,
    },
    /// Path of a mask of class ids or of the labels' colors.
    Mask(PathBuf),
}

/// Mask of one annotation.
#[derive(Debug)]
pub struct RasterizedMask {
    /// Class id of each pixel.
    pub class_ids: GrayImage,
    /// Regions that were left out, with the reason.
    pub left_out: Vec<String>,
}

/// Settings for reading masks and regions.
#[derive(Debug, Clone, Copy)]
pub struct RasterizeOptions<'a> {
    pub classes: &'a Classes,
    /// True if a labeling configuration defines the classes, so masks may hold no other ids.
    pub has_fixed_classes: bool,
    /// Limits on the pixels of images and masks.
    pub limits: DecodeLimits,
}

impl MaskSource {
    /// Returns a source for tests that never read it.
    #[cfg(test)]
    pub(super) fn placeholder() -> Self {
        Self::Mask(PathBuf::new())
    }

    /// Draws the annotation on an image of `size` = (width, height) pixels.
    ///
    /// # Errors
    /// The drawing cannot be read, or does not fit the image or the classes. The text follows the
    /// annotation's location.
    pub fn rasterize(
        &self,
        size: (u32, u32),
        options: RasterizeOptions<'_>,
    ) -> Result<RasterizedMask, String> {
        let (class_ids, left_out) = match self {
            Self::Regions { file, span, annotation_index, to_name } => {
                let element = read_span(file, *span)?;
                let label_studio::AnnotationRegions { mut regions, skipped_reasons } =
                    label_studio::read_regions(&element, *annotation_index)?;
                drop(element);
                if let Some(tag) = to_name {
                    regions.retain(|region| region.to_name.is_empty() || region.to_name == *tag);
                }
                (paint_regions(&regions, size, options.classes)?, skipped_reasons)
            }
            Self::Coco { file, spans, categories, image_size } => {
                if let Some(stated_size) = image_size {
                    check_size(*stated_size, size)?;
                }
                return paint_coco(file, spans, categories, size, options.classes);
            }
            Self::ColorMask { mask, color_map } => {
                (read_color_mask(mask, color_map, options)?, Vec::new())
            }
            Self::Mask(path) => (read_mask(path, options)?, Vec::new()),
        };
        check_size(class_ids.dimensions(), size)?;
        Ok(RasterizedMask { class_ids, left_out })
    }
}

/// Reads a span that was recorded earlier; the file may have changed since.
fn read_span(file: &Path, span: ByteSpan) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; span.length];
    let read = File::open(file).and_then(|opened| opened.read_exact_at(&mut bytes, span.offset));
    match read {
        Ok(()) => Ok(bytes),
        Err(cause) => Err(Error::io("read", file, &cause).to_string()),
    }
}

/// Fails if an annotation and its image, both (width, height) in pixels, differ in size: the
/// annotation was drawn on another picture.
fn check_size(annotated_size: (u32, u32), image_size: (u32, u32)) -> Result<(), String> {
    if annotated_size == image_size {
        return Ok(());
    }
    let rotation_hint = if (annotated_size.1, annotated_size.0) == image_size {
        " (turned by a quarter: the tool that wrote it did not apply the image's EXIF orientation)"
    } else {
        ""
    };
    Err(format!(
        "was drawn on {} x {} pixels, the image has {} x {} upright{rotation_hint}",
        annotated_size.0, annotated_size.1, image_size.0, image_size.1
    ))
}

/// Class of a region with its place in the painting order.
#[derive(Clone, Copy)]
struct RegionClass {
    /// Rank of the label; regions of higher rank cover the others.
    rank: usize,
    id: u8,
}

/// Paints regions in ascending rank, and regions of equal rank in their order. Later regions cover
/// earlier ones.
fn paint_regions(
    regions: &[Region],
    size: (u32, u32),
    classes: &Classes,
) -> Result<GrayImage, String> {
    let mut errors = Vec::new();
    let mut ranked = Vec::with_capacity(regions.len());
    for region in regions {
        let name = if region.id.is_empty() {
            "a region".to_owned()
        } else {
            format!("region {}", region.id)
        };
        if let Some(region_size) = region.image_size
            && let Err(message) = check_size(region_size, size)
        {
            errors.push(format!("{name} {message}"));
        }
        match top_label(region, classes) {
            Ok(class) => ranked.push((class, region)),
            Err(message) => errors.push(format!("{name} has the {message}")),
        }
    }
    if !errors.is_empty() {
        errors.dedup();
        return Err(errors.join("; "));
    }
    ranked.sort_by_key(|(class, _)| class.rank);
    let (width, height) = size;
    let mut class_ids = GrayImage::new(width, height);
    for (class, region) in ranked {
        match region.rasterize(width, height) {
            Ok(runs) => runs.paint(&mut class_ids, class.id),
            Err(message) => return Err(format!("region {}: {message}", region.id)),
        }
    }
    Ok(class_ids)
}

/// Returns the class of a region. A region with several labels gets the label that would be painted
/// last.
fn top_label(region: &Region, classes: &Classes) -> Result<RegionClass, String> {
    let mut top: Option<RegionClass> = None;
    for label in &region.labels {
        let class = label_class(label, classes)?;
        if top.is_none_or(|top| class.rank >= top.rank) {
            top = Some(class);
        }
    }
    match top {
        Some(class) => Ok(class),
        None => Err("no label".to_owned()),
    }
}

fn label_class(label: &str, classes: &Classes) -> Result<RegionClass, String> {
    match classes.class_id(label) {
        Ok(id) => Ok(RegionClass { rank: classes.rank(label), id }),
        Err(error) => Err(error.to_string()),
    }
}

/// Paints the annotations of one image as [`paint_regions`] does.
fn paint_coco(
    file: &Path,
    spans: &[ByteSpan],
    categories: &HashMap<i64, String>,
    (width, height): (u32, u32),
    classes: &Classes,
) -> Result<RasterizedMask, String> {
    let mut ranked: Vec<(RegionClass, Runs)> = Vec::with_capacity(spans.len());
    let mut left_out = Vec::new();
    for span in spans {
        let annotation = coco::parse_annotation(&read_span(file, *span)?)?;
        let id = annotation.category_id;
        let Some(label) = categories.get(&id) else {
            return Err(format!("has an annotation of category {id}, which categories lacks"));
        };
        let class = match label_class(label, classes) {
            Ok(class) => class,
            Err(message) => return Err(format!("has the {message}")),
        };
        if let coco::CocoSegmentation::Missing(reason) = annotation.segmentation {
            left_out.push(format!("an annotation of {label} {reason}"));
            continue;
        }
        match annotation.rasterize(width, height) {
            Ok(runs) => ranked.push((class, runs)),
            Err(message) => return Err(format!("an annotation of {label} {message}")),
        }
    }
    ranked.sort_by_key(|(class, _)| class.rank);
    let mut class_ids = GrayImage::new(width, height);
    for (class, runs) in ranked {
        runs.paint(&mut class_ids, class.id);
    }
    Ok(RasterizedMask { class_ids, left_out })
}

/// Reads a mask whose colors stand for label names. Unlike [`read_mask`] the error text contains
/// the mask's path, because the annotation's location is another file.
fn read_color_mask(
    path: &Path,
    color_map: &ColorMap,
    options: RasterizeOptions<'_>,
) -> Result<GrayImage, String> {
    let bytes = read_mask_file(path)?;
    let class_map = color_map.with_class_ids(|name| options.classes.class_id(name).ok());
    match resolve_colors(&bytes, &class_map, options.limits) {
        Ok(class_ids) => Ok(class_ids),
        Err(message) => Err(format!("{} {message}", path.display())),
    }
}

fn resolve_colors(
    bytes: &[u8],
    class_map: &ColorMap,
    limits: DecodeLimits,
) -> Result<GrayImage, String> {
    let mask = decode_colors(bytes, limits)?;
    Ok(class_map.resolve(&mask)?.ids)
}

fn decode_colors(bytes: &[u8], limits: DecodeLimits) -> Result<ColorMask, String> {
    decode_color_mask(bytes, limits).map_err(|error| format!("is {error}"))
}

fn read_mask_file(path: &Path) -> Result<Vec<u8>, String> {
    files::read_file(path).map_err(|error| error.to_string())
}

/// Reads a mask file of class ids, or of the labels' colors if those are given. The error text
/// follows the mask's path.
fn read_mask(path: &Path, options: RasterizeOptions<'_>) -> Result<GrayImage, String> {
    let bytes = read_mask_file(path)?;
    match decode_mask(&bytes, options.limits) {
        Ok(mut class_ids) => {
            replace_stored_ids(&mut class_ids, options)?;
            Ok(class_ids)
        }
        Err(MaskError::NotClassIds(message)) => {
            if options.classes.label_colors().is_empty() {
                return Err(format!(
                    "is {message}; masks by color need a labeling configuration whose labels have \
                     colors (--label-config)"
                ));
            }
            let mask = decode_colors(&bytes, options.limits)?;
            Ok(label_color_map(options.classes)?.resolve(&mask)?.ids)
        }
        Err(other) => Err(format!("is {other}")),
    }
}

/// Replaces the ids that other tools gave the labels by class ids.
fn replace_stored_ids(
    class_ids: &mut GrayImage,
    options: RasterizeOptions<'_>,
) -> Result<(), String> {
    let stored_id_map = options.classes.stored_id_map();
    if options.has_fixed_classes {
        let unknown_ids = class_ids
            .as_raw()
            .iter()
            .filter(|&&id| usize::from(id) >= stored_id_map.len() && id != IGNORE_INDEX);
        if let Some(largest_id) = unknown_ids.max() {
            return Err(format!(
                "has values up to {largest_id}; with {0} classes allowed are 0 to {1} and 255",
                stored_id_map.len(),
                stored_id_map.len() - 1
            ));
        }
    }
    for id in class_ids.iter_mut() {
        *id = stored_id_map.get(usize::from(*id)).copied().unwrap_or(*id);
    }
    Ok(())
}

/// Makes a color map of the labels' colors. Black is the background unless a label has that color
/// or the background has another one.
fn label_color_map(classes: &Classes) -> Result<ColorMap, String> {
    let mut label_colors = classes.label_colors().to_vec();
    if label_colors.iter().all(|(color, id)| *id != 0 && *color != class_color(0)) {
        label_colors.push((class_color(0), 0));
    }
    let mut id_by_color: HashMap<[u8; 3], u8> = HashMap::new();
    let mut named_colors = Vec::new();
    for (color, id) in label_colors {
        if let Some(&other_id) = id_by_color.get(&color)
            && other_id != id
        {
            return Err(format!(
                "is by color, and the labels {} and {} have the same color in the labeling \
                 configuration",
                class_name(classes, other_id),
                class_name(classes, id)
            ));
        }
        id_by_color.insert(color, id);
        named_colors.push((class_name(classes, id).to_owned(), color, id));
    }
    Ok(ColorMap::from_classes(named_colors))
}

fn class_name(classes: &Classes, id: u8) -> &str {
    classes.names().get(usize::from(id)).map_or("ignored", String::as_str)
}

/// Returns for each pixel the class with the most votes among `masks`, or 255 for a tie. `None`
/// without masks.
pub(super) fn majority_vote(mut masks: Vec<GrayImage>) -> Option<GrayImage> {
    if masks.len() < 2 {
        return masks.pop();
    }
    let (width, height) = masks[0].dimensions();
    let mut votes = [0_u32; 256];
    Some(GrayImage::from_fn(width, height, |x, y| {
        for mask in &masks {
            votes[usize::from(mask.get_pixel(x, y).0[0])] += 1;
        }
        let (mut most_votes, mut winner) = (0, IGNORE_INDEX);
        for mask in &masks {
            let class_id = mask.get_pixel(x, y).0[0];
            // Resets the count, so that each class is compared once and the table is zero for the
            // next pixel.
            let vote_count = std::mem::take(&mut votes[usize::from(class_id)]);
            if vote_count > most_votes {
                (most_votes, winner) = (vote_count, class_id);
            } else if vote_count == most_votes && vote_count > 0 {
                winner = IGNORE_INDEX;
            }
        }
        image::Luma([winner])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_decides_and_ties_are_ignored() {
        let drawing = |ids: [u8; 4]| GrayImage::from_raw(4, 1, ids.to_vec()).unwrap();
        let masks = vec![drawing([1, 1, 1, 0]), drawing([1, 2, 2, 0]), drawing([3, 2, 3, 0])];
        assert_eq!(majority_vote(masks).unwrap().into_raw(), [1, 2, 255, 0]);
        let tied = vec![drawing([1, 1, 0, 0]), drawing([1, 2, 2, 0])];
        assert_eq!(majority_vote(tied).unwrap().into_raw(), [1, 255, 255, 0]);
        assert_eq!(majority_vote(vec![drawing([7, 0, 0, 0])]).unwrap().into_raw(), [7, 0, 0, 0]);
        // Three classes, of which two lead.
        let votes =
            [[1], [1], [2], [2], [3]].map(|ids| GrayImage::from_raw(1, 1, ids.to_vec()).unwrap());
        assert_eq!(majority_vote(votes.to_vec()).unwrap().into_raw(), [255]);
        assert_eq!(majority_vote(Vec::new()), None);
    }

    #[test]
    fn sizes_that_disagree_are_told_with_both() {
        assert_eq!(
            check_size((300, 200), (256, 256)).unwrap_err(),
            "was drawn on 300 x 200 pixels, the image has 256 x 256 upright"
        );
        assert!(check_size((300, 200), (200, 300)).unwrap_err().contains("EXIF"));
        assert_eq!(check_size((3, 2), (3, 2)), Ok(()));
    }
}
