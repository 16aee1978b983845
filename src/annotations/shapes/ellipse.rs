//! Ellipses, row by row.

use super::super::runs::{Runs, pixels_of};
use super::{affordable, centre, checked, first_from, in_row, length, turned};

/// The pixels of an ellipse about the centre (`cx`, `cy`) with the radii `rx` and `ry` in pixels, turned about its
/// centre by `rotation` degrees, clockwise as seen.
///
/// # Errors
/// Numbers that are not finite or farther from 0 than [`MAX_COORDINATE`](super::MAX_COORDINATE), and negative radii.
pub fn ellipse(
    cx: f64,
    cy: f64,
    rx: f64,
    ry: f64,
    rotation: f64,
    width: u32,
    height: u32,
) -> Result<Runs, String> {
    pixels_of(width, height)?;
    checked("x", cx)?;
    checked("y", cy)?;
    length("radiusX", rx)?;
    length("radiusY", ry)?;
    let (sin, cos) = turned(rotation)?;
    // With u = dx cos + dy sin and v = dy cos - dx sin the inside is (u / rx)^2 + (v / ry)^2 < 1. Solved for dx, that
    // is |dx - lean dy| < rx ry sqrt(reach^2 - dy^2) / reach^2, where `reach` is how far it extends up and down.
    let reach_squared = (rx * sin).powi(2) + (ry * cos).powi(2);
    let mut runs = Runs::new(width, height);
    if reach_squared == 0.0 {
        return Ok(runs);
    }
    let reach = reach_squared.sqrt();
    let lean = (rx - ry) * (rx + ry) * sin * cos / reach_squared;
    let rows = first_from(cy - reach, height)..first_from(cy + reach, height);
    affordable(2 * rows.len() as u64)?;
    for row in rows {
        let dy = centre(row) - cy;
        let half = rx * ry * ((reach - dy) * (reach + dy)).max(0.0).sqrt() / reach_squared;
        let middle = cx + lean * dy;
        let columns = first_from(middle - half, width)..first_from(middle + half, width);
        runs.push(in_row(row, columns, width));
    }
    Ok(runs)
}
