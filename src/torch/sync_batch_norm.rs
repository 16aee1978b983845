//! Batch normalization with the statistics of all ranks.

// Calls sync_batch_norm.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::c_char;

use tch::Tensor;
use torch_sys::C_tensor;

use super::ffi::tensor_from_raw;
use super::process_group::{ProcessGroup, RawProcessGroup};
use crate::error::Result;

/// The tensors of a BatchNorm layer, each `[channels]`.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormTensors<'a> {
    pub weight: &'a Tensor,
    pub bias: &'a Tensor,
    pub running_mean: &'a Tensor,
    pub running_var: &'a Tensor,
}

/// A layer as the C++ side reads it: `maskmaker_batch_norm`.
#[repr(C)]
struct BatchNormLayer {
    weight: *const C_tensor,
    bias: *const C_tensor,
    running_mean: *const C_tensor,
    running_var: *const C_tensor,
    momentum: f64,
    epsilon: f64,
}

// ffi.h asserts the same size of `maskmaker_batch_norm`.
const _: () = assert!(size_of::<BatchNormLayer>() == 48);

unsafe extern "C" {
    fn maskmaker_sync_batch_norm(
        input: *const C_tensor,
        layer: *const BatchNormLayer,
        group: *const RawProcessGroup,
        error_message: *mut *mut c_char,
    ) -> *mut C_tensor;
}

/// Normalizes `input`, `[batch, channels, height, width]`, by the statistics of the inputs of all
/// ranks, and updates the running statistics. Ranks may have batches of different sizes.
///
/// The gradients of weight and bias are those of the rank's own values; they add up to the
/// gradients of the whole batch.
pub fn sync_batch_norm(
    input: &Tensor,
    tensors: BatchNormTensors<'_>,
    momentum: f64,
    epsilon: f64,
    group: &ProcessGroup,
) -> Result<Tensor> {
    let layer = BatchNormLayer {
        weight: tensors.weight.as_ptr(),
        bias: tensors.bias.as_ptr(),
        running_mean: tensors.running_mean.as_ptr(),
        running_var: tensors.running_var.as_ptr(),
        momentum,
        epsilon,
    };
    let mut error_message = std::ptr::null_mut();
    // SAFETY: the tensors and the group live until the call is over; the graph of the result keeps
    // references of its own.
    let output = unsafe {
        maskmaker_sync_batch_norm(
            input.as_ptr(),
            &raw const layer,
            group.as_ptr(),
            &raw mut error_message,
        )
    };
    tensor_from_raw(output, error_message)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tch::{Device, Kind};

    use super::super::process_group::run_ranks;
    use super::*;

    const CHANNELS: i64 = 5;

    /// The results of a batch normalization: output, gradient of the input, gradients of weight and
    /// bias, running mean and variance.
    struct Results([Tensor; 6]);

    /// Makes a layer whose four tensors are far from the trivial ones.
    fn layer(kind: Kind) -> [Tensor; 4] {
        let ramp = Tensor::arange(CHANNELS, (kind, Device::Cpu));
        let weight = (&ramp * 0.3 + 0.5).set_requires_grad(true);
        let bias = (&ramp * -0.2).set_requires_grad(true);
        [weight, bias, &ramp * 0.1, &ramp + 1.0]
    }

    /// Normalizes `input` and computes gradients of the sum of its products with `factors`.
    fn normalize(input: &Tensor, factors: &Tensor, group: Option<&ProcessGroup>) -> Results {
        let input = input.copy().set_requires_grad(true);
        let [weight, bias, running_mean, running_var] = &layer(input.kind());
        let output = match group {
            Some(group) => {
                let tensors = BatchNormTensors { weight, bias, running_mean, running_var };
                sync_batch_norm(&input, tensors, 0.1, 1e-5, group).unwrap()
            }
            None => input.batch_norm(
                Some(weight),
                Some(bias),
                Some(running_mean),
                Some(running_var),
                true,
                0.1,
                1e-5,
                true,
            ),
        };
        (&output * factors).sum(input.kind()).backward();
        Results([
            output.detach(),
            input.grad(),
            weight.grad(),
            bias.grad(),
            running_mean.shallow_clone(),
            running_var.shallow_clone(),
        ])
    }

    fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn ranks_together_equal_one_layer_over_the_joined_batch() {
        for (kind, tolerance) in [(Kind::Float, 1e-5), (Kind::Double, 1e-10)] {
            for sizes in [&[2, 2][..], &[3, 1], &[1, 4, 2]] {
                let images = sizes.iter().sum::<i64>();
                let (input, factors) = super::super::with_seed(images as u64, || {
                    // A mean far from zero would cost digits if squares were summed up.
                    let input = Tensor::randn([images, CHANNELS, 4, 3], (kind, Device::Cpu)) + 30.0;
                    Ok((input, Tensor::randn([images, CHANNELS, 4, 3], (kind, Device::Cpu))))
                })
                .unwrap();
                let joined = normalize(&input, &factors, None);
                let shares = Mutex::new((
                    input.split_with_sizes(sizes, 0),
                    factors.split_with_sizes(sizes, 0),
                ));
                let ranks = run_ranks(sizes.len(), |group| {
                    let (own_input, own_factors) = {
                        let shares = shares.lock().unwrap();
                        let rank = group.rank();
                        (shares.0[rank].copy(), shares.1[rank].copy())
                    };
                    normalize(&own_input, &own_factors, Some(&group)).0
                });
                for (index, name) in ["output", "input gradient"].into_iter().enumerate() {
                    let parts: Vec<&Tensor> = ranks.iter().map(|tensors| &tensors[index]).collect();
                    let difference = largest_difference(&Tensor::cat(&parts, 0), &joined.0[index]);
                    assert!(difference < tolerance, "{name} {kind:?} {sizes:?}: {difference}");
                }
                for (index, name) in [(2, "weight gradient"), (3, "bias gradient")] {
                    let mut sum = ranks[0][index].copy();
                    for tensors in &ranks[1..] {
                        sum += &tensors[index];
                    }
                    let difference = largest_difference(&sum, &joined.0[index]);
                    assert!(
                        difference < 10.0 * tolerance,
                        "{name} {kind:?} {sizes:?}: {difference}"
                    );
                }
                for tensors in &ranks {
                    for (index, name) in [(4, "running mean"), (5, "running variance")] {
                        let difference = largest_difference(&tensors[index], &joined.0[index]);
                        assert!(difference < tolerance, "{name} {kind:?} {sizes:?}: {difference}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_value_per_channel_on_a_rank_is_enough_and_one_in_all_is_an_error() {
        let statistics = run_ranks(2, |group| {
            let input =
                Tensor::full([1, CHANNELS, 1, 1], group.rank() as f64, (Kind::Float, Device::Cpu));
            let Results(tensors) = normalize(&input, &input.ones_like(), Some(&group));
            // The mean of 0 and 1 by momentum 0.1 on 0.
            tensors[4].double_value(&[0])
        });
        for mean in statistics {
            assert!((mean - 0.05).abs() < 1e-6, "{mean}");
        }
        run_ranks(1, |group| {
            let input = Tensor::zeros([1, CHANNELS, 1, 1], (Kind::Float, Device::Cpu));
            let [weight, bias, running_mean, running_var] = &layer(Kind::Float);
            let tensors = BatchNormTensors { weight, bias, running_mean, running_var };
            let error = sync_batch_norm(&input, tensors, 0.1, 1e-5, &group).unwrap_err();
            assert!(error.to_string().contains("one value per channel"), "{error}");
        });
    }
}
