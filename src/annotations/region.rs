//! A region of an image as Label Studio stores it, and the pixels that it covers.

use super::error::{Error, Result};
use super::runs::Runs;
use super::shapes::FillRule;
use super::{bitmask, brush_rle, shapes};

/// One drawn region with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// Id, unique in its annotation; empty where the format has none (`JSON_MIN`).
    pub id: String,
    /// Names of the region's classes, in the order of the document; never empty.
    pub labels: Vec<String>,
    pub shape: Shape,
    /// Width and height, in pixels, of the upright image on which the region was drawn, if known.
    pub image_size: Option<(u32, u32)>,
    /// Name of the `<Image>` tag on which the region was drawn; may be empty.
    pub to_name: String,
    /// Group of regions whose order the document keeps. Regions of different groups have lost
    /// theirs, as those of different tags in `JSON_MIN`. None if the document keeps the order of
    /// all regions.
    pub order_group: Option<u32>,
}

/// Geometry of a region, in percent: 100 is the image's width for x and its height for y. Angles
/// are degrees, clockwise on the screen.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Label Studio's run-length encoding of the whole image ([`brush_rle`]).
    Brush {
        /// Encoded bytes.
        rle: Vec<u8>,
    },
    /// A polygon; the last point is joined to the first.
    Polygon {
        /// Corners as [x, y].
        points: Vec<[f64; 2]>,
    },
    /// A rectangle, rotated about (x, y).
    Rectangle {
        /// Left edge before the rotation, in percent of the image's width.
        x: f64,
        /// Top edge before the rotation, in percent of the image's height.
        y: f64,
        /// Length of the rotated horizontal side, in percent of the image's width.
        width: f64,
        /// Length of the rotated vertical side, in percent of the image's height.
        height: f64,
        /// Rotation in degrees, clockwise.
        rotation: f64,
    },
    /// An ellipse, rotated about its center.
    Ellipse {
        /// X of the center, in percent of the image's width.
        x: f64,
        /// Y of the center, in percent of the image's height.
        y: f64,
        /// Horizontal radius before the rotation, in percent of the image's width.
        radius_x: f64,
        /// Vertical radius before the rotation, in percent of the image's height.
        radius_y: f64,
        /// Rotation in degrees, clockwise.
        rotation: f64,
    },
    /// A PNG of the whole image ([`bitmask`]).
    Bitmask {
        /// `data:image/png;base64,...`
        data_url: String,
    },
}

impl Region {
    /// Returns the pixels that the region covers in an upright image of `width` x `height` pixels.
    /// `polygon_rule` fills a polygon that crosses itself; Label Studio's editor shows the nonzero
    /// one.
    ///
    /// Refuses an image of another size than the one on which the region was drawn, because the
    /// region would cover the wrong pixels. The usual reason is an image that was replaced, or that
    /// was shown without its EXIF orientation.
    pub fn rasterize(&self, width: u32, height: u32, polygon_rule: FillRule) -> Result<Runs> {
        if let Some((drawn_width, drawn_height)) = self.image_size
            && (drawn_width, drawn_height) != (width, height)
        {
            let is_rotated = (drawn_height, drawn_width) == (width, height);
            let hint =
                if is_rotated { " (its EXIF orientation may have been lost or added)" } else { "" };
            return Err(Error::WrongSize(format!(
                "was drawn on an image of {drawn_width} x {drawn_height} pixels, but the image has \
                 {width} x {height}{hint}; use the image that was annotated"
            )));
        }
        match &self.shape {
            Shape::Brush { rle } => brush_rle::decode_brush_rle(rle, width, height),
            Shape::Polygon { points } => {
                let mut points_px = Vec::with_capacity(points.len());
                for &[x, y] in points {
                    points_px.push([percent_to_px(x, width), percent_to_px(y, height)]);
                }
                shapes::rasterize_polygon(&points_px, polygon_rule, width, height)
            }
            // Converts to pixels before rotating: percent of the width and percent of the height
            // are different units.
            &Shape::Rectangle { x, y, width: w, height: h, rotation } => {
                let (x, y) = (percent_to_px(x, width), percent_to_px(y, height));
                let (w, h) = (percent_to_px(w, width), percent_to_px(h, height));
                shapes::rasterize_rectangle(x, y, w, h, rotation, width, height)
            }
            &Shape::Ellipse { x, y, radius_x, radius_y, rotation } => {
                let (x, y) = (percent_to_px(x, width), percent_to_px(y, height));
                let rx = percent_to_px(radius_x, width);
                let ry = percent_to_px(radius_y, height);
                shapes::rasterize_ellipse(x, y, rx, ry, rotation, width, height)
            }
            Shape::Bitmask { data_url } => bitmask::decode_bitmask(data_url, width, height),
        }
    }
}

/// Converts percent of a side of the image to pixels.
fn percent_to_px(percent: f64, side: u32) -> f64 {
    percent * f64::from(side) / 100.0
}
