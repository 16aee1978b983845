//! Training by several processes, the ranks. Each computes its images of every batch, gradients are
//! averaged while the backward pass computes them, and all ranks hold the same weights after each
//! step.
//!
//! The loss of a rank is its share of the loss of the whole batch: it is divided by the numbers of
//! pixels and images of all ranks ([`BatchCounts`]). The Reducer averages gradients, so each rank
//! multiplies its loss by the number of ranks, and the averages are the gradients of the whole
//! batch, however unevenly its images and counted pixels lie on the ranks.

use std::sync::Arc;

use tch::{Kind, Tensor};

use super::criterion::BatchCounts;
use crate::error::Result;
use crate::metrics::ConfusionMatrix;
use crate::model::weights::Weights;
use crate::torch::{GradientReducer, ProcessGroup, set_channels_last_strides};

/// Rank whose values the others take over.
const SOURCE_RANK: usize = 0;

/// The exchange of a rank with the others.
#[derive(Debug)]
pub struct DataParallel {
    group: Arc<ProcessGroup>,
    reducer: GradientReducer,
    /// Images that this rank learned from since the running statistics were averaged.
    images_since_average: u64,
}

impl DataParallel {
    /// Makes `state` that of rank 0 on all ranks, and starts to average the gradients of
    /// `parameters`. Both lists are in the same order on all ranks.
    pub fn new(
        group: Arc<ProcessGroup>,
        mut parameters: Vec<Tensor>,
        state: &[Tensor],
    ) -> Result<Self> {
        for parameter in &mut parameters {
            // The buckets lie as the parameters do, and gradients as libtorch makes them; where they
            // differ, each step would copy.
            set_channels_last_strides(parameter)?;
        }
        group.broadcast(state, SOURCE_RANK)?;
        let reducer = GradientReducer::new(&group, parameters)?;
        Ok(Self { group, reducer, images_since_average: 0 })
    }

    /// Returns the processes that train together.
    pub fn group(&self) -> &ProcessGroup {
        &self.group
    }

    /// Returns the factor of a rank's loss that the average over the ranks undoes.
    pub fn loss_factor(&self) -> f64 {
        self.group.world_size() as f64
    }

    /// Returns the sums over all ranks of the counts of their parts of a batch.
    pub fn sum_counts(&self, own: &BatchCounts) -> Result<BatchCounts> {
        let sums = Tensor::f_from_slice(&own.to_integers())?;
        self.group.sum_over_ranks(std::slice::from_ref(&sums))?;
        Ok(BatchCounts::from_integers(&Vec::<i64>::try_from(&sums)?))
    }

    /// Returns for each of `own` if it is true on any rank.
    pub fn is_any_true<const N: usize>(&self, own: [bool; N]) -> Result<[bool; N]> {
        let flags = Tensor::f_from_slice(&own.map(i64::from))?;
        self.group.sum_over_ranks(std::slice::from_ref(&flags))?;
        let mut any = own;
        for (any, sum) in any.iter_mut().zip(Vec::<i64>::try_from(&flags)?) {
            *any = sum > 0;
        }
        Ok(any)
    }

    /// Returns the sum of the matrices of all ranks, or nothing if a rank has none.
    pub fn sum_matrices(
        &self,
        own: Option<ConfusionMatrix>,
        classes: usize,
    ) -> Result<Option<ConfusionMatrix>> {
        let [is_any_missing] = self.is_any_true([own.is_none()])?;
        let Some(own) = own.filter(|_| !is_any_missing) else { return Ok(None) };
        let mut counts = Vec::new();
        for row in own.rows() {
            counts.extend(row.iter().map(|&count| count as i64));
        }
        let sums = Tensor::f_from_slice(&counts)?;
        self.group.sum_over_ranks(std::slice::from_ref(&sums))?;
        let mut counts = Vec::new();
        for sum in Vec::<i64>::try_from(&sums)? {
            counts.push(sum as u64);
        }
        Ok(Some(ConfusionMatrix::from_counts(classes, counts)))
    }

    /// Makes `state` that of rank 0 on all ranks if its bytes differ on any, and returns true if
    /// they did.
    pub fn unify(&self, state: &[Tensor]) -> Result<bool> {
        let mut hasher = crc32fast::Hasher::new();
        for tensor in state {
            hasher.update(&tensor_bytes(tensor)?);
        }
        let own = i64::from(hasher.finalize());
        let agreed = self.agree_on_scalar(&Tensor::from(own))?.f_int64_value(&[])?;
        let [differs] = self.is_any_true([own != agreed])?;
        if differs {
            self.group.broadcast(state, SOURCE_RANK)?;
        }
        Ok(differs)
    }

    /// Returns the sum of a scalar over all ranks.
    pub fn sum_scalar(&self, own: &Tensor) -> Result<Tensor> {
        let sum = own.f_detach_copy()?;
        self.group.sum_over_ranks(std::slice::from_ref(&sum))?;
        Ok(sum)
    }

    /// Returns rank 0's value of a scalar. Ranks on processors of different kinds may compute the
    /// last digit of the same sum differently, and must not decide differently.
    pub fn agree_on_scalar(&self, own: &Tensor) -> Result<Tensor> {
        let agreed = own.f_detach_copy()?;
        self.group.broadcast(std::slice::from_ref(&agreed), SOURCE_RANK)?;
        Ok(agreed)
    }

    /// Starts the gradients of a step, of which this rank computes `images` images.
    pub fn start_step(&mut self, images: usize) -> Result<()> {
        self.images_since_average += images as u64;
        self.reducer.zero_gradients()
    }

    /// Lets the next backward pass, the last one of a step, average the gradients of the step.
    pub fn prepare_exchange(&mut self) -> Result<()> {
        self.reducer.prepare_exchange()
    }

    /// Replaces the running statistics of BatchNorm by their averages over the ranks, weighted by
    /// the images that each rank learned from since the last call.
    pub fn average_running_statistics(&mut self, weights: &[&Weights]) -> Result<()> {
        let own_images = self.images_since_average as f64;
        let total = self.sum_scalar(&Tensor::from(own_images))?.f_double_value(&[])?;
        if total == 0.0 {
            return Ok(());
        }
        let mut statistics = Vec::new();
        for weights in weights {
            statistics.extend(weights.running_statistics()?);
        }
        tch::no_grad(|| -> Result<()> {
            let mut sums = Vec::with_capacity(statistics.len());
            for statistic in &statistics {
                let weighted =
                    statistic.f_to_kind(Kind::Double)?.f_mul_scalar(own_images / total)?;
                sums.push(weighted);
            }
            self.group.sum_over_ranks(&sums)?;
            for (statistic, sum) in statistics.iter_mut().zip(&sums) {
                statistic.f_copy_(sum)?;
            }
            Ok(())
        })?;
        self.images_since_average = 0;
        Ok(())
    }
}

/// Copies the bytes of a tensor's values, in the order of its dimensions.
fn tensor_bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat =
        tensor.f_detach()?.f_to_device(tch::Device::Cpu)?.f_contiguous()?.f_flatten(0, -1)?;
    let mut bytes = vec![0; flat.numel() * flat.kind().elt_size_in_bytes()];
    flat.f_copy_data_u8(&mut bytes, flat.numel())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
