//! Choice between the two readings of a gray or palette mask: its values are class ids, or the
//! colors that they show are the labels'.
//!
//! Programs that rewrite a palette (optimizers, GIMP, PIL's `quantize`) number its colors anew, so
//! that the colors are all that is left. Other masks are written with ids and any palette, or none.

use super::label_colors::LabelColors;
use crate::colors::class_color;
use crate::data::audit::Histogram;
use crate::data::audit::mask_values::format_values;
use crate::data::color_map::{ColorMap, ColorMatch};
use crate::imaging::ShownMask;
use crate::metrics::IGNORE_INDEX;
use crate::preprocess::classes::Classes;
use crate::preprocess::rasterize::RasterizeOptions;

/// Smallest number of colors by which a palette is known as that of PASCAL VOC.
const MIN_VOC_COLORS: usize = 8;

/// Number of values that a message describes.
const MAX_DESCRIBED_VALUES: usize = 4;

/// Way in which the class of a mask's values is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MaskReading {
    /// The values are ids.
    Values {
        /// Other meaning that some values could have, for users.
        remark: Option<String>,
    },
    /// The colors are the labels', and say other classes than the values.
    Colors {
        /// Class id of each value that occurs.
        class_of_value: Box<[u8; 256]>,
        /// Number of pixels whose color is near that of their class, but not equal to it.
        snapped_pixels: u64,
    },
}

impl MaskReading {
    fn values() -> Self {
        Self::Values { remark: None }
    }
}

/// Value that occurs in a mask, with its two meanings.
#[derive(Debug, Clone, Copy)]
struct UsedValue {
    value: u8,
    pixels: u64,
    /// Color that viewers show; `None` if it is transparent or the palette lacks it.
    color: Option<[u8; 3]>,
    /// Class if the value is an id.
    id: Option<u8>,
    by_color: ColorMatch,
    /// True if both meanings are the same class.
    agrees: bool,
}

/// Chooses the reading of a mask, of which `pixels` are the pixels per value.
///
/// The colors count where each value that occurs shows a label's color or the background's. The
/// values count where they agree with the colors, where the colors have nothing to do with the
/// labels', and where the palette is PASCAL VOC's. Gray values that are class ids stay ids. A mask
/// in which only some colors are the labels' is an error, which tells both readings, also where
/// these agree with their values: the other colors may be those of objects that are no label's.
pub(super) fn choose_reading(
    mask: &ShownMask,
    pixels: &Histogram,
    options: RasterizeOptions<'_>,
) -> Result<MaskReading, String> {
    let classes = options.classes;
    if classes.label_colors().is_empty() || mask.colors.is_empty() {
        return Ok(MaskReading::values());
    }
    let colors = LabelColors::new(classes);
    let color_map = colors.color_map();
    let used = list_used_values(mask, pixels, &colors, color_map.as_ref().ok(), classes);
    if used.iter().all(|value| value.agrees) {
        return Ok(MaskReading::values());
    }
    let color_map = match color_map {
        Ok(color_map) => color_map,
        Err(message) if used.iter().any(|value| value.shows_other_label(&colors)) => {
            return Err(message);
        }
        Err(_) => return Ok(MaskReading::values()),
    };
    if mask.is_gray || used.iter().all(|value| value.color == Some([value.value; 3])) {
        return choose_gray_reading(&used, &colors);
    }
    if is_voc_palette(&mask.colors) {
        let remark = voc_remark(&used, &colors);
        return Ok(MaskReading::Values { remark });
    }
    let palette = PaletteReader { mask, used: &used, colors: &colors, color_map: &color_map };
    palette.choose_reading(classes)
}

