//! Draws libtorch's random numbers under a seed. tch binds one generator, which belongs to the
//! whole process.

use std::sync::{Mutex, PoisonError};

use crate::error::Result;

/// Lock that is held from seeding to the last draw, so that no other thread seeds the generator or
/// draws from it in between.
static GENERATOR_LOCK: Mutex<()> = Mutex::new(());

/// Seeds libtorch's generator and runs `draw`, whose numbers then depend on the seed alone. All
/// code that draws from that generator must do so through this function. `draw` must not call it
/// again: it would wait for itself.
pub fn with_seed<T>(seed: u64, draw: impl FnOnce() -> Result<T>) -> Result<T> {
    // A panic while drawing leaves no half-done state: the next call seeds anew.
    let _guard = GENERATOR_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed as i64);
    draw()
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn numbers_depend_on_the_seed_alone_whatever_other_threads_draw() {
        let draw = |seed| {
            with_seed(seed, || Ok(Tensor::f_rand([4096], (Kind::Float, Device::Cpu))?)).unwrap()
        };
        let expected: Vec<Tensor> = (0..4).map(draw).collect();
        std::thread::scope(|scope| {
            for (seed, expected) in expected.iter().enumerate() {
                let expected = expected.shallow_clone();
                scope.spawn(move || {
                    for _ in 0..50 {
                        assert!(draw(seed as u64).equal(&expected));
                    }
                });
            }
        });
        assert!(!expected[0].equal(&expected[1]));
    }
}
