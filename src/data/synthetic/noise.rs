//! Smooth random fields of the plane.

/// A value for every lattice point, from 0 to 1, that looks random.
fn lattice(x: i32, y: i32, seed: u32) -> f32 {
    let mut hash = (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77);
    hash ^= seed.wrapping_mul(0xc2b2_ae3d);
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d);
    hash = (hash ^ (hash >> 12)).wrapping_mul(0x297a_2d39);
    ((hash ^ (hash >> 15)) >> 8) as f32 / 16_777_216.0
}

/// Noise between 0 and 1 that changes over distances of about 1.
pub(super) fn smooth(x: f32, y: f32, seed: u32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (s, t) = (ease(x - left), ease(y - top));
    let (i, j) = (left as i32, top as i32);
    let upper = mix(lattice(i, j, seed), lattice(i + 1, j, seed), s);
    let lower = mix(lattice(i, j + 1, seed), lattice(i + 1, j + 1, seed), s);
    mix(upper, lower, t)
}

/// Three octaves of [`smooth`], between 0 and 1.
pub(super) fn fractal(x: f32, y: f32, seed: u32) -> f32 {
    let octave = |k: u32| smooth(x * (1 << k) as f32, y * (1 << k) as f32, seed ^ (k << 20));
    (4.0 * octave(0) + 2.0 * octave(1) + octave(2)) / 7.0
}

/// From `a` at 0 to `b` at 1.
pub(super) fn mix(a: f32, b: f32, share: f32) -> f32 {
    a + (b - a) * share
}

/// 0 below `from`, 1 above `to`, and smooth between.
pub(super) fn step(from: f32, to: f32, value: f32) -> f32 {
    let t = ((value - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
