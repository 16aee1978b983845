//! Random search: every value is drawn by itself, uniformly on the scale of its range (Bergstra and
//! Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13, 2012).

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::assignment::Assignment;
use super::space::{Domain, SearchSpace};
use crate::data::random::{Purpose, generator};

/// Sampler whose draws know nothing of other trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomSampler {
    seed: u64,
}

impl RandomSampler {
    /// Creates a sampler; another seed gives other draws.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Draws the values of a trial. They depend on the seed, the space and the trial's number, so
    /// that trials may be drawn in any order and by any process.
    pub fn draw_assignment(&self, space: &SearchSpace, trial_number: u64) -> Assignment {
        let mut assignment = Assignment::new();
        for (index, parameter) in space.parameters().iter().enumerate() {
            if parameter.is_active(&assignment) {
                let mut rng =
                    generator(self.seed, Purpose::SearchRandom, trial_number, index as u64);
                let position = draw_position(&parameter.domain, &mut rng);
                assignment.set(&parameter.name, parameter.domain.text_at(position));
            }
        }
        assignment
    }
}

/// Draws a position, uniformly on the scale of a range or among the words.
fn draw_position(domain: &Domain, rng: &mut ChaCha8Rng) -> f64 {
    let share: f64 = rng.random();
    match domain {
        Domain::Number(range) => {
            let (low, high) = range.positions();
            low + share * (high - low)
        }
        Domain::Categorical(words) => (share * words.len() as f64).floor(),
    }
}
