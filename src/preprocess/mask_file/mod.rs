//! Class ids of mask files: PNGs of ids, or of the labels' colors.
//!
//! Grayscale and palette masks can be read either way. [`choose_reading`] decides by the values
//! that a mask holds and the colors that they show.

mod label_colors;
mod reading;
#[cfg(test)]
mod tests;

use std::path::Path;

use image::GrayImage;
use image::metadata::Orientation;

use self::label_colors::LabelColors;
use self::reading::{MaskReading, choose_reading, describe_unnamed_color};
use super::orientation::{AnnotatedAs, AnnotatedPicture};
use super::rasterize::RasterizeOptions;
use crate::data::audit::Histogram;
use crate::data::audit::mask_values::{format_values, holds_only_ignored, suspect_values_hint};
use crate::data::color_map::{ColorMap, ColorMatch};
use crate::files;
use crate::imaging::{
    ColorMask, ColorPixels, DecodeLimits, MaskError, ShownMask, check_mask_orientation,
    decode_color_mask, decode_shown_mask,
};
use crate::metrics::IGNORE_INDEX;

/// Class ids that a mask file gave, and what was noticed about it.
#[derive(Debug)]
pub(super) struct MaskFileContent {
    /// Class id of each pixel.
    pub class_ids: GrayImage,
    pub findings: MaskFindings,
}

/// Facts about a mask file that a user should know although the mask can be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MaskFindings {
    /// Number of pixels whose color is near that of their class, but not equal to it.
    pub snapped_pixels: u64,
    /// True if 255 was read as the ignored value, and is the only value beside 0.
    pub holds_only_ignored: bool,
    /// True if the mask has an EXIF orientation, which then is that of its image.
    pub has_orientation: bool,
    /// True if the colors decided, and the values say other classes.
    pub is_read_by_color: bool,
    /// Other meaning that the values could have.
    pub remark: Option<String>,
}

impl MaskFindings {
    /// Joins the findings of several masks of one image.
    pub(super) fn add(&mut self, other: Self) {
        self.snapped_pixels += other.snapped_pixels;
        self.holds_only_ignored |= other.holds_only_ignored;
        self.has_orientation |= other.has_orientation;
        self.is_read_by_color |= other.is_read_by_color;
        self.remark = self.remark.take().or(other.remark);
    }
}

/// Reads a mask whose colors stand for label names. Unlike [`read_mask`] the error text contains
/// the mask's path, because the annotation's location is another file.
pub(super) fn read_color_mask(
    path: &Path,
    color_map: &ColorMap,
    picture: AnnotatedPicture,
    options: RasterizeOptions<'_>,
) -> Result<MaskFileContent, String> {
    let bytes = read_mask_file(path)?;
    let has_orientation = match check_orientation(&bytes, picture) {
        Ok(has_orientation) => has_orientation,
        Err(message) => return Err(format!("{} {message}", path.display())),
    };
    let class_map = color_map.with_class_ids(|name| options.classes.class_id(name).ok());
    let mask = match decode_colors(&bytes, options.limits) {
        Ok(mask) => mask,
        Err(message) => return Err(format!("{} {message}", path.display())),
    };
    match class_map.resolve(&mask) {
        Ok(resolved) => Ok(MaskFileContent {
            class_ids: resolved.ids,
            findings: MaskFindings {
                snapped_pixels: resolved.snapped_pixels,
                has_orientation,
                ..MaskFindings::default()
            },
        }),
        Err(unresolved) => {
            let mut message = format!("{} {unresolved}", path.display());
            for name in &unresolved.unknown_names {
                if let Err(error) = options.classes.class_id(name) {
                    message = format!("{message}; {error}");
                }
            }
            Err(message)
        }
    }
}

fn decode_colors(bytes: &[u8], limits: DecodeLimits) -> Result<ColorMask, String> {
    decode_color_mask(bytes, limits).map_err(|error| format!("is {error}"))
}

fn read_mask_file(path: &Path) -> Result<Vec<u8>, String> {
    files::read_file(path).map_err(|error| error.to_string())
}

/// Checks the EXIF orientation of a mask, by which its pixels are turned when they are read, and
/// returns true if it has one. The error text follows the mask's path.
fn check_orientation(mask: &[u8], picture: AnnotatedPicture) -> Result<bool, String> {
    let has_none = check_mask_orientation(Orientation::NoTransforms, mask).is_ok();
    if picture.annotated_as == AnnotatedAs::Stored && !has_none {
        return Err(
            "has an EXIF orientation, which turns it, and --annotated-as stored says that \
                    masks are not turned; save it without an orientation"
                .to_owned(),
        );
    }
    match check_mask_orientation(picture.geometry.orientation, mask) {
        Ok(()) => Ok(!has_none),
        Err(error) => Err(format!("is {error}")),
    }
}

