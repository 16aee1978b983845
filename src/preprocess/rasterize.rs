//! Rasterization of annotations to masks of class ids.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::GrayImage;

use super::classes::Classes;
use super::mask_file::{MaskFileContent, MaskFindings, read_color_mask, read_mask};
use super::orientation::{AnnotatedAs, AnnotatedPicture};
use super::painting::{
    DrawnRegion, PaintedRegions, RegionOutcomes, find_region_class, find_top_class, paint_regions,
};
use crate::annotations::label_studio::RegionTarget;
use crate::annotations::region::Region;
use crate::annotations::shapes::FillRule;
use crate::annotations::uncovered::{explain_uncovered_segmentation, explain_uncovered_shape};
use crate::annotations::{coco, label_studio};
use crate::data::color_map::ColorMap;
use crate::error::Error;
use crate::imaging::DecodeLimits;

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
        /// Number of drawn results that are the image's.
        region_count: usize,
        /// Image of the task on which the regions lie.
        target: RegionTarget,
    },
    /// Annotations of one image in a COCO file.
    Coco {
        file: Arc<Path>,
        /// One span per annotation, in the order of the file.
        spans: Vec<ByteSpan>,
        /// Category names by category id.
        categories: Arc<HashMap<coco::CocoId, String>>,
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
pub(super) struct RasterizedMask {
    /// Class id of each pixel.
    pub class_ids: GrayImage,
    pub regions: RegionOutcomes,
    /// Regions that have a pixel of their class in the mask; none of a mask file.
    pub visible: Vec<DrawnRegion>,
    /// Facts about the mask file, if the mask was read from one.
    pub findings: MaskFindings,
}

impl RasterizedMask {
    fn from_regions(painted: PaintedRegions) -> Self {
        let PaintedRegions { class_ids, outcomes, visible } = painted;
        Self { class_ids, regions: outcomes, visible, findings: MaskFindings::default() }
    }

    /// Makes the mask of a file, which counts as one region.
    fn from_file(content: MaskFileContent) -> Self {
        let MaskFileContent { class_ids, findings } = content;
        let regions = RegionOutcomes { drawn: 1, ..RegionOutcomes::default() };
        Self { class_ids, regions, visible: Vec::new(), findings }
    }
}

/// Settings for reading masks and regions.
#[derive(Debug, Clone, Copy)]
pub(super) struct RasterizeOptions<'a> {
    pub classes: &'a Classes,
    /// True if labels define the classes, so masks may hold no other ids.
    pub has_fixed_classes: bool,
    /// Picture on which masks and COCO's annotations were drawn; `None` if the user does not say.
    pub annotated_as: Option<AnnotatedAs>,
    /// Limits on the pixels of images and masks.
    pub limits: DecodeLimits,
    /// Rule that fills Label Studio's polygons.
    pub polygon_rule: FillRule,
}

impl MaskSource {
    /// Returns a source for tests that never read it.
    #[cfg(test)]
    pub(super) fn placeholder() -> Self {
        Self::Mask(PathBuf::new())
    }

    /// Returns the number of regions of the drawing, those that cannot be drawn among them. A mask
    /// is one.
    pub(super) fn region_count(&self) -> usize {
        match self {
            Self::Regions { region_count, .. } => *region_count,
            Self::Coco { spans, .. } => spans.len(),
            Self::ColorMask { .. } | Self::Mask(_) => 1,
        }
    }

    /// Draws the annotation at the size of the picture that was annotated.
    ///
    /// # Errors
    /// The drawing cannot be read, or does not fit the image or the classes. The text follows the
    /// annotation's location.
    pub(super) fn rasterize(
        &self,
        picture: AnnotatedPicture,
        options: RasterizeOptions<'_>,
    ) -> Result<RasterizedMask, String> {
        let size = picture.size();
        let annotated_as = Some(options.annotated_as.unwrap_or(AnnotatedAs::Upright));
        let mask = match self {
            Self::Regions { file, span, annotation_index, target, .. } => {
                let element = read_span(file, *span)?;
                let label_studio::AnnotationRegions { regions, skipped_reasons } =
                    label_studio::read_target_regions(&element, *annotation_index, target)?;
                drop(element);
                let painted = draw_regions(&regions, skipped_reasons, size, options)?;
                RasterizedMask::from_regions(painted)
            }
            Self::Coco { file, spans, categories, image_size } => {
                if let Some(stated_size) = image_size {
                    check_size(*stated_size, size, annotated_as)?;
                }
                let painted = draw_coco_annotations(file, spans, categories, size, options)?;
                RasterizedMask::from_regions(painted)
            }
            Self::ColorMask { mask, color_map } => {
                RasterizedMask::from_file(read_color_mask(mask, color_map, picture, options)?)
            }
            Self::Mask(path) => RasterizedMask::from_file(read_mask(path, picture, options)?),
        };
        check_size(mask.class_ids.dimensions(), size, annotated_as)?;
        Ok(mask)
    }

    /// Returns true if the source states the size of the picture that was annotated, or has it as a
    /// mask does.
    pub(super) fn states_size(&self) -> bool {
        !matches!(self, Self::Coco { image_size: None, .. })
    }

    /// Returns true if the tool shows images upright to its annotators. Other formats do not say
    /// what was shown.
    pub(super) fn is_shown_upright(&self) -> bool {
        matches!(self, Self::Regions { .. })
    }
}

/// Reads a span that was recorded earlier; the file may have changed since.
pub(super) fn read_span(file: &Path, span: ByteSpan) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; span.length];
    let read = File::open(file).and_then(|opened| opened.read_exact_at(&mut bytes, span.offset));
    match read {
        Ok(()) => Ok(bytes),
        Err(cause) => Err(Error::io("read", file, &cause).to_string()),
    }
}

