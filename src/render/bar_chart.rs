//! Bar charts: a horizontal bar for each of many named values, such as the score of each class.

use super::axis::Axis;
use super::font::{CAP_HEIGHT, FontWeight, shorten_text, text_width_px};
use super::palette::{BACKGROUND, CURVES, GRID, INK, MUTED_INK};
use super::scene::{Anchor, Scene, Text};

/// Named values between 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct BarChart {
    pub title: String,
    /// Bars from the top.
    pub bars: Vec<Bar>,
}

/// A named value.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    pub name: String,
    /// Value, 0 to 1; none where it is not defined.
    pub value: Option<f64>,
    /// Lower and upper end of the interval in which the value is expected, 0 to 1.
    pub interval: Option<(f64, f64)>,
}

/// Width of the chart and margin around it, in pixels.
const CHART_WIDTH_PX: f32 = 960.0;
const MARGIN_PX: f32 = 24.0;
const TITLE_PX: f32 = 17.0;
const LABEL_PX: f32 = 14.0;
/// Longest name, width of a value, and height of a row and of its bar, in pixels.
const MAX_NAME_PX: f32 = 280.0;
const VALUE_PX: f32 = 64.0;
const ROW_PX: f32 = 24.0;
const BAR_PX: f32 = 16.0;
const GAP_PX: f32 = 10.0;

/// Draws a bar for each value, with the value beside it and its interval over it.
pub fn draw_bar_chart(chart: &BarChart) -> Scene {
    let mut names = Vec::with_capacity(chart.bars.len());
    let mut widest_name_px = 0.0_f32;
    for bar in &chart.bars {
        let name = shorten_text(&bar.name, MAX_NAME_PX, LABEL_PX, FontWeight::Regular);
        widest_name_px = widest_name_px.max(text_width_px(&name, LABEL_PX, FontWeight::Regular));
        names.push(name);
    }
    let left = (MARGIN_PX + widest_name_px + GAP_PX).ceil();
    let right = CHART_WIDTH_PX - MARGIN_PX - VALUE_PX;
    let top = MARGIN_PX + TITLE_PX + 18.0;
    let bottom = top + ROW_PX * chart.bars.len() as f32;
    let height = bottom + 10.0 + LABEL_PX + MARGIN_PX;
    let mut scene = Scene::new((CHART_WIDTH_PX as u32, height.ceil() as u32), BACKGROUND);
    let title_position = (MARGIN_PX, MARGIN_PX + TITLE_PX);
    let title_px = CHART_WIDTH_PX - 2.0 * MARGIN_PX;
    let title = shorten_text(&chart.title, title_px, TITLE_PX, FontWeight::Bold);
    scene.add_text(Text::new(title, title_position, TITLE_PX, INK).bold());
    let axis = Axis::from_range(0.0, 1.0);
    let x_px = |value: f64| left + axis.fraction(value).clamp(0.0, 1.0) as f32 * (right - left);
    for (value, label) in axis.ticks() {
        let x = x_px(value).round() - 0.5;
        scene.add_line((x, top), (x, bottom), 1.0, GRID);
        let position = (x, bottom + 10.0 + CAP_HEIGHT * LABEL_PX);
        scene.add_text(Text::new(label, position, LABEL_PX, MUTED_INK).anchored(Anchor::Middle));
    }
    for ((bar, name), index) in chart.bars.iter().zip(names).zip(0..) {
        let middle = top + (index as f32 + 0.5) * ROW_PX;
        let text_y = middle + CAP_HEIGHT * LABEL_PX / 2.0;
        let name_text = Text::new(name, (left - GAP_PX, text_y), LABEL_PX, INK);
        scene.add_text(name_text.anchored(Anchor::End));
        let value = bar.value.filter(|value| value.is_finite());
        if let Some(value) = value {
            let size = (x_px(value) - left, BAR_PX);
            scene.add_rectangle((left, middle - BAR_PX / 2.0), size, CURVES[0]);
        }
        let is_finite = |&(low, high): &(f64, f64)| low.is_finite() && high.is_finite();
        if let Some((low, high)) = bar.interval.filter(is_finite) {
            draw_interval(&mut scene, (x_px(low), x_px(high)), middle);
        }
        let (value_text, ink) = match value {
            Some(value) => (format!("{value:.3}"), INK),
            None => ("none".to_owned(), MUTED_INK),
        };
        let position = (CHART_WIDTH_PX - MARGIN_PX, text_y);
        scene.add_text(Text::new(value_text, position, LABEL_PX, ink).anchored(Anchor::End));
    }
    scene
}

/// Draws a line from the lower to the upper end of an interval, with strokes at both ends, and a
/// white edge that sets it off from its bar.
fn draw_interval(scene: &mut Scene, (low, high): (f32, f32), middle: f32) {
    for (width, color) in [(4.0, BACKGROUND), (2.0, INK)] {
        scene.add_line((low, middle), (high, middle), width, color);
        for x in [low, high] {
            scene.add_line((x, middle - 5.0), (x, middle + 5.0), width, color);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::scene::Shape;
    use crate::render::scene::tests::assert_texts_are_apart;

    fn chart(count: usize) -> BarChart {
        let mut bars = Vec::new();
        for index in 0..count {
            let value = index as f64 / count as f64;
            bars.push(Bar {
                name: format!("class {index}"),
                value: Some(value),
                interval: Some((value - 0.1, value + 0.1)),
            });
        }
        BarChart { title: "IoU of each class".to_owned(), bars }
    }

    #[test]
    fn bars_are_as_long_as_their_values_and_named() {
        let scene = draw_bar_chart(&chart(4));
        let mut widths = Vec::new();
        for shape in &scene.shapes {
            if let Shape::Rectangle(rectangle) = shape
                && rectangle.fill == CURVES[0]
            {
                widths.push(rectangle.size.0);
            }
        }
        assert_eq!(widths.len(), 4);
        assert!(widths[0] == 0.0 && (widths[3] - 3.0 * widths[1]).abs() < 0.01, "{widths:?}");
        let texts: Vec<&str> = scene.texts().map(|text| text.text.as_str()).collect();
        assert!(texts.contains(&"class 3") && texts.contains(&"0.750"), "{texts:?}");
    }

    #[test]
    fn many_bars_long_names_and_odd_values_are_drawn() {
        for count in [0, 1, 150, 254] {
            assert_texts_are_apart(&draw_bar_chart(&chart(count)));
        }
        let mut chart = chart(3);
        chart.title = "a very long title ".repeat(40);
        chart.bars[0].name = "a very long name ".repeat(40);
        chart.bars[1].value = None;
        chart.bars[2].value = Some(f64::NAN);
        chart.bars[2].interval = Some((f64::NAN, 7.0));
        let scene = draw_bar_chart(&chart);
        assert_texts_are_apart(&scene);
        assert_eq!(scene.texts().filter(|text| text.text == "none").count(), 2);
    }
}
