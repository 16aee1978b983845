//! Gaussian blur, mirrored at the edges.

use image::RgbImage;

/// Radius of the kernel in standard deviations. Taps farther away weigh less than a hundredth of
/// the middle one.
const RADIUS_SIGMAS: f64 = 3.0;

/// Blurs by a Gaussian of standard deviation `sigma`, in pixels, mirrored at the edge without
/// repeating the edge's own pixel. This is torchvision's `gaussian_blur` with a kernel of 3
/// deviations to either side.
pub fn gaussian_blur(image: &mut RgbImage, sigma: f64) {
    let kernel = gaussian_kernel(sigma);
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (row_len, radius) = (width * 3, kernel.len() / 2);
    // Rows come first, into floats. Each row is continued beyond its edges, so that the inner loop
    // needs no condition.
    let mut blurred_rows = vec![0.0_f32; row_len * height];
    let mut padded_row = vec![0.0_f32; row_len + 6 * radius];
    for (source, target) in image.chunks_exact(row_len).zip(blurred_rows.chunks_exact_mut(row_len))
    {
        for (index, pixel) in padded_row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let x = reflect_index(index as isize - radius as isize, width) * 3;
            *pixel = [source[x], source[x + 1], source[x + 2]].map(f32::from);
        }
        for (tap, weight) in kernel.iter().enumerate() {
            add_weighted(target, &padded_row[tap * 3..tap * 3 + row_len], *weight);
        }
    }
    let mut sum = vec![0.0_f32; row_len];
    for (y, target) in image.chunks_exact_mut(row_len).enumerate() {
        // The sum begins at one half, so that cutting the fraction off rounds.
        sum.fill(0.5);
        for (tap, weight) in kernel.iter().enumerate() {
            let y = reflect_index((y + tap) as isize - radius as isize, height);
            add_weighted(&mut sum, &blurred_rows[y * row_len..][..row_len], *weight);
        }
        for (target, sum) in target.iter_mut().zip(&sum) {
            *target = *sum as u8;
        }
    }
}

fn add_weighted(sum: &mut [f32], values: &[f32], weight: f32) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += weight * value;
    }
}

/// Returns the weights from one side to the other; their sum is 1.
fn gaussian_kernel(sigma: f64) -> Vec<f32> {
    let radius = (RADIUS_SIGMAS * sigma).ceil() as i32;
    let mut weights = Vec::new();
    for offset in -radius..=radius {
        weights.push((-0.5 * (f64::from(offset) / sigma.max(1e-9)).powi(2)).exp());
    }
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| (weight / total) as f32).collect()
}

/// Returns the place inside `0..size` that is mirrored to a place beyond its ends.
fn reflect_index(index: isize, size: usize) -> usize {
    let last = size as isize - 1;
    if last == 0 {
        return 0;
    }
    let folded = index.rem_euclid(2 * last);
    folded.min(2 * last - folded) as usize
}
