//! Batches for training: decoded, scaled and cut in parallel, off the training thread, a bounded
//! number and a bounded number of bytes ahead.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use image::{GrayImage, RgbImage};
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::augment::Recipe;
use super::random::{Counters, Purpose, generator};
use super::sample::{Sample, Unusable};
use super::waiting::Waiting;
use crate::error::{Error, Result};

/// Batches that are being made or wait, finished, for the training thread.
const AHEAD: usize = 3;

/// Bytes that those may have together, as long as one batch has fewer.
const AHEAD_BYTES: usize = 1 << 30;

/// Images and masks of one training step, as bytes (`docs/architecture.md#bytes-to-the-device`).
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
    /// Scale, crop and augmentations.
    pub recipe: Recipe,
    /// Images per batch.
    pub batch_size: usize,
    /// Fixes order, augmentation and dropout.
    pub seed: u64,
}

/// A place in the sequence of all batches; it knows no rank
/// (`docs/architecture.md#counted-randomness`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Epochs, from 0.
    pub epoch: u64,
    /// Batches of the epoch, from 0.
    pub step: usize,
}

impl Plan {
    /// Batches per epoch: a short last one is dropped unless it is the only one
    /// (`docs/architecture.md#whole-batches`).
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

    /// Starts loading at `first`, up to the end of epoch `epochs` - 1. The batches come in their order
    /// whatever the thread count, and do not depend on where loading started. At the end of an epoch
    /// the next one's first batches are loaded at once, so that they are ready after a validation.
    pub fn start(&self, first: Position, epochs: u64) -> Result<Loader> {
        let batches = self.batches();
        let before = first.step as u64 + first.epoch * batches as u64;
        let left = (epochs * batches as u64).saturating_sub(before) as usize;
        // Each lane makes every `count`-th batch. While it hands one over, it makes no other: a
        // batch is in the making or waits, never both.
        let count = lanes(self.batch_bytes());
        let lanes = (0..count).map(|lane| {
            let (send, receive) = sync_channel(0);
            let plan = self.clone();
            thread::Builder::new()
                .name(format!("loader {lane}"))
                .spawn(move || plan.run(first, epochs, (lane, count), &send))
                .map_err(|cause| {
                    Error::internal(format!("cannot start the loader's thread: {cause}"))
                })?;
            Ok(receive)
        });
        Ok(Loader { lanes: lanes.collect::<Result<_>>()?, next: 0, left, waiting: Waiting::new() })
    }

    /// Bytes of a batch's images and masks.
    fn batch_bytes(&self) -> usize {
        let crop = self.recipe.crop_size as usize;
        self.batch_size.min(self.samples.len()) * crop * crop * 4
    }

    /// Makes every `lanes`-th batch from `first` on, beginning with number `lane`.
    fn run(
        &self,
        first: Position,
        epochs: u64,
        (lane, lanes): (usize, usize),
        send: &SyncSender<Result<Batch>>,
    ) {
        let mut step = first.step + lane;
        for epoch in first.epoch..epochs {
            let order = self.order(epoch);
            for indices in order.chunks(self.batch_size).skip(step).step_by(lanes) {
                let batch = self.load(indices, epoch);
                let failed = batch.is_err();
                // The receiver is gone when training ended early.
                if send.send(batch).is_err() || failed {
                    return;
                }
                step += lanes;
            }
            step = step.saturating_sub(self.batches());
        }
    }

    fn load(&self, indices: &[usize], epoch: u64) -> Result<Batch> {
        let crop = self.recipe.crop_size as usize;
        let mut pixels = vec![0; indices.len() * crop * crop * 3];
        let mut ids = vec![0; indices.len() * crop * crop];
        pixels
            .par_chunks_exact_mut(crop * crop * 3)
            .zip(ids.par_chunks_exact_mut(crop * crop))
            .zip(indices)
            .try_for_each(|((pixels, ids), &index)| self.cut(index, epoch, pixels, ids))?;
        let seed = |&index: &usize| {
            generator(self.seed, Purpose::Dropout, epoch, index as u64).random::<u64>()
        };
        let dropout_seeds = indices.iter().map(seed).collect();
        Ok(Batch { pixels, ids, dropout_seeds, crop_size: self.recipe.crop_size })
    }

    /// What the network sees of a sample in an epoch, both from 0: pixels and class ids.
    pub fn crop(&self, index: usize, epoch: u64) -> Result<(RgbImage, GrayImage)> {
        let side = self.recipe.crop_size;
        let (mut pixels, mut ids) = (RgbImage::new(side, side), GrayImage::new(side, side));
        self.cut(index, epoch, &mut pixels, &mut ids)?;
        Ok((pixels, ids))
    }

    /// One sample of an epoch.
    fn cut(
        &self,
        index: usize,
        epoch: u64,
        pixels: &mut [u8],
        ids: &mut [u8],
    ) -> Result<(), Unusable> {
        let sample = &self.samples[index];
        // Whatever fails, the audit read it before; it changed since.
        let (picture, mask) = sample.open()?;
        let counters = Counters { seed: self.seed, epoch, sample: index as u64 };
        self.recipe
            .apply(counters, (&picture, &mask), (pixels, ids))
            .map_err(|error| sample.unreadable(&error))
    }
}

/// How many batches may be in the making or wait: at least one.
fn lanes(batch_bytes: usize) -> usize {
    (AHEAD_BYTES / batch_bytes.max(1)).clamp(1, AHEAD)
}

/// The batches from a position on, in order. Dropping it ends the loading.
#[derive(Debug)]
pub struct Loader {
    lanes: Vec<Receiver<Result<Batch>>>,
    /// The lane that makes the next batch.
    next: usize,
    left: usize,
    waiting: Waiting,
}

