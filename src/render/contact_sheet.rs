//! Contact sheets: rows of small pictures with a title, names of the rows and of the columns, and
//! the legend of the classes in them.

use image::{GrayImage, RgbImage, imageops};

use super::font::{FontWeight, shorten_text, text_width_px};
use super::legend::Legend;
use super::overlay::default_class_colors;
use super::palette::{BACKGROUND, INK, MUTED_INK};
use super::scene::{Scene, Shape, Text};

/// Smallest and largest side of the square for a picture, the gap between two, and the margin around
/// the sheet, in pixels.
const MIN_CELL_PX: u32 = 160;
const MAX_CELL_PX: u32 = 512;
const GAP_PX: u32 = 12;
const MARGIN_PX: u32 = 24;
/// Smallest width of a sheet, in pixels.
const MIN_WIDTH_PX: u32 = 1024;
/// Sizes of letters, height of the line for a row's name, in pixels, and height of other lines
/// relative to their letters.
const TITLE_PX: f32 = 18.0;
const LABEL_PX: f32 = 14.0;
const NAME_PX: u32 = 30;
const LINE_EM: f32 = 1.5;

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
pub fn draw_contact_sheet(content: &ContactSheet<'_>) -> Scene {
    let &ContactSheet { title, columns, rows, cell_px, ids, class_names } = content;
    let pitch = cell_px + GAP_PX;
    let width = (2 * MARGIN_PX + columns.len() as u32 * pitch).max(MIN_WIDTH_PX);
    let text_width = (width - 2 * MARGIN_PX) as f32;
    let mut scene = Scene::new((width, 0), BACKGROUND);
    let left = MARGIN_PX as f32;
    let mut y = left;
    for (line, index) in title.iter().zip(0..) {
        let is_heading = index == 0;
        let (size_px, ink) = if is_heading { (TITLE_PX, INK) } else { (LABEL_PX, MUTED_INK) };
        let weight = if is_heading { FontWeight::Bold } else { FontWeight::Regular };
        for line in wrap_text(line, text_width, size_px, weight) {
            y += LINE_EM * size_px;
            scene.add_text(Text { weight, ..Text::new(line, (left, y), size_px, ink) });
        }
    }
    y += GAP_PX as f32 + LINE_EM * LABEL_PX;
    for (name, index) in columns.iter().zip(0..) {
        let name = shorten_text(name, cell_px as f32, LABEL_PX, FontWeight::Bold);
        let position = (left + (index * pitch) as f32, y);
        scene.add_text(Text::new(name, position, LABEL_PX, INK).bold());
    }
    let mut top = (y + LINE_EM * LABEL_PX / 2.0).ceil() as u32;
    for row in rows {
        let base_line = top as f32 + LINE_EM * LABEL_PX;
        let name = shorten_text(&row.name, text_width, LABEL_PX, FontWeight::Regular);
        scene.add_text(Text::new(name, (left, base_line), LABEL_PX, MUTED_INK));
        top += NAME_PX;
        let mut row_height = 0;
        for (picture, index) in row.pictures.iter().zip(0..) {
            let image = fit_to_cell(picture, cell_px);
            row_height = row_height.max(image.height());
            scene.shapes.push(Shape::Picture { left_top: (MARGIN_PX + index * pitch, top), image });
        }
        top += row_height + GAP_PX;
    }
    top += GAP_PX;
    let legend = Legend::new(ids, class_names, &default_class_colors());
    let layout = legend.fit_to_width(LABEL_PX, text_width);
    legend.draw(&mut scene, (left, top as f32), layout);
    scene.set_height(top as f32 + layout.height_px() + left);
    scene
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

/// Breaks a text into lines of at most `max_width_px`, after spaces and commas where there are any.
fn wrap_text(text: &str, max_width_px: f32, size_px: f32, weight: FontWeight) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive([' ', ',']) {
        let longer = format!("{line}{word}");
        if text_width_px(longer.trim_end(), size_px, weight) <= max_width_px {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        line = shorten_text(word, max_width_px, size_px, weight);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::rasterize;
    use crate::render::scene::tests::{assert_near, assert_texts_are_apart};
    use image::Rgb;

    fn row(name: &str, colors: &[[u8; 3]], side: u32) -> SheetRow {
        let pictures = colors.iter().map(|c| RgbImage::from_pixel(side, side, Rgb(*c))).collect();
        SheetRow { name: name.to_owned(), pictures }
    }

    fn sheet(side: u32) -> Scene {
        let rows = [
            row("a", &[[255, 0, 0], [0, 255, 0]], side),
            row("b", &[[0, 0, 255], [9, 9, 9]], side),
        ];
        let columns = ["original".to_owned(), "epoch 1".to_owned()];
        let ids = GrayImage::from_pixel(4, 4, image::Luma([1]));
        let names = ["nothing".to_owned(), "thing".to_owned()];
        draw_contact_sheet(&ContactSheet {
            title: &["title".to_owned(), "more about it".to_owned()],
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
            let (scene, cell_px) = (sheet(side), cell_side_px(side));
            assert_eq!(cell_px, expected);
            assert_texts_are_apart(&scene);
            let mut places = Vec::new();
            for shape in &scene.shapes {
                if let Shape::Picture { left_top, image } = shape {
                    assert_eq!(image.dimensions(), (cell_px, cell_px));
                    places.push((*left_top, image.get_pixel(0, 0).0));
                }
            }
            let colors = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]];
            assert_eq!(places.iter().map(|place| place.1).collect::<Vec<_>>(), colors);
            let [(first, _), (second, _), (third, _), _] = places[..] else { panic!("four") };
            assert_eq!(second, (first.0 + cell_px + GAP_PX, first.1));
            assert_eq!(third, (first.0, first.1 + cell_px + GAP_PX + NAME_PX));
            // The names of the rows stand above their pictures.
            let name = scene.texts().find(|text| text.text == "b").unwrap();
            let [left, top, _, bottom] = name.bounds();
            assert_near(left, third.0 as f32);
            assert!(bottom <= third.1 as f32, "{bottom} {third:?}");
            assert!(top >= (first.1 + cell_px) as f32);
            let pixels = rasterize(&scene);
            assert_eq!(pixels.get_pixel(first.0, first.1).0, [255, 0, 0]);
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
        assert!(empty.size.0 == MIN_WIDTH_PX && (50..300).contains(&empty.size.1));
        assert_texts_are_apart(&empty);
        let rows = [row(&long, &[[1, 2, 3]], 20)];
        let content = ContactSheet {
            title: &[],
            columns: std::slice::from_ref(&long),
            rows: &rows,
            ..content
        };
        assert_texts_are_apart(&draw_contact_sheet(&content));
    }

    #[test]
    fn titles_break_after_spaces_and_commas() {
        let wrap = |text, width| wrap_text(text, width, 14.0, FontWeight::Regular);
        assert_eq!(wrap("one two,three", 60.0), ["one two,", "three"]);
        let lines = wrap("aaaaaaaaaaaaaaaa b", 60.0);
        assert!(lines.len() == 2 && lines[0].contains('…'), "{lines:?}");
        assert_eq!(wrap("", 60.0), [""]);
    }
}
