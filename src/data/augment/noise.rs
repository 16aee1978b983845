//! Gaussian noise from a table.

use std::sync::LazyLock;

use image::RgbImage;
use rand::Rng;

/// Number of values that the noise can take.
const QUANTILES: usize = 4096;

/// Quantiles (i + 1/2) / 4096 of the normal distribution; the outermost are 3.67 deviations away.
/// Drawing one of these takes 12 random bits and no logarithm.
static NORMAL_QUANTILES: LazyLock<[f32; QUANTILES]> = LazyLock::new(|| {
    // The integral of the density, in steps of 1e-4, passes each of them in turn.
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

/// Adds independent noise of standard deviation `sigma`, a share of the range from black to white,
/// to each channel of each pixel.
pub fn gaussian_noise(image: &mut RgbImage, sigma: f64, rng: &mut impl Rng) {
    let scale = (sigma * 255.0) as f32;
    let offsets: Vec<f32> = NORMAL_QUANTILES.iter().map(|value| value * scale + 0.5).collect();
    let mut random_bytes = [0; 1024];
    for values in image.chunks_mut(random_bytes.len() / 2) {
        rng.fill_bytes(&mut random_bytes);
        for (value, &two_bytes) in values.iter_mut().zip(random_bytes.as_chunks::<2>().0) {
            let offset = offsets[usize::from(u16::from_le_bytes(two_bytes)) % QUANTILES];
            *value = (f32::from(*value) + offset) as u8;
        }
    }
}
