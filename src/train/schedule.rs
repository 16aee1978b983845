//! How the learning rate falls from step to step.

use crate::console::note;
use crate::sagemaker::Hyperparameters;
use crate::sagemaker::hyperparameters::LrScheduler;

/// A schedule over a fixed number of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The form of the curve.
    pub kind: LrScheduler,
    /// The rate at step 0.
    pub initial: f64,
    /// Steps over which it is laid out, at least 1.
    pub steps: usize,
}

impl Schedule {
    /// The schedule that hyperparameters ask for, for an epoch of `batches` steps over `samples`
    /// images. The built-in lays it out over `num_training_samples`; so do we when it is given, and
    /// say so when that ends the learning early.
    pub fn of(hyperparameters: &Hyperparameters, samples: usize, batches: usize) -> Self {
        let h = hyperparameters;
        let stated = h.num_training_samples;
        if let Some(stated) = stated.filter(|&stated| stated < samples) {
            note(format_args!(
                "warning: num_training_samples is {stated}, but there are {samples} training \
                 images: the learning rate reaches 0 before the last epoch; leave it out, and the \
                 images are counted"
            ));
        }
        let per_epoch = stated.map_or(batches, |stated| (stated / h.mini_batch_size).max(1));
        Self { kind: h.lr_scheduler, initial: h.learning_rate, steps: h.epochs * per_epoch }
    }

    /// The learning rate of a step, counted from 0. Past the end it stays at 0, which happens when
    /// `num_training_samples` is less than there are.
    pub fn rate(&self, step: usize) -> f64 {
        let done = (step as f64 / self.steps.max(1) as f64).min(1.0);
        match self.kind {
            LrScheduler::Poly => self.initial * (1.0 - done).powf(0.9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poly_falls_from_the_initial_rate_to_zero_and_stays_there() {
        let schedule = Schedule { kind: LrScheduler::Poly, initial: 0.1, steps: 10 };
        assert!((schedule.rate(0) - 0.1).abs() < 1e-15);
        assert!((schedule.rate(5) - 0.1 * 0.5f64.powf(0.9)).abs() < 1e-15);
        assert!(schedule.rate(10).abs() < 1e-15 && schedule.rate(99).abs() < 1e-15);
    }
}
