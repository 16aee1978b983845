//! The deterministic data set of `maskmaker sample-data`: scenes that look like photographs, with
//! masks in PASCAL VOC's style, for a first try without data of one's own.
//!
//! A pixel's color does not tell its class, because objects and backgrounds draw their colors from
//! one distribution. Outline and surface do, which a small network learns in minutes
//! (`benches/color_classifier.py` measures how far color alone gets).

mod camera;
mod noise;
mod scene;
mod shapes;
mod textures;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use image::GrayImage;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::error::{Error, Problems, Result};
use crate::files::write_atomically;
use crate::imaging::{encode_jpeg, encode_mask};
use crate::metrics::IGNORE_INDEX;

/// Names of the ids in the masks; 255 marks the outlines, which are ignored.
pub const CLASS_NAMES: [&str; 4] = ["background", "disc", "box", "triangle"];

/// Options of `maskmaker sample-data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleData {
    /// Number of all images, 2 to 100000; a quarter of them, at least one, is for validation.
    pub images: u32,
    /// Longer side in pixels, 64 to 4096.
    pub size: u32,
    /// Seed of the data set; the same seed gives the same bytes.
    pub seed: u64,
}

impl Default for SampleData {
    fn default() -> Self {
        Self { images: 200, size: 256, seed: 0 }
    }
}

/// Numbers of images and pixels that were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleDataSummary {
    /// Number of images in `train`.
    pub train: u32,
    /// Number of images in `validation`.
    pub validation: u32,
    /// Pixels of each class over all masks, in the order of [`CLASS_NAMES`].
    pub pixels: [u64; 4],
    /// Number of pixels with 255.
    pub ignored: u64,
}

/// An image and what is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleScene {
    /// Name without its ending.
    pub name: String,
    pub jpeg: Vec<u8>,
    /// Class of each pixel, in the order of [`CLASS_NAMES`].
    pub classes: GrayImage,
}