/// Reads a mask file of class ids, or of the labels' colors if those are given. The error text
/// follows the mask's path.
pub(super) fn read_mask(
    path: &Path,
    picture: AnnotatedPicture,
    options: RasterizeOptions<'_>,
) -> Result<MaskFileContent, String> {
    let bytes = read_mask_file(path)?;
    let has_orientation = check_orientation(&bytes, picture)?;
    let mut content = match decode_shown_mask(&bytes, options.limits) {
        Ok(mask) => read_shown_mask(mask, options)?,
        Err(MaskError::NotClassIds(message)) => {
            if options.classes.label_colors().is_empty() {
                return Err(format!(
                    "is {message}; masks by color need a labeling configuration whose labels have \
                     colors (--label-config), such as {{\"1\": {{\"name\": \"road\", \"color\": \
                     [255, 255, 255]}}}}"
                ));
            }
            read_label_colors(&decode_colors(&bytes, options.limits)?, options)?
        }
        Err(other) => return Err(format!("is {other}")),
    };
    content.findings.has_orientation = has_orientation;
    Ok(content)
}

/// Returns the class ids of a mask whose pixels have the labels' colors.
fn read_label_colors(
    mask: &ColorMask,
    options: RasterizeOptions<'_>,
) -> Result<MaskFileContent, String> {
    let colors = LabelColors::new(options.classes);
    let map = colors.color_map()?;
    let resolved = map.resolve(mask).map_err(|unresolved| unresolved.to_string())?;
    let are_background =
        [[0; 3], [255; 3]].iter().all(|color| map.match_color(*color) == ColorMatch::Exact(0));
    if are_background && is_black_and_white(&mask.pixels) {
        return Err(
            "is black and white, and neither is the color of a label: give the label that \
                    was painted white the color #ffffff in the labeling configuration"
                .to_owned(),
        );
    }
    let findings =
        MaskFindings { snapped_pixels: resolved.snapped_pixels, ..MaskFindings::default() };
    Ok(MaskFileContent { class_ids: resolved.ids, findings })
}

/// Returns true if black and white pixels occur, and no others.
fn is_black_and_white(pixels: &ColorPixels) -> bool {
    let (samples, channels) = match pixels {
        ColorPixels::Rgb(samples) => (samples, 3),
        ColorPixels::Rgba(samples) => (samples, 4),
        ColorPixels::Palette { .. } => return false,
    };
    let (mut has_black, mut has_white) = (false, false);
    for pixel in samples.chunks_exact(channels) {
        match pixel {
            [0, 0, 0, ..] => has_black = true,
            [255, 255, 255, ..] => has_white = true,
            _ => return false,
        }
    }
    has_black && has_white
}

/// Returns the class ids of a mask of values: by the values, or by the colors that they show.
fn read_shown_mask(
    mut mask: ShownMask,
    options: RasterizeOptions<'_>,
) -> Result<MaskFileContent, String> {
    let mut pixels: Histogram = [0; 256];
    for &value in mask.ids.as_raw() {
        pixels[usize::from(value)] += 1;
    }
    let mut findings = MaskFindings::default();
    let table = match choose_reading(&mask, &pixels, options)? {
        MaskReading::Values { remark } => {
            check_values(&mask, &pixels, options)?;
            findings.remark = remark;
            // A palette in which 255 is not white shows that it is no foreground.
            let ignored_color = mask.colors.get(usize::from(IGNORE_INDEX));
            let may_be_foreground =
                mask.is_gray || ignored_color.is_none_or(|color| *color == [255; 4]);
            findings.holds_only_ignored = may_be_foreground && holds_only_ignored(&pixels);
            table_of_values(options)
        }
        MaskReading::Colors { class_of_value, snapped_pixels } => {
            findings.is_read_by_color = true;
            findings.snapped_pixels = snapped_pixels;
            class_of_value
        }
    };
    for id in mask.ids.iter_mut() {
        *id = table[usize::from(*id)];
    }
    Ok(MaskFileContent { class_ids: mask.ids, findings })
}

/// Returns the class id of each value: other tools number all labels, also the ignored ones.
fn table_of_values(options: RasterizeOptions<'_>) -> Box<[u8; 256]> {
    let mut table = Box::new([0; 256]);
    for (value, class) in (0..=u8::MAX).zip(table.iter_mut()) {
        let stored_id_map = options.classes.stored_id_map();
        *class = stored_id_map.get(usize::from(value)).copied().unwrap_or(value);
    }
    table
}

/// Fails if a mask holds values that are no class of a labeling configuration.
fn check_values(
    mask: &ShownMask,
    pixels: &Histogram,
    options: RasterizeOptions<'_>,
) -> Result<(), String> {
    if !options.has_fixed_classes {
        return Ok(());
    }
    let class_count = options.classes.stored_id_map().len();
    let mut unknown_values = Vec::new();
    for (value, count) in (0..IGNORE_INDEX).zip(pixels) {
        if usize::from(value) >= class_count && *count > 0 {
            unknown_values.push(value);
        }
    }
    let Some(largest_value) = unknown_values.last() else { return Ok(()) };
    let mut message = format!(
        "has values up to {largest_value}; with {class_count} classes allowed are 0 to {} and 255",
        class_count - 1
    );
    if unknown_values.len() > 1 {
        message = format!("{message} (others: {})", format_values(&unknown_values));
    }
    if let Some(hint) = suspect_values_hint(pixels) {
        message = format!("{message}; {hint}");
    }
    if let Some(color) = describe_unnamed_color(mask, pixels, options.classes) {
        message = format!("{message}; {color}");
    }
    Err(message)
}
