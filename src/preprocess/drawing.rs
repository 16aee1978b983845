//! From what stands in the annotations to class ids of pixels.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::GrayImage;

use super::classes::{Classes, IGNORED};
use crate::annotations::region::Region;
use crate::annotations::runs::Runs;
use crate::annotations::{coco, label_studio};
use crate::colours::class_colour;
use crate::data::color_map::ColorMap;
use crate::error::Error;
use crate::files;
use crate::imaging::{Limits, MaskError, decode_color_mask, decode_mask};

/// Where some bytes of a file stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Bytes before them.
    pub offset: u64,
    /// How many.
    pub length: usize,
}

/// What somebody drew on one image, not read yet.
#[derive(Debug)]
pub enum Drawing {
    /// Regions of Label Studio.
    Regions {
        /// The file.
        file: Arc<Path>,
        /// Its element: a task, an annotation or a row.
        span: Span,
        /// Which annotation of the element.
        annotation: usize,
        /// The `<Image>` that regions must name, where a task has several images.
        to_name: Option<String>,
    },
    /// Annotations of a COCO file.
    Coco {
        /// The file.
        file: Arc<Path>,
        /// One per annotation, in the order of the file.
        spans: Vec<Span>,
        /// Names of categories by number.
        categories: Arc<HashMap<i64, String>>,
        /// Columns and rows of the image according to the file.
        size: Option<(u32, u32)>,
    },
    /// A mask whose colours stand for names.
    Colours {
        /// A PNG.
        mask: PathBuf,
        /// The names.
        map: Arc<ColorMap>,
    },
    /// A mask of class ids; or of the labels' colours.
    Mask(PathBuf),
}

/// A drawing in pixels.
#[derive(Debug)]
pub struct Drawn {
    /// The class of each pixel.
    pub ids: GrayImage,
    /// Regions that were left out, with the reason.
    pub left_out: Vec<String>,
}

/// How drawings are read.
#[derive(Debug, Clone, Copy)]
pub struct Style<'a> {
    /// Which class a label is.
    pub classes: &'a Classes,
    /// Whether ids of masks must be among the classes: the labels are given.
    pub is_closed: bool,
    /// Of pictures.
    pub limits: Limits,
}

impl Drawing {
    /// A drawing for tests that look at none.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self::Mask(PathBuf::new())
    }

    /// Draws on an image of `width` x `height` pixels.
    ///
    /// # Errors
    /// Everything that keeps the drawing from being what somebody meant: the text says what and where.
    pub fn draw(&self, size: (u32, u32), style: Style<'_>) -> Result<Drawn, String> {
        match self {
            Self::Regions { file, span, annotation, to_name } => {
                let element = read(file, *span)?;
                let label_studio::Drawn { mut regions, left_out } =
                    label_studio::regions(&element, *annotation)?;
                drop(element);
                if let Some(image) = to_name {
                    regions.retain(|r| r.to_name.is_empty() || r.to_name == *image);
                }
                let ids = paint_regions(&regions, size, style.classes)?;
                Ok(Drawn { ids, left_out })
            }
            Self::Coco { file, spans, categories, size: claimed } => {
                if let Some(claimed) = claimed {
                    check_size(*claimed, size)?;
                }
                paint_coco(file, spans, categories, size, style.classes)
            }
            Self::Colours { mask, map } => {
                let ids = by_colour(mask, map, style)?;
                check_size(ids.dimensions(), size)?;
                Ok(Drawn { ids, left_out: Vec::new() })
            }
            Self::Mask(path) => {
                let ids = stored(path, style)?;
                check_size(ids.dimensions(), size)?;
                Ok(Drawn { ids, left_out: Vec::new() })
            }
        }
    }
}

/// Bytes of a file that was listed before; it may have changed since.
fn read(file: &Path, span: Span) -> Result<Vec<u8>, String> {
    let failed = |cause: &std::io::Error| Error::io("read", file, cause).to_string();
    let mut bytes = vec![0; span.length];
    let open = File::open(file).map_err(|cause| failed(&cause))?;
    open.read_exact_at(&mut bytes, span.offset).map_err(|cause| failed(&cause))?;
    Ok(bytes)
}

