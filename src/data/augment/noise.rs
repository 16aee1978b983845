//! Gaussian noise.

use std::sync::LazyLock;

use rand::Rng;

use super::patch::Patch;

/// Values of the normal distribution that are told apart.
const QUANTILES: usize = 4096;

/// The quantiles (i + 1/2) / 4096 of the normal distribution; the outermost are 3.67 deviations away.
/// Drawing one of these takes 12 random bits and no logarithm.
static NORMAL: LazyLock<[f32; QUANTILES]> = LazyLock::new(|| {
    // The integral of the density, in steps of a ten-thousandth, passes each of them in turn.
    const STEP: f64 = 1e-4;
    let mut quantiles = [0.0; QUANTILES];
    let (mut x, mut integral) = (-6.0_f64, 0.0);
    for (i, quantile) in quantiles.iter_mut().enumerate() {
        while integral < (i as f64 + 0.5) / QUANTILES as f64 && x < 6.0 {
            integral +=
                (-0.5 * (x + STEP / 2.0).powi(2)).exp() * STEP / std::f64::consts::TAU.sqrt();
            x += STEP;
        }
        *quantile = x as f32;
    }
    quantiles
});

/// Adds noise of standard deviation `sigma`, a share of the range from black to white, to each channel of each
/// pixel by itself.
pub(super) fn noise(patch: &mut Patch, sigma: f64, random: &mut impl Rng) {
    let scale = (sigma * 255.0) as f32;
    let steps: Vec<f32> = NORMAL.iter().map(|value| value * scale + 0.5).collect();
    let mut bits = [0; 1024];
    for values in patch.image.chunks_mut(bits.len() / 2) {
        random.fill_bytes(&mut bits);
        for (value, &pair) in values.iter_mut().zip(bits.as_chunks::<2>().0) {
            let step = steps[usize::from(u16::from_le_bytes(pair)) % QUANTILES];
            *value = (f32::from(*value) + step) as u8;
        }
    }
}
