//! Plane projective maps, which combine flips, rotations and perspective.

/// A 3x3 matrix over homogeneous coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Homography([[f64; 3]; 3]);

/// The image of a point under a map, and the derivatives of the map at that point.
#[derive(Debug, Clone, Copy)]
pub(super) struct MappedPoint {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) per_x: [f64; 2],
    pub(super) per_y: [f64; 2],
}

impl Homography {
    /// Returns the map of x to `x * scale[0] + shift[0]`, and the same for y.
    pub(super) fn scale_and_shift(scale: [f64; 2], shift: [f64; 2]) -> Self {
        Self([[scale[0], 0.0, shift[0]], [0.0, scale[1], shift[1]], [0.0, 0.0, 1.0]])
    }

    /// Returns the rotation by `degrees` about `center`; clockwise on a screen, where y points
    /// down.
    pub(super) fn rotation(degrees: f64, center: [f64; 2]) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let rotation = Self([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]);
        let [x, y] = center;
        Self::scale_and_shift([1.0; 2], [-x, -y])
            .then(rotation)
            .then(Self::scale_and_shift([1.0; 2], [x, y]))
    }

    /// Returns the map of the unit square's corners (0, 0), (1, 0), (1, 1), (0, 1) to those of a
    /// convex quadrilateral, after P. Heckbert, "Fundamentals of Texture Mapping and Image
    /// Warping", 1989, section 2.2.3.
    pub(super) fn from_unit_square(corners: [[f64; 2]; 4]) -> Self {
        let [p0, p1, p2, p3] = corners;
        let (d1, d2) = (subtract(p1, p2), subtract(p3, p2));
        let sum = subtract(subtract(p0, p1), subtract(p3, p2));
        let (g, h) = (cross(sum, d2) / cross(d1, d2), cross(d1, sum) / cross(d1, d2));
        let row = |i: usize| [p1[i] - p0[i] + g * p1[i], p3[i] - p0[i] + h * p3[i], p0[i]];
        Self([row(0), row(1), [g, h, 1.0]])
    }

    /// Returns the map that applies this map first and then `next`.
    pub(super) fn then(self, next: Self) -> Self {
        let (a, b) = (next.0, self.0);
        Self(std::array::from_fn(|i| {
            std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum())
        }))
    }

    /// Returns the inverse map, up to a factor. The map must not fold the plane to a line.
    pub(super) fn inverse(self) -> Self {
        let m = self.0;
        let minor = |i: usize, j: usize| {
            let (a, b) = ((i + 1) % 3, (i + 2) % 3);
            let (c, d) = ((j + 1) % 3, (j + 2) % 3);
            m[a][c] * m[b][d] - m[a][d] * m[b][c]
        };
        Self(std::array::from_fn(|i| std::array::from_fn(|j| minor(j, i))))
    }

    /// Returns the same map with the sign that puts (`x`, `y`), and all points on its side of the
    /// horizon, in front of the horizon.
    pub(super) fn oriented_toward(self, x: f64, y: f64) -> Self {
        let [g, h, i] = self.0[2];
        let sign = (g * x + h * y + i).signum();
        let mut matrix = self.0;
        for value in matrix.as_flattened_mut() {
            *value *= sign;
        }
        Self(matrix)
    }

    /// Returns the image of a point, or nothing if the point lies on the horizon or behind it.
    #[inline]
    pub(super) fn map_point(&self, x: f64, y: f64) -> Option<MappedPoint> {
        let [[a, b, c], [d, e, f], [g, h, i]] = self.0;
        let depth = g * x + h * y + i;
        if depth <= 1e-9 * i.abs() {
            return None;
        }
        let inverse = 1.0 / depth;
        let (u, v) = ((a * x + b * y + c) * inverse, (d * x + e * y + f) * inverse);
        let per_x = [(a - g * u) * inverse, (d - g * v) * inverse];
        let per_y = [(b - h * u) * inverse, (e - h * v) * inverse];
        Some(MappedPoint { x: u, y: v, per_x, per_y })
    }
}

fn subtract(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] - b[0], a[1] - b[1]]
}

fn cross(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[1] - a[1] * b[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_maps(map: &Homography, from: [f64; 2], to: [f64; 2]) {
        let point = map.map_point(from[0], from[1]).unwrap();
        assert!(
            (point.x - to[0]).abs() < 1e-9 && (point.y - to[1]).abs() < 1e-9,
            "{point:?} {to:?}"
        );
    }

    #[test]
    fn corners_go_to_corners_and_come_back() {
        let corners = [[1.0, 2.0], [9.0, 1.0], [8.0, 7.0], [0.5, 9.0]];
        let map = Homography::from_unit_square(corners);
        let back = map.inverse().oriented_toward(5.0, 5.0);
        for (from, to) in [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]].into_iter().zip(corners)
        {
            assert_maps(&map, from, to);
            assert_maps(&back, to, from);
        }
    }

    #[test]
    fn maps_follow_each_other_in_order() {
        let quarter_turn = Homography::rotation(90.0, [2.0, 1.0]);
        assert_maps(&quarter_turn, [3.0, 1.0], [2.0, 2.0]);
        let doubled = quarter_turn.then(Homography::scale_and_shift([2.0, 2.0], [1.0, 0.0]));
        assert_maps(&doubled, [3.0, 1.0], [5.0, 4.0]);
    }

    proptest! {
        #[test]
        fn slopes_are_those_of_the_map(
            inward in prop::array::uniform4(prop::array::uniform2(0.0..0.3_f64)),
            (x, y) in (0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let [a, b, c, d] = inward;
            let map = Homography::from_unit_square([
                a, [1.0 - b[0], b[1]], [1.0 - c[0], 1.0 - c[1]], [d[0], 1.0 - d[1]],
            ]);
            let point = map.map_point(x, y).unwrap();
            let step = 1e-6;
            let (right, below) = (map.map_point(x + step, y).unwrap(), map.map_point(x, y + step).unwrap());
            for (slope, moved, unmoved) in [
                (point.per_x[0], right.x, point.x), (point.per_x[1], right.y, point.y),
                (point.per_y[0], below.x, point.x), (point.per_y[1], below.y, point.y),
            ] {
                prop_assert!((slope - (moved - unmoved) / step).abs() < 1e-3);
            }
        }
    }
}
