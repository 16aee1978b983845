//! Rasterization of polygons, rotated rectangles and ellipses.
//!
//! Coordinates are pixels of the image: x to the right, y down, the image from (0, 0) to (width,
//! height), so that the pixel of column c and row r has its center at (c + 0.5, r + 0.5). A pixel
//! is covered if its center is inside of the shape; where a polygon crosses itself, a [`FillRule`]
//! says which areas are inside. A center exactly on an outline belongs to the area to the right of
//! the outline, or to the area below if the outline is horizontal; so shapes that share an edge
//! neither overlap nor leave a gap. Parts outside of the image are cut off.

mod ellipse;
mod polygon;

use std::ops::Range;

pub use ellipse::rasterize_ellipse;
pub use polygon::{FillRule, rasterize_polygon, rasterize_rings};

use super::error::{Error, Result};
use super::runs::Runs;

/// Largest absolute value of a coordinate, in pixels: no image has a side this long, and products
/// of two coordinates stay finite.
pub const MAX_COORDINATE: f64 = 1e9;

/// Largest number of crossings of a shape's edges with the center lines of the image's rows. The
/// longest polygons that people draw have a thousandth of that.
pub const MAX_CROSSINGS: u64 = 50_000_000;

/// Returns the pixels of a rectangle that is rotated about (x, y) by `rotation_degrees`, clockwise
/// on the screen.
///
/// (x, y) is the upper left corner before the rotation: Label Studio's rule, by the corners that
/// its converter computes. `rect_width` and `rect_height` are the sides in pixels; negative sides
/// are an error, and so are numbers that are not finite or exceed [`MAX_COORDINATE`].
pub fn rasterize_rectangle(
    x: f64,
    y: f64,
    rect_width: f64,
    rect_height: f64,
    rotation_degrees: f64,
    width: u32,
    height: u32,
) -> Result<Runs> {
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
    polygon::rasterize_checked_rings(&[&corners], FillRule::NonZero, width, height)
}

/// Checks that a coordinate is finite and at most [`MAX_COORDINATE`] from 0.
fn check_coordinate(name: &str, value: f64) -> Result<()> {
    if value.abs() <= MAX_COORDINATE {
        return Ok(());
    }
    let message = format!("has {name} = {value:e}; allowed: numbers from -1e9 to 1e9 (pixels)");
    Err(Error::InvalidValue(message))
}

/// Checks that a length is at least 0 and at most [`MAX_COORDINATE`].
fn check_length(name: &str, value: f64) -> Result<()> {
    if (0.0..=MAX_COORDINATE).contains(&value) {
        return Ok(());
    }
    let message = format!("has {name} = {value:e}; allowed: numbers from 0 to 1e9 (pixels)");
    Err(Error::InvalidValue(message))
}

/// Returns the sine and cosine of an angle in degrees. Those of quarter turns are exact, so that
/// edges stay horizontal and vertical.
fn sin_cos_degrees(degrees: f64) -> Result<(f64, f64)> {
    if !degrees.is_finite() {
        let message = format!("has rotation = {degrees}; allowed: a number of degrees");
        return Err(Error::InvalidValue(message));
    }
    let degrees = degrees.rem_euclid(360.0);
    let quarter_turns = degrees / 90.0;
    if quarter_turns.fract() != 0.0 {
        return Ok(degrees.to_radians().sin_cos());
    }
    // `rem_euclid` may round an angle just below 0 to 360, which is index 4.
    Ok([(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)][quarter_turns as usize % 4])
}

/// Returns the index of the first of `count` pixels in a row or column whose center is not before
/// `coordinate`; `count` if there is none.
fn first_pixel_from(coordinate: f64, count: u32) -> u32 {
    // The cast turns negative numbers into 0.
    ((coordinate - 0.5).ceil() as u32).min(count)
}

/// Returns the coordinate of the center of a row or column.
fn pixel_center(index: u32) -> f64 {
    f64::from(index) + 0.5
}

/// Returns the pixel numbers of a range of columns in a row.
fn row_pixel_range(row: u32, columns: Range<u32>, width: u32) -> Range<u32> {
    row * width + columns.start..row * width + columns.end
}

/// Returns an error if there are more than [`MAX_CROSSINGS`] crossings, which would take too long.
fn check_crossings(crossings: u64) -> Result<()> {
    if crossings <= MAX_CROSSINGS {
        return Ok(());
    }
    Err(Error::TooLarge(format!(
        "has edges that cross the image's rows {crossings} times; allowed: {MAX_CROSSINGS} (use \
         fewer points)"
    )))
}

#[cfg(test)]
mod tests;
