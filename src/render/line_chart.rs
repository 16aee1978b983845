//! Line charts: curves over a common horizontal axis, in one panel below the other.

use super::axis::Axis;
use super::font::{CAP_HEIGHT, FontWeight, shorten_text, text_width_px};
use super::palette::{BACKGROUND, CURVES, GRID, INK, MUTED_INK};
use super::scene::{Anchor, Rgb, Scene, Shape, Text};

/// Curves over a common horizontal axis.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    pub x_axis: XAxis,
    /// Panels from the top.
    pub panels: Vec<Panel>,
}

/// The horizontal axis.
#[derive(Debug, Clone, PartialEq)]
pub struct XAxis {
    /// Name that stands below the axis.
    pub label: String,
    /// Range of values; without one the axis spans the points, which are counted things, such as
    /// epochs.
    pub range: Option<(f64, f64)>,
}

/// A panel of a chart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Panel {
    /// Title, which stands above the plot.
    pub title: String,
    pub height: PanelHeight,
    /// Range of the vertical axis; without one the axis fits the values.
    pub range: Option<(f64, f64)>,
    /// Curves, of which up to 16 differ in color or dashes.
    pub series: Vec<Series>,
    pub marks: Vec<Mark>,
}

/// Height of a panel's plot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PanelHeight {
    #[default]
    Normal,
    /// For what is looked at in passing.
    Small,
    /// As high as it is wide, about: both axes have the same unit.
    Square,
}

/// A curve.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Positions and values. The curve has a gap where a value is absent or not finite.
    pub points: Vec<(f64, Option<f64>)>,
    /// True for a line that others are compared with, such as what a perfect model would reach.
    pub is_reference: bool,
}

/// A vertical line at a position, such as the best epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub x: f64,
    pub label: String,
}

/// Width of the chart, and margins at both sides of a plot beside the labels of the vertical axis,
/// in pixels.
const CHART_WIDTH_PX: f32 = 960.0;
const MARGIN_PX: f32 = 24.0;
/// Sizes of fonts, in pixels.
const TITLE_PX: f32 = 17.0;
const LABEL_PX: f32 = 14.0;
/// Height of a line of the legend, in pixels.
const LEGEND_LINE_PX: f32 = 24.0;
/// Length of the sample of a curve in the legend, and gaps after it and after a name, in pixels.
const SAMPLE_PX: f32 = 32.0;
const SAMPLE_GAP_PX: f32 = 8.0;
const ENTRY_GAP_PX: f32 = 24.0;
/// Height of the labels below a plot with the gap to the next panel, and of the label of the axis,
/// in pixels.
const TICKS_PX: f32 = 44.0;
const X_LABEL_PX: f32 = 28.0;
const CURVE_WIDTH_PX: f32 = 2.5;
const DOT_RADIUS_PX: f32 = 3.5;
/// Dashes by the number of the curve, so that they differ without colors, too.
const DASHES: [Option<(f32, f32)>; 4] =
    [None, Some((9.0, 6.0)), Some((2.0, 6.0)), Some((14.0, 5.0))];
/// Largest number of points up to which each is marked, and largest number that is drawn: two per
/// pixel.
const MAX_MARKED_POINTS: usize = 60;
const MAX_DRAWN_POINTS: usize = 2 * CHART_WIDTH_PX as usize;

impl PanelHeight {
    fn plot_px(self) -> f32 {
        match self {
            Self::Normal => 240.0,
            Self::Small => 110.0,
            Self::Square => 800.0,
        }
    }
}

/// The place of a plot on the chart, in pixels, and its axes.
struct Plot<'a> {
    left: f32,
    top: f32,
    height: f32,
    x_axis: &'a Axis,
    y_axis: &'a Axis,
}

/// Right edge of every plot.
const PLOT_RIGHT_PX: f32 = CHART_WIDTH_PX - MARGIN_PX;

impl Plot<'_> {
    fn bottom(&self) -> f32 {
        self.top + self.height
    }

    /// Returns the place of a value, at the plot's edge if it lies outside.
    fn x_px(&self, value: f64) -> f32 {
        let fraction = self.x_axis.fraction(value).clamp(0.0, 1.0) as f32;
        self.left + fraction * (PLOT_RIGHT_PX - self.left)
    }

    fn y_px(&self, value: f64) -> f32 {
        let fraction = self.y_axis.fraction(value).clamp(0.0, 1.0) as f32;
        self.bottom() - fraction * self.height
    }
}

