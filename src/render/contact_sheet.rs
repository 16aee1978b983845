//! Contact sheets: rows of small pictures with a title, names of the rows and of the columns, and
//! the legend of the classes in them.

use image::{GrayImage, RgbImage, imageops};

use super::legend::{self, BACKGROUND_COLOR, TEXT_COLOR};
use super::overlay::default_class_colors;
use super::text::{LETTER_DOTS, draw_text};

/// Smallest and largest side of the square for a picture, and the gap between two, in pixels.
const MIN_CELL_PX: u32 = 160;
const MAX_CELL_PX: u32 = 512;
const GAP_PX: u32 = 8;
/// Side of a letter's dots, in pixels.
const TEXT_SCALE: u32 = 2;
/// Height of a line of text, in pixels.
const LINE_HEIGHT_PX: u32 = LETTER_DOTS * TEXT_SCALE * 3 / 2;

/// A row of pictures.
#[derive(Debug)]
pub struct SheetRow {
    /// Name that stands above the pictures.
    pub name: String,
    /// Pictures from the left.
    pub pictures: Vec<RgbImage>,
}

/// Returns the side in pixels of the square for pictures whose longer side has `side` pixels: if
/// that is under 160, its smallest multiple from 160 on, so that single pixels of the picture stay
/// visible; otherwise `side`, but at most 512.
pub fn cell_side_px(side: u32) -> u32 {
    (side.max(1) * MIN_CELL_PX.div_ceil(side.max(1))).min(MAX_CELL_PX)
}

/// The content of a contact sheet.
#[derive(Debug, Clone, Copy)]
pub struct ContactSheet<'a> {
    /// Lines that stand above the rows.
    pub title: &'a [String],
    /// Names of the pictures of every row, from the left.
    pub columns: &'a [String],
    pub rows: &'a [SheetRow],
    /// Side of the square for a picture, in pixels.
    pub cell_px: u32,
    /// Class ids of all pictures, for the legend.
    pub ids: &'a GrayImage,
    /// Name of each class, class 0 first.
    pub class_names: &'a [String],
}

/// Draws the title, the rows with the names of the columns, and below them the legend of the
/// classes with their shares. Pictures are enlarged by whole numbers, or shrunk, to fit their
/// squares.
pub fn draw_contact_sheet(content: &ContactSheet<'_>) -> RgbImage {
    let &ContactSheet { title, columns, rows, cell_px, ids, class_names } = content;
    let width = GAP_PX + columns.len() as u32 * (cell_px + GAP_PX);
    let width = width.max(2 * MAX_CELL_PX);
    let mut title_lines = Vec::new();
    for line in title {
        title_lines.extend(wrap_text(line, letters_in_width(width - 2 * GAP_PX)));
    }
    let header_height = GAP_PX + (title_lines.len() as u32 + 1) * LINE_HEIGHT_PX;
    let row_height = LINE_HEIGHT_PX + cell_px + GAP_PX;
    let height = header_height + rows.len() as u32 * row_height;
    let mut sheet = RgbImage::from_pixel(width, height, BACKGROUND_COLOR);
    for (line, y) in title_lines.iter().zip((GAP_PX..).step_by(LINE_HEIGHT_PX as usize)) {
        draw_text(&mut sheet, (GAP_PX, y), line, TEXT_SCALE, TEXT_COLOR);
    }
    let column_positions = (GAP_PX..).step_by((cell_px + GAP_PX) as usize);
    for (name, x) in columns.iter().zip(column_positions.clone()) {
        let name = truncate_text(name, letters_in_width(cell_px));
        let position = (x, header_height - LINE_HEIGHT_PX);
        draw_text(&mut sheet, position, &name, TEXT_SCALE, TEXT_COLOR);
    }
    for (row, top) in rows.iter().zip((header_height..).step_by(row_height as usize)) {
        let name = truncate_text(&row.name, letters_in_width(width - 2 * GAP_PX));
        draw_text(&mut sheet, (GAP_PX, top), &name, TEXT_SCALE, TEXT_COLOR);
        for (picture, x) in row.pictures.iter().zip(column_positions.clone()) {
            let picture = fit_to_cell(picture, cell_px);
            imageops::replace(&mut sheet, &picture, i64::from(x), i64::from(top + LINE_HEIGHT_PX));
        }
    }
    legend::add_legend(&sheet, ids, class_names, &default_class_colors())
}

/// Returns the number of letters that fit a width in pixels.
fn letters_in_width(width: u32) -> usize {
    (width / (LETTER_DOTS * TEXT_SCALE)) as usize
}

/// Enlarges a picture by the largest whole number that fits the cell, or shrinks it to the cell.
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

/// Breaks a text into lines of at most `max_letters` letters, after spaces and commas where there
/// are any.
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

/// Cuts a text to at most `max_letters` letters, the last two of them dots.
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
        let rows = [
            row("a", &[[255, 0, 0], [0, 255, 0]], side),
            row("b", &[[0, 0, 255], [9, 9, 9]], side),
        ];
        let columns = ["original".to_owned(), "epoch 1".to_owned()];
        let ids = GrayImage::from_pixel(4, 4, image::Luma([1]));
        let names = ["nothing".to_owned(), "thing".to_owned()];
        draw_contact_sheet(&ContactSheet {
            title: &["title".to_owned()],
            columns: &columns,
            rows: &rows,
            cell_px: cell_side_px(side),
            ids: &ids,
            class_names: &names,
        })
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
        let content = ContactSheet {
            title: std::slice::from_ref(&long),
            columns: &[],
            rows: &[],
            cell_px: 160,
            ids: &ids,
            class_names: &[],
        };
        let empty = draw_contact_sheet(&content);
        assert!(empty.width() < 2000 && (LINE_HEIGHT_PX..200).contains(&empty.height()));
        let rows = [row(&long, &[[1, 2, 3]], 20)];
        assert_eq!(wrap_text("one two,three", 8), ["one two,", "three"]);
        assert_eq!(wrap_text("aaaaaaaaaa b", 5), ["aaa..", "b"]);
        let content = ContactSheet {
            title: &[],
            columns: std::slice::from_ref(&long),
            rows: &rows,
            ..content
        };
        assert!(draw_contact_sheet(&content).width() < 2000);
    }
}
