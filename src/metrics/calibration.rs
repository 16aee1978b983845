//! Calibration: does a network that is 80 % sure hit 80 % of the pixels? Guo, Pleiss, Sun and
//! Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017).

use super::IGNORE_INDEX;

/// Number of bins, each as wide as the others.
pub const CALIBRATION_BINS: usize = 15;

/// Pixels by the probability of their most likely class.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Calibration {
    /// Bin n has the pixels with probabilities above n / 15, up to (n + 1) / 15. The first has 0 too.
    pub bins: [CalibrationBin; CALIBRATION_BINS],
}

/// Pixels of similar probability.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CalibrationBin {
    pub pixels: u64,
    /// Number of pixels whose most likely class is right.
    pub correct: u64,
    /// Sum of the probabilities.
    pub confidence_sum: f64,
}

impl Calibration {
    /// Counts pixels, each with the probability (0 to 1) of its predicted class. Pixels whose truth
    /// is [`IGNORE_INDEX`] are not counted.
    pub fn update(&mut self, truth: &[u8], predicted: &[u8], confidence: &[f32]) {
        for ((&truth, &predicted), &confidence) in truth.iter().zip(predicted).zip(confidence) {
            if truth == IGNORE_INDEX {
                continue;
            }
            let position = (f64::from(confidence) * CALIBRATION_BINS as f64).ceil() as usize;
            let bin = &mut self.bins[position.clamp(1, CALIBRATION_BINS) - 1];
            bin.pixels += 1;
            bin.correct += u64::from(truth == predicted);
            bin.confidence_sum += f64::from(confidence);
        }
    }

    /// Adds the pixels of `other`, each as often as `times` says.
    pub fn add(&mut self, other: &Self, times: u64) {
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.pixels += times * other.pixels;
            bin.correct += times * other.correct;
            bin.confidence_sum += times as f64 * other.confidence_sum;
        }
    }

    /// Returns the mean difference between probability and share of right pixels over the bins,
    /// weighted by their pixels, 0 to 1; `None` if no pixel was counted.
    pub fn expected_error(&self) -> Option<f64> {
        let pixels: u64 = self.bins.iter().map(|bin| bin.pixels).sum();
        if pixels == 0 {
            return None;
        }
        let mut error = 0.0;
        for bin in &self.bins {
            error += (bin.correct as f64 - bin.confidence_sum).abs();
        }
        Some(error / pixels as f64)
    }
}

impl CalibrationBin {
    /// Returns the share of right pixels, 0 to 1; `None` for an empty bin.
    pub fn accuracy(&self) -> Option<f64> {
        (self.pixels > 0).then(|| self.correct as f64 / self.pixels as f64)
    }

    /// Returns the mean probability, 0 to 1; `None` for an empty bin.
    pub fn mean_confidence(&self) -> Option<f64> {
        (self.pixels > 0).then(|| self.confidence_sum / self.pixels as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bins_hold_what_their_upper_ends_say() {
        let mut calibration = Calibration::default();
        let confidences = [0.0, 1.0 / 15.0, 0.07, 0.5, 1.0, 0.9];
        calibration.update(&[0, 0, 0, 1, 1, 255], &[0, 1, 0, 1, 0, 1], &confidences);
        let pixels: Vec<u64> = calibration.bins.iter().map(|bin| bin.pixels).collect();
        // In 32 bits 1 / 15 is a little above it, and so is in the second bin.
        assert_eq!(pixels, [1, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(calibration.bins[7].accuracy(), Some(1.0));
        assert_eq!(calibration.bins[14].accuracy(), Some(0.0));
        assert_eq!(
            (calibration.bins[3].accuracy(), calibration.bins[3].mean_confidence()),
            (None, None)
        );
        assert_eq!(Calibration::default().expected_error(), None);
    }

    proptest! {
        #[test]
        fn the_error_is_that_of_the_definition(
            pixels in prop::collection::vec((0_u8..3, 0_u8..2, 0.0_f32..=1.0), 1..200),
        ) {
            let (mut truth, mut predicted, mut confidence) = (Vec::new(), Vec::new(), Vec::new());
            for (true_class, predicted_class, probability) in pixels {
                truth.push(if true_class == 2 { IGNORE_INDEX } else { true_class });
                predicted.push(predicted_class);
                confidence.push(probability);
            }
            let mut calibration = Calibration::default();
            calibration.update(&truth, &predicted, &confidence);
            let (mut expected, mut counted) = (0.0, 0);
            for bin in 0..15 {
                let (low, high) = (f64::from(bin) / 15.0, f64::from(bin + 1) / 15.0);
                let (mut correct, mut sum, mut count) = (0.0, 0.0, 0);
                for index in 0..truth.len() {
                    let value = f64::from(confidence[index]);
                    let is_inside = value > low && value <= high || bin == 0 && value == 0.0;
                    if truth[index] != IGNORE_INDEX && is_inside {
                        correct += f64::from(u8::from(truth[index] == predicted[index]));
                        sum += value;
                        count += 1;
                    }
                }
                if count > 0 {
                    let count = f64::from(count);
                    expected += count * (correct / count - sum / count).abs();
                }
                counted += count;
            }
            let error = calibration.expected_error();
            prop_assert_eq!(error.is_none(), counted == 0);
            if let Some(error) = error {
                prop_assert!((error - expected / f64::from(counted)).abs() < 1e-9);
            }
        }
    }
}
