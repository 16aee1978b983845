//! The test of the exchange between the ranks at the start of a job: how fast they sum tensors.

use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::torch::ProcessGroup;

/// Bytes of the large tensor that is summed: on GPUs about half the gradients of a network, on
/// processors less, because their networks are slower.
const GPU_BYTES: usize = 64 << 20;
const CPU_BYTES: usize = 8 << 20;

/// Sums of each size, after one that is not counted: it connects the ranks.
const REPEATS: usize = 5;

/// How long sums over all ranks take.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeTest {
    world_size: usize,
    /// Bytes of the large tensor.
    bytes: usize,
    /// Shortest time of a sum of it.
    large_sum: Duration,
    /// Shortest time of a sum of a single number.
    small_sum: Duration,
}

impl ExchangeTest {
    /// Measures sums of tensors on a device. Every rank calls this.
    pub fn run(group: &ProcessGroup, device: Device) -> Result<Self> {
        let bytes = if device.is_cuda() { GPU_BYTES } else { CPU_BYTES };
        let small_sum = time_sum(group, device, 1)?;
        let large_sum = time_sum(group, device, bytes / size_of::<f32>())?;
        Ok(Self { world_size: group.world_size(), bytes, large_sum, small_sum })
    }

    /// Describes the results, such as `64 MiB in 3.1 ms (bus bandwidth 38.9 GB/s), one number in 24
    /// us`. The bus bandwidth is what each rank sends and receives, by the definition of
    /// <https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md>: of all bytes 2 (N - 1) / N
    /// pass each of N ranks.
    pub fn describe(&self) -> String {
        let ranks = self.world_size as f64;
        let seconds = self.large_sum.as_secs_f64().max(1e-9);
        let bandwidth = self.bytes as f64 * 2.0 * (ranks - 1.0) / ranks / seconds;
        format!(
            "{} MiB in {:.1} ms (bus bandwidth {:.2} GB/s), one number in {:.0} us",
            self.bytes >> 20,
            seconds * 1e3,
            bandwidth / 1e9,
            self.small_sum.as_secs_f64() * 1e6
        )
    }
}

/// Returns the shortest time of a sum over all ranks of so many numbers.
fn time_sum(group: &ProcessGroup, device: Device, numbers: usize) -> Result<Duration> {
    let tensor = Tensor::f_zeros([numbers as i64], (Kind::Float, device))?;
    let tensor = std::slice::from_ref(&tensor);
    let mut shortest = Duration::MAX;
    for repeat in 0..=REPEATS {
        let start = Instant::now();
        group.sum_over_ranks(tensor)?;
        // Reading a value waits for the device.
        tensor[0].f_double_value(&[0])?;
        if repeat > 0 {
            shortest = shortest.min(start.elapsed());
        }
    }
    Ok(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torch::run_ranks;

    #[test]
    fn ranks_measure_their_sums_together() {
        for result in run_ranks(2, |group| ExchangeTest::run(&group, Device::Cpu).unwrap()) {
            assert!(result.large_sum > Duration::ZERO && result.small_sum > Duration::ZERO);
        }
    }

    #[test]
    fn the_bandwidth_is_that_of_the_busiest_link() {
        let test = ExchangeTest {
            world_size: 4,
            bytes: 64 << 20,
            large_sum: Duration::from_millis(10),
            small_sum: Duration::from_micros(25),
        };
        // 67.1 MB times 2 * 3 / 4 in 10 ms.
        let text = "64 MiB in 10.0 ms (bus bandwidth 10.07 GB/s), one number in 25 us";
        assert_eq!(test.describe(), text);
    }
}
