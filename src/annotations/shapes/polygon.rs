//! Polygons by the nonzero or the even-odd rule, row by row.

use clap::ValueEnum;

use super::super::error::Result;
use super::super::runs::{Runs, checked_pixel_count};
use super::{check_coordinate, check_crossings, first_pixel_from, pixel_center, row_pixel_range};

/// Rule that decides which areas of a polygon that crosses itself are inside. Polygons that do not
/// cross themselves have the same inside by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum FillRule {
    /// All that the outline goes around, as Label Studio's editor fills it
    #[default]
    #[value(name = "nonzero")]
    NonZero,
    /// All that the outline goes around an odd number of times; where it overlaps itself are holes
    #[value(name = "evenodd")]
    EvenOdd,
}

/// Returns the pixels inside of a polygon whose last point is joined to the first. The rule decides
/// where it overlaps itself. Fewer than 3 points have no inside.
///
/// Numbers that are not finite or exceed [`MAX_COORDINATE`](super::MAX_COORDINATE), and more work
/// than [`MAX_CROSSINGS`](super::MAX_CROSSINGS), are errors.
pub fn rasterize_polygon(
    points: &[[f64; 2]],
    rule: FillRule,
    width: u32,
    height: u32,
) -> Result<Runs> {
    check_points(points)?;
    rasterize_checked_rings(&[points], rule, width, height)
}

/// Returns the pixels inside of an odd number of polygons: an outline and its holes, by the
/// even-odd rule. Refuses what [`rasterize_polygon`] refuses.
pub fn rasterize_rings<'a>(
    rings: impl IntoIterator<Item = &'a [[f64; 2]]>,
    width: u32,
    height: u32,
) -> Result<Runs> {
    let rings: Vec<&[[f64; 2]]> = rings.into_iter().collect();
    for ring in &rings {
        check_points(ring)?;
    }
    rasterize_checked_rings(&rings, FillRule::EvenOdd, width, height)
}

fn check_points(points: &[[f64; 2]]) -> Result<()> {
    for [x, y] in points {
        check_coordinate("x", *x)?;
        check_coordinate("y", *y)?;
    }
    Ok(())
}

/// Rasterizes rings of points whose coordinates are checked already. The rule looks at all rings
/// together.
pub(super) fn rasterize_checked_rings(
    rings: &[&[[f64; 2]]],
    rule: FillRule,
    width: u32,
    height: u32,
) -> Result<Runs> {
    checked_pixel_count(width, height)?;
    let mut edges = Vec::new();
    let mut crossings = 0;
    for ring in rings {
        let mut previous = ring.last();
        for point in *ring {
            if let Some(previous) = previous
                && let Some(edge) = PolygonEdge::from_points(*previous, *point, height)
            {
                crossings += u64::from(edge.end_row - edge.first_row);
                edges.push(edge);
            }
            previous = Some(point);
        }
    }
    check_crossings(crossings)?;
    edges.sort_unstable_by_key(|edge| edge.first_row);
    Ok(fill_between_edges(&edges, rule, width, height))
}

/// A side of a polygon that crosses the center line of at least one row.
#[derive(Clone, Copy)]
struct PolygonEdge {
    top: [f64; 2],
    /// Vector from one end to the other, in pixels, in the direction of the polygon's outline.
    delta: [f64; 2],
    /// First row whose center line the edge crosses.
    first_row: u32,
    /// Row after the last one that the edge crosses.
    end_row: u32,
}

impl PolygonEdge {
    /// Returns none if the side crosses the center line of no row. Both directions give the same
    /// crossings, because signs do not change how numbers are rounded; so two polygons that share a
    /// side agree on every pixel along it.
    fn from_points(a: [f64; 2], b: [f64; 2], height: u32) -> Option<Self> {
        let (top, bottom) = if a[1] <= b[1] { (a, b) } else { (b, a) };
        let (first_row, end_row) =
            (first_pixel_from(top[1], height), first_pixel_from(bottom[1], height));
        let delta = [b[0] - a[0], b[1] - a[1]];
        (first_row < end_row).then_some(Self { top, delta, first_row, end_row })
    }

