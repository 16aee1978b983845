//! Reasons why a drawn region covers no pixel of its image, as texts for messages.
//!
//! Each text completes a sentence that begins with the region's name.

use super::coco::CocoSegmentation;
use super::region::Shape;

/// Smallest area of a triangle that counts as one, relative to the squared extent of the points.
/// Corners on one line give less, because coordinates are rounded.
const MIN_RELATIVE_AREA: f64 = 1e-12;

/// Reason of a rotated shape. Its extent in percent depends on the sides of the image, so the two
/// possibilities are not told apart.
const ROTATED_REASON: &str = "covers no pixel: it lies outside of the image, or is so narrow that \
                              no pixel's center is inside";

/// Returns the reason why a shape covers no pixel of an image, which the caller has found out by
/// rasterizing it. Coordinates are in percent of the image's sides.
pub fn explain_uncovered_shape(shape: &Shape) -> String {
    match shape {
        Shape::Brush { .. } => "covers no pixel: all of its strokes are erased".to_owned(),
        Shape::Bitmask { .. } => "covers no pixel: its bitmap is empty".to_owned(),
        Shape::Polygon { points } => explain_uncovered_points(points, [100.0, 100.0]),
        &Shape::Rectangle { x, y, width, height, rotation } => {
            if let Some(reason) = explain_zero_length("width", width, "height", height) {
                return reason;
            }
            if rotation != 0.0 {
                return ROTATED_REASON.to_owned();
            }
            explain_by_extent([x, y], [x + width, y + height], [100.0, 100.0])
        }
        &Shape::Ellipse { x, y, radius_x, radius_y, rotation } => {
            if let Some(reason) = explain_zero_length("radiusX", radius_x, "radiusY", radius_y) {
                return reason;
            }
            if rotation != 0.0 {
                return ROTATED_REASON.to_owned();
            }
            let (low, high) = ([x - radius_x, y - radius_y], [x + radius_x, y + radius_y]);
            explain_by_extent(low, high, [100.0, 100.0])
        }
    }
}

/// Returns the reason why a COCO segmentation covers no pixel of an image of `width` x `height`
/// pixels, which the caller has found out by rasterizing it.
pub fn explain_uncovered_segmentation(
    segmentation: &CocoSegmentation,
    width: u32,
    height: u32,
) -> String {
    match segmentation {
        CocoSegmentation::UncompressedRle(_) | CocoSegmentation::CompressedRle(_) => {
            "covers no pixel: its run lengths hold no pixel that is set".to_owned()
        }
        CocoSegmentation::Missing(reason) => (*reason).to_owned(),
        CocoSegmentation::Polygons(polygons) => {
            if let [points] = &polygons[..]
                && points.len() == 2
            {
                return "covers no pixel: its segmentation has 4 numbers, which may be a box or two \
                        points; an area needs a polygon of at least 3 points (6 numbers)"
                    .to_owned();
            }
            let size = [f64::from(width), f64::from(height)];
            if let [points] = &polygons[..] {
                return explain_uncovered_points(points, size);
            }
            if polygons.iter().all(|points| points.len() < 3) {
                return format!(
                    "covers no pixel: none of its {} polygons has 3 points, which an area needs",
                    polygons.len()
                );
            }
            let points: Vec<[f64; 2]> = polygons.iter().flatten().copied().collect();
            explain_uncovered_points(&points, size)
        }
    }
}