impl SampleData {
    /// Writes `train`, `train_annotation`, `validation` and `validation_annotation` under `folder`:
    /// JPEG images, and palette PNG masks of the same size and name.
    ///
    /// The same options give the same bytes, however many threads run.
    ///
    /// Fails if an option is out of range, if a folder already holds other files (which would
    /// become part of the data set), or if a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<SampleDataSummary> {
        self.check_options()?;
        self.check_no_other_files(folder)?;
        let counts: Vec<[u64; 256]> = (0..self.images)
            .into_par_iter()
            .map(|index| self.write_scene(folder, index))
            .collect::<Result<_>>()?;
        let mut summary = SampleDataSummary {
            train: self.images - self.validation_images(),
            validation: self.validation_images(),
            pixels: [0; 4],
            ignored: 0,
        };
        for count in &counts {
            for (sum, pixels) in summary.pixels.iter_mut().zip(count) {
                *sum += pixels;
            }
            summary.ignored += count[usize::from(IGNORE_INDEX)];
        }
        Ok(summary)
    }

    /// Returns the name of image number `index`, from 0, without its ending.
    pub fn scene_name(index: u32) -> String {
        format!("scene_{:04}", index + 1)
    }

    /// Draws image number `index`, from 0, with the class of every pixel: the outlines, which masks
    /// ignore, belong to one side or the other. The images are those of [`Self::write`].
    pub fn draw_scene(&self, index: u32) -> SampleScene {
        let (image, classes, quality) =
            scene::draw_scene(self.size, false, &mut self.scene_rng(index));
        SampleScene { name: Self::scene_name(index), jpeg: encode_jpeg(&image, quality), classes }
    }

    /// Finds options that are out of range.
    pub fn check_options(&self) -> Result<()> {
        let mut problems = Problems::new();
        if !(2..=100_000).contains(&self.images) {
            problems.push(format!(
                "images is {}; 2 to 100000 are allowed (one to train on, one to validate on)",
                self.images
            ));
        }
        if !(64..=4096).contains(&self.size) {
            problems.push(format!("size is {}; 64 to 4096 pixels are allowed", self.size));
        }
        problems.into_result()
    }

    fn validation_images(&self) -> u32 {
        (self.images / 4).max(1)
    }

    /// Returns the paths of image and mask number `index`, relative to the data set's folder. The
    /// last quarter is the validation set.
    fn paths(&self, index: u32) -> [PathBuf; 2] {
        let training = index < self.images - self.validation_images();
        let channel = if training { "train" } else { "validation" };
        let stem = Self::scene_name(index);
        [
            Path::new(channel).join(format!("{stem}.jpg")),
            Path::new(&format!("{channel}_annotation")).join(format!("{stem}.png")),
        ]
    }

    /// Checks that the channels hold no files of another origin, or of a run with other options.
    fn check_no_other_files(&self, folder: &Path) -> Result<()> {
        let mut own_paths = HashSet::new();
        let mut channels = HashSet::new();
        for index in 0..self.images {
            for path in self.paths(index) {
                channels.extend(path.parent().map(Path::to_owned));
                own_paths.insert(path);
            }
        }
        let mut other_files = Vec::new();
        for channel in channels {
            let Ok(entries) = fs::read_dir(folder.join(&channel)) else { continue };
            for entry in entries.flatten() {
                let path = channel.join(entry.file_name());
                if !own_paths.contains(&path) {
                    other_files.push(path);
                }
            }
        }
        other_files.sort();
        let Some(first) = other_files.first() else { return Ok(()) };
        Err(Error::input(format!(
            "{} holds {} file{} that this data set would not write, such as {}; choose an empty \
             folder",
            folder.display(),
            other_files.len(),
            if other_files.len() == 1 { "" } else { "s" },
            first.display()
        )))
    }

    /// Draws and writes one scene. Returns the count of each mask value.
    fn write_scene(&self, folder: &Path, index: u32) -> Result<[u64; 256]> {
        let (image, mask, quality) = scene::draw_scene(self.size, true, &mut self.scene_rng(index));
        let [image_path, mask_path] = self.paths(index);
        write_atomically(&folder.join(image_path), &encode_jpeg(&image, quality))?;
        write_atomically(&folder.join(mask_path), &encode_mask(&mask))?;
        let mut counts = [0; 256];
        for id in mask.as_raw() {
            counts[usize::from(*id)] += 1;
        }
        Ok(counts)
    }

    /// Returns the generator of one image. Randomness is counted: it follows from the seed and the
    /// image's number alone (`docs/architecture.md#counted-randomness`).
    fn scene_rng(&self, index: u32) -> ChaCha8Rng {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..12].copy_from_slice(&index.to_le_bytes());
        ChaCha8Rng::from_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::{DecodeLimits, decode_mask, decode_upright};

    /// Reads every file under `folder`, by its path.
    fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all = Vec::new();
        for channel in ["train", "train_annotation", "validation", "validation_annotation"] {
            for entry in fs::read_dir(folder.join(channel)).unwrap() {
                let path = entry.unwrap().path();
                let bytes = fs::read(&path).unwrap();
                all.push((path.strip_prefix(folder).unwrap().to_owned(), bytes));
            }
        }
        all.sort();
        all
    }

    fn write_on_threads(
        count: usize,
        options: SampleData,
    ) -> (SampleDataSummary, Vec<(PathBuf, Vec<u8>)>) {
        let folder = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
        let summary = pool.install(|| options.write(folder.path())).unwrap();
        (summary, files(folder.path()))
    }

    #[test]
    fn the_same_options_give_the_same_bytes_on_any_number_of_threads() {
        let options = SampleData { images: 6, size: 96, seed: 7 };
        let once = write_on_threads(1, options);
        assert_eq!(once, write_on_threads(3, options));
        assert_ne!(once, write_on_threads(3, SampleData { seed: 8, ..options }));
    }

    #[test]
    fn masks_fit_their_images_and_hold_every_class_in_fair_shares() {
        let options = SampleData { images: 60, size: 96, seed: 0 };
        let (summary, files) = write_on_threads(2, options);
        assert_eq!((summary.train, summary.validation), (45, 15));
        let find = |path: &str| &files.iter().find(|(p, _)| p == Path::new(path)).unwrap().1;
        let image = decode_upright(find("train/scene_0001.jpg"), DecodeLimits::default()).unwrap();
        let mask =
            decode_mask(find("train_annotation/scene_0001.png"), DecodeLimits::default()).unwrap();
        assert_eq!(image.dimensions(), mask.dimensions());
        assert_eq!(image.width().max(image.height()), 96);
        assert!(mask.as_raw().iter().all(|id| matches!(id, 0..=3 | 255)));
        let all = summary.pixels.iter().sum::<u64>() as f64;
        let share = |id: usize| summary.pixels[id] as f64 / all;
        assert!((0.45..0.65).contains(&share(0)), "background {}", share(0));
        for class in 1..4 {
            assert!((0.09..0.22).contains(&share(class)), "class {class}: {}", share(class));
        }
        assert!(summary.ignored > 0);
    }

    #[test]
    fn options_out_of_range_are_told_all_at_once() {
        let error = SampleData { images: 1, size: 10, seed: 0 }.write(Path::new("x")).unwrap_err();
        assert_eq!(error.problems().len(), 2, "{error}");
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn a_folder_with_other_files_is_refused_and_its_own_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let large = SampleData { images: 4, size: 64, seed: 1 };
        large.write(folder.path()).unwrap();
        large.write(folder.path()).unwrap();
        let error = SampleData { images: 2, ..large }.write(folder.path()).unwrap_err();
        assert!(error.to_string().contains("train/scene_0002.jpg"), "{error}");
    }
}
