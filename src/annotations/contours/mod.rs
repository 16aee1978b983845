//! Outlines of sets of pixels, along the edges of pixels: polygons for tools that draw them.

mod cut_open;
mod simplify;
mod trace;

use self::simplify::simplify_ring;
use self::trace::{Ring, trace_rings};
use super::error::Result;
use super::runs::Runs;
use super::shapes::rasterize_rings;

/// Largest number of times that a tolerance which loses too much is halved before the exact outline
/// is used.
const MAX_HALVINGS: i32 = 4;

/// The outline of one part, in which pixels are connected by their sides. Pixels that only touch at
/// a corner belong to two parts.
///
/// Points are corners of pixels, from (0, 0) to (width, height), x to the right and y down, the
/// last joined to the first; every ring has at least 3. A pixel is covered if it is inside of
/// `outer` and of no hole, by the even-odd rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// Outer ring, clockwise on the screen.
    pub outer: Vec<[f64; 2]>,
    /// Rings of the holes, counterclockwise on the screen. Parts that lie in a hole have outlines
    /// of their own.
    pub holes: Vec<Vec<[f64; 2]>>,
}

impl Outline {
    /// Returns the pixels that the outline covers in an image of `width` x `height` pixels. Refuses
    /// what [`rasterize_rings`] refuses.
    pub fn rasterize(&self, width: u32, height: u32) -> Result<Runs> {
        let holes = self.holes.iter().map(Vec::as_slice);
        rasterize_rings(std::iter::once(self.outer.as_slice()).chain(holes), width, height)
    }
}

/// Returns the outlines of all parts, in the order of their first pixels.
///
/// With `tolerance` 0 the outlines are exact: rasterized, they give the same pixels again.
/// Otherwise corners are dropped as long as none is farther than `tolerance` pixels from the line
/// that replaces it (Ramer, Douglas and Peucker's rule). Every part keeps a pixel, and no pixel of
/// a hole leaves its outline or lies in another hole: a tolerance that would do that is halved for
/// the part, down to the exact outline. A negative tolerance counts as 0.
pub fn trace_outlines(runs: &Runs, tolerance: f64) -> Vec<Outline> {
    let mut outlines = Vec::new();
    for component in group_rings_by_component(trace_rings(runs)) {
        outlines.push(simplify_component(&component, tolerance, runs));
    }
    outlines
}

/// Rings of one part, before simplification.
struct Component {
    outer: Vec<[u32; 2]>,
    holes: Vec<Vec<[u32; 2]>>,
}

/// Groups holes with the outer rings of their parts.
fn group_rings_by_component(rings: Vec<Ring>) -> Vec<Component> {
    let (hole_rings, outer_rings): (Vec<_>, Vec<_>) =
        rings.into_iter().partition(|ring| ring.is_hole);
    let mut component_count = 0;
    for ring in &outer_rings {
        component_count = component_count.max(ring.component as usize + 1);
    }
    let mut component_indices = vec![0; component_count];
    let mut components = Vec::with_capacity(outer_rings.len());
    for ring in outer_rings {
        component_indices[ring.component as usize] = components.len();
        components.push(Component { outer: ring.corners, holes: Vec::new() });
    }
    for hole in hole_rings {
        components[component_indices[hole.component as usize]].holes.push(hole.corners);
    }
    components
}

/// Returns the simplified outline of one part; exact if `tolerance` is 0.
fn simplify_component(component: &Component, tolerance: f64, runs: &Runs) -> Outline {
    if tolerance > 0.0 {
        for halving in 0..=MAX_HALVINGS {
            let outline = simplify_rings(component, tolerance / f64::from(1 << halving));
            if is_valid_outline(&outline, runs).unwrap_or(false) {
                return outline;
            }
        }
    }
    simplify_rings(component, 0.0)
}

fn simplify_rings(component: &Component, tolerance: f64) -> Outline {
    Outline {
        outer: simplify_ring(&component.outer, tolerance),
        holes: component.holes.iter().map(|hole| simplify_ring(hole, tolerance)).collect(),
    }
}

/// Returns true if the outline covers a pixel, and the holes lie inside of the outer ring and apart
/// from each other: only then is the covered area equal to the area of the outer ring less that of
/// the holes.
fn is_valid_outline(outline: &Outline, runs: &Runs) -> Result<bool> {
    let (width, height) = (runs.width(), runs.height());
    let outer_area = rasterize_rings([outline.outer.as_slice()], width, height)?.area();
    let mut holes_area = 0;
    for hole in &outline.holes {
        holes_area += rasterize_rings([hole.as_slice()], width, height)?.area();
    }
    let covered_area =
        if holes_area == 0 { outer_area } else { outline.rasterize(width, height)?.area() };
    Ok(covered_area > 0 && covered_area + holes_area == outer_area)
}

#[cfg(test)]
mod tests;
