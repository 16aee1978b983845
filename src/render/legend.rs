//! Legends under overlays: swatch, name and share of every class that occurs.

use image::{GrayImage, Rgb, RgbImage};

use super::overlay::ClassColors;
use super::text::{LETTER_DOTS, draw_text, fill_rectangle};

pub(super) const BACKGROUND_COLOR: Rgb<u8> = Rgb([250, 250, 250]);
pub(super) const TEXT_COLOR: Rgb<u8> = Rgb([25, 25, 25]);
/// Largest number of letters of a name. Longer names are cut, because a legend much wider than the
/// picture is hard to use.
const MAX_NAME_CHARS: usize = 24;
/// Class id of ignored pixels. It repeats `IGNORE_INDEX` of `metrics`, because rooms of one floor
/// do not import each other (`docs/architecture.md#imports-point-down`).
pub(super) const IGNORED_CLASS_ID: u8 = 255;
/// Smallest and largest side of a letter's dots, in pixels: smaller letters are hard to read, and
/// larger ones do not read better.
const MIN_TEXT_SCALE: u32 = 2;
const MAX_TEXT_SCALE: u32 = 16;
/// Largest area of picture and legend together, in pixels. Letters shrink until it suffices. With
/// the smallest ones the legend of 256 long names takes less than 4 million pixels under a picture
/// of sides up to [`MAX_SIDE_PX`](super::overlay::MAX_SIDE_PX), which itself has no more than 17
/// million.
pub(super) const MAX_CANVAS_PIXELS: u64 = 32_000_000;

/// A line of the legend.
struct LegendEntry {
    color: Rgb<u8>,
    text: String,
}

/// Sizes and positions of a legend's lines, in pixels if not said otherwise.
struct LegendLayout {
    scale: u32,
    /// Height and width of a letter.
    letter: u32,
    /// Width of a column of entries.
    column: u32,
    /// Height of a line.
    line: u32,
    /// Number of lines per column.
    lines: u32,
    /// Width and height of the whole canvas.
    size: (u32, u32),
}

impl LegendLayout {
    /// Returns the layout with letters of this scale, for a picture of this size.
    fn new((width, height): (u32, u32), entries: &[LegendEntry], scale: u32) -> Self {
        let mut longest_text_chars = 0;
        for entry in entries {
            longest_text_chars = longest_text_chars.max(entry.text.chars().count());
        }
        let letter = LETTER_DOTS * scale;
        // A column is a swatch of two letters, a gap of one, the text, and a gap of one.
        let (column, line) = (letter * (longest_text_chars as u32 + 4), letter * 3 / 2);
        let count = entries.len() as u32;
        let columns = (width.saturating_sub(letter) / column).clamp(1, count.max(1));
        let lines = count.div_ceil(columns);
        let panel = if entries.is_empty() { 0 } else { lines * line + letter };
        let size = (width.max(columns * column + letter), height + panel);
        Self { scale, letter, column, line, lines, size }
    }

    /// Returns the layout with the size of letters that suits a picture of this width and height,
    /// or with the largest one for which the canvas stays within [`MAX_CANVAS_PIXELS`].
    fn fit_to_picture(picture: (u32, u32), entries: &[LegendEntry]) -> Self {
        // Letters stay readable when a large picture is displayed small. The shorter side decides,
        // because a long thin picture would otherwise get a legend much larger than itself.
        let preferred_scale = (f64::from(picture.0.min(picture.1)) / 300.0).round() as u32;
        let preferred_scale = preferred_scale.clamp(MIN_TEXT_SCALE, MAX_TEXT_SCALE);
        let mut scale = preferred_scale;
        loop {
            let layout = Self::new(picture, entries, scale);
            let pixels = u64::from(layout.size.0) * u64::from(layout.size.1);
            if pixels <= MAX_CANVAS_PIXELS || scale == MIN_TEXT_SCALE {
                return layout;
            }
            scale -= 1;
        }
    }
}

