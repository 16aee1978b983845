//! Polygons by the even-odd rule, row by row.

use super::super::error::Result;
use super::super::runs::{Runs, checked_pixel_count};
use super::{check_coordinate, check_crossings, first_pixel_from, pixel_center, row_pixel_range};

/// Returns the pixels inside of a polygon whose last point is joined to the first. The even-odd
/// rule decides where it overlaps itself. Fewer than 3 points have no inside.
///
/// Numbers that are not finite or exceed [`MAX_COORDINATE`](super::MAX_COORDINATE), and more work
/// than [`MAX_CROSSINGS`](super::MAX_CROSSINGS), are errors.
pub fn rasterize_polygon(points: &[[f64; 2]], width: u32, height: u32) -> Result<Runs> {
    rasterize_rings([points], width, height)
}

/// Returns the pixels inside of an odd number of polygons: an outline and its holes. Refuses what
/// [`rasterize_polygon`] refuses.
pub fn rasterize_rings<'a>(
    rings: impl IntoIterator<Item = &'a [[f64; 2]]>,
    width: u32,
    height: u32,
) -> Result<Runs> {
    let rings: Vec<&[[f64; 2]]> = rings.into_iter().collect();
    for [x, y] in rings.iter().copied().flatten() {
        check_coordinate("x", *x)?;
        check_coordinate("y", *y)?;
    }
    rasterize_checked_rings(&rings, width, height)
}

/// Rasterizes rings as [`rasterize_rings`] does, of points whose coordinates are checked already.
pub(super) fn rasterize_checked_rings(
    rings: &[&[[f64; 2]]],
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
    Ok(fill_even_odd(&edges, width, height))
}

/// A side of a polygon that crosses the center line of at least one row.
struct PolygonEdge {
    top: [f64; 2],
    /// Vector from the upper end to the lower end, in pixels.
    delta: [f64; 2],
    /// First row whose center line the edge crosses.
    first_row: u32,
    /// Row after the last one that the edge crosses.
    end_row: u32,
}

impl PolygonEdge {
    /// Returns none if the side crosses the center line of no row. Both directions give the same
    /// edge, so that two polygons that share a side agree on every pixel along it.
    fn from_points(a: [f64; 2], b: [f64; 2], height: u32) -> Option<Self> {
        let (top, bottom) = if a[1] <= b[1] { (a, b) } else { (b, a) };
        let (first_row, end_row) =
            (first_pixel_from(top[1], height), first_pixel_from(bottom[1], height));
        let delta = [bottom[0] - top[0], bottom[1] - top[1]];
        (first_row < end_row).then_some(Self { top, delta, first_row, end_row })
    }

    /// Returns the first column whose center is not to the left of the edge in a row.
    fn crossing_column(&self, row: u32, width: u32) -> u32 {
        // Multiplies before dividing: the result is exact where coordinates are whole or half
        // pixels.
        first_pixel_from(
            self.top[0] + (pixel_center(row) - self.top[1]) * self.delta[0] / self.delta[1],
            width,
        )
    }
}

/// Returns the pixels between the first and the second crossing of each row, the third and the
/// fourth, and so on. The edges are sorted by their first row.
fn fill_even_odd(edges: &[PolygonEdge], width: u32, height: u32) -> Runs {
    let mut runs = Runs::new(width, height);
    let mut pending_edges = edges.iter().peekable();
    let (mut active_edges, mut columns): (Vec<&PolygonEdge>, Vec<u32>) = (Vec::new(), Vec::new());
    let mut row = 0;
    loop {
        active_edges.retain(|edge| row < edge.end_row);
        if active_edges.is_empty() {
            let Some(next_edge) = pending_edges.peek() else { return runs };
            row = next_edge.first_row;
        }
        while let Some(edge) = pending_edges.next_if(|edge| edge.first_row == row) {
            active_edges.push(edge);
        }
        columns.clear();
        columns.extend(active_edges.iter().map(|edge| edge.crossing_column(row, width)));
        columns.sort_unstable();
        for span in columns.chunks_exact(2) {
            runs.push(row_pixel_range(row, span[0]..span[1], width));
        }
        row += 1;
    }
}