/// Returns the values that occur, each with its meanings.
fn list_used_values(
    mask: &ShownMask,
    pixels: &Histogram,
    colors: &LabelColors<'_>,
    color_map: Option<&ColorMap>,
    classes: &Classes,
) -> Vec<UsedValue> {
    let mut used = Vec::new();
    for (value, &pixels) in (0..=u8::MAX).zip(pixels) {
        if pixels == 0 {
            continue;
        }
        let id = id_of_value(value, classes);
        let (color, by_color) = match mask.colors.get(usize::from(value)) {
            None => (None, ColorMatch::Unknown),
            // The color of a transparent pixel means nothing.
            Some([.., 0]) => (None, ColorMatch::Exact(0)),
            Some(&[red, green, blue, _]) => {
                let color = [red, green, blue];
                (Some(color), match_color(color, colors, color_map))
            }
        };
        let is_same_class = match (id, by_color) {
            (Some(id), ColorMatch::Exact(class) | ColorMatch::Near(class)) => id == class,
            _ => false,
        };
        let is_own_color = match (id, color) {
            (Some(id), Some(color)) => colors.is_color_of(color, id),
            _ => false,
        };
        let agrees = is_same_class || is_own_color;
        used.push(UsedValue { value, pixels, color, id, by_color, agrees });
    }
    used
}

/// Returns the class of a value that is an id.
fn id_of_value(value: u8, classes: &Classes) -> Option<u8> {
    if value == IGNORE_INDEX {
        return Some(IGNORE_INDEX);
    }
    classes.stored_id_map().get(usize::from(value)).copied()
}

/// Returns the class of a color; without a map, because labels share colors, of exact ones only.
fn match_color(
    color: [u8; 3],
    colors: &LabelColors<'_>,
    color_map: Option<&ColorMap>,
) -> ColorMatch {
    match color_map {
        Some(map) => map.match_color(color),
        None => colors.exact_class(color).map_or(ColorMatch::Unknown, ColorMatch::Exact),
    }
}

impl UsedValue {
    /// Returns true if the color is exactly that of a label, and the value says another class.
    fn shows_other_label(&self, colors: &LabelColors<'_>) -> bool {
        !self.agrees && self.has_exact_label(colors)
    }

    /// Returns true if the color is that of a label, exactly or nearly, and the value says another
    /// class.
    fn resembles_other_label(&self) -> bool {
        let (ColorMatch::Exact(class) | ColorMatch::Near(class)) = self.by_color else {
            return false;
        };
        !self.agrees && class != 0
    }

    /// Returns true if the color is exactly that of a label, whether the value says so or not.
    fn has_exact_label(&self, colors: &LabelColors<'_>) -> bool {
        !matches!(self.exact_class(colors), None | Some(0))
    }

    /// Returns the class whose color is exactly that of the value.
    fn exact_class(&self, colors: &LabelColors<'_>) -> Option<u8> {
        colors.exact_class(self.color?)
    }

    /// Returns true if the value is the id of a label with a color, and the color that it shows is
    /// no label's. The background and ignored pixels may have any color.
    fn has_foreign_color(&self, classes: &Classes) -> bool {
        let Some(id) = self.id else { return false };
        let is_label = id != 0 && id != IGNORE_INDEX;
        let has_color = classes.label_colors().iter().any(|(_, label_id)| *label_id == id);
        let shows_none = self.color.is_some() && self.by_color == ColorMatch::Unknown;
        is_label && has_color && shows_none && !self.agrees
    }

    /// Describes both meanings, such as `1 is road by its value and car by its color #0000ff`.
    fn describe(&self, colors: &LabelColors<'_>) -> String {
        let by_value = match self.id {
            Some(id) => colors.class_name(id),
            None => "no class",
        };
        let Some([red, green, blue]) = self.color else {
            return format!("{} is {by_value} by its value and has no color", self.value);
        };
        let by_color = match self.by_color {
            ColorMatch::Exact(class) => colors.class_name(class).to_owned(),
            ColorMatch::Near(class) => format!("nearly {}", colors.class_name(class)),
            ColorMatch::Unknown => "no label".to_owned(),
        };
        format!(
            "{} is {by_value} by its value and {by_color} by its color \
             #{red:02x}{green:02x}{blue:02x}",
            self.value
        )
    }
}

