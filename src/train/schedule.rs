//! The schedule of the learning rate over the steps of a run.

use std::f64::consts::PI;

use super::hyperparameters::Hyperparameters;
use crate::named_enum::named_enum;

/// Exponent of the poly curve, as in GluonCV's and torchvision's recipes.
const POLY_POWER: f64 = 0.9;

named_enum! {
    /// The hyperparameter `lr_scheduler`: a curve by which the learning rate falls.
    LrScheduler {
        /// `(1 - progress)^0.9`, with the progress of [`LrCurve`].
        Poly = "poly",
        /// A half wave of the cosine.
        Cosine = "cosine",
        /// Multiplied by a factor at given epochs.
        Step = "step",
    }
}

/// A schedule over a fixed number of steps: a linear warm-up, then a curve over the steps left.
#[derive(Debug, Clone, PartialEq)]
pub struct LrSchedule {
    /// Curve after the warm-up.
    pub curve: LrCurve,
    /// Learning rate that the curve starts from: the hyperparameter `learning_rate`.
    pub base_lr: f64,
    /// Number of steps of the schedule, warm-up included, at least 1.
    pub total_steps: usize,
    /// Rise before the curve.
    pub warmup: Warmup,
}

/// The factor by which [`LrSchedule::lr`] multiplies `base_lr` after the warm-up. `progress` is the
/// share of the steps after the warm-up that are taken, 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub enum LrCurve {
    /// `(1 - progress)^0.9`: `PolynomialLR(power=0.9)`.
    Poly,
    /// `(1 + cos(pi progress)) / 2`: `CosineAnnealingLR`.
    Cosine,
    /// `gamma` to the power of the number of milestones passed: `MultiStepLR`.
    Step {
        /// Steps of the run, from 0, at which the rate is multiplied by `gamma` once more.
        milestones: Vec<usize>,
        gamma: f64,
    },
}

/// A linear rise to `base_lr`: `LinearLR(start_factor, total_iters=steps)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warmup {
    /// Number of steps of the warm-up.
    pub steps: usize,
    /// Learning rate of step 0 as a share of `base_lr`, 0 to 1.
    pub start_factor: f64,
}

impl Warmup {
    pub const NONE: Self = Self { steps: 0, start_factor: 1.0 };
}

impl LrSchedule {
    /// Returns the schedule that hyperparameters ask for. An epoch has `batches_per_epoch` steps,
    /// unless `num_training_samples` states another number of images, as with the built-in.
    pub fn from_hyperparameters(
        hyperparameters: &Hyperparameters,
        batches_per_epoch: usize,
    ) -> Self {
        let h = hyperparameters;
        let stated_samples = h.num_training_samples;
        let batch_size = h.mini_batch_size * h.gradient_accumulation_steps;
        let steps_per_epoch =
            stated_samples.map_or(batches_per_epoch, |stated| (stated / batch_size).max(1));
        let curve = match h.lr_scheduler {
            LrScheduler::Poly => LrCurve::Poly,
            LrScheduler::Cosine => LrCurve::Cosine,
            LrScheduler::Step => LrCurve::Step {
                milestones: h
                    .lr_scheduler_step
                    .iter()
                    .map(|epoch| epoch * steps_per_epoch)
                    .collect(),
                gamma: h.lr_scheduler_factor,
            },
        };
        let warmup = Warmup {
            steps: (h.warmup_epochs * steps_per_epoch as f64).round() as usize,
            start_factor: h.warmup_factor,
        };
        Self { curve, base_lr: h.learning_rate, total_steps: h.epochs * steps_per_epoch, warmup }
    }

    /// Returns a warning if `num_training_samples` is given and less than the number of training
    /// images, because the schedule then ends before the last epoch.
    pub fn short_schedule_warning(
        hyperparameters: &Hyperparameters,
        sample_count: usize,
    ) -> Option<String> {
        let stated = hyperparameters.num_training_samples?;
        if stated >= sample_count {
            return None;
        }
        Some(format!(
            "warning: num_training_samples is {stated}, but there are {sample_count} training \
             images: the learning rate reaches its end before the last epoch; leave it out, \
             and the images are counted"
        ))
    }

