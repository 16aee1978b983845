//! Charts: curves over a common horizontal axis, in one panel below the other.

use image::{Rgb, RgbImage};

use super::axis::Axis;
use super::stroke::{draw_dot, draw_line};
use super::text::{LETTER_DOTS, draw_text, fill_rectangle};

/// A panel of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Title, which stands above the plot.
    pub title: String,
    /// Range of the vertical axis; without one the axis fits the values.
    pub range: Option<(f64, f64)>,
    pub series: Vec<Series>,
}

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Positions and values. The curve has a gap where a value is absent or not finite.
    pub points: Vec<(f64, Option<f64>)>,
}

const BACKGROUND_COLOR: Rgb<u8> = Rgb([255; 3]);
const TEXT_COLOR: Rgb<u8> = Rgb([40, 40, 40]);
const GRID_COLOR: Rgb<u8> = Rgb([226, 226, 226]);
/// Colors of the curves: blue and orange, which color-blind people can distinguish too, then green
/// and purple.
const CURVE_COLORS: [Rgb<u8>; 4] =
    [Rgb([31, 108, 180]), Rgb([230, 110, 10]), Rgb([40, 140, 60]), Rgb([140, 80, 170])];

/// Width of the whole chart and height of each panel's plot without its labels, in pixels.
const CHART_WIDTH_PX: u32 = 1000;
const PLOT_HEIGHT_PX: u32 = 220;
/// Side of a letter's dots and of a letter, in pixels.
const TEXT_SCALE: u32 = 2;
const TEXT_SIZE_PX: u32 = LETTER_DOTS * TEXT_SCALE;
/// Margins in pixels: above a plot for title and legend, below for the ticks' labels, and at the
/// right.
const TOP_MARGIN_PX: u32 = 3 * TEXT_SIZE_PX;
const BOTTOM_MARGIN_PX: u32 = 2 * TEXT_SIZE_PX;
const RIGHT_MARGIN_PX: u32 = 2 * TEXT_SIZE_PX;
/// Largest number of points up to which each is marked, and largest number that is drawn: two per
/// pixel.
const MAX_MARKED_POINTS: usize = 60;
const MAX_DRAWN_POINTS: usize = 2 * CHART_WIDTH_PX as usize;

/// The place of a plot on the canvas, in pixels, and its axes.
struct Plot<'a> {
    left: u32,
    top: u32,
    x_axis: &'a Axis,
    y_axis: &'a Axis,
}

impl Plot<'_> {
    fn width(&self) -> u32 {
        CHART_WIDTH_PX - RIGHT_MARGIN_PX - self.left
    }

    fn to_x_px(&self, value: f64) -> f64 {
        f64::from(self.left) + self.x_axis.fraction(value) * f64::from(self.width())
    }

    fn to_y_px(&self, value: f64) -> f64 {
        f64::from(self.top) + (1.0 - self.y_axis.fraction(value)) * f64::from(PLOT_HEIGHT_PX)
    }
}

/// Draws the panels over a horizontal axis of counts, such as epochs. `x_label` stands below.
pub fn draw_chart(x_label: &str, panels: &[Panel]) -> RgbImage {
    let x_axis = fit_x_axis(panels);
    let y_axes: Vec<Axis> = panels.iter().map(fit_y_axis).collect();
    let mut longest_label = 0;
    for (_, label) in y_axes.iter().flat_map(Axis::ticks) {
        longest_label = longest_label.max(label.len());
    }
    let left = TEXT_SIZE_PX * (longest_label as u32 + 2);
    let panel_height = TOP_MARGIN_PX + PLOT_HEIGHT_PX + BOTTOM_MARGIN_PX;
    let mut canvas = RgbImage::from_pixel(
        CHART_WIDTH_PX,
        panel_height * panels.len() as u32 + 2 * TEXT_SIZE_PX,
        BACKGROUND_COLOR,
    );
    for ((panel, y_axis), index) in panels.iter().zip(&y_axes).zip(0..) {
        let top = index * panel_height + TOP_MARGIN_PX;
        let plot = Plot { left, top, x_axis: &x_axis, y_axis };
        draw_grid(&mut canvas, &plot);
        draw_heading(&mut canvas, &plot, panel);
        for (series, color) in panel.series.iter().zip(CURVE_COLORS.into_iter().cycle()) {
            draw_curve(&mut canvas, &plot, series, color);
        }
    }
    let middle = left + (CHART_WIDTH_PX - RIGHT_MARGIN_PX - left) / 2;
    let bottom = canvas.height() - 2 * TEXT_SIZE_PX;
    draw_text(
        &mut canvas,
        (middle.saturating_sub(half_text_width_px(x_label)), bottom),
        x_label,
        TEXT_SCALE,
        TEXT_COLOR,
    );
    canvas
}

