//! Curves over a common horizontal axis, one panel below the other.

use image::{Rgb, RgbImage};

use super::axis::Axis;
use super::stroke::{dot, line};
use super::text::{LETTER, fill, write};

/// One panel of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What is shown, written above.
    pub title: String,
    /// What the vertical axis spans; it fits the values when this is absent.
    pub range: Option<(f64, f64)>,
    /// The curves.
    pub series: Vec<Series>,
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Positions and values; where a value is absent or not a number, the curve has a gap.
    pub points: Vec<(f64, Option<f64>)>,
}

const PAPER: Rgb<u8> = Rgb([255; 3]);
const INK: Rgb<u8> = Rgb([40, 40, 40]);
const GRID: Rgb<u8> = Rgb([226, 226, 226]);
/// Blue and orange, which colour-blind people tell apart too, then green and purple.
const COLOURS: [Rgb<u8>; 4] =
    [Rgb([31, 108, 180]), Rgb([230, 110, 10]), Rgb([40, 140, 60]), Rgb([140, 80, 170])];

/// Pixels of the whole chart's width and of each panel's plot, without what is written around it.
const WIDTH: u32 = 1000;
const PLOT: u32 = 220;
/// Dots of a letter, and its side.
const SCALE: u32 = 2;
const TEXT: u32 = LETTER * SCALE;
/// Space above a plot for title and legend, below for the ticks' labels, and at the right.
const ABOVE: u32 = 3 * TEXT;
const BELOW: u32 = 2 * TEXT;
const RIGHT: u32 = 2 * TEXT;
/// Points of a curve that are marked one by one, and those that are drawn at most: two per pixel.
const MARKED: usize = 60;
const DRAWN: usize = 2 * WIDTH as usize;

/// A plot on the canvas and its axes.
struct Plot<'a> {
    left: u32,
    top: u32,
    across: &'a Axis,
    up: &'a Axis,
}

impl Plot<'_> {
    fn width(&self) -> u32 {
        WIDTH - RIGHT - self.left
    }

    fn x(&self, value: f64) -> f64 {
        f64::from(self.left) + self.across.share(value) * f64::from(self.width())
    }

    fn y(&self, value: f64) -> f64 {
        f64::from(self.top) + (1.0 - self.up.share(value)) * f64::from(PLOT)
    }
}

/// Draws the panels over a horizontal axis of counted things, such as epochs, with its name below.
pub fn chart(across: &str, panels: &[Panel]) -> RgbImage {
    let curves = || panels.iter().flat_map(|panel| &panel.series);
    let positions = || curves().flat_map(|series| series.points.iter().map(|(x, _)| *x));
    let first = positions().fold(f64::INFINITY, f64::min).min(1e15);
    let last = positions().fold(first + 1.0, f64::max);
    let horizontal = Axis::counted(first, last);
    let vertical: Vec<Axis> = panels.iter().map(vertical_axis).collect();
    let labels = vertical.iter().flat_map(Axis::ticks).map(|(_, label)| label.len());
    let left = TEXT * (labels.max().unwrap_or(0) as u32 + 2);
    let panel_height = ABOVE + PLOT + BELOW;
    let mut canvas =
        RgbImage::from_pixel(WIDTH, panel_height * panels.len() as u32 + 2 * TEXT, PAPER);
    for ((panel, up), index) in panels.iter().zip(&vertical).zip(0..) {
        let top = index * panel_height + ABOVE;
        let plot = Plot { left, top, across: &horizontal, up };
        grid(&mut canvas, &plot);
        heading(&mut canvas, &plot, panel);
        for (series, colour) in panel.series.iter().zip(COLOURS.into_iter().cycle()) {
            curve(&mut canvas, &plot, series, colour);
        }
    }
    let middle = left + (WIDTH - RIGHT - left) / 2;
    let bottom = canvas.height() - 2 * TEXT;
    write(&mut canvas, (middle.saturating_sub(half(across)), bottom), across, SCALE, INK);
    canvas
}

fn vertical_axis(panel: &Panel) -> Axis {
    match panel.range {
        Some((low, high)) => Axis::between(low, high),
        None => Axis::around(
            panel
                .series
                .iter()
                .flat_map(|series| series.points.iter().filter_map(|(_, value)| *value)),
        ),
    }
}

/// Half the width of a text.
fn half(text: &str) -> u32 {
    text.chars().count() as u32 * TEXT / 2
}

