//! Pictures of confusion matrices.

use super::class_label::class_label;
use super::font::{CAP_HEIGHT, FontWeight, shorten_text, text_width_px};
use super::palette::{BACKGROUND, GRID, INK, MUTED_INK, heat_color, heat_ink};
use super::scene::{Anchor, Scene, Text};

/// Size of the cells and their letters, which follow from the number of classes.
#[derive(Debug, Clone, Copy)]
struct CellStyle {
    /// Largest number of classes for which the style is used.
    max_classes: usize,
    side_px: f32,
    /// Size of the share in a cell; none where it would be too small to be read.
    share_px: Option<f32>,
    /// Size of the count below the share.
    count_px: Option<f32>,
    label_px: f32,
}

const STYLES: [CellStyle; 4] = [
    CellStyle {
        max_classes: 12,
        side_px: 64.0,
        share_px: Some(17.0),
        count_px: Some(12.0),
        label_px: 15.0,
    },
    CellStyle {
        max_classes: 32,
        side_px: 46.0,
        share_px: Some(14.0),
        count_px: Some(10.5),
        label_px: 14.0,
    },
    CellStyle {
        max_classes: 64,
        side_px: 28.0,
        share_px: Some(12.0),
        count_px: None,
        label_px: 13.0,
    },
    CellStyle {
        max_classes: usize::MAX,
        side_px: 14.0,
        share_px: None,
        count_px: None,
        label_px: 10.5,
    },
];

const MARGIN_PX: f32 = 24.0;
const TITLE_PX: f32 = 17.0;
const CAPTION_PX: f32 = 14.0;
/// Gap between names and cells, in pixels.
const LABEL_GAP_PX: f32 = 8.0;
/// Longest name, in pixels.
const MAX_LABEL_PX: f32 = 180.0;
/// Width of the gap between two cells, in pixels.
const CELL_GAP_PX: f32 = 1.0;
/// Size of the scale of colors, in pixels.
const SCALE_WIDTH_PX: f32 = 200.0;
const SCALE_HEIGHT_PX: f32 = 12.0;
/// Shares with a label on the scale, in percent.
const SCALE_TICKS: [f64; 5] = [0.0, 5.0, 20.0, 50.0, 100.0];
/// Smallest width of a picture, in pixels, for title and scale.
const MIN_WIDTH_PX: f32 = 500.0;

/// Draws the share of each true class (row) that was predicted as each class (column), darker for
/// larger shares; differences between small shares are larger, so that rare confusions are seen. Up
/// to 64 classes have the shares in percent in their cells, and up to 32 the counts of pixels. Rows
/// of classes without pixels are gray. Each of `rows` has as many counts as there are rows.
pub fn draw_confusion_matrix(rows: &[Vec<u64>], class_names: &[String]) -> Scene {
    let style = choose_style(rows.len());
    let mut labels = Vec::with_capacity(rows.len());
    let mut widest_label_px = 0.0_f32;
    for id in 0..rows.len() {
        let label = class_label(id, class_names);
        let label = shorten_text(&label, MAX_LABEL_PX, style.label_px, FontWeight::Regular);
        let width = text_width_px(&label, style.label_px, FontWeight::Regular);
        widest_label_px = widest_label_px.max(width);
        labels.push(label);
    }
    let is_turned = widest_label_px > style.side_px - 6.0;
    let labels_height = if is_turned { widest_label_px } else { style.label_px };
    // From the left: the caption of the rows, which is turned, and their names.
    let left = (MARGIN_PX + 2.0 * CAPTION_PX + widest_label_px + LABEL_GAP_PX).ceil();
    // From the top: title, scale, caption of the columns, and their names.
    let scale_top = MARGIN_PX + TITLE_PX + 14.0;
    let caption_y = scale_top + SCALE_HEIGHT_PX + 40.0 + 2.0 * CAPTION_PX;
    let top = (caption_y + CAPTION_PX + labels_height + LABEL_GAP_PX).ceil();
    let side = style.side_px * rows.len() as f32;
    let width = (left + side + MARGIN_PX).max(MIN_WIDTH_PX).ceil();
    let size = (width as u32, (top + side + MARGIN_PX).ceil() as u32);
    let mut scene = Scene::new(size, BACKGROUND);
    let title_position = (MARGIN_PX, MARGIN_PX + TITLE_PX);
    scene.add_text(Text::new("Confusion matrix", title_position, TITLE_PX, INK).bold());
    draw_scale(&mut scene, scale_top);
    let origin = (left, top);
    draw_captions(&mut scene, origin, side, caption_y);
    draw_labels(&mut scene, origin, style, &labels, is_turned);
    for (row, counts) in rows.iter().enumerate() {
        draw_row(&mut scene, (left, top + row as f32 * style.side_px), style, counts);
    }
    for index in 1..=rows.len() {
        let offset = index as f32 * style.side_px - CELL_GAP_PX;
        scene.add_rectangle((left + offset, top), (CELL_GAP_PX, side), BACKGROUND);
        scene.add_rectangle((left, top + offset), (side, CELL_GAP_PX), BACKGROUND);
    }
    scene
}

