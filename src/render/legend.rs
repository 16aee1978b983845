//! The panel under an overlay: swatch, name and share of every class that is there.

use image::{GrayImage, Rgb, RgbImage};

use super::overlay::ClassColors;
use super::text::{LETTER_DOTS, draw_text, fill_rectangle};

pub(super) const BACKGROUND_COLOR: Rgb<u8> = Rgb([250, 250, 250]);
pub(super) const TEXT_COLOR: Rgb<u8> = Rgb([25, 25, 25]);
/// Longer names are cut; a legend wider than the picture helps nobody.
const MAX_NAME_CHARS: usize = 24;
/// Class id of ignored pixels. The rooms of the ground floor know nothing of each other, and so the
/// one of `metrics` is not used here.
pub(super) const IGNORED_CLASS_ID: u8 = 255;
/// Dots of a letter that are always readable, and those beyond which larger ones help nobody.
const MIN_TEXT_SCALE: u32 = 2;
const MAX_TEXT_SCALE: u32 = 16;
/// Pixels of picture and legend together. Letters shrink until they fit. With the smallest ones the
/// legend of 256 long names takes less than 4 million pixels under a picture of at most
/// [`LONGEST_SIDE`](super::overlay::LONGEST_SIDE), which itself has no more than 17 million.
pub(super) const MAX_CANVAS_PIXELS: u64 = 32_000_000;

/// One line of the legend.
struct LegendEntry {
    color: Rgb<u8>,
    text: String,
}

/// Where the lines of a legend go.
struct LegendLayout {
    scale: u32,
    /// Height and width of a letter.
    letter: u32,
    /// Width of a column of entries.
    column: u32,
    /// Height of a line.
    line: u32,
    /// Lines per column.
    lines: u32,
    /// Width and height of the whole canvas.
    size: (u32, u32),
}

impl LegendLayout {
    fn new((width, height): (u32, u32), entries: &[LegendEntry], scale: u32) -> Self {
        let longest_text_chars =
            entries.iter().map(|entry| entry.text.chars().count()).max().unwrap_or(0);
        let letter = LETTER_DOTS * scale;
        // A swatch of two letters, a gap of one, the text, and a gap of one.
        let (column, line) = (letter * (longest_text_chars as u32 + 4), letter * 3 / 2);
        let count = entries.len() as u32;
        let columns = (width.saturating_sub(letter) / column).clamp(1, count.max(1));
        let lines = count.div_ceil(columns);
        let panel = if entries.is_empty() { 0 } else { lines * line + letter };
        let size = (width.max(columns * column + letter), height + panel);
        Self { scale, letter, column, line, lines, size }
    }

    /// The layout with the letters that suit `picture`, or with the largest ones for which the
    /// canvas stays within [`MOST_PIXELS`].
    fn fit_to_picture(picture: (u32, u32), entries: &[LegendEntry]) -> Self {
        // Letters keep a readable size when a large picture is shown small. The shorter side
        // decides: a long thin picture would otherwise get a legend much larger than itself.
        let preferred_scale = (f64::from(picture.0.min(picture.1)) / 300.0).round() as u32;
        let preferred_scale = preferred_scale.clamp(MIN_TEXT_SCALE, MAX_TEXT_SCALE);
        let is_within_limit = |layout: &Self| {
            u64::from(layout.size.0) * u64::from(layout.size.1) <= MAX_CANVAS_PIXELS
        };
        (MIN_TEXT_SCALE..=preferred_scale)
            .rev()
            .map(|scale| Self::new(picture, entries, scale))
            .find(is_within_limit)
            .unwrap_or_else(|| Self::new(picture, entries, MIN_TEXT_SCALE))
    }
}

/// `picture` with the legend of `ids` below it, on a canvas as wide as both need. The shares are
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
    // Down the columns, as one reads a list.
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

/// The classes that occur, by id, with the ignored pixels last; names and shares are aligned.
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
    let present: Vec<(u8, u64)> = (0..=255).zip(counts).filter(|(_, count)| *count > 0).collect();
    let names: Vec<String> = present.iter().map(|(id, _)| class_label(*id, class_names)).collect();
    let widest_name_chars = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let entry = |((id, count), name): (&(u8, u64), &String)| {
        let percent = match 100.0 * *count as f64 / total {
            small if small < 0.05 => " <0.1 %".to_owned(),
            share => format!("{share:5.1} %"),
        };
        LegendEntry {
            color: Rgb(colors[usize::from(*id)]),
            text: format!("{name:widest_name_chars$} {percent}"),
        }
    };
    present.iter().zip(&names).map(entry).collect()
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
