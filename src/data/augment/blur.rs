//! Gaussian blur.

use super::patch::Patch;

/// Taps that this many deviations away weigh less than a hundredth of the middle one.
const REACH: f64 = 3.0;

/// Blurs by a Gaussian of standard deviation `sigma`, in pixels, mirrored at the edge without repeating the
/// edge's own pixel: torchvision's `gaussian_blur` with a kernel of 3 deviations to either side.
pub(super) fn blur(patch: &mut Patch, sigma: f64) {
    let kernel = kernel(sigma);
    let (width, height) = (patch.image.width() as usize, patch.image.height() as usize);
    let (row, reach) = (width * 3, kernel.len() / 2);
    // Rows first, into floats; the row is continued beyond its edges, so that the inner loop is a plain one.
    let mut across = vec![0.0_f32; row * height];
    let mut line = vec![0.0_f32; row + 6 * reach];
    for (from, to) in patch.image.chunks_exact(row).zip(across.chunks_exact_mut(row)) {
        for (at, pixel) in line.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let x = mirrored(at as isize - reach as isize, width) * 3;
            *pixel = [from[x], from[x + 1], from[x + 2]].map(f32::from);
        }
        for (tap, weight) in kernel.iter().enumerate() {
            add(to, &line[tap * 3..tap * 3 + row], *weight);
        }
    }
    let mut sum = vec![0.0_f32; row];
    for (y, to) in patch.image.chunks_exact_mut(row).enumerate() {
        // Half of one, so that cutting the fraction off rounds.
        sum.fill(0.5);
        for (tap, weight) in kernel.iter().enumerate() {
            let y = mirrored((y + tap) as isize - reach as isize, height);
            add(&mut sum, &across[y * row..][..row], *weight);
        }
        for (to, sum) in to.iter_mut().zip(&sum) {
            *to = *sum as u8;
        }
    }
}

fn add(sum: &mut [f32], values: &[f32], weight: f32) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += weight * value;
    }
}

/// Weights from one side to the other, of sum 1.
fn kernel(sigma: f64) -> Vec<f32> {
    let reach = (REACH * sigma).ceil() as i32;
    let weight = |at: i32| (-0.5 * (f64::from(at) / sigma.max(1e-9)).powi(2)).exp();
    let total: f64 = (-reach..=reach).map(weight).sum();
    (-reach..=reach).map(|at| (weight(at) / total) as f32).collect()
}

/// The place inside `0..size` that a place beyond shows.
fn mirrored(at: isize, size: usize) -> usize {
    let last = size as isize - 1;
    if last == 0 {
        return 0;
    }
    let at = at.rem_euclid(2 * last);
    at.min(2 * last - at) as usize
}
