//! Contact sheets: rows of small pictures with a title, names of the rows and of the columns, and the legend
//! of the classes in them.

use image::{GrayImage, RgbImage, imageops};

use super::legend::{self, BACKGROUND_COLOR, TEXT_COLOR};
use super::overlay::default_class_colors;
use super::text::{LETTER_DOTS, draw_text};

/// The width and height of a picture on a sheet.
const MIN_CELL_PX: u32 = 160;
const MAX_CELL_PX: u32 = 512;
const GAP_PX: u32 = 8;
/// Dots of the letters.
const TEXT_SCALE: u32 = 2;
/// Height of a line of text.
const LINE_HEIGHT_PX: u32 = LETTER_DOTS * TEXT_SCALE * 3 / 2;

/// One row: what it is called, and its pictures.
#[derive(Debug)]
pub struct SheetRow {
    /// Stands above the pictures.
    pub name: String,
    /// From the left.
    pub pictures: Vec<RgbImage>,
}

/// The pixels that a sheet has for a picture with `side` pixels: a whole multiple if that is under 160, so that the
/// picture's own pixels can be told, and 512 if it is over that.
pub fn cell_side_px(side: u32) -> u32 {
    (side.max(1) * MIN_CELL_PX.div_ceil(side.max(1))).min(MAX_CELL_PX)
}

/// A sheet of `rows` with `title` above, `columns` naming the pictures of every row, and below it the legend
/// of the classes in `ids` with their shares. Pictures are enlarged by whole numbers, or shrunk, to squares of
/// `cell` pixels.
pub fn draw_contact_sheet(
    title: &[String],
    columns: &[String],
    (rows, cell_px): (&[SheetRow], u32),
    (ids, class_names): (&GrayImage, &[String]),
) -> RgbImage {
    let width = GAP_PX + columns.len() as u32 * (cell_px + GAP_PX);
    let letters_in_width = |width: u32| (width / (LETTER_DOTS * TEXT_SCALE)) as usize;
    let width = width.max(2 * MAX_CELL_PX);
    let title: Vec<String> = title
        .iter()
        .flat_map(|line| wrap_text(line, letters_in_width(width - 2 * GAP_PX)))
        .collect();
    let header_height = GAP_PX + (title.len() as u32 + 1) * LINE_HEIGHT_PX;
    let height = header_height + rows.len() as u32 * (LINE_HEIGHT_PX + cell_px + GAP_PX);
    let mut sheet = RgbImage::from_pixel(width, height, BACKGROUND_COLOR);
    for (line, y) in title.iter().zip((GAP_PX..).step_by(LINE_HEIGHT_PX as usize)) {
        draw_text(&mut sheet, (GAP_PX, y), line, TEXT_SCALE, TEXT_COLOR);
    }
    let column_positions = || (GAP_PX..).step_by((cell_px + GAP_PX) as usize);
    for (name, x) in columns.iter().zip(column_positions()) {
        draw_text(
            &mut sheet,
            (x, header_height - LINE_HEIGHT_PX),
            &truncate_text(name, letters_in_width(cell_px)),
            TEXT_SCALE,
            TEXT_COLOR,
        );
    }
    for (row, top) in
        rows.iter().zip((header_height..).step_by((LINE_HEIGHT_PX + cell_px + GAP_PX) as usize))
    {
        draw_text(
            &mut sheet,
            (GAP_PX, top),
            &truncate_text(&row.name, letters_in_width(width - 2 * GAP_PX)),
            TEXT_SCALE,
            TEXT_COLOR,
        );
        for (picture, x) in row.pictures.iter().zip(column_positions()) {
            let picture = fit_to_cell(picture, cell_px);
            imageops::replace(&mut sheet, &picture, i64::from(x), i64::from(top + LINE_HEIGHT_PX));
        }
    }
    legend::add_legend(&sheet, ids, class_names, &default_class_colors())
}

