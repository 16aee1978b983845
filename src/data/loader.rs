//! Batches for training, which are decoded, scaled and cut in parallel, outside the training
//! thread. The number of batches and of bytes ahead of training is limited.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

use image::{GrayImage, RgbImage};
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::augment::Transforms;
use super::batch_parts::{RankShare, split_into_micro_batches};
use super::random::{Purpose, RngKey, generator};
use super::sample::{Sample, SampleError};
use super::shards::Shards;
use super::wait_timer::WaitTimer;
use crate::error::{Error, Result};

/// Largest number of batches that are being made or wait for the training thread.
const MAX_PREFETCHED_BATCHES: usize = 3;

/// Largest number of bytes of those batches together, unless one batch alone has more. Where training
/// is on a GPU they lie in its memory, and up to twice as many in page-locked memory of the host.
const MAX_PREFETCHED_BYTES: usize = 1 << 30;

/// Images and masks that one rank computes in a training step, as bytes (`docs/architecture.md#bytes-to-the-device`).
#[derive(Debug)]
pub struct Batch {
    /// Red, green and blue: `[images, crop, crop, 3]`.
    pub pixels: Vec<u8>,
    /// Class ids: `[images, crop, crop]`.
    pub ids: Vec<u8>,
    /// One seed per image for its dropout masks.
    pub dropout_seeds: Vec<u64>,
    /// Side of the square crops, in pixels.
    pub crop_size: u32,
    /// Numbers of images that are computed one after the other. They add up to the images here.
    pub part_sizes: Vec<usize>,
}

/// All settings that decide the content of an epoch's batches.
#[derive(Debug, Clone)]
pub struct DataLoaderConfig {
    /// Training samples, in a fixed order.
    pub samples: Arc<Vec<Sample>>,
    /// Scale, crop and augmentations.
    pub transforms: Transforms,
    /// Number of images per batch, over all ranks.
    pub batch_size: usize,
    /// Largest number of images, over all ranks, that are computed at a time.
    pub micro_batch_size: usize,
    /// Part of each batch that is loaded.
    pub share: RankShare,
    /// Samples of the other hosts, if each host has a part of them; else all have the same.
    pub shards: Option<Shards>,
    /// Seed of order, augmentation and dropout.
    pub seed: u64,
}

/// A place in the sequence of all batches. Batches are those of all ranks together
/// (`docs/architecture.md#counted-randomness`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPosition {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Batch of the epoch, from 0.
    pub step: usize,
}

impl DataLoaderConfig {
    /// Returns the number of batches per epoch. A short last batch is dropped unless it is the only
    /// one (`docs/architecture.md#whole-batches`).
    pub fn batches_per_epoch(&self) -> usize {
        match &self.shards {
            Some(shards) => shards.batches_per_epoch(self.batch_size, self.micro_batch_size),
            None => {
                (self.samples.len() / self.batch_size).max(usize::from(!self.samples.is_empty()))
            }
        }
    }

    /// Returns the number of training samples of all hosts.
    pub fn total_samples(&self) -> usize {
        self.shards.as_ref().map_or(self.samples.len(), Shards::total_samples)
    }

    /// Returns the number of images that a batch has, over all ranks: fewer than `batch_size` if
    /// there are no more samples.
    pub fn images_per_batch(&self) -> usize {
        self.batch_size.min(self.total_samples())
    }

    /// Returns the parts of a batch that are computed one after the other, over all ranks.
    pub fn parts_of_batch(&self) -> Vec<Range<usize>> {
        let RankShare { world_size, .. } = self.share;
        split_into_micro_batches(self.images_per_batch(), self.micro_batch_size, world_size)
    }

    /// Returns the number of images of a batch that lie on this host.
    fn images_on_host(&self) -> usize {
        match &self.shards {
            Some(shards) => {
                shards.images_per_batch(shards.current, self.batch_size, self.micro_batch_size)
            }
            None => self.images_per_batch(),
        }
    }