/// Draws the legend of `ids` below `picture`, on a canvas as wide as both need. The shares are
/// those of `ids`, which may have another size than the picture.
pub(super) fn add_legend(
    picture: &RgbImage,
    ids: &GrayImage,
    class_names: &[String],
    colors: &ClassColors,
) -> RgbImage {
    let entries = legend_entries(ids, class_names, colors);
    let LegendLayout { scale, letter, column, line, lines, size } =
        LegendLayout::fit_to_picture(picture.dimensions(), &entries);
    let mut canvas = RgbImage::from_pixel(size.0, size.1, BACKGROUND_COLOR);
    image::imageops::replace(&mut canvas, picture, 0, 0);
    // Entries run down the columns, as in a printed list.
    let top = picture.height() + letter * 3 / 4;
    for (i, entry) in (0..).zip(&entries) {
        let (x, y) = (letter + i / lines * column, top + i % lines * line);
        fill_rectangle(&mut canvas, (x, y), (2 * letter, letter), TEXT_COLOR);
        let border = scale.div_ceil(2);
        let inner_size = (2 * letter - 2 * border, letter - 2 * border);
        fill_rectangle(&mut canvas, (x + border, y + border), inner_size, entry.color);
        draw_text(&mut canvas, (x + 3 * letter, y), &entry.text, scale, TEXT_COLOR);
    }
    canvas
}

/// Lists the classes that occur by id, the ignored pixels last. Names and shares are aligned.
fn legend_entries(
    ids: &GrayImage,
    class_names: &[String],
    colors: &ClassColors,
) -> Vec<LegendEntry> {
    let mut counts = [0_u64; 256];
    for id in ids.as_raw() {
        counts[usize::from(*id)] += 1;
    }
    let total = ids.as_raw().len() as f64;
    let (mut names, mut percentages) = (Vec::new(), Vec::new());
    let mut widest_name_chars = 0;
    for (id, count) in (0..=255).zip(counts) {
        if count == 0 {
            continue;
        }
        let name = class_label(id, class_names);
        widest_name_chars = widest_name_chars.max(name.chars().count());
        names.push((id, name));
        percentages.push(match 100.0 * count as f64 / total {
            small if small < 0.05 => " <0.1 %".to_owned(),
            share => format!("{share:5.1} %"),
        });
    }
    let mut entries = Vec::with_capacity(names.len());
    for ((id, name), percentage) in names.iter().zip(percentages) {
        entries.push(LegendEntry {
            color: Rgb(colors[usize::from(*id)]),
            text: format!("{name:widest_name_chars$} {percentage}"),
        });
    }
    entries
}

fn class_label(id: u8, class_names: &[String]) -> String {
    match class_names.get(usize::from(id)) {
        Some(name) if name.chars().count() > MAX_NAME_CHARS => {
            name.chars().take(MAX_NAME_CHARS - 2).chain("..".chars()).collect()
        }
        Some(name) => name.clone(),
        None if id == IGNORED_CLASS_ID => "ignored".to_owned(),
        None => format!("class {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ids: Vec<u8>, names: &[&str]) -> Vec<String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let ids = GrayImage::from_raw(ids.len() as u32, 1, ids).unwrap();
        legend_entries(&ids, &names, &[[0; 3]; 256]).into_iter().map(|entry| entry.text).collect()
    }

    #[test]
    fn only_classes_that_occur_are_listed_with_their_shares() {
        assert_eq!(
            texts(vec![0, 0, 0, 2, 2, 255, 7, 7], &["sky", "dog", "road"]),
            ["sky      37.5 %", "road     25.0 %", "class 7  25.0 %", "ignored  12.5 %"]
        );
    }

    #[test]
    fn letters_shrink_before_the_canvas_grows_too_large() {
        let scale = |picture, count| {
            let text = "x".repeat(MAX_NAME_CHARS + 8);
            let entry = |_| LegendEntry { color: TEXT_COLOR, text: text.clone() };
            let layout =
                LegendLayout::fit_to_picture(picture, &(0..count).map(entry).collect::<Vec<_>>());
            assert!(u64::from(layout.size.0) * u64::from(layout.size.1) <= MAX_CANVAS_PIXELS);
            layout.scale
        };
        assert_eq!([scale((4096, 4096), 5), scale((900, 1200), 5), scale((64, 48), 5)], [14, 3, 2]);
        assert_eq!([scale((4096, 1), 256), scale((1, 4096), 256)], [2, 2]);
        assert!((3..14).contains(&scale((4096, 4096), 256)));
    }

    #[test]
    fn long_names_are_cut_and_small_shares_are_not_zero() {
        let mut ids = vec![0; 5000];
        ids[0] = 1;
        let lines = texts(ids, &["a", "a name that is much too long for a legend"]);
        assert_eq!(lines[1], "a name that is much to..  <0.1 %");
    }
}
