//! The panel under an overlay: swatch, name and share of every class that is there.

use image::{GrayImage, Rgb, RgbImage};

use super::text::{LETTER, fill, write};
use crate::imaging::class_colour;

const PAPER: Rgb<u8> = Rgb([250, 250, 250]);
const INK: Rgb<u8> = Rgb([25, 25, 25]);
/// Longer names are cut; a legend wider than the picture helps nobody.
const LONGEST_NAME: usize = 24;

/// One line of the legend.
struct Entry {
    colour: Rgb<u8>,
    text: String,
}

/// `picture` with the legend of `ids` below it, on a canvas as wide as both need.
pub(super) fn add(picture: &RgbImage, ids: &GrayImage, class_names: &[String]) -> RgbImage {
    let entries = entries(ids, class_names);
    let longest = entries.iter().map(|entry| entry.text.chars().count()).max().unwrap_or(0);
    let (width, height) = picture.dimensions();
    // Letters keep a readable size when a large picture is shown small, and on a tiny one.
    let scale = ((f64::from(width) * f64::from(height)).sqrt() / 300.0).round().max(2.0) as u32;
    let letter = LETTER * scale;
    // A swatch of two letters, a gap of one, the text, and a gap of one.
    let (column, line) = (letter * (longest as u32 + 4), letter * 3 / 2);
    let columns = ((width.saturating_sub(letter)) / column).clamp(1, entries.len().max(1) as u32);
    let lines = (entries.len() as u32).div_ceil(columns);
    let panel = if entries.is_empty() { 0 } else { lines * line + letter };
    let mut canvas =
        RgbImage::from_pixel(width.max(columns * column + letter), height + panel, PAPER);
    image::imageops::replace(&mut canvas, picture, 0, 0);
    // Down the columns, as one reads a list.
    for (i, entry) in (0..).zip(&entries) {
        let (x, y) = (letter + i / lines * column, height + letter * 3 / 4 + i % lines * line);
        fill(&mut canvas, (x, y), (2 * letter, letter), INK);
        let edge = scale.div_ceil(2);
        let inside = (2 * letter - 2 * edge, letter - 2 * edge);
        fill(&mut canvas, (x + edge, y + edge), inside, entry.colour);
        write(&mut canvas, (x + 3 * letter, y), &entry.text, scale, INK);
    }
    canvas
}

/// The classes that occur, by id, with the ignored pixels last; names and shares are aligned.
fn entries(ids: &GrayImage, class_names: &[String]) -> Vec<Entry> {
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
        Entry { colour: Rgb(class_colour(*id)), text: format!("{name:widest$} {percent}") }
    };
    present.iter().zip(&names).map(entry).collect()
}

fn name(id: u8, class_names: &[String]) -> String {
    match class_names.get(usize::from(id)) {
        Some(name) if name.chars().count() > LONGEST_NAME => {
            name.chars().take(LONGEST_NAME - 2).chain("..".chars()).collect()
        }
        Some(name) => name.clone(),
        None if id == 255 => "ignored".to_owned(),
        None => format!("class {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ids: Vec<u8>, names: &[&str]) -> Vec<String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let ids = GrayImage::from_raw(ids.len() as u32, 1, ids).unwrap();
        entries(&ids, &names).into_iter().map(|entry| entry.text).collect()
    }

    #[test]
    fn only_classes_that_occur_are_listed_with_their_shares() {
        assert_eq!(
            texts(vec![0, 0, 0, 2, 2, 255, 7, 7], &["sky", "dog", "road"]),
            ["sky      37.5 %", "road     25.0 %", "class 7  25.0 %", "ignored  12.5 %"]
        );
    }

    #[test]
    fn long_names_are_cut_and_small_shares_are_not_zero() {
        let mut ids = vec![0; 5000];
        ids[0] = 1;
        let lines = texts(ids, &["a", "a name that is much too long for a legend"]);
        assert_eq!(lines[1], "a name that is much to..  <0.1 %");
    }
}