    /// Returns the crossing of the edge with the center line of a row.
    fn crossing(&self, row: u32, width: u32) -> Crossing {
        // Multiplies before dividing: the result is exact where coordinates are whole or half
        // pixels.
        let column = first_pixel_from(
            self.top[0] + (pixel_center(row) - self.top[1]) * self.delta[0] / self.delta[1],
            width,
        );
        Crossing::new(column, self.delta[1].is_sign_positive())
    }
}

/// Place at which an edge crosses the center line of a row. The order is that of the columns.
///
/// One number holds the column and, in the lowest bit, the direction, because sorting crossings
/// takes most of the time. Columns need at most 16 bits
/// ([`MAX_SIDE_PX`](crate::imaging::MAX_SIDE_PX)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Crossing(u32);

impl Crossing {
    fn new(column: u32, is_downward: bool) -> Self {
        Self((column << 1) | u32::from(is_downward))
    }

    /// Returns the first column whose center is not to the left of the edge.
    fn column(self) -> u32 {
        self.0 >> 1
    }

    /// Returns 1 if the outline runs down and -1 if it runs up.
    fn winding(self) -> i32 {
        2 * (self.0 & 1) as i32 - 1
    }
}

/// Returns the pixels between edges that are inside by the rule. The edges are sorted by their
/// first row and belong to closed rings.
fn fill_between_edges(edges: &[PolygonEdge], rule: FillRule, width: u32, height: u32) -> Runs {
    let mut runs = Runs::new(width, height);
    let mut pending_edges = edges.iter().peekable();
    let mut active_edges: Vec<PolygonEdge> = Vec::new();
    let mut crossings: Vec<Crossing> = Vec::new();
    let mut row = 0;
    loop {
        active_edges.retain(|edge| row < edge.end_row);
        if active_edges.is_empty() {
            let Some(next_edge) = pending_edges.peek() else { return runs };
            row = next_edge.first_row;
        }
        while let Some(edge) = pending_edges.next_if(|edge| edge.first_row == row) {
            active_edges.push(*edge);
        }
        // Up to this row the same edges are crossed.
        let mut next_change = pending_edges.peek().map_or(height, |edge| edge.first_row);
        for edge in &active_edges {
            next_change = next_change.min(edge.end_row);
        }
        while row < next_change {
            crossings.clear();
            crossings.extend(active_edges.iter().map(|edge| edge.crossing(row, width)));
            push_spans(&mut runs, row, &mut crossings, rule);
            row += 1;
        }
    }
}

/// Adds the pixels of a row that are inside by the rule. The crossings are all of the row, in any
/// order.
fn push_spans(runs: &mut Runs, row: u32, crossings: &mut [Crossing], rule: FillRule) {
    if let [first, second] = *crossings {
        // Nearly all rows of most polygons; both rules are the same.
        let (start, end) = (first.min(second).column(), first.max(second).column());
        let width = runs.width();
        runs.push(row_pixel_range(row, start..end, width));
        return;
    }
    crossings.sort_unstable();
    match rule {
        FillRule::NonZero => push_nonzero_spans(runs, row, crossings),
        FillRule::EvenOdd => push_even_odd_spans(runs, row, crossings),
    }
}

/// Adds the pixels of a row around which the outline goes more often in one direction than in the
/// other. The crossings are sorted; those of closed rings go down as often as up.
fn push_nonzero_spans(runs: &mut Runs, row: u32, crossings: &[Crossing]) {
    let width = runs.width();
    let (mut winding, mut start) = (0, 0);
    for crossing in crossings {
        if winding == 0 {
            start = crossing.column();
        }
        winding += crossing.winding();
        if winding == 0 {
            runs.push(row_pixel_range(row, start..crossing.column(), width));
        }
    }
}

/// Adds the pixels of a row between the first and the second of the sorted crossings, the third and
/// the fourth, and so on.
fn push_even_odd_spans(runs: &mut Runs, row: u32, crossings: &[Crossing]) {
    let width = runs.width();
    for span in crossings.chunks_exact(2) {
        runs.push(row_pixel_range(row, span[0].column()..span[1].column(), width));
    }
}
