//! A confusion matrix as a picture.

use image::{Rgb, RgbImage};

use super::text::{LETTER, fill, write};

/// Pixels of a cell's side where there is room for a number.
const CELL: u32 = 44;
/// The same where there are so many classes that numbers would not help.
const SMALL_CELL: u32 = 8;
/// Classes up to which cells have numbers and names.
const NAMED: usize = 40;
/// Letters of a name that are shown.
const NAME: usize = 16;
const MARGIN: u32 = 8;
const INK: Rgb<u8> = Rgb([34, 34, 34]);

/// Draws the shares of each true class (row) that were found as each class (column), dark where they are
/// large, with the shares as percentages. Rows of classes without pixels stay white.
pub fn confusion_matrix(rows: &[Vec<u64>], class_names: &[String]) -> RgbImage {
    let classes = rows.len();
    let named = classes <= NAMED;
    let cell = if named { CELL } else { SMALL_CELL };
    let names = if named { NAME as u32 * LETTER + MARGIN } else { 0 };
    let (left, top) = (MARGIN + names, MARGIN * 2 + LETTER * if named { 3 } else { 1 });
    let side = cell * classes as u32;
    let (width, height) = (left + side + MARGIN, top + side + MARGIN);
    let mut picture = RgbImage::from_pixel(width.max(260), height, Rgb([255, 255, 255]));
    write(&mut picture, (MARGIN, MARGIN), "rows: true class, columns: found", 1, INK);
    for (row, counts) in rows.iter().enumerate() {
        let y = top + row as u32 * cell;
        if named {
            let name = class_names.get(row).map_or("", String::as_str);
            let name: String = name.chars().take(NAME).collect();
            write(&mut picture, (MARGIN, y + (cell - LETTER) / 2), &name, 1, INK);
            let id = row.to_string();
            let x = left + row as u32 * cell + (cell - id.len() as u32 * LETTER) / 2;
            write(&mut picture, (x, top - LETTER - 4), &id, 1, INK);
        }
        let all: u64 = counts.iter().sum();
        for (column, &count) in counts.iter().enumerate().filter(|_| all > 0) {
            let share = count as f64 / all as f64;
            let x = left + column as u32 * cell;
            let size = (cell - 1, cell - 1);
            fill(&mut picture, (x, y), size, shade(share));
            if named && count > 0 {
                let text = format!("{:.0}", 100.0 * share);
                let ink = if share > 0.5 { Rgb([255, 255, 255]) } else { INK };
                let right = x + (cell - text.len() as u32 * LETTER) / 2;
                write(&mut picture, (right, y + (cell - LETTER) / 2), &text, 1, ink);
            }
        }
    }
    picture
}

/// From nearly white to dark blue.
fn shade(share: f64) -> Rgb<u8> {
    let mix = |from: f64, to: f64| (from + (to - from) * share.clamp(0.0, 1.0)) as u8;
    Rgb([mix(242.0, 8.0), mix(246.0, 48.0), mix(252.0, 107.0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_right_is_dark_and_absent_classes_stay_white() {
        let rows = vec![vec![90, 10, 0], vec![0, 100, 0], vec![0, 0, 0]];
        let names: Vec<String> = ["background", "road", "sky"].map(str::to_owned).to_vec();
        let picture = confusion_matrix(&rows, &names);
        let corner = |row: u32, column: u32| {
            let left = MARGIN * 2 + NAME as u32 * LETTER + column * CELL;
            *picture.get_pixel(left + 1, MARGIN * 2 + LETTER * 3 + row * CELL + 1)
        };
        assert_eq!(corner(1, 1), shade(1.0));
        assert_eq!(corner(0, 0), shade(0.9));
        assert_eq!(corner(0, 2), shade(0.0));
        assert_eq!(corner(2, 2), Rgb([255, 255, 255]));
    }

    #[test]
    fn any_number_of_classes_is_drawn() {
        for classes in [0, 1, 2, 40, 41, 254] {
            let rows = vec![vec![1; classes]; classes];
            let picture = confusion_matrix(&rows, &[]);
            assert!(picture.width() < 2200 && picture.height() < 2200, "{classes}");
        }
    }
}
