//! Outlines with holes as one ring, for formats whose polygons have no holes.

use super::Outline;

impl Outline {
    /// Returns the outline as one ring that covers the same pixels, by the nonzero and by the even-odd
    /// rule: a line leads from the ring to each hole, around it, and the same way back. Both ways cover
    /// nothing, because they are the same line in opposite directions.
    pub fn cut_open(&self) -> Vec<[f64; 2]> {
        let mut ring = self.outer.clone();
        for hole in &self.holes {
            let Some(&entry) = hole.first() else { continue };
            let nearest = find_nearest(&ring, entry);
            let Some(&exit) = ring.get(nearest) else { continue };
            let after = nearest + 1;
            let mut inserted = Vec::with_capacity(hole.len() + 2);
            inserted.extend_from_slice(hole);
            inserted.push(entry);
            inserted.push(exit);
            ring.splice(after..after, inserted);
        }
        ring
    }
}

/// Returns the index of the point that is nearest to `target`; 0 if there are none.
fn find_nearest(points: &[[f64; 2]], target: [f64; 2]) -> usize {
    let mut nearest = 0;
    let mut smallest = f64::INFINITY;
    for (index, [x, y]) in points.iter().enumerate() {
        let distance = (x - target[0]).powi(2) + (y - target[1]).powi(2);
        if distance < smallest {
            (nearest, smallest) = (index, distance);
        }
    }
    nearest
}
