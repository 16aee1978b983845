//! Polygons, rotated rectangles and ellipses to pixels.
//!
//! Coordinates are pixels of the image: x to the right, y down, the image from (0, 0) to (width, height), so that the
//! pixel of column c and row r has its center at (c + 0.5, r + 0.5). One rule for all: a pixel is covered if its center
//! is inside. A center exactly on an outline belongs to what lies to the right of it, or below it if it is level; so
//! shapes that share an edge neither overlap nor leave a gap. Parts outside of the image are cut off.

mod ellipse;
mod polygon;

use std::ops::Range;

pub use ellipse::rasterize_ellipse;
pub use polygon::{rasterize_polygon, rasterize_rings};

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
pub fn rasterize_rectangle(
    x: f64,
    y: f64,
    rect_width: f64,
    rect_height: f64,
    rotation_degrees: f64,
    width: u32,
    height: u32,
) -> Result<Runs, String> {
    check_coordinate("x", x)?;
    check_coordinate("y", y)?;
    check_length("width", rect_width)?;
    check_length("height", rect_height)?;
    let (sin, cos) = sin_cos_degrees(rotation_degrees)?;
    let width_vector = [rect_width * cos, rect_width * sin];
    let height_vector = [-rect_height * sin, rect_height * cos];
    let corners = [
        [x, y],
        [x + width_vector[0], y + width_vector[1]],
        [x + width_vector[0] + height_vector[0], y + width_vector[1] + height_vector[1]],
        [x + height_vector[0], y + height_vector[1]],
    ];
    polygon::rasterize_checked_rings(&[&corners], width, height)
}

/// A coordinate that can be reckoned with.
fn check_coordinate(name: &str, value: f64) -> Result<(), String> {
    if value.abs() <= MAX_COORDINATE {
        return Ok(());
    }
    Err(format!("has {name} = {value:e}; allowed: numbers from -1e9 to 1e9 (pixels)"))
}

/// A length that can be reckoned with.
fn check_length(name: &str, value: f64) -> Result<(), String> {
    if (0.0..=MAX_COORDINATE).contains(&value) {
        return Ok(());
    }
    Err(format!("has {name} = {value:e}; allowed: numbers from 0 to 1e9 (pixels)"))
}

/// Sine and cosine of an angle in degrees; those of quarter turns without rounding, so that edges stay level.
fn sin_cos_degrees(degrees: f64) -> Result<(f64, f64), String> {
    if !degrees.is_finite() {
        return Err(format!("has rotation = {degrees}; allowed: a number of degrees"));
    }
    let degrees = degrees.rem_euclid(360.0);
    let quarter_turns = degrees / 90.0;
    if quarter_turns.fract() != 0.0 {
        return Ok(degrees.to_radians().sin_cos());
    }
    // Angles just below 0 become 360.
    Ok([(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)][quarter_turns as usize % 4])
}

/// The first pixel whose center is not before a coordinate, of `count` pixels in a row or column.
fn first_pixel_from(coordinate: f64, count: u32) -> u32 {
    // A negative number becomes 0.
    ((coordinate - 0.5).ceil() as u32).min(count)
}

/// The middle of a row or column.
fn pixel_center(index: u32) -> f64 {
    f64::from(index) + 0.5
}

/// The pixel numbers of columns of a row.
fn row_pixel_range(row: u32, columns: Range<u32>, width: u32) -> Range<u32> {
    row * width + columns.start..row * width + columns.end
}

/// Refuses what would take for ever.
fn check_crossings(crossings: u64) -> Result<(), String> {
    if crossings <= MAX_CROSSINGS {
        return Ok(());
    }
    Err(format!(
        "has edges that cross the image's rows {crossings} times; allowed: {MAX_CROSSINGS} (use fewer points)"
    ))
}

#[cfg(test)]
mod tests;
