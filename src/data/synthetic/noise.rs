//! Smooth random fields of the plane.

/// Returns a value for every lattice point, from 0 to 1, that looks random.
fn lattice_noise(x: i32, y: i32, seed: u32) -> f32 {
    let mut hash = (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77);
    hash ^= seed.wrapping_mul(0xc2b2_ae3d);
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d);
    hash = (hash ^ (hash >> 12)).wrapping_mul(0x297a_2d39);
    ((hash ^ (hash >> 15)) >> 8) as f32 / 16_777_216.0
}

/// Returns noise between 0 and 1 that changes over distances of about 1.
pub(super) fn smooth_noise(x: f32, y: f32, seed: u32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (s, t) = (ease(x - left), ease(y - top));
    let (i, j) = (left as i32, top as i32);
    let upper = lerp(lattice_noise(i, j, seed), lattice_noise(i + 1, j, seed), s);
    let lower = lerp(lattice_noise(i, j + 1, seed), lattice_noise(i + 1, j + 1, seed), s);
    lerp(upper, lower, t)
}

/// Adds three octaves of [`smooth_noise`]; the result is between 0 and 1.
pub(super) fn fractal_noise(x: f32, y: f32, seed: u32) -> f32 {
    (4.0 * octave(x, y, seed, 0) + 2.0 * octave(x, y, seed, 1) + octave(x, y, seed, 2)) / 7.0
}

fn octave(x: f32, y: f32, seed: u32, k: u32) -> f32 {
    smooth_noise(x * (1 << k) as f32, y * (1 << k) as f32, seed ^ (k << 20))
}

/// Interpolates from `a` at 0 to `b` at 1.
pub(super) fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// Returns 0 below `from`, 1 above `to`, and a smooth transition between.
pub(super) fn smoothstep(edge0: f32, edge1: f32, value: f32) -> f32 {
    ease(((value - edge0) / (edge1 - edge0)).clamp(0.0, 1.0))
}

/// Returns 0 at 0 and 1 at 1, with slope 0 at both.
fn ease(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}
