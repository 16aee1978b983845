//! A check of explanations: if the patches that matter most are covered first, the class must fade
//! sooner than if patches are covered in a random order (Petsiuk, Das and Saenko, "RISE: Randomized
//! Input Sampling for Explanation of Black-box Models", BMVC 2018).

use rand::seq::SliceRandom;
use serde::Serialize;

use super::occlusion::{Patches, cover_patches};
use super::{ExplainOptions, Explained, choose_classes, mean_probability};
use crate::data::random::{Purpose, generator};
use crate::error::{ErrorContext, Result};
use crate::evaluate::scoring::Scored;
use crate::evaluate::test_set::TestSet;
use crate::inference::Segmentation;
use crate::progress::Progress;

/// Number of images that are checked, and the least number that tells anything.
const MAX_IMAGES: usize = 30;
const MIN_IMAGES: usize = 20;

/// Largest number of images that are tried: some show the background alone, or cannot be compared.
const MAX_TRIED: usize = 90;

/// Number of steps in which the patches are covered.
const STEPS: usize = 8;

/// How often an explanation was better than chance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(in crate::evaluate) struct DeletionCheck {
    /// Method that was checked: `grad_cam`, or `occlusion` for a model without layers.
    pub(in crate::evaluate) method: &'static str,
    /// Number of images; those in which both orders are equal do not count.
    pub(in crate::evaluate) images: usize,
    /// Number of images in which the class fades sooner than in a random order.
    pub(in crate::evaluate) better: usize,
    /// Probability of at least so many by chance: the one-sided sign test.
    pub(in crate::evaluate) p_value: f64,
}

/// Checks the explanation of the most frequent class of each of up to 30 images. Returns nothing if
/// fewer than 20 of those that are tried can be compared.
pub(super) fn check_deletion(
    model: &mut Explained<'_>,
    test_set: &TestSet,
    scored: &Scored,
    options: ExplainOptions,
) -> Result<Option<DeletionCheck>> {
    let mut positions: Vec<usize> = (0..scored.images.len()).collect();
    positions.shuffle(&mut generator(options.seed, Purpose::DeletionImages, 0, 0));
    positions.truncate(MAX_TRIED);
    if positions.len() < MIN_IMAGES {
        // An image takes seconds, and these would tell nothing.
        return Ok(None);
    }
    let mut progress = Progress::new("check", positions.len());
    let (mut images, mut better) = (0, 0);
    for position in positions {
        if images == MAX_IMAGES {
            break;
        }
        let scored_image = &scored.images[position];
        let image = model.read_image(test_set, scored_image.sample)?;
        let order_seed = (options.seed, scored_image.sample as u64);
        let faded = compare_orders(model, &image, options.grid, order_seed)
            .error_context(&scored_image.file)?;
        if let Some((explained, random)) = faded {
            let order = explained.total_cmp(&random);
            images += usize::from(order.is_ne());
            better += usize::from(order.is_lt());
        }
        progress.advance(1, || None);
    }
    if images < MIN_IMAGES {
        return Ok(None);
    }
    let method = if model.network.is_some() { "grad_cam" } else { "occlusion" };
    Ok(Some(DeletionCheck { method, images, better, p_value: sign_test(images, better) }))
}

/// Returns what is left of the probability of the most frequent class, as a mean over the steps of
/// covering: in the order of the explanation, and in a random order. Nothing if the image shows the
/// background alone.
fn compare_orders(
    model: &mut Explained<'_>,
    image: &image::RgbImage,
    grid: u32,
    (seed, sample): (u64, u64),
) -> Result<Option<(f64, f64)>> {
    let whole = model.segment(&[image])?.swap_remove(0);
    let Some(&(class, _)) = choose_classes(&whole.ids).first() else { return Ok(None) };
    let patches = Patches::new(image, grid);
    if class == 0 || patches.count() < STEPS {
        return Ok(None);
    }
    let importance = if let Some(network) = model.network {
        // In another number format the network may not see the class.
        let Some(found) = network.grad_cam(image, usize::from(class))? else { return Ok(None) };
        patches.mean(&found.importance)
    } else {
        let mut importance = Vec::with_capacity(patches.count());
        cover_patches(model, image, &patches, |covered| {
            importance.push(-mean_probability(covered, &whole.ids, class));
        })?;
        importance
    };
    let mut random: Vec<usize> = (0..patches.count()).collect();
    random.shuffle(&mut generator(seed, Purpose::DeletionOrder, 0, sample));
    // Patches of equal importance keep a random order.
    let mut explained = random.clone();
    explained.sort_by(|&one, &other| importance[other].total_cmp(&importance[one]));
    let mut left_over = [0.0; 2];
    for (left_over, order) in left_over.iter_mut().zip([explained, random]) {
        *left_over = cover_in_order(model, image, &patches, &order, (&whole, class))?;
    }
    let [explained, random] = left_over;
    Ok(Some((explained, random)))
}

/// Covers the patches in this order, a part of them in each step, and returns the mean probability of
/// the class over the steps.
fn cover_in_order(
    model: &mut Explained<'_>,
    image: &image::RgbImage,
    patches: &Patches,
    order: &[usize],
    (whole, class): (&Segmentation, u8),
) -> Result<f64> {
    let mut is_covered = vec![false; patches.count()];
    let (mut sum, mut covered_count) = (0.0, 0);
    for step in 1..=STEPS {
        let end = order.len() * step / STEPS;
        for &patch in &order[covered_count..end] {
            is_covered[patch] = true;
        }
        covered_count = end;
        let covered = patches.cover(image, &is_covered);
        let answer = model.segment(&[&covered])?.swap_remove(0);
        sum += mean_probability(&answer, &whole.ids, class);
    }
    Ok(sum / STEPS as f64)
}

/// Returns the probability that a fair coin shows heads at least `heads` times in `throws`.
fn sign_test(throws: usize, heads: usize) -> f64 {
    // The probability of each count follows from that of the one before.
    let mut probability = 0.5_f64.powi(throws as i32);
    let mut sum = 0.0;
    for count in 0..=throws {
        if count >= heads {
            sum += probability;
        }
        probability *= (throws - count) as f64 / (count + 1) as f64;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_test_is_that_of_a_fair_coin() {
        // scipy.stats.binomtest(15, 20, alternative="greater").pvalue
        assert!((sign_test(20, 15) - 0.020_694_732_666_015_625).abs() < 1e-12);
        assert!((sign_test(4, 0) - 1.0).abs() < 1e-12);
        assert!((sign_test(4, 4) - 0.0625).abs() < 1e-12);
    }
}