/// Chooses the reading of a mask whose colors are the grays of its values. Grays are matched
/// exactly, because small ids are nearly black.
fn choose_gray_reading(
    used: &[UsedValue],
    colors: &LabelColors<'_>,
) -> Result<MaskReading, String> {
    let (mut only_ids, mut only_colors) = (Vec::new(), Vec::new());
    let (mut differing, mut unknown) = (Vec::new(), Vec::new());
    let mut label_of_white = None;
    let mut class_of_value = Box::new([0; 256]);
    for value in used {
        let named_class = value.exact_class(colors);
        class_of_value[usize::from(value.value)] = named_class.or(value.id).unwrap_or(0);
        if value.agrees {
            class_of_value[usize::from(value.value)] = value.id.unwrap_or(0);
            continue;
        }
        match (value.id, named_class) {
            (_, Some(class)) if value.value == IGNORE_INDEX => label_of_white = Some(class),
            (Some(_), Some(_)) => differing.push(*value),
            (Some(_), None) => only_ids.push(value.value),
            (None, Some(_)) => only_colors.push(value.value),
            (None, None) => unknown.push(value.value),
        }
    }
    let by_color = MaskReading::Colors { class_of_value, snapped_pixels: 0 };
    if !only_colors.is_empty() {
        if only_ids.is_empty() && unknown.is_empty() {
            return Ok(by_color);
        }
        return Err(describe_two_readings(used, colors));
    }
    if !unknown.is_empty() {
        // The check of the values tells which are unknown.
        return Ok(MaskReading::values());
    }
    let remark = match (label_of_white, &differing[..]) {
        (Some(_), _) if only_ids.is_empty() => return Ok(by_color),
        (Some(class), _) => Some(format!(
            "255 is read as ignored, because {} are ids and no colors; it is also the color of {}",
            format_values(&only_ids),
            colors.class_name(class)
        )),
        (None, []) => None,
        (None, [first, ..]) => Some(format!(
            "the values are read as ids, though the grays are colors of labels too: {}",
            first.describe(colors)
        )),
    };
    Ok(MaskReading::Values { remark })
}

/// Returns true for the palette of PASCAL VOC, which many programs write whatever the labels.
fn is_voc_palette(palette: &[[u8; 4]]) -> bool {
    palette.len() >= MIN_VOC_COLORS
        && (0..=u8::MAX).zip(palette).all(|(id, color)| color[..3] == class_color(id))
}

/// Returns the remark on a palette of PASCAL VOC in which a value shows another label's color.
fn voc_remark(used: &[UsedValue], colors: &LabelColors<'_>) -> Option<String> {
    let value = used.iter().find(|value| value.shows_other_label(colors))?;
    Some(format!(
        "the values are read as ids, because the palette is that of PASCAL VOC: {}",
        value.describe(colors)
    ))
}

/// Palette mask whose values and colors disagree.
struct PaletteReader<'a> {
    mask: &'a ShownMask,
    used: &'a [UsedValue],
    colors: &'a LabelColors<'a>,
    color_map: &'a ColorMap,
}

