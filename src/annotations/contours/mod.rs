//! Outlines of what is covered, along the edges of pixels: polygons for tools that draw them.

mod simplify;
mod trace;

use self::simplify::simplify_ring;
use self::trace::{Ring, trace_rings};
use super::runs::Runs;
use super::shapes::rasterize_rings;

/// How often a tolerance that loses too much is halved before the outline is taken as it is.
const MAX_HALVINGS: i32 = 4;

/// The outline of one part: pixels that are joined by their sides (those that only touch at a corner are two parts).
///
/// Points are corners of pixels, from (0, 0) to (width, height), x to the right and y down, the last one joined to the
/// first; every ring has at least 3. Covered is what is inside of `outer` and of no hole, by the even-odd rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// Clockwise as seen.
    pub outer: Vec<[f64; 2]>,
    /// Counterclockwise as seen. Parts that lie in a hole have outlines of their own.
    pub holes: Vec<Vec<[f64; 2]>>,
}

impl Outline {
    /// The pixels that it covers of an image of `width` x `height` pixels.
    ///
    /// # Errors
    /// More points and rows than [`even_odd`] takes.
    pub fn rasterize(&self, width: u32, height: u32) -> Result<Runs, String> {
        let holes = self.holes.iter().map(Vec::as_slice);
        rasterize_rings(std::iter::once(self.outer.as_slice()).chain(holes), width, height)
    }
}

/// The outlines of all parts, in the order of their first pixels.
///
/// With `tolerance` 0 they are exact: rasterized, they are the same pixels again. Otherwise corners are left out as
/// long as none is farther than that many pixels from the line that replaces it (Ramer, Douglas and Peucker's rule).
/// Every part keeps a pixel, and no pixel of a hole leaves its outline or lies in another hole: where a tolerance
/// would do that, it is halved for that part, down to the exact outline. A negative one counts as 0.
pub fn trace_outlines(runs: &Runs, tolerance: f64) -> Vec<Outline> {
    group_rings_by_component(trace_rings(runs))
        .into_iter()
        .map(|part| simplify_component(&part, tolerance, runs))
        .collect()
}

/// The corners of one part.
struct Component {
    outer: Vec<[u32; 2]>,
    holes: Vec<Vec<[u32; 2]>>,
}

/// Holes to the outlines that they are in.
fn group_rings_by_component(rings: Vec<Ring>) -> Vec<Component> {
    let (hole_rings, outer_rings): (Vec<_>, Vec<_>) =
        rings.into_iter().partition(|ring| ring.is_hole);
    let component_count =
        outer_rings.iter().map(|ring| ring.component).max().map_or(0, |last| last as usize + 1);
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

/// The outline within a tolerance.
fn simplify_component(component: &Component, tolerance: f64, runs: &Runs) -> Outline {
    let outline_within = |tolerance: f64| Outline {
        outer: simplify_ring(&component.outer, tolerance),
        holes: component.holes.iter().map(|hole| simplify_ring(hole, tolerance)).collect(),
    };
    if tolerance > 0.0 {
        for halving in 0..=MAX_HALVINGS {
            let outline = outline_within(tolerance / f64::from(1 << halving));
            if is_valid_outline(&outline, runs).unwrap_or(false) {
                return outline;
            }
        }
    }
    outline_within(0.0)
}

/// Whether something is covered and the holes are apart from each other and inside: only then is what is covered as
/// much as the outer ring has less what the holes have.
fn is_valid_outline(outline: &Outline, runs: &Runs) -> Result<bool, String> {
    let (width, height) = (runs.width(), runs.height());
    let ring_area =
        |ring: &[[f64; 2]]| rasterize_rings([ring], width, height).map(|runs| runs.area());
    let outer_area = ring_area(&outline.outer)?;
    let mut holes_area = 0;
    for hole in &outline.holes {
        holes_area += ring_area(hole)?;
    }
    let covered_area =
        if holes_area == 0 { outer_area } else { outline.rasterize(width, height)?.area() };
    Ok(covered_area > 0 && covered_area + holes_area == outer_area)
}

#[cfg(test)]
mod tests;
