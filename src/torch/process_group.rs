//! A group of processes that exchange tensors by Gloo (c10d's `ProcessGroup`).

// Calls process_group.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::fmt;
use std::ptr::NonNull;
use std::time::Duration;

use tch::Tensor;
use torch_sys::C_tensor;

use super::ffi::{check_call, take_error, tensor_pointers, to_c_string, to_milliseconds};
use super::store::{RawStore, Store};
use crate::error::Result;

/// C++'s `maskmaker_process_group`.
#[repr(C)]
pub(super) struct RawProcessGroup {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn maskmaker_join_group(
        store: *const RawStore,
        rank: c_int,
        world_size: c_int,
        local_address: *const c_char,
        join_timeout_ms: i64,
        timeout_ms: i64,
        error_message: *mut *mut c_char,
    ) -> *mut RawProcessGroup;
    fn maskmaker_sum_over_ranks(
        group: *const RawProcessGroup,
        tensors: *const *const C_tensor,
        count: usize,
        error_message: *mut *mut c_char,
    ) -> bool;
    fn maskmaker_broadcast(
        group: *const RawProcessGroup,
        tensors: *const *const C_tensor,
        count: usize,
        source_rank: c_int,
        error_message: *mut *mut c_char,
    ) -> bool;
    fn maskmaker_drop_group(group: *mut RawProcessGroup);
}

/// The processes of a job, which exchange tensors by Gloo. Every rank must call the same methods in
/// the same order, with tensors of the same shapes and kinds; a call waits for all ranks.
pub struct ProcessGroup {
    raw: NonNull<RawProcessGroup>,
    rank: usize,
    world_size: usize,
}

// SAFETY: c10d's process group counts its references atomically, and locks its queues.
unsafe impl Send for ProcessGroup {}
// SAFETY: as above.
unsafe impl Sync for ProcessGroup {}

impl ProcessGroup {
    /// Joins the processes that use this store, as number `rank` of `world_size`. `local_address`
    /// is an address or name of this host that the other ranks reach.
    ///
    /// # Errors
    ///
    /// Not all ranks are connected within `join_timeout`. `timeout` is the longest time of each later
    /// call.
    pub fn join(
        store: &Store,
        rank: usize,
        world_size: usize,
        local_address: &str,
        join_timeout: Duration,
        timeout: Duration,
    ) -> Result<Self> {
        let address = to_c_string(local_address, "address")?;
        let (join_timeout_ms, timeout_ms) =
            (to_milliseconds(join_timeout), to_milliseconds(timeout));
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the store outlives the call, and the C++ side keeps a reference of its own.
        let raw = unsafe {
            maskmaker_join_group(
                store.as_ptr(),
                rank as c_int,
                world_size as c_int,
                address.as_ptr(),
                join_timeout_ms,
                timeout_ms,
                &raw mut error_message,
            )
        };
        match NonNull::new(raw) {
            Some(raw) => Ok(Self { raw, rank, world_size }),
            None => Err(take_error(error_message)),
        }
    }

    /// Returns the number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Returns the number of processes.
    pub fn world_size(&self) -> usize {
        self.world_size
    }

    pub(super) fn as_ptr(&self) -> *const RawProcessGroup {
        self.raw.as_ptr()
    }

    /// Replaces each tensor by its sum over all ranks, which is the same on each to the last bit.
    pub fn sum_over_ranks(&self, tensors: &[Tensor]) -> Result<()> {
        let pointers = tensor_pointers(tensors);
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the tensors live until the call is over.
        let is_done = unsafe {
            maskmaker_sum_over_ranks(
                self.as_ptr(),
                pointers.as_ptr(),
                pointers.len(),
                &raw mut error_message,
            )
        };
        check_call(is_done, error_message)
    }