/// Makes the horizontal axis, which spans the positions of all points.
fn fit_x_axis(panels: &[Panel]) -> Axis {
    let mut positions = Vec::new();
    for series in panels.iter().flat_map(|panel| &panel.series) {
        positions.extend(series.points.iter().map(|(x, _)| *x));
    }
    let first = positions.iter().copied().fold(f64::INFINITY, f64::min).min(1e15);
    let last = positions.iter().copied().fold(first + 1.0, f64::max);
    Axis::from_counts(first, last)
}

fn fit_y_axis(panel: &Panel) -> Axis {
    if let Some((low, high)) = panel.range {
        return Axis::from_range(low, high);
    }
    let mut values = Vec::new();
    for series in &panel.series {
        values.extend(series.points.iter().filter_map(|(_, value)| *value));
    }
    Axis::from_values(values.into_iter())
}

/// Returns half the width of a text, in pixels.
fn half_text_width_px(text: &str) -> u32 {
    text.chars().count() as u32 * TEXT_SIZE_PX / 2
}

/// Draws lines at the ticks with their labels, and the two axes.
fn draw_grid(canvas: &mut RgbImage, plot: &Plot<'_>) {
    let bottom = plot.top + PLOT_HEIGHT_PX;
    for (value, label) in plot.y_axis.ticks() {
        let y = plot.to_y_px(value).round() as u32;
        fill_rectangle(canvas, (plot.left, y), (plot.width(), 1), GRID_COLOR);
        let x = plot.left.saturating_sub(2 * half_text_width_px(&label) + TEXT_SIZE_PX / 2);
        draw_text(canvas, (x, y.saturating_sub(TEXT_SIZE_PX / 2)), &label, TEXT_SCALE, TEXT_COLOR);
    }
    for (value, label) in plot.x_axis.ticks() {
        let x = plot.to_x_px(value).round() as u32;
        fill_rectangle(canvas, (x, plot.top), (1, PLOT_HEIGHT_PX), GRID_COLOR);
        fill_rectangle(canvas, (x, bottom), (1, TEXT_SIZE_PX / 3), TEXT_COLOR);
        let position = (x.saturating_sub(half_text_width_px(&label)), bottom + TEXT_SIZE_PX / 2);
        draw_text(canvas, position, &label, TEXT_SCALE, TEXT_COLOR);
    }
    fill_rectangle(canvas, (plot.left, plot.top), (2, PLOT_HEIGHT_PX), TEXT_COLOR);
    fill_rectangle(canvas, (plot.left, bottom), (plot.width(), 2), TEXT_COLOR);
}

/// Draws the title at the left, and the legend at the right.
fn draw_heading(canvas: &mut RgbImage, plot: &Plot<'_>, panel: &Panel) {
    let y = plot.top - 2 * TEXT_SIZE_PX;
    draw_text(canvas, (plot.left, y), &panel.title, TEXT_SCALE, TEXT_COLOR);
    let swatch = 2 * TEXT_SIZE_PX;
    let mut legend_width = 0;
    for series in &panel.series {
        legend_width += legend_entry_width_px(series);
    }
    let mut x =
        (CHART_WIDTH_PX - RIGHT_MARGIN_PX + 3 * TEXT_SIZE_PX / 2).saturating_sub(legend_width);
    for (series, color) in panel.series.iter().zip(CURVE_COLORS.into_iter().cycle()) {
        let (start, middle_y) = (f64::from(x), f64::from(y + TEXT_SIZE_PX / 2));
        let end = start + f64::from(swatch);
        draw_line(canvas, (start, middle_y), (end, middle_y), 3.0, color);
        draw_dot(canvas, (f64::midpoint(start, end), middle_y), 9.0, color);
        draw_text(canvas, (x + swatch + TEXT_SIZE_PX / 2, y), &series.name, TEXT_SCALE, TEXT_COLOR);
        x += legend_entry_width_px(series);
    }
}