    /// Returns the indices of this host's samples in the order of an epoch's batches.
    fn shuffled_indices(&self, epoch: u64) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..self.samples.len()).collect();
        let host = self.shards.as_ref().map_or(0, |shards| shards.current as u64);
        indices.shuffle(&mut generator(self.seed, Purpose::Shuffle, epoch, host));
        indices.truncate(self.batches_per_epoch() * self.images_on_host());
        indices
    }

    /// Starts loading at `start`, up to the end of epoch `epochs` - 1. Content and order of the
    /// batches depend neither on the thread count nor on `start`. At the end of an epoch the next
    /// one's first batches are loaded at once, so that they are ready after the validation.
    pub fn start(&self, start: BatchPosition, epochs: u64) -> Result<DataLoader> {
        self.start_with(start, epochs, Ok)
    }

    /// Starts loading as [`start`](Self::start). The loader's threads call `prepare` on each batch,
    /// and the loader gives what it returns.
    pub fn start_with<T: Send + 'static>(
        &self,
        start: BatchPosition,
        epochs: u64,
        prepare: impl Fn(Batch) -> Result<T> + Send + Sync + 'static,
    ) -> Result<DataLoader<T>> {
        let batches_per_epoch = self.batches_per_epoch();
        let batches_before = start.step as u64 + start.epoch * batches_per_epoch as u64;
        let batches_left =
            (epochs * batches_per_epoch as u64).saturating_sub(batches_before) as usize;
        // Each worker makes every `num_workers`-th batch. A worker that hands a batch over makes no
        // other, so no worker holds two batches.
        let num_workers = count_workers(self.batch_bytes());
        let prepare = Arc::new(prepare);
        let mut worker_receivers = Vec::new();
        for worker in 0..num_workers {
            let (sender, receiver) = sync_channel(0);
            let (config, prepare) = (self.clone(), prepare.clone());
            let send = move |batch: Result<Batch>| {
                let prepared = batch.and_then(|batch| prepare(batch));
                let is_last = prepared.is_err();
                // The receiver is gone if training ended early.
                sender.send(prepared).is_ok() && !is_last
            };
            let spawned = thread::Builder::new()
                .name(format!("loader {worker}"))
                .spawn(move || config.run_worker(start, epochs, (worker, num_workers), send));
            if let Err(cause) = spawned {
                return Err(Error::internal(format!("cannot start the loader's thread: {cause}")));
            }
            worker_receivers.push(receiver);
        }
        Ok(DataLoader {
            worker_receivers,
            next_worker: 0,
            batches_left,
            wait_timer: WaitTimer::new(),
        })
    }

    /// Returns the number of bytes of a batch's images and masks.
    fn batch_bytes(&self) -> usize {
        let crop_size = self.transforms.crop_size as usize;
        let images = self.images_per_batch().div_ceil(self.share.world_size);
        images * crop_size * crop_size * 4
    }

    /// Makes every `num_workers`-th batch from `start` on, beginning with number `worker`, as long
    /// as `send` returns true.
    fn run_worker(
        &self,
        start: BatchPosition,
        epochs: u64,
        (worker, num_workers): (usize, usize),
        send: impl Fn(Result<Batch>) -> bool,
    ) {
        let mut step = start.step + worker;
        for epoch in start.epoch..epochs {
            let indices = self.shuffled_indices(epoch);
            let images = self.images_on_host().max(1);
            for batch_indices in indices.chunks(images).skip(step).step_by(num_workers) {
                if !send(self.load_batch(batch_indices, epoch)) {
                    return;
                }
                step += num_workers;
            }
            step = step.saturating_sub(self.batches_per_epoch());
        }
    }

    /// Loads this rank's images of the batch with these samples of this host.
    fn load_batch(&self, batch_indices: &[usize], epoch: u64) -> Result<Batch> {
        let mut indices = Vec::new();
        let mut part_sizes = Vec::new();
        let mut host_indices = batch_indices;
        for part in self.parts_of_batch() {
            let own = self.share.range(part.len());
            let on_host = match &self.shards {
                Some(shards) => shards.range_of_host(shards.current, part.len()),
                None => 0..part.len(),
            };
            let (part_indices, others) = host_indices.split_at(on_host.len());
            host_indices = others;
            part_sizes.push(own.len());
            indices.extend_from_slice(
                &part_indices[own.start - on_host.start..own.end - on_host.start],
            );
        }
        let crop_size = self.transforms.crop_size as usize;
        let mut pixels = vec![0; indices.len() * crop_size * crop_size * 3];
        let mut ids = vec![0; indices.len() * crop_size * crop_size];
        pixels
            .par_chunks_exact_mut(crop_size * crop_size * 3)
            .zip(ids.par_chunks_exact_mut(crop_size * crop_size))
            .zip(&indices)
            .try_for_each(|((pixels, ids), &index)| self.write_crop(index, epoch, pixels, ids))?;
        let mut dropout_seeds = Vec::with_capacity(indices.len());
        for &index in &indices {
            let mut rng =
                generator(self.seed, Purpose::Dropout, epoch, self.number_of_sample(index));
            dropout_seeds.push(rng.random::<u64>());
        }
        let crop_size = self.transforms.crop_size;
        Ok(Batch { pixels, ids, dropout_seeds, crop_size, part_sizes })
    }

    /// Returns the number of this host's sample `index` among those of all hosts, which its random
    /// draws depend on.
    fn number_of_sample(&self, index: usize) -> u64 {
        let first = self.shards.as_ref().map_or(0, Shards::first_sample);
        (first + index) as u64
    }

    /// Returns the pixels and class ids of sample `index` in an epoch, both from 0, as the network
    /// gets them.
    pub fn load_crop(&self, index: usize, epoch: u64) -> Result<(RgbImage, GrayImage)> {
        let crop_size = self.transforms.crop_size;
        let (mut pixels, mut ids) =
            (RgbImage::new(crop_size, crop_size), GrayImage::new(crop_size, crop_size));
        self.write_crop(index, epoch, &mut pixels, &mut ids)?;
        Ok((pixels, ids))
    }

    /// Writes the crop of one sample in an epoch.
    fn write_crop(
        &self,
        index: usize,
        epoch: u64,
        pixels: &mut [u8],
        ids: &mut [u8],
    ) -> Result<(), SampleError> {
        let sample = &self.samples[index];
        // The audit read the files before, so a file that fails here has changed since.
        let (lazy_image, mask) = sample.open()?;
        let sample_index = self.number_of_sample(index);
        let rng_key = RngKey { seed: self.seed, epoch, sample_index };
        self.transforms
            .apply(rng_key, &lazy_image, &mask, (pixels, ids))
            .map_err(|error| sample.unreadable(&error))
    }
}

