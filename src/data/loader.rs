//! Batches for training: decoded, scaled and cut in parallel, off the training thread, a bounded
//! number ahead.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::augment::Recipe;
use super::random::{Purpose, generator};
use super::sample::Sample;
use crate::error::{Error, Result};

/// Batches that may wait, decoded, for the training thread.
const AHEAD: usize = 2;

/// Images and masks of one training step, as bytes (design: 7).
#[derive(Debug)]
pub struct Batch {
    /// Red, green, blue: `[images, crop, crop, 3]`.
    pub pixels: Vec<u8>,
    /// Class ids: `[images, crop, crop]`.
    pub ids: Vec<u8>,
    /// One seed per image for its dropout masks.
    pub dropout_seeds: Vec<u64>,
    /// Side of the square crops, in pixels.
    pub crop_size: u32,
}

/// All that decides what an epoch's batches hold.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The training samples, in a fixed order.
    pub samples: Arc<Vec<Sample>>,
    /// Scale and crop.
    pub recipe: Recipe,
    /// Images per batch.
    pub batch_size: usize,
    /// Fixes order, augmentation and dropout.
    pub seed: u64,
}

impl Plan {
    /// Batches per epoch: a short last one is dropped unless it is the only one (design: 4).
    pub fn batches(&self) -> usize {
        (self.samples.len() / self.batch_size).max(usize::from(!self.samples.is_empty()))
    }

    /// Indices of an epoch's samples in the order of the batches.
    fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.samples.len()).collect();
        order.shuffle(&mut generator(self.seed, Purpose::Order, epoch, 0));
        order.truncate(self.batches() * self.batch_size);
        order
    }

    /// Starts loading an epoch, counted from 0, at its batch `first`; the batches come in a fixed order
    /// whatever the thread count.
    pub fn start(&self, epoch: u64, first: usize) -> Result<Loader> {
        let (send, receive) = sync_channel(AHEAD);
        let plan = self.clone();
        thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                for indices in plan.order(epoch).chunks(plan.batch_size).skip(first) {
                    let batch = plan.load(indices, epoch);
                    let failed = batch.is_err();
                    // The receiver is gone when training ended early.
                    if send.send(batch).is_err() || failed {
                        return;
                    }
                }
            })
            .map_err(|cause| {
                Error::internal(format!("cannot start the loader's thread: {cause}"))
            })?;
        Ok(Loader { receive, left: self.batches().saturating_sub(first) })
    }

    fn load(&self, indices: &[usize], epoch: u64) -> Result<Batch> {
        let cut: Result<Vec<(Vec<u8>, Vec<u8>)>> = indices
            .par_iter()
            .map(|&index| {
                let sample = &self.samples[index];
                // The audit read it before; it changed since.
                let (image, mask) = sample.read()?;
                let mut random = generator(self.seed, Purpose::Augmentation, epoch, index as u64);
                let view = self.recipe.draw(image.width(), image.height(), &mut random);
                Ok(self.recipe.cut(view, &image, &mask))
            })
            .collect();
        let seed = |&index: &usize| {
            generator(self.seed, Purpose::Dropout, epoch, index as u64).random::<u64>()
        };
        let (pixels, ids): (Vec<_>, Vec<_>) = cut?.into_iter().unzip();
        Ok(Batch {
            pixels: pixels.concat(),
            ids: ids.concat(),
            dropout_seeds: indices.iter().map(seed).collect(),
            crop_size: self.recipe.crop_size,
        })
    }
}

/// An epoch's batches, in order.
#[derive(Debug)]
pub struct Loader {
    receive: Receiver<Result<Batch>>,
    left: usize,
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let lost = || Err(Error::internal("the loader's thread ended early"));
        let batch = self.receive.recv().unwrap_or_else(|_| lost());
        if batch.is_err() {
            self.left = 0;
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic::SampleData;

    fn plan(batch_size: usize) -> (tempfile::TempDir, Plan) {
        let folder = tempfile::tempdir().unwrap();
        SampleData { images: 8, size: 64, seed: 5 }.write(folder.path()).unwrap();
        let split = crate::sagemaker::channels::Split {
            name: "train",
            images: folder.path().join("train"),
            masks: folder.path().join("train_annotation"),
        };
        let samples =
            Arc::new(crate::data::source::pair(&split, &mut crate::error::Problems::new()));
        let recipe = Recipe { base_size: 48, crop_size: 32 };
        (folder, Plan { samples, recipe, batch_size, seed: 1 })
    }

    #[test]
    fn a_short_last_batch_is_dropped_unless_it_is_the_only_one() {
        for (size, batches, images) in [(4, 1, 4), (5, 1, 5), (2, 3, 2), (100, 1, 6)] {
            let (_folder, plan) = plan(size);
            let loaded: Vec<Batch> = plan.start(0, 0).unwrap().map(Result::unwrap).collect();
            assert_eq!(loaded.len(), batches);
            assert_eq!(loaded[0].dropout_seeds.len(), images);
            assert_eq!(loaded[0].pixels.len(), images * 32 * 32 * 3);
        }
    }

    #[test]
    fn an_epoch_is_the_same_each_time_and_unlike_the_next() {
        let (_folder, plan) = plan(3);
        let epoch = |number| -> Vec<Vec<u8>> {
            plan.start(number, 0).unwrap().map(|batch| batch.unwrap().pixels).collect()
        };
        assert_eq!(epoch(0), epoch(0));
        assert_ne!(epoch(0), epoch(1));
    }

    #[test]
    fn a_file_that_vanished_after_the_audit_is_named_and_ends_the_epoch() {
        let (_folder, plan) = plan(3);
        let gone = &plan.samples[2].image;
        std::fs::remove_file(gone).unwrap();
        let results: Vec<_> = plan.start(0, 0).unwrap().collect();
        let error = results.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(error.contains(gone.to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_loader_can_be_dropped_half_way() {
        let (_folder, plan) = plan(1);
        assert!(plan.start(0, 0).unwrap().next().unwrap().is_ok());
    }
}