/// Returns the width of a curve's swatch and name with the gap after them, in pixels.
fn legend_entry_width_px(series: &Series) -> u32 {
    4 * TEXT_SIZE_PX + 2 * half_text_width_px(&series.name)
}

fn draw_curve(canvas: &mut RgbImage, plot: &Plot<'_>, series: &Series, color: Rgb<u8>) {
    let stride = series.points.len().div_ceil(MAX_DRAWN_POINTS).max(1);
    let last = series.points.len().saturating_sub(1);
    let mut previous: Option<(f64, f64)> = None;
    for (index, &(x, value)) in series.points.iter().enumerate() {
        if index % stride != 0 && index != last {
            continue;
        }
        let Some(value) = value.filter(|value| value.is_finite()) else {
            previous = None;
            continue;
        };
        let position = (plot.to_x_px(x), plot.to_y_px(value));
        draw_line(canvas, previous.unwrap_or(position), position, 3.0, color);
        if series.points.len() <= MAX_MARKED_POINTS {
            draw_dot(canvas, position, 9.0, color);
        }
        previous = Some(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(values: &[Option<f64>]) -> Panel {
        let points = (1..).zip(values).map(|(x, y)| (f64::from(x), *y)).collect();
        let series = vec![Series { name: "curve".to_owned(), points }];
        Panel { title: "title".to_owned(), range: Some((0.0, 1.0)), series }
    }

    /// Lists the rows, between heading and axis, whose pixel in column `x` has the curve's own
    /// color.
    fn rows(image: &RgbImage, x: u32) -> Vec<u32> {
        (TOP_MARGIN_PX..TOP_MARGIN_PX + PLOT_HEIGHT_PX)
            .filter(|&y| *image.get_pixel(x, y) == CURVE_COLORS[0])
            .collect()
    }

    #[test]
    fn curves_go_through_their_points() {
        let image = draw_chart("epoch", &[panel(&[Some(0.0), Some(1.0), Some(0.5)])]);
        let right = CHART_WIDTH_PX - RIGHT_MARGIN_PX - 1;
        let middle = rows(&image, right);
        let center = TOP_MARGIN_PX + PLOT_HEIGHT_PX / 2;
        assert!(middle.contains(&center) && middle.len() < 16, "{middle:?}");
        // The left axis begins after labels of three letters.
        let left = TEXT_SIZE_PX * 5;
        assert!(rows(&image, left + (right - left) / 2).contains(&(TOP_MARGIN_PX + 1)));
    }

    #[test]
    fn absent_values_leave_a_gap_and_all_numbers_are_drawn_without_a_crash() {
        let image = draw_chart("epoch", &[panel(&[Some(0.5), None, Some(f64::NAN), Some(0.5)])]);
        assert_eq!(rows(&image, CHART_WIDTH_PX / 2), [0; 0]);
        let odd = [f64::INFINITY, -1e300, 1e300, 0.0].map(Some);
        for values in [&odd[..], &[], &[None], &[Some(0.3)]] {
            let free = Panel { range: None, ..panel(values) };
            for panels in [vec![panel(values), free], Vec::new()] {
                assert_eq!(draw_chart("epoch", &panels).width(), CHART_WIDTH_PX);
            }
        }
    }

    #[test]
    fn a_very_long_training_is_drawn_to_its_last_epoch() {
        let mut values = vec![Some(0.2); 100_001];
        *values.last_mut().unwrap() = Some(1.0);
        let image = draw_chart("epoch", &[panel(&values)]);
        assert!(rows(&image, CHART_WIDTH_PX - RIGHT_MARGIN_PX).len() > 50);
    }
}
