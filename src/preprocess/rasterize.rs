//! From what stands in the annotations to class ids of pixels.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::GrayImage;

use super::classes::{Classes, IGNORE_INDEX};
use crate::annotations::region::Region;
use crate::annotations::runs::Runs;
use crate::annotations::{coco, label_studio};
use crate::colors::class_color;
use crate::data::color_map::ColorMap;
use crate::error::Error;
use crate::files;
use crate::imaging::{DecodeLimits, MaskError, decode_color_mask, decode_mask};

/// Where some bytes of a file stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSpan {
    /// Bytes before them.
    pub offset: u64,
    /// How many.
    pub length: usize,
}

/// What somebody drew on one image, not read yet.
#[derive(Debug)]
pub enum MaskSource {
    /// Regions of Label Studio.
    Regions {
        /// The file.
        file: Arc<Path>,
        /// Its element: a task, an annotation or a row.
        span: ByteSpan,
        /// Which annotation of the element.
        annotation_index: usize,
        /// The `<Image>` that regions must name, where a task has several images.
        to_name: Option<String>,
    },
    /// Annotations of a COCO file.
    Coco {
        /// The file.
        file: Arc<Path>,
        /// One per annotation, in the order of the file.
        spans: Vec<ByteSpan>,
        /// Names of categories by number.
        categories: Arc<HashMap<i64, String>>,
        /// Columns and rows of the image according to the file.
        image_size: Option<(u32, u32)>,
    },
    /// A mask whose colors stand for names.
    ColorMask {
        /// A PNG.
        mask: PathBuf,
        /// The names.
        color_map: Arc<ColorMap>,
    },
    /// A mask of class ids; or of the labels' colors.
    Mask(PathBuf),
}

/// A drawing in pixels.
#[derive(Debug)]
pub struct RasterizedMask {
    /// The class of each pixel.
    pub class_ids: GrayImage,
    /// Regions that were left out, with the reason.
    pub left_out: Vec<String>,
}

/// How drawings are read.
#[derive(Debug, Clone, Copy)]
pub struct RasterizeOptions<'a> {
    /// Which class a label is.
    pub classes: &'a Classes,
    /// Whether ids of masks must be among the classes: the labels are given.
    pub has_fixed_classes: bool,
    /// Of pictures.
    pub limits: DecodeLimits,
}

impl MaskSource {
    /// A drawing for tests that look at none.
    #[cfg(test)]
    pub(super) fn placeholder() -> Self {
        Self::Mask(PathBuf::new())
    }

    /// Draws on an image of `width` x `height` pixels.
    ///
    /// # Errors
    /// Everything that keeps the drawing from being what somebody meant: the text says what and where.
    pub fn rasterize(
        &self,
        size: (u32, u32),
        options: RasterizeOptions<'_>,
    ) -> Result<RasterizedMask, String> {
        match self {
            Self::Regions { file, span, annotation_index, to_name } => {
                let element = read_span(file, *span)?;
                let label_studio::AnnotationRegions { mut regions, skipped_reasons: left_out } =
                    label_studio::read_regions(&element, *annotation_index)?;
                drop(element);
                if let Some(image_tag) = to_name {
                    regions
                        .retain(|region| region.to_name.is_empty() || region.to_name == *image_tag);
                }
                let class_ids = paint_regions(&regions, size, options.classes)?;
                Ok(RasterizedMask { class_ids, left_out })
            }
            Self::Coco { file, spans, categories, image_size: stated_size } => {
                if let Some(claimed) = stated_size {
                    check_size(*claimed, size)?;
                }
                paint_coco(file, spans, categories, size, options.classes)
            }
            Self::ColorMask { mask, color_map } => {
                let class_ids = read_color_mask(mask, color_map, options)?;
                check_size(class_ids.dimensions(), size)?;
                Ok(RasterizedMask { class_ids, left_out: Vec::new() })
            }
            Self::Mask(path) => {
                let class_ids = read_mask(path, options)?;
                check_size(class_ids.dimensions(), size)?;
                Ok(RasterizedMask { class_ids, left_out: Vec::new() })
            }
        }
    }
}

/// Bytes of a file that was listed before; it may have changed since.
fn read_span(file: &Path, span: ByteSpan) -> Result<Vec<u8>, String> {
    let failed = |cause: &std::io::Error| Error::io("read", file, cause).to_string();
    let mut bytes = vec![0; span.length];
    let opened = File::open(file).map_err(|cause| failed(&cause))?;
    opened.read_exact_at(&mut bytes, span.offset).map_err(|cause| failed(&cause))?;
    Ok(bytes)
}

/// Sizes must agree: a mask that was drawn on another picture fits nowhere.
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

/// Paints regions in their order, those of higher rank after the others: what is painted later is on top.
fn paint_regions(
    regions: &[Region],
    (width, height): (u32, u32),
    classes: &Classes,
) -> Result<GrayImage, String> {
    let mut errors = Vec::new();
    let mut ranked = Vec::with_capacity(regions.len());
    for region in regions {
        let describe_region = || {
            if region.id.is_empty() {
                "a region".to_owned()
            } else {
                format!("region {}", region.id)
            }
        };
        if let Some(size) = region.image_size
            && let Err(message) = check_size(size, (width, height))
        {
            errors.push(format!("{} {message}", describe_region()));
        }
        match top_label(region, classes) {
            Ok((rank, class)) => ranked.push((rank, class, region)),
            Err(message) => errors.push(format!("{} has the {message}", describe_region())),
        }
    }
    if !errors.is_empty() {
        errors.dedup();
        return Err(errors.join("; "));
    }
    ranked.sort_by_key(|(rank, ..)| *rank);
    let mut class_ids = GrayImage::new(width, height);
    for (_, class, region) in ranked {
        let runs = region
            .rasterize(width, height)
            .map_err(|message| format!("region {}: {message}", region.id))?;
        runs.paint(&mut class_ids, class);
    }
    Ok(class_ids)
}