/// As large as the cell allows.
fn fit_to_cell(picture: &RgbImage, cell_px: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longer = width.max(height).max(1);
    if longer <= cell_px {
        let zoom = cell_px / longer;
        let nearest = imageops::FilterType::Nearest;
        return imageops::resize(picture, width * zoom, height * zoom, nearest);
    }
    let shrink =
        |side: u32| (u64::from(side) * u64::from(cell_px) / u64::from(longer)).max(1) as u32;
    imageops::thumbnail(picture, shrink(width), shrink(height))
}

/// The text in lines of at most `letters` letters, broken after spaces and commas where there are any.
fn wrap_text(text: &str, max_letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut remaining = max_letters;
    for word in text.split_inclusive([' ', ',']) {
        let length = word.chars().count();
        if length > remaining && remaining < max_letters {
            lines.push(String::new());
            remaining = max_letters;
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(&truncate_text(word, remaining));
        }
        remaining = remaining.saturating_sub(length);
    }
    lines
}

/// The text with at most `letters` letters.
fn truncate_text(text: &str, max_letters: usize) -> String {
    if text.chars().count() <= max_letters {
        return text.to_owned();
    }
    text.chars().take(max_letters.saturating_sub(2)).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn row(name: &str, colors: &[[u8; 3]], side: u32) -> SheetRow {
        let pictures = colors.iter().map(|c| RgbImage::from_pixel(side, side, Rgb(*c))).collect();
        SheetRow { name: name.to_owned(), pictures }
    }

    fn sheet(side: u32) -> RgbImage {
        let cell_px = cell_side_px(side);
        let rows = [
            row("a", &[[255, 0, 0], [0, 255, 0]], side),
            row("b", &[[0, 0, 255], [9, 9, 9]], side),
        ];
        let columns = ["original".to_owned(), "epoch 1".to_owned()];
        let ids = GrayImage::from_pixel(4, 4, image::Luma([1]));
        let names = ["nothing".to_owned(), "thing".to_owned()];
        draw_contact_sheet(&["title".to_owned()], &columns, (&rows, cell_px), (&ids, &names))
    }

    #[test]
    fn pictures_are_in_their_row_and_column_enlarged_by_whole_numbers_or_shrunk() {
        for (side, expected) in [(32, 160), (100, 200), (300, 300), (2000, 512)] {
            let (sheet, cell_px) = (sheet(side), cell_side_px(side));
            assert_eq!(cell_px, expected);
            for (x, y, color) in
                [(0, 0, [255, 0, 0]), (1, 0, [0, 255, 0]), (0, 1, [0, 0, 255]), (1, 1, [9, 9, 9])]
            {
                let left = GAP_PX + x * (cell_px + GAP_PX);
                let top = GAP_PX
                    + 2 * LINE_HEIGHT_PX
                    + y * (LINE_HEIGHT_PX + cell_px + GAP_PX)
                    + LINE_HEIGHT_PX;
                for (x, y) in [(left, top), (left + cell_px - 1, top + cell_px - 1)] {
                    assert_eq!(sheet.get_pixel(x, y).0, color, "{side} at {x}, {y}");
                }
                assert_eq!(sheet.get_pixel(left + cell_px, top).0, BACKGROUND_COLOR.0);
            }
        }
    }

    #[test]
    fn a_sheet_without_rows_and_one_with_long_names_are_drawn() {
        let ids = GrayImage::new(1, 1);
        let long = "x".repeat(5000);
        let empty = draw_contact_sheet(std::slice::from_ref(&long), &[], (&[], 160), (&ids, &[]));
        assert!(empty.width() < 2000 && (LINE_HEIGHT_PX..200).contains(&empty.height()));
        let rows = [row(&long, &[[1, 2, 3]], 20)];
        assert_eq!(wrap_text("one two,three", 8), ["one two,", "three"]);
        assert_eq!(wrap_text("aaaaaaaaaa b", 5), ["aaa..", "b"]);
        assert!(draw_contact_sheet(&[], &[long], (&rows, 160), (&ids, &[])).width() < 2000);
    }
}