/// Draws the panels of a chart.
pub fn draw_line_chart(chart: &LineChart) -> Scene {
    let x_axis = fit_x_axis(chart);
    let y_axes: Vec<Axis> = chart.panels.iter().map(fit_y_axis).collect();
    let mut widest_label_px = 0.0_f32;
    for (_, label) in y_axes.iter().flat_map(Axis::ticks) {
        widest_label_px = widest_label_px.max(text_width_px(&label, LABEL_PX, FontWeight::Regular));
    }
    let left = (MARGIN_PX + widest_label_px + 10.0).ceil();
    let mut scene = Scene::new((CHART_WIDTH_PX as u32, 0), BACKGROUND);
    let mut top = MARGIN_PX;
    for (panel, y_axis) in chart.panels.iter().zip(&y_axes) {
        let heading_px = draw_heading(&mut scene, panel, left, top);
        let plot = Plot {
            left,
            top: top + heading_px,
            height: panel.height.plot_px(),
            x_axis: &x_axis,
            y_axis,
        };
        draw_grid(&mut scene, &plot);
        for (series, number) in panel.series.iter().zip(0..) {
            draw_curve(&mut scene, &plot, series, number);
        }
        draw_marks(&mut scene, &plot, &panel.marks);
        top = plot.bottom() + TICKS_PX;
    }
    let middle = f32::midpoint(left, PLOT_RIGHT_PX);
    let x_label_px = PLOT_RIGHT_PX - left;
    let x_label = shorten_text(&chart.x_axis.label, x_label_px, LABEL_PX, FontWeight::Regular);
    let x_label = Text::new(x_label, (middle, top + 4.0), LABEL_PX, MUTED_INK);
    scene.add_text(x_label.anchored(Anchor::Middle));
    scene.set_height(top + X_LABEL_PX);
    scene
}