/// Sizes must agree: a mask that was drawn on another picture fits nowhere.
fn check_size(drawn: (u32, u32), image: (u32, u32)) -> Result<(), String> {
    if drawn == image {
        return Ok(());
    }
    let turned = if (drawn.1, drawn.0) == image {
        " (turned by a quarter: the tool that wrote it did not apply the image's EXIF orientation)"
    } else {
        ""
    };
    Err(format!(
        "was drawn on {} x {} pixels, the image has {} x {} upright{turned}",
        drawn.0, drawn.1, image.0, image.1
    ))
}

/// Paints regions in their order, those of higher rank after the others: what is painted later is on top.
fn paint_regions(
    regions: &[Region],
    (width, height): (u32, u32),
    classes: &Classes,
) -> Result<GrayImage, String> {
    let mut wrong = Vec::new();
    let mut order = Vec::with_capacity(regions.len());
    for region in regions {
        let name = || {
            if region.id.is_empty() {
                "a region".to_owned()
            } else {
                format!("region {}", region.id)
            }
        };
        if let Some(size) = region.size
            && let Err(what) = check_size(size, (width, height))
        {
            wrong.push(format!("{} {what}", name()));
        }
        match top_label(region, classes) {
            Ok((rank, class)) => order.push((rank, class, region)),
            Err(what) => wrong.push(format!("{} has the {what}", name())),
        }
    }
    if !wrong.is_empty() {
        wrong.dedup();
        return Err(wrong.join("; "));
    }
    order.sort_by_key(|(rank, ..)| *rank);
    let mut ids = GrayImage::new(width, height);
    for (_, class, region) in order {
        let runs = region
            .rasterise(width, height)
            .map_err(|what| format!("region {}: {what}", region.id))?;
        runs.paint(&mut ids, class);
    }
    Ok(ids)
}

/// The rank and class of a region: of several labels the one that would be painted last.
fn top_label(region: &Region, classes: &Classes) -> Result<(usize, u8), String> {
    let mut top = None;
    for label in &region.labels {
        let class = classes.class(label).map_err(|error| error.to_string())?;
        let rank = classes.rank(label);
        if top.is_none_or(|(highest, _)| rank >= highest) {
            top = Some((rank, class));
        }
    }
    top.ok_or_else(|| "no label".to_owned())
}

fn paint_coco(
    file: &Path,
    spans: &[Span],
    categories: &HashMap<i64, String>,
    (width, height): (u32, u32),
    classes: &Classes,
) -> Result<Drawn, String> {
    let mut order = Vec::with_capacity(spans.len());
    let mut left_out = Vec::new();
    for span in spans {
        let annotation = coco::annotation(&read(file, *span)?)?;
        let id = annotation.category_id;
        let Some(label) = categories.get(&id) else {
            return Err(format!("has an annotation of category {id}, which categories lacks"));
        };
        let class = classes.class(label).map_err(|error| format!("has the {error}"))?;
        if let coco::Drawn::Nothing(why) = annotation.drawn {
            left_out.push(format!("an annotation of {label} {why}"));
        } else {
            let runs = annotation.rasterise(width, height);
            let runs = runs.map_err(|what| format!("an annotation of {label} {what}"))?;
            order.push((classes.rank(label), class, runs));
        }
    }
    order.sort_by_key(|(rank, ..): &(usize, u8, Runs)| *rank);
    let mut ids = GrayImage::new(width, height);
    for (_, class, runs) in order {
        runs.paint(&mut ids, class);
    }
    Ok(Drawn { ids, left_out })
}

fn by_colour(path: &Path, map: &ColorMap, style: Style<'_>) -> Result<GrayImage, String> {
    let bytes = files::read(path).map_err(|error| error.to_string())?;
    let named = |what: String| format!("{} {what}", path.display());
    let mask = decode_color_mask(&bytes, style.limits).map_err(|e| named(format!("is {e}")))?;
    let map = map.with_classes(|name| style.classes.class(name).ok());
    map.resolve(&mask).map(|resolved| resolved.ids).map_err(named)
}