    /// Returns the learning rate itself, not a factor. `step` is the step of the run, from 0. After
    /// the end of the schedule, which comes early when `num_training_samples` is too small, it is
    /// the rate of the end.
    pub fn lr(&self, step: usize) -> f64 {
        let Warmup { steps: warmup_steps, start_factor } = self.warmup;
        if step < warmup_steps {
            let warmup_factor =
                start_factor + (1.0 - start_factor) * step as f64 / warmup_steps as f64;
            return self.base_lr * warmup_factor;
        }
        let decay_steps = self.total_steps.saturating_sub(warmup_steps).max(1);
        let progress = ((step - warmup_steps) as f64 / decay_steps as f64).min(1.0);
        self.base_lr
            * match &self.curve {
                LrCurve::Poly => (1.0 - progress).powf(POLY_POWER),
                LrCurve::Cosine => f64::midpoint(1.0, (PI * progress).cos()),
                LrCurve::Step { milestones, gamma } => {
                    let passed_milestones =
                        milestones.iter().filter(|&&milestone| milestone <= step).count();
                    gamma.powi(passed_milestones as i32)
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn schedule(curve: LrCurve) -> LrSchedule {
        LrSchedule { curve, base_lr: 0.1, total_steps: 10, warmup: Warmup::NONE }
    }

    #[test]
    fn poly_and_cosine_fall_from_the_initial_rate_to_zero_and_stay_there() {
        for (curve, half) in [(LrCurve::Poly, 0.5f64.powf(0.9)), (LrCurve::Cosine, 0.5)] {
            let schedule = schedule(curve);
            assert!((schedule.lr(0) - 0.1).abs() < 1e-15);
            assert!((schedule.lr(5) - 0.1 * half).abs() < 1e-15);
            assert!(schedule.lr(10).abs() < 1e-15 && schedule.lr(99).abs() < 1e-15);
        }
    }

    fn schedule_of(pairs: &[(&str, &str)]) -> LrSchedule {
        let base =
            [("num_classes", "4"), ("use_pretrained_model", "False"), ("learning_rate", "0.1")];
        let raw: BTreeMap<String, String> =
            base.iter().chain(pairs).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        LrSchedule::from_hyperparameters(&Hyperparameters::parse(&raw).unwrap(), 8)
    }

    #[test]
    fn steps_are_counted_in_epochs_of_batches_and_every_iteration_has_its_rate() {
        let steps = [("lr_scheduler", "step"), ("lr_scheduler_step", "2, 4"), ("epochs", "6")];
        let schedule = schedule_of(&steps);
        for (step, rate) in [(0, 0.1), (15, 0.1), (16, 0.01), (31, 0.01), (32, 0.001), (99, 0.001)]
        {
            assert!((schedule.lr(step) - rate).abs() < 1e-12, "{step}");
        }
        assert!(schedule_of(&[]).lr(1) < schedule_of(&[]).lr(0));
    }

    #[test]
    fn a_warm_up_of_half_an_epoch_rises_to_the_initial_rate() {
        let schedule = schedule_of(&[("warmup_epochs", "0.5"), ("warmup_factor", "0.2")]);
        let expected = [0.02, 0.04, 0.06, 0.08, 0.1];
        for (step, rate) in expected.into_iter().enumerate() {
            assert!((schedule.lr(step) - rate).abs() < 1e-12, "{step}");
        }
        assert!(schedule.lr(5) < 0.1 && schedule.lr(80).abs() < 1e-15);
    }

    #[test]
    fn a_stated_number_of_samples_lays_the_schedule_out() {
        assert_eq!(schedule_of(&[]).total_steps, 80);
        assert_eq!(schedule_of(&[("num_training_samples", "64")]).total_steps, 40);
        assert_eq!(schedule_of(&[("num_training_samples", "3")]).total_steps, 10);
    }
}
