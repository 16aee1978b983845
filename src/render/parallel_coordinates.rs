//! Parallel coordinates: an upright axis for each variable, and a line across all of them for each
//! record, such as a trial of a search with its values and its score.

use super::font::{CAP_HEIGHT, FontWeight, shorten_text};
use super::palette::{BACKGROUND, GRID, INK, MUTED_INK, heat_color};
use super::scene::{Anchor, Scene, Shape, Text};

/// Axes and lines.
#[derive(Debug, Clone, PartialEq)]
pub struct ParallelCoordinates {
    pub title: String,
    /// Axes from the left. The last one is that of the score.
    pub axes: Vec<CoordinateAxis>,
    pub lines: Vec<CoordinateLine>,
}

/// Upright axis of a variable.
#[derive(Debug, Clone, PartialEq)]
pub struct CoordinateAxis {
    pub name: String,
    /// Labels at positions from 0 (at the bottom) to 1.
    pub ticks: Vec<(f64, String)>,
}

/// Line of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct CoordinateLine {
    /// Position on each axis, 0 to 1; none where the record has no such value.
    pub positions: Vec<Option<f64>>,
    /// Share by which the line is colored, 0 (worst) to 1 (best); none for a record without a score,
    /// whose line is gray.
    pub share: Option<f64>,
}

/// Sizes in pixels.
const MARGIN_PX: f32 = 24.0;
const TITLE_PX: f32 = 17.0;
const LABEL_PX: f32 = 13.0;
const AXIS_SPACING_PX: f32 = 150.0;
const AXIS_HEIGHT_PX: f32 = 340.0;
/// Widest label of an axis, which stands beside it.
const MAX_LABEL_PX: f32 = 92.0;
const MAX_NAME_PX: f32 = 140.0;

/// Draws the axes and the lines, the best ones last and thickest.
pub fn draw_parallel_coordinates(chart: &ParallelCoordinates) -> Scene {
    let left = MARGIN_PX + MAX_NAME_PX / 2.0;
    let spans = chart.axes.len().saturating_sub(1) as f32;
    let width = 2.0 * MARGIN_PX + MAX_NAME_PX + spans * AXIS_SPACING_PX + MAX_LABEL_PX;
    let top = MARGIN_PX + TITLE_PX + 44.0;
    let bottom = top + AXIS_HEIGHT_PX;
    let height = bottom + MARGIN_PX;
    let mut scene = Scene::new((width.ceil() as u32, height.ceil() as u32), BACKGROUND);
    let title = shorten_text(&chart.title, width - 2.0 * MARGIN_PX, TITLE_PX, FontWeight::Bold);
    scene.add_text(Text::new(title, (MARGIN_PX, MARGIN_PX + TITLE_PX), TITLE_PX, INK).bold());
    let x_px = |index: usize| left + index as f32 * AXIS_SPACING_PX;
    let y_px = |position: f64| bottom - position.clamp(0.0, 1.0) as f32 * AXIS_HEIGHT_PX;
    for index in 0..chart.axes.len() {
        scene.add_line((x_px(index), top), (x_px(index), bottom), 1.0, GRID);
    }
    let mut lines: Vec<&CoordinateLine> = chart.lines.iter().collect();
    let rank = |line: &CoordinateLine| line.share.filter(|share| share.is_finite()).unwrap_or(-1.0);
    lines.sort_by(|first, second| rank(first).total_cmp(&rank(second)));
    for (index, line) in lines.iter().enumerate() {
        let is_best = index + 1 == lines.len() && line.share.is_some();
        let width = if is_best { 3.0 } else { 1.2 };
        let color = match line.share.filter(|share| share.is_finite()) {
            // The lightest colors are hard to see on white.
            Some(share) => heat_color(0.25 + 0.75 * share.clamp(0.0, 1.0)),
            None => GRID,
        };
        add_line(&mut scene, line, width, color, &|index, position| (x_px(index), y_px(position)));
    }
    for (index, axis) in chart.axes.iter().enumerate() {
        let name = shorten_text(&axis.name, MAX_NAME_PX, LABEL_PX, FontWeight::Bold);
        let position = (x_px(index), top - 16.0);
        let name = Text::new(name, position, LABEL_PX, INK).bold();
        scene.add_text(name.anchored(Anchor::Middle));
        for (position, label) in &axis.ticks {
            let label = shorten_text(label, MAX_LABEL_PX, LABEL_PX, FontWeight::Regular);
            let y = y_px(*position) + CAP_HEIGHT * LABEL_PX / 2.0;
            scene.add_text(Text::new(label, (x_px(index) + 6.0, y), LABEL_PX, MUTED_INK));
        }
    }
    scene
}

/// Adds the line of a record, in pieces where values are missing.
fn add_line(
    scene: &mut Scene,
    line: &CoordinateLine,
    width: f32,
    color: super::scene::Rgb,
    place: &dyn Fn(usize, f64) -> (f32, f32),
) {
    let mut points = Vec::new();
    let positions = line.positions.iter().copied().chain([None]);
    for (index, position) in positions.enumerate() {
        match position.filter(|position| position.is_finite()) {
            Some(position) => points.push(place(index, position)),
            None if points.len() > 1 => {
                let points = std::mem::take(&mut points);
                scene.shapes.push(Shape::Polyline { points, width, color, dash: None });
            }
            None => points.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::scene::tests::assert_texts_are_apart;

    fn chart() -> ParallelCoordinates {
        let axis = |name: &str| CoordinateAxis {
            name: name.to_owned(),
            ticks: vec![(0.0, "0".to_owned()), (0.5, "0.5".to_owned()), (1.0, "1".to_owned())],
        };
        ParallelCoordinates {
            title: "Trials".to_owned(),
            axes: vec![axis("learning_rate"), axis("momentum"), axis("validation:mIOU")],
            lines: vec![
                CoordinateLine {
                    positions: vec![Some(0.2), Some(0.5), Some(1.0)],
                    share: Some(1.0),
                },
                CoordinateLine { positions: vec![Some(0.9), None, Some(0.1)], share: Some(0.0) },
                CoordinateLine { positions: vec![Some(0.4), Some(0.1), None], share: None },
            ],
        }
    }

    #[test]
    fn a_line_crosses_each_axis_at_its_value_and_ends_where_one_is_missing() {
        let scene = draw_parallel_coordinates(&chart());
        assert_texts_are_apart(&scene);
        let mut lines = Vec::new();
        for shape in &scene.shapes {
            if let Shape::Polyline { points, width, .. } = shape
                && *width > 1.0
            {
                lines.push((points.clone(), *width));
            }
        }
        // The second record has no two values side by side; the best one is drawn last.
        assert_eq!(lines.len(), 2);
        let (best, width) = lines.last().unwrap();
        assert_eq!((best.len(), *width), (3, 3.0));
        assert!(best[2].1 < best[1].1 && best[1].1 < best[0].1, "{best:?}");
        assert_eq!(lines[0].0.len(), 2);
    }

    #[test]
    fn odd_values_and_nothing_at_all_are_drawn() {
        let mut odd = chart();
        odd.lines[0].positions[0] = Some(f64::NAN);
        odd.lines[1].share = Some(f64::NAN);
        odd.axes[1].name = "a very long name ".repeat(9);
        assert_texts_are_apart(&draw_parallel_coordinates(&odd));
        let empty = ParallelCoordinates { title: String::new(), axes: vec![], lines: vec![] };
        draw_parallel_coordinates(&empty);
    }
}
