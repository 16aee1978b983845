//! The graph of a pipeline as a picture: a box for each step, below those that it waits for.

use crate::pipeline::{Definition, Graph, StepKind};
use crate::render::{Anchor, Rgb, Scene, Text};

/// Height of a box, space between rows, and margin, in pixels.
const BOX_HEIGHT_PX: f32 = 52.0;
const ROW_GAP_PX: f32 = 44.0;
const COLUMN_GAP_PX: f32 = 36.0;
const MARGIN_PX: f32 = 24.0;
/// Least width of a box, and space beside its texts, in pixels.
const MIN_BOX_WIDTH_PX: f32 = 150.0;
const PADDING_PX: f32 = 16.0;
const NAME_PX: f32 = 15.0;
const KIND_PX: f32 = 12.0;

const BACKGROUND: Rgb = [255, 255, 255];
const INK: Rgb = [33, 37, 41];
const MUTED: Rgb = [96, 103, 112];
const EDGE: Rgb = [134, 142, 150];

/// Place of a step in the picture, in pixels.
#[derive(Debug, Clone, Copy)]
struct StepBox {
    left: f32,
    top: f32,
    width: f32,
}

impl StepBox {
    fn center(self) -> f32 {
        self.left + self.width / 2.0
    }
}

/// Draws the graph of a pipeline.
pub fn draw_graph(definition: &Definition, graph: &Graph) -> Scene {
    let rows = arrange_rows(graph, definition.steps.len());
    let mut widths = Vec::with_capacity(definition.steps.len());
    for step in &definition.steps {
        let name = Text::new(&step.name, (0.0, 0.0), NAME_PX, INK).bold().width_px();
        let kind = Text::new(step.kind.name(), (0.0, 0.0), KIND_PX, MUTED).width_px();
        widths.push((name.max(kind) + 2.0 * PADDING_PX).max(MIN_BOX_WIDTH_PX));
    }
    let row_width = |row: &[usize]| {
        let boxes: f32 = row.iter().map(|&step| widths[step]).sum();
        boxes + COLUMN_GAP_PX * row.len().saturating_sub(1) as f32
    };
    let mut widest = 0.0_f32;
    for row in &rows {
        widest = widest.max(row_width(row));
    }
    let width = widest + 2.0 * MARGIN_PX;
    let rows_height = (BOX_HEIGHT_PX + ROW_GAP_PX) * rows.len() as f32 - ROW_GAP_PX;
    let height = rows_height.max(0.0) + 2.0 * MARGIN_PX;
    let mut scene = Scene::new((width.ceil() as u32, height.ceil() as u32), BACKGROUND);
    let mut boxes = vec![StepBox { left: 0.0, top: 0.0, width: 0.0 }; definition.steps.len()];
    for (number, row) in rows.iter().enumerate() {
        let mut left = (width - row_width(row)) / 2.0;
        let top = MARGIN_PX + (BOX_HEIGHT_PX + ROW_GAP_PX) * number as f32;
        for &step in row {
            boxes[step] = StepBox { left, top, width: widths[step] };
            left += widths[step] + COLUMN_GAP_PX;
        }
    }
    // Lines come first, so that a box on the way covers them.
    for step in 0..definition.steps.len() {
        for other in list_edges(graph, step) {
            draw_edge(&mut scene, boxes[other], boxes[step]);
        }
    }
    for (step, place) in definition.steps.iter().zip(&boxes) {
        draw_box(&mut scene, *place, &step.name, step.kind);
        if let Some(branch) = &step.branch {
            let word = if branch.is_if { "if" } else { "else" };
            let position = (place.center() + 8.0, place.top - 10.0);
            scene.add_text(Text::new(word, position, KIND_PX, MUTED));
        }
    }
    scene
}

/// Returns the steps of each row: a step is one row below the lowest that it waits for.
fn arrange_rows(graph: &Graph, steps: usize) -> Vec<Vec<usize>> {
    let mut row_of = vec![0; steps];
    let mut rows: Vec<Vec<usize>> = Vec::new();
    for &step in graph.order() {
        let mut row = 0;
        for &other in graph.dependencies(step) {
            row = row.max(row_of[other] + 1);
        }
        row_of[step] = row;
        if rows.len() <= row {
            rows.resize(row + 1, Vec::new());
        }
        rows[row].push(step);
    }
    rows
}

/// Returns the steps that a step waits for, without those for which one of the others waits anyway.
fn list_edges(graph: &Graph, step: usize) -> Vec<usize> {
    let direct = graph.dependencies(step);
    let mut edges = Vec::new();
    for &other in direct {
        let is_implied = direct.iter().any(|&nearer| graph.waits_for(nearer, other));
        if !is_implied {
            edges.push(other);
        }
    }
    edges
}

/// Draws a line from the bottom of one box to the top of another, with an arrow's head.
fn draw_edge(scene: &mut Scene, from: StepBox, to: StepBox) {
    let start = (from.center(), from.top + BOX_HEIGHT_PX);
    let end = (to.center(), to.top);
    scene.add_line(start, end, 1.5, EDGE);
    let (dx, dy) = (end.0 - start.0, end.1 - start.1);
    let length = dx.hypot(dy).max(1.0);
    let (dx, dy) = (dx / length, dy / length);
    for side in [-1.0, 1.0] {
        let wing = (end.0 - 8.0 * dx - side * 4.0 * dy, end.1 - 8.0 * dy + side * 4.0 * dx);
        scene.add_line(wing, end, 1.5, EDGE);
    }
}

fn draw_box(scene: &mut Scene, place: StepBox, name: &str, kind: StepKind) {
    let (border, fill) = box_colors(kind);
    let (left, top) = (place.left, place.top);
    scene.add_rectangle((left, top), (place.width, BOX_HEIGHT_PX), border);
    let inner = (place.width - 3.0, BOX_HEIGHT_PX - 3.0);
    scene.add_rectangle((left + 1.5, top + 1.5), inner, fill);
    let name = Text::new(name, (place.center(), top + 23.0), NAME_PX, INK);
    scene.add_text(name.bold().anchored(Anchor::Middle));
    let kind = Text::new(kind.name(), (place.center(), top + 41.0), KIND_PX, MUTED);
    scene.add_text(kind.anchored(Anchor::Middle));
}

/// Returns the colors of border and inside of a box.
fn box_colors(kind: StepKind) -> (Rgb, Rgb) {
    match kind {
        StepKind::Condition => ([201, 148, 0], [255, 248, 225]),
        StepKind::Fail => ([192, 57, 43], [253, 237, 236]),
        StepKind::RegisterModel | StepKind::Model => ([46, 125, 50], [232, 245, 233]),
        _ => ([21, 101, 192], [232, 241, 252]),
    }
}
