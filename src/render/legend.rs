//! The panel under an overlay: swatch, name and share of every class that is there.

use image::{GrayImage, Rgb, RgbImage};

use super::overlay::Colours;
use super::text::{LETTER, fill, write};

pub(super) const PAPER: Rgb<u8> = Rgb([250, 250, 250]);
pub(super) const INK: Rgb<u8> = Rgb([25, 25, 25]);
/// Longer names are cut; a legend wider than the picture helps nobody.
const LONGEST_NAME: usize = 24;
/// Class id of ignored pixels. The rooms of the ground floor know nothing of each other, and so the
/// one of `metrics` is not used here.
pub(super) const IGNORED: u8 = 255;
/// Dots of a letter that are always readable, and those beyond which larger ones help nobody.
const LEAST_SCALE: u32 = 2;
const MOST_SCALE: u32 = 16;
/// Pixels of picture and legend together. Letters shrink until they fit. With the smallest ones the
/// legend of 256 long names takes less than 4 million pixels under a picture of at most
/// [`LONGEST_SIDE`](super::overlay::LONGEST_SIDE), which itself has no more than 17 million.
pub(super) const MOST_PIXELS: u64 = 32_000_000;

/// One line of the legend.
struct Entry {
    colour: Rgb<u8>,
    text: String,
}

/// Where the lines of a legend go.
struct Layout {
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

impl Layout {
    fn new((width, height): (u32, u32), entries: &[Entry], scale: u32) -> Self {
        let longest = entries.iter().map(|entry| entry.text.chars().count()).max().unwrap_or(0);
        let letter = LETTER * scale;
        // A swatch of two letters, a gap of one, the text, and a gap of one.
        let (column, line) = (letter * (longest as u32 + 4), letter * 3 / 2);
        let count = entries.len() as u32;
        let columns = (width.saturating_sub(letter) / column).clamp(1, count.max(1));
        let lines = count.div_ceil(columns);
        let panel = if entries.is_empty() { 0 } else { lines * line + letter };
        let size = (width.max(columns * column + letter), height + panel);
        Self { scale, letter, column, line, lines, size }
    }

    /// The layout with the letters that suit `picture`, or with the largest ones for which the
    /// canvas stays within [`MOST_PIXELS`].
    fn fitting(picture: (u32, u32), entries: &[Entry]) -> Self {
        // Letters keep a readable size when a large picture is shown small. The shorter side
        // decides: a long thin picture would otherwise get a legend much larger than itself.
        let wanted = (f64::from(picture.0.min(picture.1)) / 300.0).round() as u32;
        let wanted = wanted.clamp(LEAST_SCALE, MOST_SCALE);
        let fits =
            |layout: &Self| u64::from(layout.size.0) * u64::from(layout.size.1) <= MOST_PIXELS;
        (LEAST_SCALE..=wanted)
            .rev()
            .map(|scale| Self::new(picture, entries, scale))
            .find(fits)
            .unwrap_or_else(|| Self::new(picture, entries, LEAST_SCALE))
    }
}

/// `picture` with the legend of `ids` below it, on a canvas as wide as both need. The shares are
/// those of `ids`, which may have another size than the picture.
pub(super) fn add(
    picture: &RgbImage,
    ids: &GrayImage,
    class_names: &[String],
    colours: &Colours,
) -> RgbImage {
    let entries = entries(ids, class_names, colours);
    let Layout { scale, letter, column, line, lines, size } =
        Layout::fitting(picture.dimensions(), &entries);
    let mut canvas = RgbImage::from_pixel(size.0, size.1, PAPER);
    image::imageops::replace(&mut canvas, picture, 0, 0);
    // Down the columns, as one reads a list.
    let top = picture.height() + letter * 3 / 4;
    for (i, entry) in (0..).zip(&entries) {
        let (x, y) = (letter + i / lines * column, top + i % lines * line);
        fill(&mut canvas, (x, y), (2 * letter, letter), INK);
        let edge = scale.div_ceil(2);
        let inside = (2 * letter - 2 * edge, letter - 2 * edge);
        fill(&mut canvas, (x + edge, y + edge), inside, entry.colour);
        write(&mut canvas, (x + 3 * letter, y), &entry.text, scale, INK);
    }
    canvas
}

/// The classes that occur, by id, with the ignored pixels last; names and shares are aligned.
fn entries(ids: &GrayImage, class_names: &[String], colours: &Colours) -> Vec<Entry> {
    let mut counts = [0_u64; 256];
    for id in ids.as_raw() {
        counts[usize::from(*id)] += 1;
    }
    let total = ids.as_raw().len() as f64;
    let present: Vec<(u8, u64)> = (0..=255).zip(counts).filter(|(_, count)| *count > 0).collect();
    let names: Vec<String> = present.iter().map(|(id, _)| name(*id, class_names)).collect();
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let entry = |((id, count), name): (&(u8, u64), &String)| {
        let percent = match 100.0 * *count as f64 / total {
            small if small < 0.05 => " <0.1 %".to_owned(),
            share => format!("{share:5.1} %"),
        };
        Entry { colour: Rgb(colours[usize::from(*id)]), text: format!("{name:widest$} {percent}") }
    };
    present.iter().zip(&names).map(entry).collect()
}

fn name(id: u8, class_names: &[String]) -> String {
    match class_names.get(usize::from(id)) {
        Some(name) if name.chars().count() > LONGEST_NAME => {
            name.chars().take(LONGEST_NAME - 2).chain("..".chars()).collect()
        }
        Some(name) => name.clone(),
        None if id == IGNORED => "ignored".to_owned(),
        None => format!("class {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ids: Vec<u8>, names: &[&str]) -> Vec<String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let ids = GrayImage::from_raw(ids.len() as u32, 1, ids).unwrap();
        entries(&ids, &names, &[[0; 3]; 256]).into_iter().map(|entry| entry.text).collect()
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
            let text = "x".repeat(LONGEST_NAME + 8);
            let entry = |_| Entry { colour: INK, text: text.clone() };
            let layout = Layout::fitting(picture, &(0..count).map(entry).collect::<Vec<_>>());
            assert!(u64::from(layout.size.0) * u64::from(layout.size.1) <= MOST_PIXELS);
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