impl PaletteReader<'_> {
    fn choose_reading(&self, classes: &Classes) -> Result<MaskReading, String> {
        let (mut has_unnamed, mut has_near, mut has_unknown_id) = (false, false, false);
        let (mut shows_label, mut resembles_label, mut uses_label) = (false, false, false);
        let (mut has_exact_label, mut has_foreign_color) = (false, false);
        for value in self.used {
            has_unknown_id |= value.id.is_none();
            uses_label |= value.agrees && value.id != Some(0);
            has_exact_label |= value.has_exact_label(self.colors);
            has_foreign_color |= value.has_foreign_color(classes);
            if !value.agrees {
                has_unnamed |= value.by_color == ColorMatch::Unknown;
                has_near |= matches!(value.by_color, ColorMatch::Near(_));
                shows_label |= value.shows_other_label(self.colors);
                resembles_label |= value.resembles_other_label();
            }
        }
        if has_unnamed {
            let is_mixed = has_exact_label && has_foreign_color && !self.has_colors_of_voc();
            if shows_label || is_mixed {
                return Err(describe_two_readings(self.used, self.colors));
            }
            return Ok(MaskReading::values());
        }
        if has_near {
            return match (resembles_label, has_unknown_id) {
                (true, true) => Ok(self.by_color()),
                (true, false) => Err(describe_two_readings(self.used, self.colors)),
                (false, _) => Ok(MaskReading::values()),
            };
        }
        // Black and white alone are the background's colors in many palettes that mean nothing.
        if shows_label || uses_label || self.is_palette_of_labels(classes) {
            return Ok(self.by_color());
        }
        Ok(MaskReading::values())
    }

    /// Returns true if all values that occur have their colors of PASCAL VOC's palette, which
    /// programs also write without its unused colors.
    fn has_colors_of_voc(&self) -> bool {
        self.used.iter().all(|value| value.color == Some(class_color(value.value)))
    }

    /// Returns true if the whole palette is made of the labels' colors and the background's, and an
    /// index disagrees with its label.
    fn is_palette_of_labels(&self, classes: &Classes) -> bool {
        let mut has_other_label = false;
        for (index, &[red, green, blue, _]) in (0..=u8::MAX).zip(&self.mask.colors) {
            match self.color_map.match_color([red, green, blue]) {
                ColorMatch::Exact(0) => {}
                ColorMatch::Exact(class) => {
                    has_other_label |= id_of_value(index, classes) != Some(class);
                }
                ColorMatch::Near(_) | ColorMatch::Unknown => return false,
            }
        }
        has_other_label
    }

    fn by_color(&self) -> MaskReading {
        let mut class_of_value = Box::new([0; 256]);
        let mut snapped_pixels = 0;
        for value in self.used {
            let class = match (value.agrees, value.by_color) {
                (false, ColorMatch::Exact(class)) => class,
                (false, ColorMatch::Near(class)) => {
                    snapped_pixels += value.pixels;
                    class
                }
                _ => value.id.unwrap_or(0),
            };
            class_of_value[usize::from(value.value)] = class;
        }
        MaskReading::Colors { class_of_value, snapped_pixels }
    }
}

/// Describes a mask that fits neither reading whole, with the way out.
fn describe_two_readings(used: &[UsedValue], colors: &LabelColors<'_>) -> String {
    let mut described = Vec::new();
    let mut further = 0;
    for value in used {
        if value.agrees {
            continue;
        }
        if described.len() < MAX_DESCRIBED_VALUES {
            described.push(value.describe(colors));
        } else {
            further += 1;
        }
    }
    if further > 0 {
        described.push(format!("{further} more values"));
    }
    format!(
        "can be read by its values or by the colors that they show, and these disagree: {}. If the \
         colors are right, give every pixel exactly a label's color; if the values are, give the \
         labels without colors (--label-config with a list of names)",
        described.join("; ")
    )
}

/// Describes the first color of a palette mask that is no label's, if its value is no class either.
pub(super) fn describe_unnamed_color(
    mask: &ShownMask,
    pixels: &Histogram,
    classes: &Classes,
) -> Option<String> {
    if mask.is_gray || classes.label_colors().is_empty() {
        return None;
    }
    let colors = LabelColors::new(classes);
    let color_map = colors.color_map().ok()?;
    for value in list_used_values(mask, pixels, &colors, Some(&color_map), classes) {
        if value.id.is_none() && value.by_color == ColorMatch::Unknown {
            return Some(format!(
                "its colors are not the labels' either: {}",
                value.describe(&colors)
            ));
        }
    }
    None
}
