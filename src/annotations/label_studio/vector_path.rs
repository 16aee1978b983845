//! Closed vector paths, whose sides are straight lines or cubic Bezier curves.
//!
//! Label Studio 1.21 and later write the vertices of `<Vector>` and `<VectorLabels>` as objects
//! with coordinates in percent, and fill a path whose value says `closed`. Facts of its editor
//! (`VectorRegion.jsx`, `KonvaVector`): `prevPointId` names the vertex before; the first vertex of
//! a path that was closed names the last. A side is a curve if the vertex at one of its ends says
//! `isBezier` and has the control point on this side: `controlPoint2` at the start, `controlPoint1`
//! at the end. If only one end has one, the other control point lies 30 % of the way along the
//! straight side. A side that the vertices do not name is a straight line.

use std::collections::HashMap;

use serde::Deserialize;

use crate::annotations::error::{Error, Result};
use crate::annotations::json::{Number, StringOrNumber};

/// Largest distance between a curve and the straight lines that stand for it, in percent of the
/// image's sides: a hundredth of a pixel of an image of 1000 pixels.
const FLATTENING_TOLERANCE: f64 = 1e-3;

/// Largest number of straight lines that stand for one curve. Curves within an image need fewer.
const MAX_LINES_PER_CURVE: f64 = 256.0;

/// Largest number of corners of a path whose curves are flattened.
const MAX_POINTS: usize = 1 << 22;

/// Distance of the control point that a curve lacks from its end, as a share of the straight side.
const MISSING_CONTROL_SHARE: f64 = 0.3;

/// Corner of a vector path, in percent of the image's sides.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a vertex, an object with x and y")]
pub(super) struct VectorVertex {
    id: Option<StringOrNumber>,
    prev_point_id: Option<StringOrNumber>,
    x: Number,
    y: Number,
    is_bezier: Option<bool>,
    /// Control point of the curve that ends here.
    control_point1: Option<ControlPoint>,
    /// Control point of the curve that begins here.
    control_point2: Option<ControlPoint>,
}

/// Control point of a Bezier curve, in percent of the image's sides.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(expecting = "a control point, an object with x and y")]
struct ControlPoint {
    x: Number,
    y: Number,
}

impl ControlPoint {
    fn position(self) -> [f64; 2] {
        let (Number(x), Number(y)) = (self.x, self.y);
        [x, y]
    }
}

impl VectorVertex {
    fn position(&self) -> [f64; 2] {
        let (Number(x), Number(y)) = (self.x, self.y);
        [x, y]
    }

    fn incoming_control(&self) -> Option<[f64; 2]> {
        if self.is_bezier != Some(true) {
            return None;
        }
        self.control_point1.map(ControlPoint::position)
    }

    fn outgoing_control(&self) -> Option<[f64; 2]> {
        if self.is_bezier != Some(true) {
            return None;
        }
        self.control_point2.map(ControlPoint::position)
    }
}

/// Returns the corners of a closed path, with straight lines in place of its curves. The error
/// follows the region's description.
pub(super) fn flatten_closed_path(vertices: &[VectorVertex]) -> Result<Vec<[f64; 2]>> {
    let previous = find_previous_vertices(vertices);
    let order = order_vertices(&previous)?;
    let Some(&first) = order.first() else { return Ok(Vec::new()) };
    let mut points = vec![vertices[first].position()];
    for pair in order.windows(2) {
        append_side(&vertices[pair[0]], &vertices[pair[1]], &mut points);
        if points.len() > MAX_POINTS {
            return Err(Error::TooLarge(format!(
                "has a vector path of more than {MAX_POINTS} lines; use fewer vertices"
            )));
        }
    }
    if let (Some(&last), Some(_)) = (order.last(), previous[first]) {
        append_side(&vertices[last], &vertices[first], &mut points);
        // The last point of this side is the first point of the path.
        points.pop();
    }
    Ok(points)
}

/// Returns for each vertex the index of the one before it on the path: the one that it names, or
/// without a name the one before it in the list.
fn find_previous_vertices(vertices: &[VectorVertex]) -> Vec<Option<usize>> {
    let mut index_by_id = HashMap::new();
    for (index, vertex) in vertices.iter().enumerate() {
        if let Some(StringOrNumber(id)) = &vertex.id {
            index_by_id.insert(id.as_str(), index);
        }
    }
    let mut previous = Vec::with_capacity(vertices.len());
    for (index, vertex) in vertices.iter().enumerate() {
        previous.push(match &vertex.prev_point_id {
            Some(StringOrNumber(id)) if !id.is_empty() => index_by_id.get(id.as_str()).copied(),
            _ => index.checked_sub(1),
        });
    }
    previous
}

