//! Ellipses, row by row.

use super::super::error::Result;
use super::super::runs::{Runs, checked_pixel_count};
use super::{
    check_coordinate, check_crossings, check_length, first_pixel_from, pixel_center,
    row_pixel_range, sin_cos_degrees,
};

/// Returns the pixels of an ellipse with the center (`cx`, `cy`) and the radii `rx` and `ry` in
/// pixels, rotated about its center by `rotation_degrees`, clockwise on the screen.
///
/// Numbers that are not finite or exceed [`MAX_COORDINATE`](super::MAX_COORDINATE) are errors, and
/// so are negative radii.
pub fn rasterize_ellipse(
    cx: f64,
    cy: f64,
    rx: f64,
    ry: f64,
    rotation_degrees: f64,
    width: u32,
    height: u32,
) -> Result<Runs> {
    checked_pixel_count(width, height)?;
    check_coordinate("x", cx)?;
    check_coordinate("y", cy)?;
    check_length("radiusX", rx)?;
    check_length("radiusY", ry)?;
    let (sin, cos) = sin_cos_degrees(rotation_degrees)?;
    // With u = dx cos + dy sin and v = dy cos - dx sin the inside is (u / rx)^2 + (v / ry)^2 < 1.
    // Solved for dx, that is |dx - shear dy| < rx ry sqrt(half_height^2 - dy^2) / half_height^2,
    // where half_height is the extent of the ellipse above and below its center.
    let half_height_squared = (rx * sin).powi(2) + (ry * cos).powi(2);
    let mut runs = Runs::new(width, height);
    if half_height_squared == 0.0 {
        return Ok(runs);
    }
    let half_height = half_height_squared.sqrt();
    let shear = (rx - ry) * (rx + ry) * sin * cos / half_height_squared;
    let rows =
        first_pixel_from(cy - half_height, height)..first_pixel_from(cy + half_height, height);
    check_crossings(2 * rows.len() as u64)?;
    for row in rows {
        let dy = pixel_center(row) - cy;
        let half_width = rx * ry * ((half_height - dy) * (half_height + dy)).max(0.0).sqrt()
            / half_height_squared;
        let row_center = cx + shear * dy;
        let columns = first_pixel_from(row_center - half_width, width)
            ..first_pixel_from(row_center + half_width, width);
        runs.push(row_pixel_range(row, columns, width));
    }
    Ok(runs)
}