/// Returns the style for a number of classes.
fn choose_style(classes: usize) -> CellStyle {
    let mut chosen = STYLES[STYLES.len() - 1];
    for style in STYLES.into_iter().rev() {
        if classes <= style.max_classes {
            chosen = style;
        }
    }
    chosen
}

/// Draws which color stands for which share.
fn draw_scale(scene: &mut Scene, top: f32) {
    let steps = SCALE_WIDTH_PX as usize;
    for step in 0..steps {
        let color = heat_color(step as f64 / (steps - 1) as f64);
        scene.add_rectangle((MARGIN_PX + step as f32, top), (1.0, SCALE_HEIGHT_PX), color);
    }
    let y = top + SCALE_HEIGHT_PX;
    for percent in SCALE_TICKS {
        let x = MARGIN_PX + heat_position(percent / 100.0) as f32 * SCALE_WIDTH_PX;
        let label = Text::new(format!("{percent}"), (x, y + 16.0), 12.0, MUTED_INK);
        scene.add_text(label.anchored(Anchor::Middle));
    }
    let explanation = "% of the pixels of the true class";
    let position = (MARGIN_PX + SCALE_WIDTH_PX + 3.0 * LABEL_GAP_PX, y - 1.0);
    scene.add_text(Text::new(explanation, position, 13.0, MUTED_INK));
}

/// Says what rows and columns are.
fn draw_captions(scene: &mut Scene, (left, top): (f32, f32), side: f32, caption_y: f32) {
    let columns = Text::new("predicted class", (left, caption_y), CAPTION_PX, MUTED_INK);
    scene.add_text(columns);
    // Turned, the caption ends at the upper edge, whatever the height of the matrix is.
    let position = (MARGIN_PX + CAPTION_PX, top);
    let rows = Text::new("true class", position, CAPTION_PX, MUTED_INK).turned();
    let rows = if side >= rows.width_px() { rows.anchored(Anchor::End) } else { rows };
    scene.add_text(rows);
}

fn draw_labels(
    scene: &mut Scene,
    (left, top): (f32, f32),
    style: CellStyle,
    labels: &[String],
    is_turned: bool,
) {
    let half_letter = CAP_HEIGHT * style.label_px / 2.0;
    for (index, label) in labels.iter().enumerate() {
        let middle = (index as f32 + 0.5) * style.side_px;
        let position = (left - LABEL_GAP_PX, top + middle + half_letter);
        let row_label = Text::new(&**label, position, style.label_px, INK);
        scene.add_text(row_label.anchored(Anchor::End));
        let column_label = if is_turned {
            let position = (left + middle + half_letter, top - LABEL_GAP_PX);
            Text::new(&**label, position, style.label_px, INK).turned()
        } else {
            let position = (left + middle, top - LABEL_GAP_PX);
            Text::new(&**label, position, style.label_px, INK).anchored(Anchor::Middle)
        };
        scene.add_text(column_label);
    }
}

fn draw_row(scene: &mut Scene, (left, top): (f32, f32), style: CellStyle, counts: &[u64]) {
    // The sum of counts may be larger than any of their type.
    let total: f64 = counts.iter().map(|&count| count as f64).sum();
    let side = style.side_px;
    let row_size = (counts.len() as f32 * side, side);
    if total == 0.0 {
        scene.add_rectangle((left, top), row_size, GRID);
        return;
    }
    scene.add_rectangle((left, top), row_size, heat_color(0.0));
    for (column, &count) in counts.iter().enumerate() {
        if count == 0 {
            continue;
        }
        let x = left + column as f32 * side;
        let share = count as f64 / total;
        let position = heat_position(share);
        scene.add_rectangle((x, top), (side, side), heat_color(position));
        let Some(share_px) = style.share_px else { continue };
        let ink = heat_ink(position);
        let center = x + (side - CELL_GAP_PX) / 2.0;
        let half_letter = CAP_HEIGHT * share_px / 2.0;
        let share_y = match style.count_px {
            Some(_) => top + side / 2.0 - 2.0,
            None => top + side / 2.0 + half_letter,
        };
        let share_text = Text::new(format_percent(share), (center, share_y), share_px, ink);
        scene.add_text(share_text.anchored(Anchor::Middle));
        if let Some(count_px) = style.count_px {
            let y = top + side / 2.0 + 4.0 + CAP_HEIGHT * count_px + 3.0;
            let count_text = Text::new(format_count(count), (center, y), count_px, ink);
            scene.add_text(count_text.anchored(Anchor::Middle));
        }
    }
}

