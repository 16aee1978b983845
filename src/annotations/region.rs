//! What a person drew, as Label Studio stores it, and the pixels that it covers.

use super::runs::Runs;
use super::{bitmask, brush_rle, shapes};

/// One region that somebody drew.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// Unique in its annotation; empty where the format has none (`JSON_MIN`).
    pub id: String,
    /// The names of its classes, in the order of the document; never empty.
    pub labels: Vec<String>,
    /// Where it lies.
    pub shape: Shape,
    /// Width and height in pixels of the upright image that it was drawn on, if known.
    pub image_size: Option<(u32, u32)>,
    /// The name of the `<Image>` that it was drawn on; may be empty.
    pub to_name: String,
}

/// Geometry in percent: 100 is the width of the image in x, its height in y. Angles are degrees, clockwise on the
/// screen.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Label Studio's run-length encoding of the whole image ([`brush_rle`]).
    Brush {
        /// The encoded bytes.
        rle: Vec<u8>,
    },
    /// A polygon; the last point is joined to the first.
    Polygon {
        /// Corners as x and y.
        points: Vec<[f64; 2]>,
    },
    /// A rectangle, turned about (x, y).
    Rectangle {
        /// The corner that is top left before turning.
        x: f64,
        /// As `x`.
        y: f64,
        /// Along the turned horizontal side, in percent of the image's width.
        width: f64,
        /// Along the turned vertical side, in percent of the image's height.
        height: f64,
        /// Degrees, clockwise.
        rotation: f64,
    },
    /// An ellipse, turned about its center.
    Ellipse {
        /// The center.
        x: f64,
        /// As `x`.
        y: f64,
        /// In percent of the image's width.
        radius_x: f64,
        /// In percent of the image's height.
        radius_y: f64,
        /// Degrees, clockwise.
        rotation: f64,
    },
    /// A picture of the whole image ([`bitmask`]).
    Bitmask {
        /// `data:image/png;base64,...`
        data_url: String,
    },
}

impl Region {
    /// The pixels of a `width` x `height` image, upright, that the region covers.
    ///
    /// An image of another size than the region was drawn on is refused: its pixels would be the wrong ones. The
    /// usual reason is an image that was replaced, or shown without its EXIF orientation.
    pub fn rasterize(&self, width: u32, height: u32) -> Result<Runs, String> {
        if let Some((drawn_width, drawn_height)) = self.image_size
            && (drawn_width, drawn_height) != (width, height)
        {
            let is_rotated = (drawn_height, drawn_width) == (width, height);
            let hint =
                if is_rotated { " (its EXIF orientation may have been lost or added)" } else { "" };
            return Err(format!(
                "was drawn on an image of {drawn_width} x {drawn_height} pixels, but the image has \
                 {width} x {height}{hint}; use the image that was annotated"
            ));
        }
        let to_x_px = |percent: f64| percent * f64::from(width) / 100.0;
        let to_y_px = |percent: f64| percent * f64::from(height) / 100.0;
        match &self.shape {
            Shape::Brush { rle } => brush_rle::decode_brush_rle(rle, width, height),
            Shape::Polygon { points } => {
                let points: Vec<_> =
                    points.iter().map(|&[x, y]| [to_x_px(x), to_y_px(y)]).collect();
                shapes::rasterize_polygon(&points, width, height)
            }
            // To pixels first, turned afterwards: percent of width and of height are no common unit.
            &Shape::Rectangle { x, y, width: w, height: h, rotation } => {
                let (x, y, w, h) = (to_x_px(x), to_y_px(y), to_x_px(w), to_y_px(h));
                shapes::rasterize_rectangle(x, y, w, h, rotation, width, height)
            }
            &Shape::Ellipse { x, y, radius_x, radius_y, rotation } => {
                let (x, y, rx, ry) = (to_x_px(x), to_y_px(y), to_x_px(radius_x), to_y_px(radius_y));
                shapes::rasterize_ellipse(x, y, rx, ry, rotation, width, height)
            }
            Shape::Bitmask { data_url } => bitmask::decode_bitmask(data_url, width, height),
        }
    }
}
