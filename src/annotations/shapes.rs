//! Polygons, rotated rectangles and ellipses to pixels.
//!
//! Coordinates are pixels of the image: x to the right, y down, the image from (0, 0) to (width, height), so that the
//! pixel of column c and row r has its centre at (c + 0.5, r + 0.5). One rule for all: a pixel is covered if its centre
//! is inside. A centre exactly on an outline belongs to what lies to the right of it, or below it if it is level; so
//! shapes that share an edge neither overlap nor leave a gap. Parts outside of the image are cut off.

mod ellipse;
mod polygon;

use std::ops::Range;

pub use ellipse::ellipse;
pub use polygon::{even_odd, polygon};

use super::runs::Runs;

/// The farthest that a coordinate may be from 0, in pixels: no image has a side this long, and products of two stay
/// numbers.
pub const MAX_COORDINATE: f64 = 1e9;

/// How often all edges of a shape together may cross the middle of a row of the image; the longest polygons that people
/// draw stay a thousand times below.
pub const MAX_CROSSINGS: u64 = 50_000_000;

/// The pixels of a rectangle that is turned about (x, y) by `rotation` degrees, clockwise as seen.
///
/// (x, y) is the corner that is the upper left one before it is turned: Label Studio's rule, by the corners that its
/// converter computes. `w` and `h` are the sides in pixels.
///
/// # Errors
/// Numbers that are not finite or farther from 0 than [`MAX_COORDINATE`], and negative sides.
pub fn rectangle(
    x: f64,
    y: f64,
    w: f64,
    h: f64,
    rotation: f64,
    width: u32,
    height: u32,
) -> Result<Runs, String> {
    checked("x", x)?;
    checked("y", y)?;
    length("width", w)?;
    length("height", h)?;
    let (sin, cos) = turned(rotation)?;
    let along = [w * cos, w * sin];
    let down = [-h * sin, h * cos];
    let corners = [
        [x, y],
        [x + along[0], y + along[1]],
        [x + along[0] + down[0], y + along[1] + down[1]],
        [x + down[0], y + down[1]],
    ];
    polygon::inside(&[&corners], width, height)
}

/// A coordinate that can be reckoned with.
fn checked(name: &str, value: f64) -> Result<(), String> {
    if value.abs() <= MAX_COORDINATE {
        return Ok(());
    }
    Err(format!("has {name} = {value:e}; allowed: numbers from -1e9 to 1e9 (pixels)"))
}

/// A length that can be reckoned with.
fn length(name: &str, value: f64) -> Result<(), String> {
    if (0.0..=MAX_COORDINATE).contains(&value) {
        return Ok(());
    }
    Err(format!("has {name} = {value:e}; allowed: numbers from 0 to 1e9 (pixels)"))
}

/// Sine and cosine of an angle in degrees; those of quarter turns without rounding, so that edges stay level.
fn turned(degrees: f64) -> Result<(f64, f64), String> {
    if !degrees.is_finite() {
        return Err(format!("has rotation = {degrees}; allowed: a number of degrees"));
    }
    let degrees = degrees.rem_euclid(360.0);
    let quarters = degrees / 90.0;
    if quarters.fract() != 0.0 {
        return Ok(degrees.to_radians().sin_cos());
    }
    // Angles just below 0 become 360.
    Ok([(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)][quarters as usize % 4])
}

/// The first pixel whose centre is not before a coordinate, of `count` pixels in a row or column.
fn first_from(coordinate: f64, count: u32) -> u32 {
    // A negative number becomes 0.
    ((coordinate - 0.5).ceil() as u32).min(count)
}

/// The middle of a row or column.
fn centre(index: u32) -> f64 {
    f64::from(index) + 0.5
}

/// The pixel numbers of columns of a row.
fn in_row(row: u32, columns: Range<u32>, width: u32) -> Range<u32> {
    row * width + columns.start..row * width + columns.end
}

/// Refuses what would take for ever.
fn affordable(crossings: u64) -> Result<(), String> {
    if crossings <= MAX_CROSSINGS {
        return Ok(());
    }
    Err(format!(
        "has edges that cross the image's rows {crossings} times; allowed: {MAX_CROSSINGS} (use fewer points)"
    ))
}

#[cfg(test)]
mod tests;