impl Loader {
    /// The share of the time since [`starvation`](Self::starvation) was last asked that the training
    /// thread waited for data, 0 to 1.
    pub fn waiting_share(&self) -> Option<f64> {
        self.waiting.share(Instant::now())
    }

    /// What to say if the training thread waited for data for much of the time since this was last
    /// asked, and what to do about it; to be asked at the end of each epoch's training, before its
    /// validation.
    pub fn starvation(&mut self) -> Option<String> {
        self.waiting.report(Instant::now())
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let asked = Instant::now();
        let lost = || Err(Error::internal("the loader's thread ended early"));
        let batch = self.lanes[self.next].recv().unwrap_or_else(|_| lost());
        self.waiting.waited(asked, Instant::now());
        self.next = (self.next + 1) % self.lanes.len();
        if batch.is_err() {
            self.left = 0;
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::content::Content;
    use crate::data::synthetic::SampleData;
    use crate::sagemaker::hyperparameters::Augmentations;

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
        let recipe =
            Recipe { base_size: 48, crop_size: 32, augmentations: Augmentations::default() };
        (folder, Plan { samples, recipe, batch_size, seed: 1 })
    }

    /// All that a step sees of the batches from a position on.
    fn seen(
        plan: &Plan,
        epoch: u64,
        step: usize,
        epochs: u64,
    ) -> Vec<(Vec<u8>, Vec<u8>, Vec<u64>)> {
        let batches = plan.start(Position { epoch, step }, epochs).unwrap().map(Result::unwrap);
        batches.map(|batch| (batch.pixels, batch.ids, batch.dropout_seeds)).collect()
    }

    #[test]
    fn a_short_last_batch_is_dropped_unless_it_is_the_only_one() {
        for (size, batches, images) in [(4, 1, 4), (5, 1, 5), (2, 3, 2), (100, 1, 6)] {
            let (_folder, plan) = plan(size);
            let loaded = seen(&plan, 0, 0, 1);
            assert_eq!(loaded.len(), batches);
            assert_eq!(loaded[0].2.len(), images);
            assert_eq!(loaded[0].0.len(), images * 32 * 32 * 3);
        }
    }

    #[test]
    fn an_epoch_is_the_same_each_time_and_unlike_the_next() {
        let (_folder, plan) = plan(3);
        assert_eq!(seen(&plan, 0, 0, 1), seen(&plan, 0, 0, 1));
        assert_ne!(seen(&plan, 0, 0, 1), seen(&plan, 1, 0, 2));
    }

    #[test]
    fn batches_do_not_depend_on_where_loading_started() {
        for batch_size in [1, 2, 3, 4] {
            let (_folder, mut plan) = plan(batch_size);
            plan.recipe.augmentations = Augmentations::all();
            let (epochs, batches) = (3, plan.batches());
            let all = seen(&plan, 0, 0, epochs);
            assert_eq!(all.len(), 3 * batches);
            for start in 0..=all.len() {
                let (epoch, step) = ((start / batches) as u64, start % batches);
                assert_eq!(seen(&plan, epoch, step, epochs), all[start..], "from batch {start}");
            }
            // The end of an epoch is also the start of the next one.
            assert_eq!(seen(&plan, 0, batches, epochs), all[batches..]);
        }
    }

    #[test]
    fn batches_do_not_depend_on_the_number_of_threads() {
        let (_folder, mut plan) = plan(3);
        plan.recipe.augmentations = Augmentations::all();
        let order = plan.order(2);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| plan.load(&order, 2).unwrap().pixels)
        };
        assert_eq!(with(1), with(5));
    }

    #[test]
    fn a_crop_by_itself_is_that_of_the_batch() {
        let (_folder, mut plan) = plan(6);
        plan.recipe.augmentations = Augmentations::all();
        let batch = plan.load(&plan.order(2), 2).unwrap();
        for (place, index) in plan.order(2).into_iter().enumerate() {
            let (pixels, ids) = plan.crop(index, 2).unwrap();
            assert!(pixels.as_raw()[..] == batch.pixels[place * 32 * 32 * 3..][..32 * 32 * 3]);
            assert!(ids.as_raw()[..] == batch.ids[place * 32 * 32..][..32 * 32]);
        }
    }

    #[test]
    fn batches_ahead_are_bounded_in_number_and_in_bytes() {
        assert_eq!(lanes(16 * 240 * 240 * 4), AHEAD);
        assert_eq!(lanes(AHEAD_BYTES / 2), 2);
        assert_eq!(lanes(AHEAD_BYTES / 2 + 1), 1);
        assert_eq!(lanes(AHEAD_BYTES * 9), 1);
        let (_folder, plan) = plan(100);
        assert_eq!(plan.batch_bytes(), 6 * 32 * 32 * 4, "the only batch is short");
    }

    #[test]
    fn a_file_that_vanished_after_the_audit_is_named_and_ends_the_loading() {
        let (_folder, plan) = plan(3);
        let Content::File(gone) = &plan.samples[2].image else { panic!("a folder's") };
        std::fs::remove_file(gone).unwrap();
        let results: Vec<_> = plan.start(Position { epoch: 0, step: 0 }, 9).unwrap().collect();
        assert!(results.len() <= plan.batches());
        let error = results.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(error.contains(gone.to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_loader_can_be_dropped_half_way() {
        let (_folder, plan) = plan(1);
        assert!(plan.start(Position { epoch: 0, step: 0 }, 2).unwrap().next().unwrap().is_ok());
    }
}
