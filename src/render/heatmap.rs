//! Pictures of confusion matrices.

use image::{Rgb, RgbImage};

use super::text::{LETTER_DOTS, draw_text, fill_rectangle};

/// Side of a cell with a number, in pixels.
const CELL_PX: u32 = 44;
/// Side of a cell without a number, in pixels, for more than [`MAX_LABELED_CLASSES`] classes.
const SMALL_CELL_PX: u32 = 8;
/// Largest number of classes for which cells have numbers and rows have names.
const MAX_LABELED_CLASSES: usize = 40;
/// Number of letters of a name that are shown.
const MAX_NAME_CHARS: usize = 16;
const MARGIN_PX: u32 = 8;
const TEXT_COLOR: Rgb<u8> = Rgb([34, 34, 34]);

/// Draws the share of each true class (row) that was predicted as each class (column), darker for
/// larger shares, with the shares in percent. Rows of classes without pixels stay white.
pub fn draw_confusion_matrix(rows: &[Vec<u64>], class_names: &[String]) -> RgbImage {
    let classes = rows.len();
    let show_labels = classes <= MAX_LABELED_CLASSES;
    let cell = if show_labels { CELL_PX } else { SMALL_CELL_PX };
    let names_width_px =
        if show_labels { MAX_NAME_CHARS as u32 * LETTER_DOTS + MARGIN_PX } else { 0 };
    let (left, top) =
        (MARGIN_PX + names_width_px, MARGIN_PX * 2 + LETTER_DOTS * if show_labels { 3 } else { 1 });
    let side = cell * classes as u32;
    let (width, height) = (left + side + MARGIN_PX, top + side + MARGIN_PX);
    let mut picture = RgbImage::from_pixel(width.max(260), height, Rgb([255, 255, 255]));
    draw_text(
        &mut picture,
        (MARGIN_PX, MARGIN_PX),
        "rows: true class, columns: found",
        1,
        TEXT_COLOR,
    );
    for (row, counts) in rows.iter().enumerate() {
        let y = top + row as u32 * cell;
        if show_labels {
            let name = class_names.get(row).map_or("", String::as_str);
            let name: String = name.chars().take(MAX_NAME_CHARS).collect();
            draw_text(
                &mut picture,
                (MARGIN_PX, y + (cell - LETTER_DOTS) / 2),
                &name,
                1,
                TEXT_COLOR,
            );
            let id = row.to_string();
            let x = left + row as u32 * cell + (cell - id.len() as u32 * LETTER_DOTS) / 2;
            draw_text(&mut picture, (x, top - LETTER_DOTS - 4), &id, 1, TEXT_COLOR);
        }
        let row_total: u64 = counts.iter().sum();
        if row_total == 0 {
            continue;
        }
        for (column, &count) in counts.iter().enumerate() {
            let share = count as f64 / row_total as f64;
            let x = left + column as u32 * cell;
            let size = (cell - 1, cell - 1);
            fill_rectangle(&mut picture, (x, y), size, heat_color(share));
            if show_labels && count > 0 {
                let text = format!("{:.0}", 100.0 * share);
                let text_color = if share > 0.5 { Rgb([255, 255, 255]) } else { TEXT_COLOR };
                let text_x = x + (cell - text.len() as u32 * LETTER_DOTS) / 2;
                draw_text(
                    &mut picture,
                    (text_x, y + (cell - LETTER_DOTS) / 2),
                    &text,
                    1,
                    text_color,
                );
            }
        }
    }
    picture
}

/// Returns the color of a share: nearly white for 0, dark blue for 1.
fn heat_color(share: f64) -> Rgb<u8> {
    let mut color = [0; 3];
    for (value, (light, dark)) in
        color.iter_mut().zip([(242.0, 8.0), (246.0, 48.0), (252.0, 107.0)])
    {
        *value = (light + (dark - light) * share.clamp(0.0, 1.0)) as u8;
    }
    Rgb(color)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_right_is_dark_and_absent_classes_stay_white() {
        let rows = vec![vec![90, 10, 0], vec![0, 100, 0], vec![0, 0, 0]];
        let names: Vec<String> = ["background", "road", "sky"].map(str::to_owned).to_vec();
        let picture = draw_confusion_matrix(&rows, &names);
        let cell_color = |row: u32, column: u32| {
            let left = MARGIN_PX * 2 + MAX_NAME_CHARS as u32 * LETTER_DOTS + column * CELL_PX;
            *picture.get_pixel(left + 1, MARGIN_PX * 2 + LETTER_DOTS * 3 + row * CELL_PX + 1)
        };
        assert_eq!(cell_color(1, 1), heat_color(1.0));
        assert_eq!(cell_color(0, 0), heat_color(0.9));
        assert_eq!(cell_color(0, 2), heat_color(0.0));
        assert_eq!(cell_color(2, 2), Rgb([255, 255, 255]));
    }

    #[test]
    fn any_number_of_classes_is_drawn() {
        for classes in [0, 1, 2, 40, 41, 254] {
            let rows = vec![vec![1; classes]; classes];
            let picture = draw_confusion_matrix(&rows, &[]);
            assert!(picture.width() < 2200 && picture.height() < 2200, "{classes}");
        }
    }
}