/// Fails if an annotation and its image, both (width, height) in pixels, differ in size: the
/// annotation was drawn on another picture. `annotated_as` is the picture of the image that is
/// compared; `None` for regions of Label Studio, which are always of the upright one.
fn check_size(
    annotated_size: (u32, u32),
    image_size: (u32, u32),
    annotated_as: Option<AnnotatedAs>,
) -> Result<(), String> {
    if annotated_size == image_size {
        return Ok(());
    }
    let is_turned = (annotated_size.1, annotated_size.0) == image_size;
    let (picture, rotation_hint) = match annotated_as {
        Some(AnnotatedAs::Stored) => (
            "as it is stored",
            "turned by a quarter: the tool that wrote it applied the image's EXIF orientation; \
             --annotated-as upright",
        ),
        Some(AnnotatedAs::Upright) => (
            "upright",
            "turned by a quarter: the tool that wrote it did not apply the image's EXIF \
             orientation; --annotated-as stored",
        ),
        None => (
            "upright",
            "turned by a quarter: the image's EXIF orientation was lost or added since; use the \
             file that was annotated",
        ),
    };
    let hint = if is_turned { format!(" ({rotation_hint})") } else { String::new() };
    Err(format!(
        "was drawn on {} x {} pixels, the image has {} x {} {picture}{hint}",
        annotated_size.0, annotated_size.1, image_size.0, image_size.1
    ))
}

/// Finds the pixels of Label Studio's regions, and paints those that cover a pixel.
fn draw_regions(
    regions: &[Region],
    mut left_out: Vec<String>,
    size: (u32, u32),
    options: RasterizeOptions<'_>,
) -> Result<PaintedRegions, String> {
    let mut errors = Vec::new();
    let mut drawn = Vec::with_capacity(regions.len());
    for region in regions {
        let name = name_region(&region.id, &region.labels);
        if let Some(region_size) = region.image_size
            && let Err(message) = check_size(region_size, size, None)
        {
            errors.push(format!("{name} {message}"));
            continue;
        }
        let class = match find_top_class(&region.labels, options.classes) {
            Ok(class) => class,
            Err(message) => {
                errors.push(format!("{name} has the {message}"));
                continue;
            }
        };
        match region.rasterize(size.0, size.1, options.polygon_rule) {
            Ok(runs) if runs.is_empty() => {
                left_out.push(format!("{name} {}", explain_uncovered_shape(&region.shape)));
            }
            Ok(runs) => {
                drawn.push(DrawnRegion { name, class, runs, order_group: region.order_group });
            }
            Err(message) => errors.push(format!("{name}: {message}")),
        }
    }
    if errors.is_empty() {
        return Ok(paint_regions(drawn, left_out, size));
    }
    errors.dedup();
    Err(errors.join("; "))
}

/// Returns the name of a region in messages. The id is empty where the format has none.
fn name_region(id: &str, labels: &[String]) -> String {
    let labels = labels.join(", ");
    if id.is_empty() { format!("a region ({labels})") } else { format!("region {id} ({labels})") }
}

/// Finds the pixels of the COCO annotations of one image, and paints those that cover a pixel.
fn draw_coco_annotations(
    file: &Path,
    spans: &[ByteSpan],
    categories: &HashMap<coco::CocoId, String>,
    size: (u32, u32),
    options: RasterizeOptions<'_>,
) -> Result<PaintedRegions, String> {
    let (width, height) = size;
    let annotated_as = Some(options.annotated_as.unwrap_or(AnnotatedAs::Upright));
    let mut drawn: Vec<DrawnRegion> = Vec::with_capacity(spans.len());
    let mut left_out = Vec::new();
    for span in spans {
        let annotation = coco::parse_annotation(&read_span(file, *span)?)?;
        let category_id = &annotation.category_id;
        let Some(label) = categories.get(category_id) else {
            return Err(format!(
                "has an annotation of category {category_id}, which categories lacks"
            ));
        };
        let class = match find_region_class(label, options.classes) {
            Ok(class) => class,
            Err(message) => return Err(format!("has the {message}")),
        };
        let name = match &annotation.id {
            Some(id) => format!("annotation {id} ({label})"),
            None => format!("an annotation ({label})"),
        };
        if let Some(stated_size) = annotation.image_size
            && let Err(message) = check_size(stated_size, size, annotated_as)
        {
            return Err(format!("{name} {message}"));
        }
        let segmentation = &annotation.segmentation;
        if let coco::CocoSegmentation::Missing(reason) = segmentation {
            left_out.push(format!("{name} {reason}"));
            continue;
        }
        match annotation.rasterize(width, height) {
            Ok(runs) if runs.is_empty() => {
                let reason = explain_uncovered_segmentation(segmentation, width, height);
                left_out.push(format!("{name} {reason}"));
            }
            Ok(runs) => drawn.push(DrawnRegion { name, class, runs, order_group: None }),
            Err(message) => return Err(format!("{name} {message}")),
        }
    }
    Ok(paint_regions(drawn, left_out, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_disagree_are_told_with_both() {
        assert_eq!(
            check_size((300, 200), (256, 256), None).unwrap_err(),
            "was drawn on 300 x 200 pixels, the image has 256 x 256 upright"
        );
        for (annotated_as, expected) in [
            (None, "EXIF orientation was lost"),
            (
                Some(AnnotatedAs::Upright),
                "upright (turned by a quarter: the tool that wrote it did",
            ),
            (Some(AnnotatedAs::Stored), "as it is stored (turned by a quarter"),
        ] {
            let message = check_size((300, 200), (200, 300), annotated_as).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        assert_eq!(check_size((3, 2), (3, 2), None), Ok(()));
    }
}