/// The rank and class of a region: of several labels the one that would be painted last.
fn top_label(region: &Region, classes: &Classes) -> Result<(usize, u8), String> {
    let mut top = None;
    for label in &region.labels {
        let class = classes.class_id(label).map_err(|error| error.to_string())?;
        let rank = classes.rank(label);
        if top.is_none_or(|(highest, _)| rank >= highest) {
            top = Some((rank, class));
        }
    }
    top.ok_or_else(|| "no label".to_owned())
}

fn paint_coco(
    file: &Path,
    spans: &[ByteSpan],
    categories: &HashMap<i64, String>,
    (width, height): (u32, u32),
    classes: &Classes,
) -> Result<RasterizedMask, String> {
    let mut ranked = Vec::with_capacity(spans.len());
    let mut left_out = Vec::new();
    for span in spans {
        let annotation = coco::parse_annotation(&read_span(file, *span)?)?;
        let id = annotation.category_id;
        let Some(label) = categories.get(&id) else {
            return Err(format!("has an annotation of category {id}, which categories lacks"));
        };
        let class = classes.class_id(label).map_err(|error| format!("has the {error}"))?;
        if let coco::CocoSegmentation::Missing(reason) = annotation.segmentation {
            left_out.push(format!("an annotation of {label} {reason}"));
        } else {
            let runs = annotation.rasterize(width, height);
            let runs = runs.map_err(|message| format!("an annotation of {label} {message}"))?;
            ranked.push((classes.rank(label), class, runs));
        }
    }
    ranked.sort_by_key(|(rank, ..): &(usize, u8, Runs)| *rank);
    let mut class_ids = GrayImage::new(width, height);
    for (_, class, runs) in ranked {
        runs.paint(&mut class_ids, class);
    }
    Ok(RasterizedMask { class_ids, left_out })
}

fn read_color_mask(
    path: &Path,
    color_map: &ColorMap,
    options: RasterizeOptions<'_>,
) -> Result<GrayImage, String> {
    let bytes = files::read_file(path).map_err(|error| error.to_string())?;
    let with_path = |message: String| format!("{} {message}", path.display());
    let mask = decode_color_mask(&bytes, options.limits)
        .map_err(|error| with_path(format!("is {error}")))?;
    let class_map = color_map.with_class_ids(|name| options.classes.class_id(name).ok());
    class_map.resolve(&mask).map(|resolved| resolved.ids).map_err(with_path)
}

/// A mask as somebody stored it: class ids, or the labels' colors where those are given. Its path is told before an
/// error.
fn read_mask(path: &Path, options: RasterizeOptions<'_>) -> Result<GrayImage, String> {
    let bytes = files::read_file(path).map_err(|error| error.to_string())?;
    match decode_mask(&bytes, options.limits) {
        Ok(mut class_ids) => {
            let stored_id_map = options.classes.stored_id_map();
            let unknown_ids = class_ids
                .as_raw()
                .iter()
                .filter(|&&id| usize::from(id) >= stored_id_map.len() && id != IGNORE_INDEX);
            if let Some(largest_id) = unknown_ids.max().filter(|_| options.has_fixed_classes) {
                return Err(format!(
                    "has values up to {largest_id}; with {0} classes allowed are 0 to {1} and 255",
                    stored_id_map.len(),
                    stored_id_map.len() - 1
                ));
            }
            for id in class_ids.iter_mut() {
                *id = stored_id_map.get(usize::from(*id)).copied().unwrap_or(*id);
            }
            Ok(class_ids)
        }
        Err(MaskError::NotClassIds(message)) => {
            if options.classes.label_colors().is_empty() {
                return Err(format!(
                    "is {message}; masks by color need a labeling configuration whose labels have colors \
                     (--label-config)"
                ));
            }
            let mask =
                decode_color_mask(&bytes, options.limits).map_err(|error| format!("is {error}"))?;
            label_color_map(options.classes)?.resolve(&mask).map(|resolved| resolved.ids)
        }
        Err(other) => Err(format!("is {other}")),
    }
}

/// The labels' colors; the background is black where nothing else is.
fn label_color_map(classes: &Classes) -> Result<ColorMap, String> {
    let mut label_colors = classes.label_colors().to_vec();
    if label_colors.iter().all(|(color, id)| *id != 0 && *color != class_color(0)) {
        label_colors.push((class_color(0), 0));
    }
    let names = classes.names();
    let class_name = |id: u8| names.get(usize::from(id)).map_or("ignored", String::as_str);
    for (index, (color, id)) in label_colors.iter().enumerate() {
        if let Some((_, other_id)) =
            label_colors[..index].iter().find(|(c, other)| c == color && other != id)
        {
            return Err(format!(
                "is by color, and the labels {} and {} have the same color in the labeling configuration",
                class_name(*other_id),
                class_name(*id)
            ));
        }
    }
    Ok(ColorMap::from_classes(
        label_colors.into_iter().map(|(color, id)| (class_name(id).to_owned(), color, id)),
    ))
}

/// What most of some drawings of one image say about each pixel; 255 where two classes have equally many votes.
pub(super) fn majority_vote(masks: Vec<GrayImage>) -> Option<GrayImage> {
    let mut masks = masks;
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
            // Taken back, so that each class is looked at once.
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
        // Three classes of which two lead.
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