/// Makes the horizontal axis, which spans the positions of all points if it has no range.
fn fit_x_axis(chart: &LineChart) -> Axis {
    if let Some((low, high)) = chart.x_axis.range {
        return Axis::from_range(low, high);
    }
    let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
    for series in chart.panels.iter().flat_map(|panel| &panel.series) {
        for (x, _) in &series.points {
            (first, last) = (first.min(*x), last.max(*x));
        }
    }
    let first = first.clamp(-1e15, 1e15);
    Axis::from_counts(first, last.clamp(first + 1.0, 2e15))
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

/// Returns the color and the dashes of a curve.
fn curve_style(series: &Series, number: usize) -> (Rgb, Option<(f32, f32)>) {
    if series.is_reference {
        return (MUTED_INK, Some((4.0, 5.0)));
    }
    let dash_number = number + number / CURVES.len();
    (CURVES[number % CURVES.len()], DASHES[dash_number % DASHES.len()])
}

/// Draws the title at the left and the legend beside it, or below it where it is too long. Returns
/// the height of both in pixels.
fn draw_heading(scene: &mut Scene, panel: &Panel, left: f32, top: f32) -> f32 {
    let right = PLOT_RIGHT_PX;
    let title = shorten_text(&panel.title, right - left, TITLE_PX, FontWeight::Bold);
    let title = Text::new(title, (left, top + TITLE_PX), TITLE_PX, INK).bold();
    let max_name_px = right - left - SAMPLE_PX - SAMPLE_GAP_PX;
    let (mut names, mut entry_widths) = (Vec::new(), Vec::new());
    for series in &panel.series {
        let name = shorten_text(&series.name, max_name_px, LABEL_PX, FontWeight::Regular);
        let name_px = text_width_px(&name, LABEL_PX, FontWeight::Regular);
        entry_widths.push(SAMPLE_PX + SAMPLE_GAP_PX + name_px + ENTRY_GAP_PX);
        names.push(name);
    }
    let legend_px = entry_widths.iter().sum::<f32>() - ENTRY_GAP_PX;
    let fits_beside = left + title.width_px() + ENTRY_GAP_PX + legend_px <= right;
    scene.add_text(title);
    let (mut x, mut y) = if fits_beside {
        (right - legend_px, top + TITLE_PX)
    } else {
        (left, top + TITLE_PX + LEGEND_LINE_PX)
    };
    for (number, series) in panel.series.iter().enumerate() {
        let (name, width) = (&names[number], entry_widths[number]);
        if x > left && x + width - ENTRY_GAP_PX > right + 0.5 {
            (x, y) = (left, y + LEGEND_LINE_PX);
        }
        let (color, dash) = curve_style(series, number);
        let middle = y - CAP_HEIGHT * LABEL_PX / 2.0;
        scene.shapes.push(Shape::Polyline {
            points: vec![(x, middle), (x + SAMPLE_PX, middle)],
            width: CURVE_WIDTH_PX,
            color,
            dash,
        });
        let name_x = x + SAMPLE_PX + SAMPLE_GAP_PX;
        scene.add_text(Text::new(name, (name_x, y), LABEL_PX, INK));
        x += width;
    }
    y - top + 14.0
}

/// Draws lines at the ticks with their labels, and the lower edge of the plot.
fn draw_grid(scene: &mut Scene, plot: &Plot<'_>) {
    for (value, label) in plot.y_axis.ticks() {
        let y = plot.y_px(value).round() - 0.5;
        scene.add_line((plot.left, y), (PLOT_RIGHT_PX, y), 1.0, GRID);
        let position = (plot.left - 10.0, y + CAP_HEIGHT * LABEL_PX / 2.0);
        scene.add_text(Text::new(label, position, LABEL_PX, MUTED_INK).anchored(Anchor::End));
    }
    let bottom = plot.bottom().round() - 0.5;
    for (value, label) in plot.x_axis.ticks() {
        let x = plot.x_px(value).round() - 0.5;
        scene.add_line((x, bottom), (x, bottom + 5.0), 1.0, MUTED_INK);
        let position = (x, bottom + 9.0 + LABEL_PX);
        scene.add_text(Text::new(label, position, LABEL_PX, MUTED_INK).anchored(Anchor::Middle));
    }
    scene.add_line((plot.left, bottom), (PLOT_RIGHT_PX, bottom), 1.0, MUTED_INK);
}

fn draw_curve(scene: &mut Scene, plot: &Plot<'_>, series: &Series, number: usize) {
    let (color, dash) = curve_style(series, number);
    let stride = series.points.len().div_ceil(MAX_DRAWN_POINTS).max(1);
    let last = series.points.len().saturating_sub(1);
    let has_dots = series.points.len() <= MAX_MARKED_POINTS && !series.is_reference;
    let mut run: Vec<(f32, f32)> = Vec::new();
    for (index, &(x, value)) in series.points.iter().enumerate() {
        if index % stride != 0 && index != last {
            continue;
        }
        match value.filter(|value| value.is_finite() && x.is_finite()) {
            Some(value) => {
                let center = (plot.x_px(x), plot.y_px(value));
                if has_dots {
                    scene.shapes.push(Shape::Circle { center, radius: DOT_RADIUS_PX, fill: color });
                }
                run.push(center);
            }
            None => draw_run(scene, std::mem::take(&mut run), color, dash),
        }
    }
    draw_run(scene, run, color, dash);
}

/// Draws the line through points without a gap. A single point is drawn as a dot.
fn draw_run(scene: &mut Scene, points: Vec<(f32, f32)>, color: Rgb, dash: Option<(f32, f32)>) {
    match points[..] {
        [] => {}
        [center] => {
            scene.shapes.push(Shape::Circle { center, radius: DOT_RADIUS_PX, fill: color });
        }
        _ => {
            scene.shapes.push(Shape::Polyline { points, width: CURVE_WIDTH_PX, color, dash });
        }
    }
}

/// Draws vertical lines with their labels beside them, each label below the one before.
fn draw_marks(scene: &mut Scene, plot: &Plot<'_>, marks: &[Mark]) {
    for (mark, number) in marks.iter().zip(0..) {
        let x = plot.x_px(mark.x);
        scene.shapes.push(Shape::Polyline {
            points: vec![(x, plot.top), (x, plot.bottom())],
            width: 1.5,
            color: INK,
            dash: Some((3.0, 4.0)),
        });
        let y = plot.bottom() - 10.0 - 20.0 * number as f32;
        // Beside the line there is more room on one of its sides.
        let room_px = (x - plot.left).max(PLOT_RIGHT_PX - x) - 8.0;
        let label = shorten_text(&mark.label, room_px, LABEL_PX, FontWeight::Regular);
        let mut label = Text::new(label, (x + 8.0, y), LABEL_PX, INK);
        if x + 8.0 + label.width_px() > PLOT_RIGHT_PX {
            label.position.0 = x - 8.0;
            label.anchor = Anchor::End;
        }
        let [left, top, right, bottom] = label.bounds();
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
        scene.shapes.push(Shape::Polygon {
            points: corners.to_vec(),
            fill: BACKGROUND,
            opacity: 0.8,
        });
        scene.add_text(label);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::scene::tests::{assert_near, assert_texts_are_apart};
    use proptest::prelude::*;

    fn chart(panels: Vec<Panel>) -> LineChart {
        LineChart { x_axis: XAxis { label: "epoch".to_owned(), range: None }, panels }
    }

    fn panel(values: &[Option<f64>]) -> Panel {
        let points = (1..).zip(values).map(|(x, y)| (f64::from(x), *y)).collect();
        let series = vec![Series { name: "curve".to_owned(), points, is_reference: false }];
        Panel { title: "title".to_owned(), range: Some((0.0, 1.0)), series, ..Panel::default() }
    }

    /// Lists the lines in the color of the first curve that have more than the two points of the
    /// legend's sample.
    fn curves(scene: &Scene) -> Vec<Vec<(f32, f32)>> {
        let mut curves = Vec::new();
        for shape in &scene.shapes {
            if let Shape::Polyline { points, color, .. } = shape
                && *color == CURVES[0]
            {
                curves.push(points.clone());
            }
        }
        curves.split_off(1)
    }

    #[test]
    fn curves_go_through_their_points() {
        let scene = draw_line_chart(&chart(vec![panel(&[Some(0.0), Some(1.0), Some(0.5)])]));
        let [curve] = &curves(&scene)[..] else { panic!("one curve") };
        assert_eq!(curve.len(), 3);
        let height = PanelHeight::Normal.plot_px();
        assert_near(curve[0].1 - curve[1].1, height);
        assert_near(curve[0].1 - curve[2].1, height / 2.0);
        assert_near(curve[2].0, PLOT_RIGHT_PX);
        assert_near(curve[1].0, f32::midpoint(curve[0].0, curve[2].0));
        // The axis' highest label stands beside the highest point.
        let one = scene.texts().find(|text| text.text == "1.0").unwrap();
        assert!((one.position.1 - curve[1].1 - CAP_HEIGHT * LABEL_PX / 2.0).abs() <= 1.0);
        assert_texts_are_apart(&scene);
    }

    #[test]
    fn absent_values_leave_a_gap_and_lonely_points_are_dots() {
        let values =
            [Some(0.5), Some(0.4), None, Some(f64::NAN), Some(0.5), None, Some(0.2), Some(0.3)];
        let scene = draw_line_chart(&chart(vec![panel(&values)]));
        let lengths: Vec<usize> = curves(&scene).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 2]);
        let dots = scene.shapes.iter().filter(|shape| matches!(shape, Shape::Circle { .. }));
        assert_eq!(dots.count(), 6, "each point has a dot, and the lonely one its own");
    }

    #[test]
    fn a_very_long_training_is_drawn_to_its_last_epoch() {
        let mut values = vec![Some(0.2); 100_001];
        *values.last_mut().unwrap() = Some(1.0);
        let scene = draw_line_chart(&chart(vec![panel(&values)]));
        let [curve] = &curves(&scene)[..] else { panic!("one curve") };
        assert!(curve.len() <= MAX_DRAWN_POINTS + 1, "{}", curve.len());
        assert_near(curve.last().unwrap().0, PLOT_RIGHT_PX);
        assert!(curve.last().unwrap().1 < curve[0].1);
    }

    #[test]
    fn marks_are_labeled_within_the_plot() {
        let mut panel = panel(&vec![Some(0.5); 40]);
        for x in [1.0, 20.0, 40.0] {
            panel.marks.push(Mark { x, label: format!("best: epoch {x}, mIOU 0.843") });
        }
        let scene = draw_line_chart(&chart(vec![panel]));
        assert_texts_are_apart(&scene);
        let last = scene.texts().find(|text| text.text.contains("epoch 40")).unwrap();
        assert_eq!(last.anchor, Anchor::End);
    }

    #[test]
    fn long_legends_go_below_the_title_in_lines() {
        let mut panel = panel(&[Some(0.5), Some(0.6)]);
        for number in 0..9 {
            let name = format!("a curve with the long name {number}");
            panel.series.push(Series { name, ..panel.series[0].clone() });
        }
        let scene = draw_line_chart(&chart(vec![panel]));
        assert_texts_are_apart(&scene);
        let title = scene.texts().find(|text| text.text == "title").unwrap().position.1;
        let curve = scene.texts().find(|text| text.text == "curve").unwrap().position.1;
        assert!(curve > title);
        let styles: Vec<_> = (0..16).map(|n| curve_style(&Series::default(), n)).collect();
        for (index, style) in styles.iter().enumerate() {
            assert!(!styles[..index].contains(style), "{index} {style:?}");
        }
    }

    #[test]
    fn very_long_texts_are_cut() {
        let mut panel = panel(&[Some(0.5); 5]);
        let long = "long ".repeat(100);
        panel.title.clone_from(&long);
        panel.series.push(Series { name: long.clone(), ..panel.series[0].clone() });
        panel.marks.push(Mark { x: 3.0, label: long.clone() });
        let x_axis = XAxis { label: long, range: None };
        assert_texts_are_apart(&draw_line_chart(&LineChart { x_axis, panels: vec![panel] }));
    }

    proptest! {
        #[test]
        fn any_numbers_give_a_chart_with_readable_texts(
            values in prop::collection::vec(prop::option::of(any::<f64>()), 0..20),
            first in any::<f64>(),
            range in any::<bool>(),
        ) {
            let mut panel = panel(&values);
            if let Some(point) = panel.series[0].points.first_mut() {
                point.0 = first;
            }
            panel.range = range.then_some((0.0, 1.0));
            let scene = draw_line_chart(&chart(vec![panel.clone(), Panel { height: PanelHeight::Small, ..panel }]));
            assert_texts_are_apart(&scene);
            prop_assert!(scene.size.1 < 2000);
        }
    }
}
