//! Simplification of closed rings by the rule of Ramer (1972), Douglas and Peucker (1973).

/// Number of corners that are simplified together. The rule can take as many steps as the square of
/// their number. Every 1024th corner stays, so that a ring of a million corners costs no more than
/// a thousand rings of a thousand.
const CHUNK_CORNERS: usize = 1024;

/// Returns the corners of a ring that are needed to stay within `tolerance` pixels of all corners:
/// at least 3, and all if `tolerance` is 0.
pub(super) fn simplify_ring(ring: &[[u32; 2]], tolerance: f64) -> Vec<[f64; 2]> {
    if tolerance <= 0.0 || ring.len() < 4 {
        return ring.iter().map(|corner| corner.map(f64::from)).collect();
    }
    // The first corner and the one farthest from it stay. The index `ring.len()` is the first
    // corner again.
    let far_corner = match find_farthest_corner(ring, 0, ring.len()) {
        Some((index, _)) => index,
        None => ring.len() / 2,
    };
    let mut keep = vec![false; ring.len()];
    for (first, last) in [(0, far_corner), (far_corner, ring.len())] {
        for start in (first..last).step_by(CHUNK_CORNERS) {
            keep[start] = true;
            mark_kept_corners(ring, start, last.min(start + CHUNK_CORNERS), tolerance, &mut keep);
        }
    }
    if keep.iter().filter(|&&kept| kept).count() < 3 {
        // The ring is a sliver: the corner that is farthest from its long axis makes it a triangle.
        let before = find_farthest_corner(ring, 0, far_corner);
        let after = find_farthest_corner(ring, far_corner, ring.len());
        let widest = match (before, after) {
            (Some(before), Some(after)) if before.1 > after.1 => Some(before),
            _ => after.or(before),
        };
        if let Some((index, _)) = widest {
            keep[index] = true;
        }
    }
    let mut simplified = Vec::new();
    for (corner, is_kept) in ring.iter().zip(keep) {
        if is_kept {
            simplified.push(corner.map(f64::from));
        }
    }
    simplified
}

/// Returns a corner of the ring; the index `ring.len()` is the first corner again.
fn point_at(ring: &[[u32; 2]], index: usize) -> [f64; 2] {
    ring[index % ring.len()].map(f64::from)
}

/// Marks the corners that stay between two corners that stay.
fn mark_kept_corners(
    ring: &[[u32; 2]],
    first: usize,
    last: usize,
    tolerance: f64,
    keep: &mut [bool],
) {
    let mut pending = vec![(first, last)];
    while let Some((first, last)) = pending.pop() {
        if let Some((index, distance_squared)) = find_farthest_corner(ring, first, last)
            && distance_squared > tolerance * tolerance
        {
            keep[index] = true;
            pending.extend([(first, index), (index, last)]);
        }
    }
}

/// Returns the corner between two that is farthest from the line that joins them, and the square of
/// its distance, in pixels.
fn find_farthest_corner(ring: &[[u32; 2]], first: usize, last: usize) -> Option<(usize, f64)> {
    let (start, end) = (point_at(ring, first), point_at(ring, last));
    let direction = [end[0] - start[0], end[1] - start[1]];
    let length_squared = direction[0] * direction[0] + direction[1] * direction[1];
    let mut farthest: Option<(usize, f64)> = None;
    for index in first + 1..last {
        let [x, y] = point_at(ring, index);
        let (x, y) = (x - start[0], y - start[1]);
        // Position along the line, clamped to its ends: rings turn back, and then an end is the
        // nearest point.
        let fraction = if length_squared > 0.0 {
            ((x * direction[0] + y * direction[1]) / length_squared).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let distance_squared =
            (x - fraction * direction[0]).powi(2) + (y - fraction * direction[1]).powi(2);
        // The last one of several corners that are equally far counts.
        match farthest {
            Some((_, longest)) if distance_squared < longest => {}
            _ => farthest = Some((index, distance_squared)),
        }
    }
    farthest
}
