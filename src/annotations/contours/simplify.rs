//! Fewer corners: the rule of Ramer (1972), Douglas and Peucker (1973) for closed rings.

/// Corners that are looked at together. The rule can take as many steps as the square of their number; every 1024th
/// corner stays, so that a ring of a million costs no more than a thousand rings of a thousand.
const CHUNK: usize = 1024;

/// The corners of a ring that are needed to stay within `tolerance` pixels of all of them: 3 at least, all if it is 0.
pub(super) fn simplified(ring: &[[u32; 2]], tolerance: f64) -> Vec<[f64; 2]> {
    let point = |at: usize| ring[at % ring.len()].map(f64::from);
    if tolerance <= 0.0 || ring.len() < 4 {
        return (0..ring.len()).map(point).collect();
    }
    // The first corner and the one farthest from it stay; `ring.len()` is the first again.
    let far = farthest(0, ring.len(), point).map_or(ring.len() / 2, |(at, _)| at);
    let mut keep = vec![false; ring.len()];
    for (first, last) in [(0, far), (far, ring.len())] {
        for start in (first..last).step_by(CHUNK) {
            keep[start] = true;
            thin(start, last.min(start + CHUNK), tolerance, point, &mut keep);
        }
    }
    if keep.iter().filter(|&&kept| kept).count() < 3 {
        // A sliver: the corner that is farthest from its long axis makes it a triangle.
        let sides = [farthest(0, far, point), farthest(far, ring.len(), point)];
        let widest = sides.into_iter().flatten().max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((at, _)) = widest {
            keep[at] = true;
        }
    }
    (0..ring.len()).filter(|&at| keep[at]).map(point).collect()
}

/// Marks what stays between two corners that stay.
fn thin(
    first: usize,
    last: usize,
    tolerance: f64,
    point: impl Fn(usize) -> [f64; 2] + Copy,
    keep: &mut [bool],
) {
    let mut open = vec![(first, last)];
    while let Some((first, last)) = open.pop() {
        if let Some((at, squared)) = farthest(first, last, point)
            && squared > tolerance * tolerance
        {
            keep[at] = true;
            open.extend([(first, at), (at, last)]);
        }
    }
}

/// The corner between two that is farthest from the line that joins them, and the square of how far it is.
fn farthest(first: usize, last: usize, point: impl Fn(usize) -> [f64; 2]) -> Option<(usize, f64)> {
    let (from, to) = (point(first), point(last));
    let by = [to[0] - from[0], to[1] - from[1]];
    let length_squared = by[0] * by[0] + by[1] * by[1];
    let squared = |at: usize| {
        let [x, y] = point(at);
        let (x, y) = (x - from[0], y - from[1]);
        // How far along the line, ends included: rings turn back, and then the nearest point is an end.
        let along = if length_squared > 0.0 {
            ((x * by[0] + y * by[1]) / length_squared).clamp(0.0, 1.0)
        } else {
            0.0
        };
        (x - along * by[0]).powi(2) + (y - along * by[1]).powi(2)
    };
    (first + 1..last).map(|at| (at, squared(at))).max_by(|a, b| a.1.total_cmp(&b.1))
}