    /// Replaces each tensor by that of `source_rank`.
    pub fn broadcast(&self, tensors: &[Tensor], source_rank: usize) -> Result<()> {
        let pointers = tensor_pointers(tensors);
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the tensors live until the call is over.
        let is_done = unsafe {
            maskmaker_broadcast(
                self.as_ptr(),
                pointers.as_ptr(),
                pointers.len(),
                source_rank as c_int,
                &raw mut error_message,
            )
        };
        check_call(is_done, error_message)
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `maskmaker_join_group`, and nothing uses it later.
        unsafe { maskmaker_drop_group(self.raw.as_ptr()) }
    }
}

impl fmt::Debug for ProcessGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, world_size, .. } = self;
        f.debug_struct("ProcessGroup")
            .field("rank", rank)
            .field("world_size", world_size)
            .finish_non_exhaustive()
    }
}

/// Runs `work` as each rank of a group, a thread per rank, and returns the results by rank. No rank
/// leaves before all are done, so that none sees the connection to another end.
#[cfg(test)]
pub(crate) fn run_ranks<T: Send>(
    world_size: usize,
    work: impl Fn(std::sync::Arc<ProcessGroup>) -> T + Sync,
) -> Vec<T> {
    use std::io::Write;
    const TIMEOUT: Duration = Duration::from_mins(2);
    let server = Store::serve_on_loopback(TIMEOUT).unwrap();
    let run_rank = |rank| {
        let store = Store::connect("127.0.0.1", server.port(), TIMEOUT).unwrap();
        let group =
            ProcessGroup::join(&store, rank, world_size, "127.0.0.1", TIMEOUT, TIMEOUT).unwrap();
        let group = std::sync::Arc::new(group);
        (work(std::sync::Arc::clone(&group)), group, store)
    };
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for rank in 0..world_size {
            let run_rank = &run_rank;
            threads.push(scope.spawn(move || run_rank(rank)));
        }
        let mut ranks = Vec::new();
        for (rank, thread) in threads.into_iter().enumerate() {
            match thread.join() {
                Ok(result) => ranks.push(result),
                Err(panic) => {
                    // The test's own output is lost if the process crashes on its way out.
                    let message = panic.downcast_ref::<String>();
                    let _ = writeln!(std::io::stderr(), "rank {rank} of {world_size}: {message:?}");
                    std::panic::resume_unwind(panic)
                }
            }
        }
        ranks.into_iter().map(|(result, _group, _store)| result).collect()
    })
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn a_group_that_is_not_whole_is_an_error() {
        let server = Store::serve_on_loopback(Duration::from_mins(1)).unwrap();
        let (join_timeout, timeout) = (Duration::from_millis(200), Duration::from_hours(1));
        let alone = ProcessGroup::join(&server, 0, 2, "127.0.0.1", join_timeout, timeout);
        assert!(alone.is_err());
    }

    #[test]
    fn sums_and_broadcasts_are_the_same_on_all_ranks() {
        for world_size in [1, 2, 3] {
            let results = run_ranks(world_size, |group| {
                let rank = group.rank() as f64;
                let integers = Tensor::from_slice(&[group.rank() as i64, 1]);
                // Channels-last memory, as that of convolutions' weights.
                let size = [2, 3, 4, 5];
                let map = Tensor::full(size, rank, (Kind::Float, tch::Device::Cpu));
                let map = super::super::to_channels_last(&map).unwrap();
                group.sum_over_ranks(&[integers.shallow_clone(), map.shallow_clone()]).unwrap();
                let own = Tensor::from_slice(&[rank, rank + 0.5]);
                group.broadcast(std::slice::from_ref(&own), world_size - 1).unwrap();
                let sums = Vec::<i64>::try_from(&integers).unwrap();
                let map_sum = map.sum(Kind::Double).double_value(&[]);
                (sums, map_sum, Vec::<f64>::try_from(&own).unwrap())
            });
            let sum = world_size * (world_size - 1) / 2;
            let last = (world_size - 1) as f64;
            for result in results {
                let expected = (
                    vec![sum as i64, world_size as i64],
                    120.0 * sum as f64,
                    vec![last, last + 0.5],
                );
                assert_eq!(result, expected);
            }
        }
    }
}
