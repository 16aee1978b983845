//! Measures how many of the 95 % intervals of `maskmaker evaluate` hold the true score, which only a
//! population that is known tells. Draws test sets of 20 to 200 images from 100,000 synthetic ones,
//! estimates each set by the bootstrap, and compares two models on it, paired and unpaired.
//!   `bootstrap_coverage [--repetitions 2000] [--draws 1000]`
//!
//! With 2,000 test sets of each size, the standard error of a share of 95 % is 0.5 %. Fails unless the
//! share is 92 to 97 % at 200 images, for the mIoU and the IoU of classes in 30 % of the images or
//! more.
#![allow(clippy::print_stdout)]

use clap::Parser;
use maskmaker::error::{Problems, Result};
use maskmaker::metrics::{
    Bootstrap, ConfusionMatrix, Estimate, ImageScores, PairedDifference, Totals,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

#[derive(Parser)]
struct Arguments {
    /// Test sets of each size
    #[arg(long, default_value_t = 2000)]
    repetitions: u64,
    /// Draws of each bootstrap
    #[arg(long, default_value_t = 1000)]
    draws: usize,
}

/// Number of images in the population.
const POPULATION: usize = 100_000;

/// Share of the images that have a class, by class. Class 0 is the background.
const PRESENCE: [f64; 5] = [1.0, 0.7, 0.5, 0.3, 0.08];

const CLASSES: usize = PRESENCE.len();

/// Numbers of images of the test sets.
const SET_SIZES: [usize; 4] = [20, 50, 100, 200];

/// Position of class 0 in the list of scores, after the mIoU and that without the rarest class.
const FIRST_CLASS: usize = 2;

/// Least number of images of a test set by which the coverage by images with a class is told.
const MIN_IMAGES: usize = 50;

/// Ranges of the number of images of a test set that have a class.
const CLASS_IMAGES: [(u64, u64); 5] = [(1, 4), (5, 9), (10, 19), (20, 39), (40, u64::MAX)];

/// Shares of intervals that hold the truth between which the largest test sets must lie.
const ALLOWED_COVERAGE: (f64, f64) = (0.92, 0.97);

/// Smallest share of the images with a class whose coverage is judged.
const JUDGED_PRESENCE: f64 = 0.3;

/// Logits by which the second model's recall is higher.
const ADVANTAGE: f64 = 0.15;

/// Seeds of the population and of the choice of test sets.
const SEEDS: [u64; 2] = [1, 2];

/// Share of the draws in which a model must be better to be called so, as in `--must-improve`.
const PROBABILITY_BETTER: f64 = 0.95;

/// Standard deviations above zero of a difference of that probability.
const DEVIATIONS_BETTER: f64 = 1.645;

/// Scores of two models on each image.
struct Population {
    models: [Vec<ImageScores>; 2],
}

/// One image's pixels by class, and how hard it is for every model.
struct Scene {
    pixels: [f64; CLASSES],
    /// Logits by which the recall of each class is lower than on average.
    difficulty: [f64; CLASSES],
}

/// Estimates of one test set.
struct TestSet {
    /// The first model's scores, in the order of [`list_scores`].
    scores: Vec<Estimate>,
    /// Number of images with each class.
    class_images: [u64; CLASSES],
    /// mIoU of the second model.
    other_miou: Estimate,
    /// Difference of the models' mIoU.
    difference: PairedDifference,
}

/// Counts intervals by whether they hold the truth.
#[derive(Default)]
struct Coverage {
    held: usize,
    total: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let population = Population::new();
    let truth = population.models.each_ref().map(|images| list_scores(&add_up(images)));
    println!(
        "{} test sets of each size, {} draws; mIoU of the population {:.4}, of a second model {:.4}",
        arguments.repetitions,
        arguments.draws,
        truth[0][0].unwrap_or_default(),
        truth[1][0].unwrap_or_default()
    );
    let mut by_size = Vec::new();
    for size in SET_SIZES {
        by_size.push(population.estimate_test_sets(size, &arguments));
    }
    print_coverage(&by_size, &truth[0]);
    print_coverage_by_class_images(&by_size, &truth[0]);
    print_comparisons(&by_size, &truth);
    check_coverage(&by_size[SET_SIZES.len() - 1], &truth[0])
}

impl Population {
    fn new() -> Self {
        let pairs: Vec<[ImageScores; 2]> = (0..POPULATION as u64)
            .into_par_iter()
            .map(|index| {
                let mut random = ChaCha8Rng::seed_from_u64(SEEDS[0]);
                random.set_stream(index);
                let scene = Scene::draw(&mut random);
                [0.0, ADVANTAGE].map(|advantage| scene.predict(advantage, &mut random))
            })
            .collect();
        let mut models = [Vec::new(), Vec::new()];
        for [first, second] in pairs {
            models[0].push(first);
            models[1].push(second);
        }
        Self { models }
    }

    /// Draws test sets of `size` images and estimates the models' scores on them.
    fn estimate_test_sets(&self, size: usize, arguments: &Arguments) -> Vec<TestSet> {
        (0..arguments.repetitions)
            .into_par_iter()
            .map(|repetition| {
                let mut random = ChaCha8Rng::seed_from_u64(SEEDS[1] + size as u64);
                random.set_stream(repetition);
                let mut images = [Vec::with_capacity(size), Vec::with_capacity(size)];
                for _ in 0..size {
                    let chosen = (draw_uniform(&mut random) * POPULATION as f64) as usize;
                    images[0].push(self.models[0][chosen].clone());
                    images[1].push(self.models[1][chosen].clone());
                }
                TestSet::estimate(&images, Bootstrap { draws: arguments.draws, seed: repetition })
            })
            .collect()
    }
}

impl Scene {
    /// Draws an image of about 300,000 pixels. The sizes of objects are lognormal: a few are many
    /// times as large as the median, as in photographs.
    fn draw(random: &mut ChaCha8Rng) -> Self {
        let image_pixels = 300_000.0 * (0.3 * draw_normal(random)).exp();
        let image_difficulty = 0.8 * draw_normal(random);
        let mut pixels = [0.0; CLASSES];
        let mut difficulty = [0.5 * image_difficulty; CLASSES];
        for class in 1..CLASSES {
            let size = 0.1 * (0.7 * draw_normal(random)).exp();
            let is_present = draw_uniform(random) < PRESENCE[class];
            pixels[class] = if is_present { size } else { 0.0 };
            difficulty[class] = image_difficulty + 0.6 * draw_normal(random);
        }
        // The background keeps a fifth of the image.
        let objects: f64 = pixels.iter().sum();
        let scale = image_pixels * (0.8 / objects).min(1.0);
        pixels = pixels.map(|share| share * scale);
        pixels[0] = image_pixels - pixels.iter().sum::<f64>();
        Self { pixels, difficulty }
    }

    /// Draws what a model predicts, and counts it. Objects lose pixels to the background and a third
    /// as many to one other class.
    fn predict(&self, advantage: f64, random: &mut ChaCha8Rng) -> ImageScores {
        let mut counts = vec![0_u64; CLASSES * CLASSES];
        let mut background = self.pixels[0];
        for class in 1..CLASSES {
            let logit = 1.8 + advantage - self.difficulty[class] + 0.3 * draw_normal(random);
            let recall = 1.0 / (1.0 + (-logit).exp());
            let other = 1 + (class + (draw_uniform(random) * 3.0) as usize) % (CLASSES - 1);
            let missed = self.pixels[class] * (1.0 - recall);
            counts[class * CLASSES + class] = (self.pixels[class] * recall) as u64;
            counts[class * CLASSES] = (missed * 0.75) as u64;
            counts[class * CLASSES + other] += (missed * 0.25) as u64;
            let grown = self.draw_false_positives(class, missed, random).min(background);
            counts[class] = grown as u64;
            background -= grown;
        }
        counts[0] = background as u64;
        ImageScores::new(&ConfusionMatrix::from_counts(CLASSES, counts), &[], None)
    }

    /// Draws how many pixels of the background are predicted as a class: half as many as it misses,
    /// or, of every tenth class that is absent, about 1 % of the background.
    fn draw_false_positives(&self, class: usize, missed: f64, random: &mut ChaCha8Rng) -> f64 {
        let is_seen = draw_uniform(random) < 0.1;
        if self.pixels[class] > 0.0 {
            0.5 * missed
        } else if is_seen {
            0.01 * self.pixels[0] * (0.8 * draw_normal(random)).exp()
        } else {
            0.0
        }
    }
}

impl TestSet {
    fn estimate(images: &[Vec<ImageScores>; 2], bootstrap: Bootstrap) -> Self {
        let [first, second] = images;
        let list_miou = |totals: &Totals| vec![totals.mean_iou()];
        let totals = add_up(first);
        let mut class_images = [0; CLASSES];
        for (class, images) in class_images.iter_mut().enumerate() {
            *images = totals.images_with_class(class);
        }
        // Independent bootstraps draw different images.
        let other = Bootstrap { seed: bootstrap.seed + (1 << 32), ..bootstrap };
        Self {
            scores: bootstrap.estimate(first, CLASSES, list_scores),
            class_images,
            other_miou: other.estimate(second, CLASSES, list_miou)[0],
            difference: bootstrap.compare([first, second], CLASSES, list_miou)[0],
        }
    }

    /// Returns the width of the interval of the difference that two independent bootstraps give, one
    /// for each model: their variances add up.
    fn unpaired_width(&self) -> f64 {
        interval_width(&self.scores[0]).hypot(interval_width(&self.other_miou))
    }

    /// Returns true if the first model's and the second's own intervals tell that the second is
    /// better.
    fn is_better_unpaired(&self) -> bool {
        let [first, second] = [&self.scores[0], &self.other_miou].map(|score| {
            (score.value.unwrap_or_default(), score.standard_deviation.unwrap_or_default())
        });
        second.0 - first.0 >= DEVIATIONS_BETTER * first.1.hypot(second.1)
    }
}

impl Coverage {
    /// Counts an interval; a score that is not defined has none and is not counted.
    fn add(&mut self, estimate: &Estimate, truth: f64) {
        if let (Some(_), Some((low, high))) = (estimate.value, estimate.interval) {
            self.held += usize::from(low <= truth && truth <= high);
            self.total += 1;
        }
    }

    fn share(&self) -> f64 {
        self.held as f64 / self.total as f64
    }
}

/// Lists the mIoU, the mean without the last class, which is the rarest, and each class' IoU.
fn list_scores(totals: &Totals) -> Vec<Option<f64>> {
    let mut scores = vec![totals.mean_iou(), None];
    for class in 0..CLASSES {
        scores.push(totals.class_scores(class).iou);
    }
    let frequent = &scores[FIRST_CLASS..FIRST_CLASS + CLASSES - 1];
    scores[1] = Some(mean_of_numbers(frequent.iter().filter_map(|iou| *iou)));
    scores
}

fn add_up(images: &[ImageScores]) -> Totals {
    let mut totals = Totals::new(CLASSES);
    for image in images {
        totals.add(image, 1);
    }
    totals
}

fn interval_width(estimate: &Estimate) -> f64 {
    estimate.interval.map_or(f64::NAN, |(low, high)| high - low)
}

/// Names a score of [`list_scores`] by its position.
fn name_score(position: usize) -> String {
    match position.checked_sub(FIRST_CLASS) {
        None if position == 0 => "mIoU".to_owned(),
        None => "mIoU without the rarest".to_owned(),
        Some(class) => format!("IoU of a class in {:.0} %", 100.0 * PRESENCE[class]),
    }
}

/// Measures the coverage of a score of [`list_scores`].
fn measure_coverage(sets: &[TestSet], position: usize, truth: &[Option<f64>]) -> Coverage {
    let mut coverage = Coverage::default();
    for set in sets {
        coverage.add(&set.scores[position], truth[position].unwrap_or_default());
    }
    coverage
}

fn print_coverage(by_size: &[Vec<TestSet>], truth: &[Option<f64>]) {
    println!("\nshare of the intervals that hold the truth, and their mean width");
    print!("{:<26}", "");
    for size in SET_SIZES {
        print!("{size:>8} images");
    }
    println!();
    for position in 0..truth.len() {
        print!("{:<26}", name_score(position));
        for sets in by_size {
            let widths = sets.iter().map(|set| interval_width(&set.scores[position]));
            let width = mean_of_numbers(widths);
            let share = measure_coverage(sets, position, truth).share();
            print!("{:>7.1} % {width:.3}", 100.0 * share);
        }
        println!();
    }
}

/// Prints the coverage of the objects' classes by how many images of the test set have the class.
fn print_coverage_by_class_images(by_size: &[Vec<TestSet>], truth: &[Option<f64>]) {
    println!("\nshare of the intervals of a class' IoU, in sets of {MIN_IMAGES} images or more");
    let skipped = SET_SIZES.iter().filter(|size| **size < MIN_IMAGES).count();
    for (low, high) in CLASS_IMAGES {
        let mut coverage = Coverage::default();
        for set in by_size.iter().skip(skipped).flatten() {
            for class in 1..CLASSES {
                if (low..=high).contains(&set.class_images[class]) {
                    let position = FIRST_CLASS + class;
                    coverage.add(&set.scores[position], truth[position].unwrap_or_default());
                }
            }
        }
        let range =
            if high == u64::MAX { format!("{low} or more") } else { format!("{low} to {high}") };
        let (share, total) = (100.0 * coverage.share(), coverage.total);
        println!("in {range:<10} images {share:>7.1} % of {total}");
    }
}

/// Prints how wide the interval of the difference of both models' mIoU is, paired and unpaired.
fn print_comparisons(by_size: &[Vec<TestSet>], truth: &[Vec<Option<f64>>; 2]) {
    let [first, second] = [0, 1].map(|model| truth[model][0].unwrap_or_default());
    println!("\ndifference of the models' mIoU, in truth {:.4}", second - first);
    println!("images  width paired  unpaired  holds the truth  called better paired  unpaired");
    for (size, sets) in SET_SIZES.into_iter().zip(by_size) {
        let mut coverage = Coverage::default();
        let (mut better, mut better_unpaired) = (0, 0);
        for set in sets {
            coverage.add(&set.difference.difference, second - first);
            let probability = set.difference.probability_better.unwrap_or_default();
            better += usize::from(probability >= PROBABILITY_BETTER);
            better_unpaired += usize::from(set.is_better_unpaired());
        }
        let paired =
            mean_of_numbers(sets.iter().map(|set| interval_width(&set.difference.difference)));
        let unpaired = mean_of_numbers(sets.iter().map(TestSet::unpaired_width));
        println!(
            "{size:>6}  {paired:>12.4}  {unpaired:>8.4}  {:>13.1} %  {:>18.1} %  {:>6.1} %",
            100.0 * coverage.share(),
            100.0 * better as f64 / sets.len() as f64,
            100.0 * better_unpaired as f64 / sets.len() as f64
        );
    }
}

/// Checks the coverage of the largest test sets.
fn check_coverage(sets: &[TestSet], truth: &[Option<f64>]) -> Result<()> {
    let mut problems = Problems::new();
    for position in 0..truth.len() {
        let is_judged =
            position < FIRST_CLASS || PRESENCE[position - FIRST_CLASS] >= JUDGED_PRESENCE;
        let share = measure_coverage(sets, position, truth).share();
        if is_judged && !(ALLOWED_COVERAGE.0..=ALLOWED_COVERAGE.1).contains(&share) {
            let name = name_score(position);
            problems
                .push(format!("{name}: {:.1} % of the intervals hold the truth", 100.0 * share));
        }
    }
    problems.into_result()
}

/// Returns the mean of what is a number.
fn mean_of_numbers(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for value in values {
        if !value.is_nan() {
            sum += value;
            count += 1;
        }
    }
    sum / f64::from(count)
}

/// Draws a number from 0 to 1, without 1.
fn draw_uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Draws a standard normal number (Box and Muller, 1958).
fn draw_normal(random: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - draw_uniform(random)).ln()).sqrt();
    radius * (std::f64::consts::TAU * draw_uniform(random)).cos()
}