/// Returns the reason of a polygon on an image whose sides have the lengths `size`, in the unit of
/// the points.
fn explain_uncovered_points(points: &[[f64; 2]], size: [f64; 2]) -> String {
    let mut distinct: Vec<[f64; 2]> = Vec::new();
    for point in points {
        if !distinct.contains(point) {
            distinct.push(*point);
        }
        if distinct.len() > 2 {
            break;
        }
    }
    if distinct.len() < 3 {
        let noun = if distinct.len() == 1 { "point" } else { "different points" };
        return format!(
            "covers no pixel: it has {} {noun}, and an area needs 3",
            if distinct.is_empty() { "no".to_owned() } else { distinct.len().to_string() }
        );
    }
    if is_on_one_line(points) {
        return "covers no pixel: its points lie on one line".to_owned();
    }
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for point in points {
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    explain_by_extent(low, high, size)
}

/// Returns the reason of a shape that lies between the points `low` and `high`.
fn explain_by_extent(low: [f64; 2], high: [f64; 2], size: [f64; 2]) -> String {
    for axis in 0..2 {
        if high[axis] <= 0.0 || low[axis] >= size[axis] {
            return "covers no pixel: it lies outside of the image".to_owned();
        }
    }
    "covers no pixel: it is so narrow, or so far at the edge, that no pixel's center is inside"
        .to_owned()
}

/// Returns the reason of a shape of which a length is 0, if one is.
fn explain_zero_length(
    first_name: &str,
    first: f64,
    second_name: &str,
    second: f64,
) -> Option<String> {
    let name = match (first == 0.0, second == 0.0) {
        (true, true) => format!("{first_name} and {second_name} are"),
        (true, false) => format!("{first_name} is"),
        (false, true) => format!("{second_name} is"),
        (false, false) => return None,
    };
    Some(format!("covers no pixel: its {name} 0"))
}

/// Returns true if all points lie on one line, within rounding.
fn is_on_one_line(points: &[[f64; 2]]) -> bool {
    let Some(&[x0, y0]) = points.first() else { return true };
    let mut farthest = [0.0_f64; 2];
    for [x, y] in points {
        let vector = [x - x0, y - y0];
        if vector[0].hypot(vector[1]) > farthest[0].hypot(farthest[1]) {
            farthest = vector;
        }
    }
    let extent = farthest[0].hypot(farthest[1]);
    for [x, y] in points {
        let area = farthest[0] * (y - y0) - farthest[1] * (x - x0);
        if area.abs() > MIN_RELATIVE_AREA * extent * extent {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polygon(points: &[[f64; 2]]) -> Shape {
        Shape::Polygon { points: points.to_vec() }
    }

    #[test]
    fn shapes_tell_what_keeps_them_from_covering_a_pixel() {
        let rectangle =
            |x, width, height| Shape::Rectangle { x, y: 10.0, width, height, rotation: 0.0 };
        let ellipse =
            |x, radius_x| Shape::Ellipse { x, y: 9.0, radius_x, radius_y: 2.0, rotation: 0.0 };
        for (shape, expected) in [
            (polygon(&[]), "no different points"),
            (polygon(&[[1.0, 1.0]; 5]), "1 point"),
            (polygon(&[[1.0, 1.0], [2.0, 2.0], [1.0, 1.0]]), "2 different points"),
            (polygon(&[[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]]), "on one line"),
            (polygon(&[[-9.0, 1.0], [-2.0, 2.0], [-3.0, 9.0]]), "outside of the image"),
            (polygon(&[[9.0, 1.0], [9.1, 2.0], [9.1, 1.0]]), "so narrow"),
            (rectangle(5.0, 0.0, 3.0), "its width is 0"),
            (rectangle(5.0, 3.0, 0.0), "its height is 0"),
            (rectangle(5.0, 0.0, 0.0), "its width and height are 0"),
            (rectangle(150.0, 5.0, 5.0), "outside of the image"),
            (ellipse(-50.0, 3.0), "outside of the image"),
            (ellipse(50.0, 0.0), "its radiusX is 0"),
            (ellipse(50.0, 0.001), "so narrow"),
            (Shape::Brush { rle: Vec::new() }, "erased"),
            (Shape::Bitmask { data_url: String::new() }, "bitmap is empty"),
        ] {
            let reason = explain_uncovered_shape(&shape);
            assert!(reason.contains(expected), "{shape:?}: {reason}");
        }
    }

    #[test]
    fn segmentations_tell_what_keeps_them_from_covering_a_pixel() {
        let polygons = |list: &[&[[f64; 2]]]| {
            CocoSegmentation::Polygons(list.iter().map(|points| points.to_vec()).collect())
        };
        for (segmentation, expected) in [
            (polygons(&[&[[10.0, 10.0], [30.0, 40.0]]]), "4 numbers"),
            (polygons(&[&[[10.0, 10.0]]]), "1 point"),
            (polygons(&[&[[1.0, 1.0]], &[[2.0, 2.0], [3.0, 3.0]]]), "none of its 2 polygons"),
            (polygons(&[&[[90.0, 1.0], [99.0, 1.0], [95.0, 8.0]]]), "outside of the image"),
            (CocoSegmentation::UncompressedRle(vec![9]), "run lengths"),
            (CocoSegmentation::Missing("has a box"), "has a box"),
        ] {
            let reason = explain_uncovered_segmentation(&segmentation, 60, 40);
            assert!(reason.contains(expected), "{segmentation:?}: {reason}");
        }
    }
}