/// Returns the number of workers, each of which holds one batch: at least one.
fn count_workers(batch_bytes: usize) -> usize {
    (MAX_PREFETCHED_BYTES / batch_bytes.max(1)).clamp(1, MAX_PREFETCHED_BATCHES)
}

/// Batches from a position on, in order, as their preparation left them. Dropping it ends the
/// loading.
#[derive(Debug)]
pub struct DataLoader<T = Batch> {
    worker_receivers: Vec<Receiver<Result<T>>>,
    /// Worker that makes the next batch.
    next_worker: usize,
    batches_left: usize,
    wait_timer: WaitTimer,
}

impl<T> DataLoader<T> {
    /// Returns the share of time, 0 to 1, that the training thread waited for data since the last
    /// call of [`starvation_warning`](Self::starvation_warning).
    pub fn waiting_share(&self) -> Option<f64> {
        self.wait_timer.wait_share(Instant::now())
    }

    /// Returns a warning with advice if the training thread waited for data for much of the time
    /// since the last call. The caller asks at the end of each epoch's training, before its
    /// validation.
    pub fn starvation_warning(&mut self) -> Option<String> {
        self.wait_timer.take_warning(Instant::now())
    }
}

impl<T> Iterator for DataLoader<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches_left = self.batches_left.checked_sub(1)?;
        let requested_at = Instant::now();
        let batch = match self.worker_receivers[self.next_worker].recv() {
            Ok(batch) => batch,
            Err(_) => Err(Error::internal("the loader's thread ended early")),
        };
        self.wait_timer.record_wait(requested_at, Instant::now());
        self.next_worker = (self.next_worker + 1) % self.worker_receivers.len();
        if batch.is_err() {
            self.batches_left = 0;
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::Augmentations;
    use crate::data::content::Content;
    use crate::data::shards::Shard;
    use crate::data::synthetic::SampleData;

    fn small_config(batch_size: usize) -> (tempfile::TempDir, DataLoaderConfig) {
        let folder = tempfile::tempdir().unwrap();
        SampleData { images: 8, size: 64, seed: 5 }.write(folder.path()).unwrap();
        let split = crate::sagemaker::channels::SplitFolders {
            name: "train",
            images: folder.path().join("train"),
            masks: folder.path().join("train_annotation"),
        };
        let samples = Arc::new(crate::data::pairing::pair_images_and_masks(
            &split,
            &mut crate::error::Problems::new(),
        ));
        let transforms =
            Transforms { base_size: 48, crop_size: 32, augmentations: Augmentations::default() };
        let config = DataLoaderConfig {
            samples,
            transforms,
            batch_size,
            micro_batch_size: batch_size,
            share: RankShare::default(),
            shards: None,
            seed: 1,
        };
        (folder, config)
    }

    /// Loads the content of all batches from a position on.
    fn load_batches(
        config: &DataLoaderConfig,
        epoch: u64,
        step: usize,
        epochs: u64,
    ) -> Vec<(Vec<u8>, Vec<u8>, Vec<u64>)> {
        let batches =
            config.start(BatchPosition { epoch, step }, epochs).unwrap().map(Result::unwrap);
        batches.map(|batch| (batch.pixels, batch.ids, batch.dropout_seeds)).collect()
    }

    #[test]
    fn a_short_last_batch_is_dropped_unless_it_is_the_only_one() {
        for (size, batches, images) in [(4, 1, 4), (5, 1, 5), (2, 3, 2), (100, 1, 6)] {
            let (_folder, config) = small_config(size);
            let loaded = load_batches(&config, 0, 0, 1);
            assert_eq!(loaded.len(), batches);
            assert_eq!(loaded[0].2.len(), images);
            assert_eq!(loaded[0].0.len(), images * 32 * 32 * 3);
        }
    }

    #[test]
    fn an_epoch_is_the_same_each_time_and_unlike_the_next() {
        let (_folder, config) = small_config(3);
        assert_eq!(load_batches(&config, 0, 0, 1), load_batches(&config, 0, 0, 1));
        assert_ne!(load_batches(&config, 0, 0, 1), load_batches(&config, 1, 0, 2));
    }

    #[test]
    fn batches_do_not_depend_on_where_loading_started() {
        for batch_size in [1, 2, 3, 4] {
            let (_folder, mut config) = small_config(batch_size);
            config.transforms.augmentations = Augmentations::all_at_default();
            let (epochs, batches_per_epoch) = (3, config.batches_per_epoch());
            let all = load_batches(&config, 0, 0, epochs);
            assert_eq!(all.len(), 3 * batches_per_epoch);
            for start in 0..=all.len() {
                let (epoch, step) = ((start / batches_per_epoch) as u64, start % batches_per_epoch);
                assert_eq!(
                    load_batches(&config, epoch, step, epochs),
                    all[start..],
                    "from batch {start}"
                );
            }
            // The end of an epoch is also the start of the next one.
            assert_eq!(
                load_batches(&config, 0, batches_per_epoch, epochs),
                all[batches_per_epoch..]
            );
        }
    }

    #[test]
    fn batches_do_not_depend_on_the_number_of_threads() {
        let (_folder, mut config) = small_config(3);
        config.transforms.augmentations = Augmentations::all_at_default();
        let order = config.shuffled_indices(2);
        let pixels_with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| config.load_batch(&order, 2).unwrap().pixels)
        };
        assert_eq!(pixels_with(1), pixels_with(5));
    }

    #[test]
    fn a_crop_by_itself_is_that_of_the_batch() {
        let (_folder, mut config) = small_config(6);
        config.transforms.augmentations = Augmentations::all_at_default();
        let batch = config.load_batch(&config.shuffled_indices(2), 2).unwrap();
        for (place, index) in config.shuffled_indices(2).into_iter().enumerate() {
            let (pixels, ids) = config.load_crop(index, 2).unwrap();
            assert!(pixels.as_raw()[..] == batch.pixels[place * 32 * 32 * 3..][..32 * 32 * 3]);
            assert!(ids.as_raw()[..] == batch.ids[place * 32 * 32..][..32 * 32]);
        }
    }

    #[test]
    fn batches_ahead_are_bounded_in_number_and_in_bytes() {
        assert_eq!(count_workers(16 * 240 * 240 * 4), MAX_PREFETCHED_BATCHES);
        assert_eq!(count_workers(MAX_PREFETCHED_BYTES / 2), 2);
        assert_eq!(count_workers(MAX_PREFETCHED_BYTES / 2 + 1), 1);
        assert_eq!(count_workers(MAX_PREFETCHED_BYTES * 9), 1);
        let (_folder, config) = small_config(100);
        assert_eq!(config.batch_bytes(), 6 * 32 * 32 * 4, "the only batch is short");
    }

    #[test]
    fn a_file_that_vanished_after_the_audit_is_named_and_ends_the_loading() {
        let (_folder, config) = small_config(3);
        let Content::File(gone) = &config.samples[2].image else { panic!("a folder's") };
        std::fs::remove_file(gone).unwrap();
        let results: Vec<_> =
            config.start(BatchPosition { epoch: 0, step: 0 }, 9).unwrap().collect();
        assert!(results.len() <= config.batches_per_epoch());
        let error = results.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(error.contains(gone.to_str().unwrap()), "{error}");
    }

    #[test]
    fn ranks_of_hosts_with_parts_of_the_samples_share_batches() {
        let (_folder, mut config) = small_config(3);
        config.transforms.augmentations = Augmentations::all_at_default();
        let whole = config.samples.clone();
        // The first host has 4 samples and one worker, the second one 2 samples and two workers.
        let shards = vec![Shard { samples: 4, ranks: 0..1 }, Shard { samples: 2, ranks: 1..3 }];
        let mut seeds_by_epoch = Vec::new();
        for rank in 0..3 {
            let current = usize::from(rank > 0);
            let samples = if current == 0 { &whole[..4] } else { &whole[4..] };
            let config = DataLoaderConfig {
                samples: Arc::new(samples.to_vec()),
                share: RankShare { rank, world_size: 3 },
                shards: Some(Shards { shards: shards.clone(), current }),
                ..config.clone()
            };
            assert_eq!((config.batches_per_epoch(), config.total_samples()), (1, 6));
            for (epoch, batch) in load_batches(&config, 0, 0, 3).into_iter().enumerate() {
                assert_eq!(batch.2.len(), 1, "one image per rank");
                seeds_by_epoch.push((epoch, batch.2[0]));
            }
        }
        seeds_by_epoch.sort_unstable();
        let all = seeds_by_epoch.len();
        seeds_by_epoch.dedup();
        assert_eq!((all, seeds_by_epoch.len()), (9, 9), "no two images have the same draws");
    }

    #[test]
    fn batches_are_prepared_in_order_until_a_preparation_fails() {
        let (_folder, config) = small_config(1);
        let start = BatchPosition { epoch: 0, step: 0 };
        let seeds: Vec<u64> =
            load_batches(&config, 0, 0, 1).iter().map(|(_, _, seeds)| seeds[0]).collect();
        let refused = seeds[4];
        let prepare = move |batch: Batch| {
            if batch.dropout_seeds[0] == refused {
                return Err(Error::input("no memory"));
            }
            Ok(batch.dropout_seeds[0])
        };
        let mut loader = config.start_with(start, 1, prepare).unwrap();
        for expected in &seeds[..4] {
            assert_eq!(loader.next().unwrap().unwrap(), *expected);
        }
        assert!(loader.next().unwrap().unwrap_err().to_string().contains("no memory"));
        assert!(loader.next().is_none());
    }

    #[test]
    fn a_loader_can_be_dropped_half_way() {
        let (_folder, config) = small_config(1);
        assert!(
            config.start(BatchPosition { epoch: 0, step: 0 }, 2).unwrap().next().unwrap().is_ok()
        );
    }
}
