//! Contact sheets: rows of small pictures with a title, names of the rows and of the columns, and the legend
//! of the classes in them.

use image::{GrayImage, RgbImage, imageops};

use super::legend::{self, INK, PAPER};
use super::overlay::usual;
use super::text::{LETTER, write};

/// The width and height of a picture on a sheet.
const LEAST_CELL: u32 = 160;
const MOST_CELL: u32 = 512;
const GAP: u32 = 8;
/// Dots of the letters.
const SCALE: u32 = 2;
/// Height of a line of text.
const LINE: u32 = LETTER * SCALE * 3 / 2;

/// One row: what it is called, and its pictures.
#[derive(Debug)]
pub struct Row {
    /// Stands above the pictures.
    pub name: String,
    /// From the left.
    pub pictures: Vec<RgbImage>,
}

/// The pixels that a sheet has for a picture with `side` pixels: a whole multiple if that is under 160, so that the
/// picture's own pixels can be told, and 512 if it is over that.
pub fn cell(side: u32) -> u32 {
    (side.max(1) * LEAST_CELL.div_ceil(side.max(1))).min(MOST_CELL)
}

/// A sheet of `rows` with `title` above, `columns` naming the pictures of every row, and below it the legend
/// of the classes in `ids` with their shares. Pictures are enlarged by whole numbers, or shrunk, to squares of
/// `cell` pixels.
pub fn contact_sheet(
    title: &[String],
    columns: &[String],
    (rows, cell): (&[Row], u32),
    (ids, class_names): (&GrayImage, &[String]),
) -> RgbImage {
    let width = GAP + columns.len() as u32 * (cell + GAP);
    let letters = |width: u32| (width / (LETTER * SCALE)) as usize;
    let width = width.max(2 * MOST_CELL);
    let title: Vec<String> =
        title.iter().flat_map(|line| wrapped(line, letters(width - 2 * GAP))).collect();
    let head = GAP + (title.len() as u32 + 1) * LINE;
    let height = head + rows.len() as u32 * (LINE + cell + GAP);
    let mut sheet = RgbImage::from_pixel(width, height, PAPER);
    for (line, y) in title.iter().zip((GAP..).step_by(LINE as usize)) {
        write(&mut sheet, (GAP, y), line, SCALE, INK);
    }
    let lefts = || (GAP..).step_by((cell + GAP) as usize);
    for (name, x) in columns.iter().zip(lefts()) {
        write(&mut sheet, (x, head - LINE), &cut(name, letters(cell)), SCALE, INK);
    }
    for (row, top) in rows.iter().zip((head..).step_by((LINE + cell + GAP) as usize)) {
        write(&mut sheet, (GAP, top), &cut(&row.name, letters(width - 2 * GAP)), SCALE, INK);
        for (picture, x) in row.pictures.iter().zip(lefts()) {
            let picture = fitted(picture, cell);
            imageops::replace(&mut sheet, &picture, i64::from(x), i64::from(top + LINE));
        }
    }
    legend::add(&sheet, ids, class_names, &usual())
}

/// As large as the cell allows.
fn fitted(picture: &RgbImage, cell: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longer = width.max(height).max(1);
    if longer <= cell {
        let zoom = cell / longer;
        let nearest = imageops::FilterType::Nearest;
        return imageops::resize(picture, width * zoom, height * zoom, nearest);
    }
    let shrink = |side: u32| (u64::from(side) * u64::from(cell) / u64::from(longer)).max(1) as u32;
    imageops::thumbnail(picture, shrink(width), shrink(height))
}

/// The text in lines of at most `letters` letters, broken after spaces and commas where there are any.
fn wrapped(text: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut room = letters;
    for word in text.split_inclusive([' ', ',']) {
        let length = word.chars().count();
        if length > room && room < letters {
            lines.push(String::new());
            room = letters;
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(&cut(word, room));
        }
        room = room.saturating_sub(length);
    }
    lines
}

/// The text with at most `letters` letters.
fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters.saturating_sub(2)).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn row(name: &str, colours: &[[u8; 3]], side: u32) -> Row {
        let pictures = colours.iter().map(|c| RgbImage::from_pixel(side, side, Rgb(*c))).collect();
        Row { name: name.to_owned(), pictures }
    }

    fn sheet(side: u32) -> RgbImage {
        let cell = cell(side);
        let rows = [
            row("a", &[[255, 0, 0], [0, 255, 0]], side),
            row("b", &[[0, 0, 255], [9, 9, 9]], side),
        ];
        let columns = ["original".to_owned(), "epoch 1".to_owned()];
        let ids = GrayImage::from_pixel(4, 4, image::Luma([1]));
        let names = ["nothing".to_owned(), "thing".to_owned()];
        contact_sheet(&["title".to_owned()], &columns, (&rows, cell), (&ids, &names))
    }

    #[test]
    fn pictures_are_in_their_row_and_column_enlarged_by_whole_numbers_or_shrunk() {
        for (side, expected) in [(32, 160), (100, 200), (300, 300), (2000, 512)] {
            let (sheet, cell) = (sheet(side), cell(side));
            assert_eq!(cell, expected);
            for (x, y, colour) in
                [(0, 0, [255, 0, 0]), (1, 0, [0, 255, 0]), (0, 1, [0, 0, 255]), (1, 1, [9, 9, 9])]
            {
                let left = GAP + x * (cell + GAP);
                let top = GAP + 2 * LINE + y * (LINE + cell + GAP) + LINE;
                for (x, y) in [(left, top), (left + cell - 1, top + cell - 1)] {
                    assert_eq!(sheet.get_pixel(x, y).0, colour, "{side} at {x}, {y}");
                }
                assert_eq!(sheet.get_pixel(left + cell, top).0, PAPER.0);
            }
        }
    }

    #[test]
    fn a_sheet_without_rows_and_one_with_long_names_are_drawn() {
        let ids = GrayImage::new(1, 1);
        let long = "x".repeat(5000);
        let empty = contact_sheet(std::slice::from_ref(&long), &[], (&[], 160), (&ids, &[]));
        assert!(empty.width() < 2000 && (LINE..200).contains(&empty.height()));
        let rows = [row(&long, &[[1, 2, 3]], 20)];
        assert_eq!(wrapped("one two,three", 8), ["one two,", "three"]);
        assert_eq!(wrapped("aaaaaaaaaa b", 5), ["aaa..", "b"]);
        assert!(contact_sheet(&[], &[long], (&rows, 160), (&ids, &[])).width() < 2000);
    }
}
