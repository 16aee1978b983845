//! Outlines of what is covered, along the edges of pixels: polygons for tools that draw them.

mod simplify;
mod trace;

use self::simplify::simplified;
use self::trace::{Ring, rings};
use super::runs::Runs;
use super::shapes::even_odd;

/// How often a tolerance that loses too much is halved before the outline is taken as it is.
const HALVINGS: i32 = 4;

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
    pub fn rasterise(&self, width: u32, height: u32) -> Result<Runs, String> {
        let holes = self.holes.iter().map(Vec::as_slice);
        even_odd(std::iter::once(self.outer.as_slice()).chain(holes), width, height)
    }
}

/// The outlines of all parts, in the order of their first pixels.
///
/// With `tolerance` 0 they are exact: rasterised, they are the same pixels again. Otherwise corners are left out as
/// long as none is farther than that many pixels from the line that replaces it (Ramer, Douglas and Peucker's rule).
/// Every part keeps a pixel, and no pixel of a hole leaves its outline or lies in another hole: where a tolerance
/// would do that, it is halved for that part, down to the exact outline. A negative one counts as 0.
pub fn outlines(runs: &Runs, tolerance: f64) -> Vec<Outline> {
    parts(rings(runs)).into_iter().map(|part| outline(&part, tolerance, runs)).collect()
}

/// The corners of one part.
struct Part {
    outer: Vec<[u32; 2]>,
    holes: Vec<Vec<[u32; 2]>>,
}

/// Holes to the outlines that they are in.
fn parts(rings: Vec<Ring>) -> Vec<Part> {
    let (holes, outer): (Vec<_>, Vec<_>) = rings.into_iter().partition(|ring| ring.is_hole);
    let labels = outer.iter().map(|ring| ring.part).max().map_or(0, |last| last as usize + 1);
    let mut place = vec![0; labels];
    let mut parts = Vec::with_capacity(outer.len());
    for ring in outer {
        place[ring.part as usize] = parts.len();
        parts.push(Part { outer: ring.corners, holes: Vec::new() });
    }
    for hole in holes {
        parts[place[hole.part as usize]].holes.push(hole.corners);
    }
    parts
}

/// The outline within a tolerance.
fn outline(part: &Part, tolerance: f64, runs: &Runs) -> Outline {
    let within = |tolerance: f64| Outline {
        outer: simplified(&part.outer, tolerance),
        holes: part.holes.iter().map(|hole| simplified(hole, tolerance)).collect(),
    };
    if tolerance > 0.0 {
        for halving in 0..=HALVINGS {
            let outline = within(tolerance / f64::from(1 << halving));
            if is_sound(&outline, runs).unwrap_or(false) {
                return outline;
            }
        }
    }
    within(0.0)
}

/// Whether something is covered and the holes are apart from each other and inside: only then is what is covered as
/// much as the outer ring has less what the holes have.
fn is_sound(outline: &Outline, runs: &Runs) -> Result<bool, String> {
    let (width, height) = (runs.width(), runs.height());
    let area = |ring: &[[f64; 2]]| even_odd([ring], width, height).map(|runs| runs.area());
    let outer = area(&outline.outer)?;
    let mut holes = 0;
    for hole in &outline.holes {
        holes += area(hole)?;
    }
    let covered = if holes == 0 { outer } else { outline.rasterise(width, height)?.area() };
    Ok(covered > 0 && covered + holes == outer)
}

#[cfg(test)]
mod tests;