/// Lines at the ticks with their labels, and the two axes.
fn grid(canvas: &mut RgbImage, plot: &Plot<'_>) {
    let bottom = plot.top + PLOT;
    for (value, label) in plot.up.ticks() {
        let y = plot.y(value).round() as u32;
        fill(canvas, (plot.left, y), (plot.width(), 1), GRID);
        let x = plot.left.saturating_sub(2 * half(&label) + TEXT / 2);
        write(canvas, (x, y.saturating_sub(TEXT / 2)), &label, SCALE, INK);
    }
    for (value, label) in plot.across.ticks() {
        let x = plot.x(value).round() as u32;
        fill(canvas, (x, plot.top), (1, PLOT), GRID);
        fill(canvas, (x, bottom), (1, TEXT / 3), INK);
        let at = (x.saturating_sub(half(&label)), bottom + TEXT / 2);
        write(canvas, at, &label, SCALE, INK);
    }
    fill(canvas, (plot.left, plot.top), (2, PLOT), INK);
    fill(canvas, (plot.left, bottom), (plot.width(), 2), INK);
}

/// The title at the left, the legend at the right.
fn heading(canvas: &mut RgbImage, plot: &Plot<'_>, panel: &Panel) {
    let y = plot.top - 2 * TEXT;
    write(canvas, (plot.left, y), &panel.title, SCALE, INK);
    let swatch = 2 * TEXT;
    let widths = panel.series.iter().map(|series| swatch + 2 * half(&series.name) + 2 * TEXT);
    let mut x = (WIDTH - RIGHT + 3 * TEXT / 2).saturating_sub(widths.sum());
    for (series, colour) in panel.series.iter().zip(COLOURS.into_iter().cycle()) {
        let (start, level) = (f64::from(x), f64::from(y + TEXT / 2));
        let end = start + f64::from(swatch);
        line(canvas, ((start, level), (end, level)), 3.0, colour);
        dot(canvas, (f64::midpoint(start, end), level), 9.0, colour);
        write(canvas, (x + swatch + TEXT / 2, y), &series.name, SCALE, INK);
        x += swatch + 2 * half(&series.name) + 2 * TEXT;
    }
}

fn curve(canvas: &mut RgbImage, plot: &Plot<'_>, series: &Series, colour: Rgb<u8>) {
    let every = series.points.len().div_ceil(DRAWN).max(1);
    let last = series.points.len().saturating_sub(1);
    let shown = series.points.iter().enumerate().filter(|(i, _)| i % every == 0 || *i == last);
    let mut before: Option<(f64, f64)> = None;
    for (_, &(x, value)) in shown {
        let at = value.filter(|value| value.is_finite()).map(|value| (plot.x(x), plot.y(value)));
        if let Some(at) = at {
            line(canvas, (before.unwrap_or(at), at), 3.0, colour);
            if series.points.len() <= MARKED {
                dot(canvas, at, 9.0, colour);
            }
        }
        before = at;
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

    /// Rows with pixels of the curve's own colour in a column, between heading and axis.
    fn rows(image: &RgbImage, x: u32) -> Vec<u32> {
        (ABOVE..ABOVE + PLOT).filter(|&y| *image.get_pixel(x, y) == COLOURS[0]).collect()
    }

    #[test]
    fn curves_go_through_their_points() {
        let image = chart("epoch", &[panel(&[Some(0.0), Some(1.0), Some(0.5)])]);
        let right = WIDTH - RIGHT - 1;
        let middle = rows(&image, right);
        let centre = ABOVE + PLOT / 2;
        assert!(middle.contains(&centre) && middle.len() < 16, "{middle:?}");
        // The left axis begins after labels of three letters.
        let left = TEXT * 5;
        assert!(rows(&image, left + (right - left) / 2).contains(&(ABOVE + 1)));
    }

    #[test]
    fn absent_values_leave_a_gap_and_all_numbers_are_drawn_without_a_crash() {
        let image = chart("epoch", &[panel(&[Some(0.5), None, Some(f64::NAN), Some(0.5)])]);
        assert_eq!(rows(&image, WIDTH / 2), [0; 0]);
        let odd = [f64::INFINITY, -1e300, 1e300, 0.0].map(Some);
        for values in [&odd[..], &[], &[None], &[Some(0.3)]] {
            let free = Panel { range: None, ..panel(values) };
            for panels in [vec![panel(values), free], Vec::new()] {
                assert_eq!(chart("epoch", &panels).width(), WIDTH);
            }
        }
    }

    #[test]
    fn a_very_long_training_is_drawn_to_its_last_epoch() {
        let mut values = vec![Some(0.2); 100_001];
        *values.last_mut().unwrap() = Some(1.0);
        let image = chart("epoch", &[panel(&values)]);
        assert!(rows(&image, WIDTH - RIGHT).len() > 50);
    }
}