/// Returns the indices of the vertices in their order along the path.
fn order_vertices(previous: &[Option<usize>]) -> Result<Vec<usize>> {
    let mut next = vec![None; previous.len()];
    let mut first = 0;
    for (index, previous_index) in previous.iter().enumerate() {
        match previous_index {
            None => first = index,
            Some(previous_index) => {
                if next[*previous_index].replace(index).is_some() {
                    let message = "is a vector path with branches, which has no area; draw the \
                                   outline as one closed path";
                    return Err(Error::Unsupported(message.to_owned()));
                }
            }
        }
    }
    let mut order = Vec::with_capacity(previous.len());
    let mut position = (!previous.is_empty()).then_some(first);
    while let Some(index) = position {
        order.push(index);
        position = next[index].filter(|&next_index| next_index != first);
    }
    if order.len() < previous.len() {
        let message = "is a vector path of several pieces, which is not supported; draw each piece \
                       as a region of its own";
        return Err(Error::Unsupported(message.to_owned()));
    }
    Ok(order)
}

/// Appends the points of a side, its start excluded and its end included.
fn append_side(from: &VectorVertex, to: &VectorVertex, points: &mut Vec<[f64; 2]>) {
    let (start, end) = (from.position(), to.position());
    let (outgoing, incoming) = (from.outgoing_control(), to.incoming_control());
    if outgoing.is_none() && incoming.is_none() {
        points.push(end);
        return;
    }
    let control1 = outgoing.unwrap_or_else(|| point_between(start, end, MISSING_CONTROL_SHARE));
    let control2 = incoming.unwrap_or_else(|| point_between(end, start, MISSING_CONTROL_SHARE));
    let curve = [start, control1, control2, end];
    let lines = count_lines(curve);
    for line in 1..lines {
        points.push(curve_point(curve, f64::from(line) / f64::from(lines)));
    }
    points.push(end);
}

/// Returns the point at a share of the way from one point to another.
fn point_between(from: [f64; 2], to: [f64; 2], share: f64) -> [f64; 2] {
    [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share]
}

/// Returns the number of straight lines, equally long in the curve's parameter, that stay within
/// [`FLATTENING_TOLERANCE`] of a curve.
fn count_lines(curve: [[f64; 2]; 4]) -> u32 {
    // A line over a step of the parameter is at most step² / 8 times the largest second derivative
    // away, and that derivative is at most 6 times the larger second difference.
    let mut second_difference: f64 = 0.0;
    for corners in curve.windows(3) {
        let [before, corner, after] = [corners[0], corners[1], corners[2]];
        let x = before[0] - 2.0 * corner[0] + after[0];
        let y = before[1] - 2.0 * corner[1] + after[1];
        second_difference = second_difference.max(x.abs()).max(y.abs());
    }
    let lines = (0.75 * second_difference / FLATTENING_TOLERANCE).sqrt().ceil();
    lines.clamp(1.0, MAX_LINES_PER_CURVE) as u32
}

