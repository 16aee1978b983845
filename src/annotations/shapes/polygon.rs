//! Polygons by the even-odd rule, row by row.

use super::super::runs::{Runs, pixels_of};
use super::{affordable, centre, checked, first_from, in_row};

/// The pixels inside of a polygon, the last point joined to the first; where it overlaps itself, by the even-odd rule.
/// Fewer than 3 points have no inside.
///
/// # Errors
/// Numbers that are not finite or farther from 0 than [`MAX_COORDINATE`](super::MAX_COORDINATE), and more work than
/// [`MAX_CROSSINGS`](super::MAX_CROSSINGS).
pub fn polygon(points: &[[f64; 2]], width: u32, height: u32) -> Result<Runs, String> {
    even_odd([points], width, height)
}

/// The pixels inside of an odd number of polygons: an outline and its holes.
///
/// # Errors
/// As [`polygon`].
pub fn even_odd<'a>(
    rings: impl IntoIterator<Item = &'a [[f64; 2]]>,
    width: u32,
    height: u32,
) -> Result<Runs, String> {
    let rings: Vec<&[[f64; 2]]> = rings.into_iter().collect();
    for [x, y] in rings.iter().copied().flatten() {
        checked("x", *x)?;
        checked("y", *y)?;
    }
    inside(&rings, width, height)
}

/// As [`even_odd`], of points known to be near enough.
pub(super) fn inside(rings: &[&[[f64; 2]]], width: u32, height: u32) -> Result<Runs, String> {
    pixels_of(width, height)?;
    let mut edges = Vec::new();
    let mut crossings = 0;
    for ring in rings {
        let mut from = ring.last();
        for point in *ring {
            if let Some(edge) = from.and_then(|from| Edge::between(*from, *point, height)) {
                crossings += u64::from(edge.end - edge.row);
                edges.push(edge);
            }
            from = Some(point);
        }
    }
    affordable(crossings)?;
    edges.sort_unstable_by_key(|edge| edge.row);
    Ok(fill(&edges, width, height))
}

/// A side of a polygon that crosses the middle of rows, by its upper end.
struct Edge {
    top: [f64; 2],
    /// From the upper end to the lower one.
    by: [f64; 2],
    /// The first row whose middle it crosses.
    row: u32,
    /// The row after the last one.
    end: u32,
}

impl Edge {
    /// None if it crosses the middle of no row of the image. Both directions give the same edge, so that two polygons
    /// that share a side agree on every pixel along it.
    fn between(a: [f64; 2], b: [f64; 2], height: u32) -> Option<Self> {
        let (top, bottom) = if a[1] <= b[1] { (a, b) } else { (b, a) };
        let (row, end) = (first_from(top[1], height), first_from(bottom[1], height));
        let by = [bottom[0] - top[0], bottom[1] - top[1]];
        (row < end).then_some(Self { top, by, row, end })
    }

    /// The first column whose centre is to the right of the edge in a row.
    fn column(&self, row: u32, width: u32) -> u32 {
        // Multiplied before it is divided: exact where coordinates are whole or half pixels.
        first_from(self.top[0] + (centre(row) - self.top[1]) * self.by[0] / self.by[1], width)
    }
}

/// What lies between the first and the second crossing of each row, the third and the fourth ...; edges are sorted by
/// their first row.
fn fill(edges: &[Edge], width: u32, height: u32) -> Runs {
    let mut runs = Runs::new(width, height);
    let mut waiting = edges.iter().peekable();
    let (mut active, mut columns): (Vec<&Edge>, Vec<u32>) = (Vec::new(), Vec::new());
    let mut row = 0;
    loop {
        active.retain(|edge| row < edge.end);
        if active.is_empty() {
            let Some(next) = waiting.peek() else { return runs };
            row = next.row;
        }
        while let Some(edge) = waiting.next_if(|edge| edge.row == row) {
            active.push(edge);
        }
        columns.clear();
        columns.extend(active.iter().map(|edge| edge.column(row, width)));
        columns.sort_unstable();
        for pair in columns.chunks_exact(2) {
            runs.push(in_row(row, pair[0]..pair[1], width));
        }
        row += 1;
    }
}
