use tch::Device;

use super::*;

const SHAPE: [i64; 4] = [2, 3, 4, 5];

/// Logits in 64 bits, so that differences say something, and class ids with ignored pixels.
fn example() -> (Tensor, Tensor) {
    let count = SHAPE.iter().product::<i64>();
    let logits = (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 1.7).sin() * 2.0;
    let ids: Vec<u8> = (0..40).map(|i| [0, 1, 1, 255, 2, 0, 1][i * 5 % 7]).collect();
    let ids = Tensor::f_from_data_size(&ids, &[2, 4, 5], Kind::Uint8).unwrap();
    (logits.reshape(SHAPE), ids)
}

fn criteria() -> Vec<Criterion> {
    let criterion = |loss: &str, gamma, weights: Option<&[f64]>| Criterion {
        loss: Loss::parse(loss).unwrap(),
        class_weights: weights.map(<[f64]>::to_vec),
        focal_gamma: gamma,
    };
    vec![
        criterion("cross_entropy", 2.0, None),
        criterion("cross_entropy", 2.0, Some(&[0.5, 2.0, 0.0])),
        criterion("dice", 2.0, None),
        criterion("focal", 2.0, None),
        criterion("focal", 0.5, None),
        criterion("lovasz", 2.0, None),
        criterion("cross_entropy=0.3,dice=2,focal=1.5,lovasz=0.1", 1.0, Some(&[1.0, 2.0, 3.0])),
    ]
}

fn main_head_only(out: &Tensor) -> Logits {
    Logits { out: out.shallow_clone(), aux: None }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let (values, ids) = example();
    for criterion in criteria() {
        let logits = values.copy().set_requires_grad(true);
        let loss = criterion.batch_loss(&main_head_only(&logits), &ids).unwrap();
        let gradient = Tensor::run_backward(&[&loss], &[&logits], false, false).remove(0);
        let gradient = Vec::<f64>::try_from(gradient.flatten(0, -1)).unwrap();
        let loss_at = |index: i64, step: f64| {
            let moved = values.copy();
            let mut element = moved.view(-1).get(index);
            let _ = element.g_add_scalar_(step);
            criterion.batch_loss(&main_head_only(&moved), &ids).unwrap().double_value(&[])
        };
        let mut largest = 0.0f64;
        for (index, exact) in gradient.iter().enumerate() {
            let step = 1e-5;
            let difference =
                (loss_at(index as i64, step) - loss_at(index as i64, -step)) / (2.0 * step);
            assert!(
                (difference - exact).abs() < 1e-7,
                "{criterion:?} {index}: {difference} {exact}"
            );
            largest = largest.max(exact.abs());
        }
        assert!(largest > 1e-3, "{criterion:?} has no gradient");
    }
}

#[test]
fn means_over_pixels_do_not_depend_on_how_a_batch_is_split() {
    let (logits, ids) = example();
    let bytes = |ids: &Tensor| Vec::<u8>::try_from(ids.flatten(0, -1)).unwrap();
    let batch_counts = BatchCounts::from_ids(2, &bytes(&ids));
    for criterion in criteria() {
        let terms = criterion.loss.terms();
        let mean =
            |&(term, _): &(LossTerm, f64)| matches!(term, LossTerm::CrossEntropy | LossTerm::Focal);
        if !terms.iter().all(mean) {
            continue;
        }
        let batch_loss =
            criterion.batch_loss(&main_head_only(&logits), &ids).unwrap().double_value(&[]);
        let parts_loss: f64 = (0..2)
            .map(|image| {
                let (out, ids) = (logits.narrow(0, image, 1), ids.narrow(0, image, 1));
                let part_counts = BatchCounts::from_ids(1, &bytes(&ids));
                let class_weights = criterion.class_weight_tensor(out.kind(), Device::Cpu).unwrap();
                let target = Target {
                    ids: &ids,
                    class_weights: class_weights.as_ref(),
                    part_counts: &part_counts,
                    batch_counts: &batch_counts,
                };
                criterion.loss(&main_head_only(&out), target).unwrap().double_value(&[])
            })
            .sum();
        assert!(
            (batch_loss - parts_loss).abs() < 1e-12,
            "{criterion:?}: {batch_loss} {parts_loss}"
        );
    }
}

#[test]
fn the_auxiliary_head_counts_half() {
    let (logits, ids) = example();
    for criterion in criteria() {
        let alone = criterion.batch_loss(&main_head_only(&logits), &ids).unwrap().double_value(&[]);
        let both = Logits { out: logits.shallow_clone(), aux: Some(logits.shallow_clone()) };
        let both = criterion.batch_loss(&both, &ids).unwrap().double_value(&[]);
        assert!((both - 1.5 * alone).abs() < 1e-12, "{criterion:?}");
    }
}

#[test]
fn a_batch_without_a_counted_pixel_has_loss_and_gradients_0() {
    let (values, ids) = example();
    let ids = ids.full_like(255);
    for criterion in criteria() {
        let logits = values.copy().set_requires_grad(true);
        let loss = criterion.batch_loss(&main_head_only(&logits), &ids).unwrap();
        assert!(loss.double_value(&[]).abs() < f64::MIN_POSITIVE, "{criterion:?}");
        let gradient = Tensor::run_backward(&[&loss], &[&logits], false, false).remove(0);
        let largest = gradient.abs().max().double_value(&[]);
        assert!(largest < f64::MIN_POSITIVE, "{criterion:?}: {largest}");
    }
}