/// A mask as somebody stored it: class ids, or the labels' colours where those are given. Its path is told before an
/// error.
fn stored(path: &Path, style: Style<'_>) -> Result<GrayImage, String> {
    let bytes = files::read(path).map_err(|error| error.to_string())?;
    match decode_mask(&bytes, style.limits) {
        Ok(mut ids) => {
            let stored = style.classes.stored();
            let beyond =
                ids.as_raw().iter().filter(|&&id| usize::from(id) >= stored.len() && id != IGNORED);
            if let Some(largest) = beyond.max().filter(|_| style.is_closed) {
                return Err(format!(
                    "has values up to {largest}; with {0} classes allowed are 0 to {1} and 255",
                    stored.len(),
                    stored.len() - 1
                ));
            }
            for id in ids.iter_mut() {
                *id = stored.get(usize::from(*id)).copied().unwrap_or(*id);
            }
            Ok(ids)
        }
        Err(MaskError::NotClassIds(what)) => {
            if style.classes.given_colours().is_empty() {
                return Err(format!(
                    "is {what}; masks by colour need a labelling configuration whose labels have colours \
                     (--label-config)"
                ));
            }
            let mask = decode_color_mask(&bytes, style.limits).map_err(|e| format!("is {e}"))?;
            colours_of(style.classes)?.resolve(&mask).map(|resolved| resolved.ids)
        }
        Err(other) => Err(format!("is {other}")),
    }
}

/// The labels' colours; the background is black where nothing else is.
fn colours_of(classes: &Classes) -> Result<ColorMap, String> {
    let mut given = classes.given_colours().to_vec();
    if given.iter().all(|(colour, id)| *id != 0 && *colour != class_colour(0)) {
        given.push((class_colour(0), 0));
    }
    let names = classes.names();
    let name = |id: u8| names.get(usize::from(id)).map_or("ignored", String::as_str);
    for (number, (colour, id)) in given.iter().enumerate() {
        if let Some((_, other)) =
            given[..number].iter().find(|(c, other)| c == colour && other != id)
        {
            return Err(format!(
                "is by colour, and the labels {} and {} have the same colour in the labelling configuration",
                name(*other),
                name(*id)
            ));
        }
    }
    Ok(ColorMap::of_classes(
        given.into_iter().map(|(colour, id)| (name(id).to_owned(), colour, id)),
    ))
}

/// What most of some drawings of one image say about each pixel; 255 where two classes have equally many votes.
pub(super) fn majority(drawings: Vec<GrayImage>) -> Option<GrayImage> {
    let mut drawings = drawings;
    if drawings.len() < 2 {
        return drawings.pop();
    }
    let (width, height) = drawings[0].dimensions();
    let mut votes = [0_u32; 256];
    Some(GrayImage::from_fn(width, height, |x, y| {
        for drawing in &drawings {
            votes[usize::from(drawing.get_pixel(x, y).0[0])] += 1;
        }
        let (mut most, mut winner) = (0, IGNORED);
        for drawing in &drawings {
            let class = drawing.get_pixel(x, y).0[0];
            // Taken back, so that each class is looked at once.
            let count = std::mem::take(&mut votes[usize::from(class)]);
            if count > most {
                (most, winner) = (count, class);
            } else if count == most && count > 0 {
                winner = IGNORED;
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
        let all = vec![drawing([1, 1, 1, 0]), drawing([1, 2, 2, 0]), drawing([3, 2, 3, 0])];
        assert_eq!(majority(all).unwrap().into_raw(), [1, 2, 255, 0]);
        let two = vec![drawing([1, 1, 0, 0]), drawing([1, 2, 2, 0])];
        assert_eq!(majority(two).unwrap().into_raw(), [1, 255, 255, 0]);
        assert_eq!(majority(vec![drawing([7, 0, 0, 0])]).unwrap().into_raw(), [7, 0, 0, 0]);
        // Three classes of which two lead.
        let five =
            [[1], [1], [2], [2], [3]].map(|ids| GrayImage::from_raw(1, 1, ids.to_vec()).unwrap());
        assert_eq!(majority(five.to_vec()).unwrap().into_raw(), [255]);
        assert_eq!(majority(Vec::new()), None);
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