/// Returns where the color of a share, 0 to 1, lies on the scale of colors, 0 to 1.
fn heat_position(share: f64) -> f64 {
    share.sqrt()
}

/// Returns a share above 0 in percent, without the sign.
fn format_percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent < 0.5 { "<1".to_owned() } else { format!("{percent:.0}") }
}

/// Returns a count in at most four letters: 999, 1.2k, 45k, 3.1M.
fn format_count(count: u64) -> String {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let mut value = count as f64;
    for unit in UNITS {
        if value < 999.5 || unit == "E" {
            return if unit.is_empty() || value >= 9.95 {
                format!("{value:.0}{unit}")
            } else {
                format!("{value:.1}{unit}")
            };
        }
        value /= 1000.0;
    }
    count.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::scene::Shape;
    use crate::render::scene::tests::assert_texts_are_apart;

    /// Returns the colors of the cells with pixels, in the order in which they are drawn.
    fn cell_colors(scene: &Scene, side: f32) -> Vec<[u8; 3]> {
        let mut colors = Vec::new();
        for shape in &scene.shapes {
            if let Shape::Rectangle(rectangle) = shape
                && rectangle.size == (side, side)
            {
                colors.push(rectangle.fill);
            }
        }
        colors
    }

    #[test]
    fn shares_are_those_of_the_row_and_rows_without_pixels_are_empty() {
        let rows = vec![vec![1_800, 200, 0], vec![0, 1_500_000, 0], vec![0, 0, 0]];
        let names: Vec<String> = ["background", "road", "sky"].map(str::to_owned).to_vec();
        let scene = draw_confusion_matrix(&rows, &names);
        let shares = [0.9, 0.1, 1.0];
        let expected = shares.map(|share: f64| heat_color(share.sqrt()));
        assert_eq!(cell_colors(&scene, STYLES[0].side_px), expected);
        let gray_rows = scene
            .shapes
            .iter()
            .filter(|shape| matches!(shape, Shape::Rectangle(rectangle) if rectangle.fill == GRID));
        assert_eq!(gray_rows.count(), 1, "the class without pixels");
        let texts: Vec<&str> = scene.texts().map(|text| text.text.as_str()).collect();
        for expected in ["90", "1.8k", "10", "200", "100", "1.5M", "background", "sky"] {
            assert!(texts.contains(&expected), "{expected} in {texts:?}");
        }
        assert_texts_are_apart(&scene);
    }

    #[test]
    fn any_number_of_classes_is_drawn_with_names_that_can_be_read() {
        for classes in [0, 1, 2, 12, 13, 21, 32, 33, 64, 65, 150, 254] {
            let rows = vec![vec![123_456; classes]; classes];
            let names: Vec<String> = (0..classes).map(|id| format!("class ṒŠģ {id}")).collect();
            let scene = draw_confusion_matrix(&rows, &names);
            assert!(scene.size.0 < 4000 && scene.size.1 < 4000, "{classes}: {:?}", scene.size);
            let named = scene.texts().filter(|text| text.text.starts_with("class ṒŠģ")).count();
            assert_eq!(named, 2 * classes);
            assert!(scene.texts().all(|text| text.size_px >= 10.5));
            assert_texts_are_apart(&scene);
        }
    }

    #[test]
    fn short_names_stand_upright_and_long_ones_are_turned_and_cut() {
        let rows = vec![vec![5, 1], vec![2, 2]];
        let is_turned = |names: [&str; 2]| {
            let scene = draw_confusion_matrix(&rows, &names.map(str::to_owned));
            assert_texts_are_apart(&scene);
            // The caption of the rows is always turned.
            scene.texts().filter(|text| text.is_turned).count() > 1
        };
        assert!(!is_turned(["a", "b"]));
        assert!(is_turned(["a", "a name that is longer than its cell"]));
        assert!(is_turned(["a", &"long ".repeat(200)]));
    }

    #[test]
    fn the_largest_counts_have_shares_too() {
        let scene = draw_confusion_matrix(&[vec![u64::MAX, u64::MAX], vec![0, 1]], &[]);
        assert_eq!(scene.texts().filter(|text| text.text == "50").count(), 3, "and on the scale");
    }

    #[test]
    fn counts_have_few_letters() {
        let counts = [1, 999, 1_000, 9_949, 9_950, 999_499, 999_500, 12_345_678, u64::MAX];
        let texts = counts.map(format_count);
        assert_eq!(texts, ["1", "999", "1.0k", "9.9k", "10k", "999k", "1.0M", "12M", "18E"]);
        assert_eq!([0.001, 0.006, 0.999, 1.0].map(format_percent), ["<1", "1", "100", "100"]);
    }
}