/// Returns the point of a cubic Bezier curve at a parameter from 0 to 1.
fn curve_point(curve: [[f64; 2]; 4], parameter: f64) -> [f64; 2] {
    let rest = 1.0 - parameter;
    let weights = [
        rest.powi(3),
        3.0 * rest.powi(2) * parameter,
        3.0 * rest * parameter.powi(2),
        parameter.powi(3),
    ];
    let mut point = [0.0, 0.0];
    for (corner, weight) in curve.iter().zip(weights) {
        point[0] += corner[0] * weight;
        point[1] += corner[1] * weight;
    }
    point
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::annotations::shapes::{FillRule, rasterize_polygon};

    fn vertices(value: &serde_json::Value) -> Vec<VectorVertex> {
        serde_json::from_str(&value.to_string()).unwrap()
    }

    fn flatten(value: &serde_json::Value) -> Vec<[f64; 2]> {
        flatten_closed_path(&vertices(value)).unwrap()
    }

    fn flatten_error(value: &serde_json::Value) -> String {
        flatten_closed_path(&vertices(value)).unwrap_err().to_string()
    }

    #[test]
    fn straight_sides_give_the_vertices_in_the_order_of_the_path() {
        let points = flatten(&json!([
            {"id": "a", "x": 1, "y": 2, "prevPointId": "c", "isBezier": false,
             "controlPoint2": {"x": 9, "y": 9}},
            {"id": "c", "x": 5, "y": 6, "prevPointId": "b"},
            {"id": "b", "x": 3.5, "y": 4, "prevPointId": "a", "isBezier": true},
        ]));
        assert_eq!(points, [[1.0, 2.0], [3.5, 4.0], [5.0, 6.0]]);
        let without_ids = json!([{"x": 1, "y": 2}, {"x": 3, "y": 4}, {"x": 5, "y": 6}]);
        assert_eq!(flatten(&without_ids), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        assert_eq!(flatten(&json!([{"x": 1, "y": 2}])), [[1.0, 2.0]]);
        assert_eq!(flatten(&json!([])), [[0.0; 2]; 0]);
    }

    /// Four arcs that approximate a circle about (50, 50), whose area is known.
    fn circle(radius: f64) -> serde_json::Value {
        let handle = radius * 0.552_284_749_8;
        let mut corners = Vec::new();
        for (index, (dx, dy)) in
            [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)].into_iter().enumerate()
        {
            let (x, y) = (50.0 + radius * dx, 50.0 + radius * dy);
            corners.push(json!({
                "id": index, "prevPointId": (index + 3) % 4, "x": x, "y": y, "isBezier": true,
                "controlPoint1": {"x": x + handle * dy, "y": y - handle * dx},
                "controlPoint2": {"x": x - handle * dy, "y": y + handle * dx},
            }));
        }
        json!(corners)
    }

    #[test]
    fn curves_are_followed_also_on_the_side_that_closes_the_path() {
        let mut points = flatten(&circle(40.0));
        for point in &points {
            let distance = (point[0] - 50.0).hypot(point[1] - 50.0);
            assert!((distance - 40.0).abs() < 0.02, "{point:?}");
        }
        for point in &mut points {
            *point = [point[0] * 10.0, point[1] * 10.0];
        }
        let area = rasterize_polygon(&points, FillRule::NonZero, 1000, 1000).unwrap().area() as f64;
        assert!((area / (std::f64::consts::PI * 400.0 * 400.0) - 1.0).abs() < 1e-3, "{area}");
    }

    #[test]
    fn a_side_with_one_control_point_puts_the_other_at_thirty_percent_of_the_side() {
        let points = flatten(&json!([
            {"x": 0, "y": 0, "isBezier": true, "controlPoint2": {"x": 0, "y": 40}},
            {"x": 100, "y": 0},
            {"x": 100, "y": 90},
        ]));
        let middle = points[points.iter().position(|point| point[0] >= 38.75).unwrap()];
        // The curve (0, 0), (0, 40), (70, 0), (100, 0) at one half.
        assert!((middle[0] - 38.75).abs() < 1.0 && (middle[1] - 15.0).abs() < 0.5, "{middle:?}");
        assert_eq!(points[points.len() - 2..], [[100.0, 0.0], [100.0, 90.0]]);
        let mirrored = flatten(&json!([
            {"x": 100, "y": 0},
            {"x": 0, "y": 0, "isBezier": true, "controlPoint1": {"x": 0, "y": 40}},
            {"x": 100, "y": 90},
        ]));
        let mut reversed = points[..points.len() - 1].to_vec();
        reversed.reverse();
        for (found, expected) in mirrored.iter().zip(&reversed) {
            assert!((found[0] - expected[0]).abs() < 1e-9 && (found[1] - expected[1]).abs() < 1e-9);
        }
    }

    #[test]
    fn branches_and_several_pieces_are_refused() {
        let branches = json!([
            {"id": "a", "x": 1, "y": 2}, {"id": "b", "x": 3, "y": 4, "prevPointId": "a"},
            {"id": "c", "x": 5, "y": 6, "prevPointId": "a"},
        ]);
        assert!(flatten_error(&branches).contains("with branches"));
        let pieces = json!([
            {"id": "a", "x": 1, "y": 2}, {"id": "b", "x": 3, "y": 4, "prevPointId": "gone"},
            {"id": "c", "x": 5, "y": 6, "prevPointId": "b"},
        ]);
        assert!(flatten_error(&pieces).contains("of several pieces"));
        let own_circle = json!([
            {"id": "a", "x": 1, "y": 2}, {"id": "b", "x": 3, "y": 4, "prevPointId": "c"},
            {"id": "c", "x": 5, "y": 6, "prevPointId": "b"},
        ]);
        assert!(flatten_error(&own_circle).contains("of several pieces"));
    }

    proptest! {
        #[test]
        fn any_vertices_are_points_or_an_error(
            corners in prop::collection::vec(
                (0..5_u8, prop::option::of(0..6_u8), any::<f64>(), -9.0..120.0, any::<bool>()),
                0..8,
            ),
        ) {
            let mut written = Vec::new();
            for (id, previous, x, y, is_bezier) in corners {
                let mut vertex = json!({"id": id, "x": x, "y": y, "isBezier": is_bezier});
                if !x.is_finite() {
                    vertex["x"] = json!(3);
                }
                if let Some(previous) = previous {
                    vertex["prevPointId"] = json!(previous);
                    vertex["controlPoint1"] = json!({"x": y, "y": 3});
                }
                written.push(vertex);
            }
            if let Ok(points) = flatten_closed_path(&vertices(&json!(written))) {
                prop_assert!(points.len() >= written.len());
                let _ = rasterize_polygon(&points, FillRule::NonZero, 40, 30);
            }
        }
    }
}
