//! Collectives of PyTorch's c10d: the store by which processes find each other, a group of
//! processes over Gloo, and the Reducer of `DistributedDataParallel`.

// Calls process_group.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::time::Duration;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::ffi::{take_c_string, to_c_string};
use crate::error::Result;

/// C++'s `maskmaker_store`.
#[repr(C)]
struct RawStore {
    _opaque: [u8; 0],
}

/// C++'s `maskmaker_process_group`.
#[repr(C)]
pub(super) struct RawProcessGroup {
    _opaque: [u8; 0],
}

/// C++'s `maskmaker_reducer`.
#[repr(C)]
struct RawReducer {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn maskmaker_connect_store(
        host: *const c_char,
        port: u16,
        is_server: bool,
        timeout_ms: i64,
        error_message: *mut *mut c_char,
    ) -> *mut RawStore;
    fn maskmaker_store_port(store: *const RawStore) -> u16;
    fn maskmaker_store_set(
        store: *const RawStore,
        key: *const c_char,
        value: *const u8,
        length: usize,
        error_message: *mut *mut c_char,
    ) -> bool;
    fn maskmaker_store_check(
        store: *const RawStore,
        key: *const c_char,
        error_message: *mut *mut c_char,
    ) -> c_int;
    fn maskmaker_store_get(
        store: *const RawStore,
        key: *const c_char,
        take: extern "C" fn(*mut c_void, *const u8, usize),
        context: *mut c_void,
        error_message: *mut *mut c_char,
    ) -> bool;
    fn maskmaker_store_wait(
        store: *const RawStore,
        key: *const c_char,
        timeout_ms: i64,
        error_message: *mut *mut c_char,
    ) -> bool;
    fn maskmaker_store_add(
        store: *const RawStore,
        key: *const c_char,
        amount: i64,
        error_message: *mut *mut c_char,
    ) -> i64;
    fn maskmaker_drop_store(store: *mut RawStore);
    fn maskmaker_join_group(
        store: *const RawStore,
        rank: c_int,
        world_size: c_int,
        local_address: *const c_char,
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
    fn maskmaker_barrier(group: *const RawProcessGroup, error_message: *mut *mut c_char) -> bool;
    fn maskmaker_drop_group(group: *mut RawProcessGroup);
    fn maskmaker_make_reducer(
        group: *const RawProcessGroup,
        parameters: *const *const C_tensor,
        count: usize,
        error_message: *mut *mut c_char,
    ) -> *mut RawReducer;
    fn maskmaker_prepare_exchange(
        reducer: *mut RawReducer,
        error_message: *mut *mut c_char,
    ) -> bool;
    fn maskmaker_drop_reducer(reducer: *mut RawReducer);
}

/// Returns the error of a call that set a message.
fn take_error(error_message: *mut c_char) -> crate::error::Error {
    TchError::Torch(take_c_string(error_message)).into()
}

/// Returns the result of a call that returned `is_done`.
fn check_call(is_done: bool, error_message: *mut c_char) -> Result<()> {
    if is_done { Ok(()) } else { Err(take_error(error_message)) }
}

fn to_milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn tensor_pointers(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    let mut pointers = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        pointers.push(tensor.as_ptr());
    }
    pointers
}

/// A connection to the key-value store of a job (c10d's `TCPStore`). One call at a time uses it:
/// calls from other threads wait, so that a thread that must not wait has a connection of its own.
pub struct Store(NonNull<RawStore>);

// SAFETY: a TCPStore may be used from any thread, and locks around each request.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    /// Starts the store on `port` of every interface, and connects to it; with port 0 the system
    /// chooses one. The store ends when this is dropped.
    pub fn serve(port: u16, timeout: Duration) -> Result<Self> {
        Self::open("localhost", port, true, timeout)
    }

    /// Connects to the store of another process. Tries until `timeout` is over, which is also the
    /// longest time of each later call.
    pub fn connect(host: &str, port: u16, timeout: Duration) -> Result<Self> {
        Self::open(host, port, false, timeout)
    }

    fn open(host: &str, port: u16, is_server: bool, timeout: Duration) -> Result<Self> {
        let host = to_c_string(host, "host")?;
        let timeout_ms = to_milliseconds(timeout);
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the string lives until the call is over.
        let store = unsafe {
            maskmaker_connect_store(
                host.as_ptr(),
                port,
                is_server,
                timeout_ms,
                &raw mut error_message,
            )
        };
        NonNull::new(store).map(Self).ok_or_else(|| take_error(error_message))
    }

    /// Returns the port on which the store listens.
    pub fn port(&self) -> u16 {
        // SAFETY: the store lives as long as `self`.
        unsafe { maskmaker_store_port(self.0.as_ptr()) }
    }

    /// Stores a value under a key, whether the key has one or not.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        let key = to_c_string(key, "key")?;
        let mut error_message = std::ptr::null_mut();
        // SAFETY: key and value live until the call is over; the C++ side copies them.
        let is_done = unsafe {
            maskmaker_store_set(
                self.0.as_ptr(),
                key.as_ptr(),
                value.as_ptr(),
                value.len(),
                &raw mut error_message,
            )
        };
        check_call(is_done, error_message)
    }

    /// Returns true if the key has a value, without waiting for one.
    pub fn has(&self, key: &str) -> Result<bool> {
        let key = to_c_string(key, "key")?;
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the key lives until the call is over.
        match unsafe {
            maskmaker_store_check(self.0.as_ptr(), key.as_ptr(), &raw mut error_message)
        } {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(take_error(error_message)),
        }
    }

    /// Waits until the key has a value. It is an error if that takes longer than `timeout`.
    pub fn wait(&self, key: &str, timeout: Duration) -> Result<()> {
        let key = to_c_string(key, "key")?;
        let timeout_ms = to_milliseconds(timeout);
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the key lives until the call is over.
        let is_done = unsafe {
            maskmaker_store_wait(self.0.as_ptr(), key.as_ptr(), timeout_ms, &raw mut error_message)
        };
        check_call(is_done, error_message)
    }

    /// Returns the value of a key, and waits for one as long as the store's timeout.
    pub fn get(&self, key: &str) -> Result<Vec<u8>> {
        let key = to_c_string(key, "key")?;
        let mut value = Vec::new();
        let context = (&raw mut value).cast();
        let mut error_message = std::ptr::null_mut();
        // SAFETY: `context` is the vector above, which `copy_value` takes it for, and outlives the
        // call.
        let is_done = unsafe {
            maskmaker_store_get(
                self.0.as_ptr(),
                key.as_ptr(),
                copy_value,
                context,
                &raw mut error_message,
            )
        };
        check_call(is_done, error_message)?;
        Ok(value)
    }

    /// Adds to the whole number under a key, which is 0 at first, and returns the sum.
    pub fn add(&self, key: &str, amount: i64) -> Result<i64> {
        let key = to_c_string(key, "key")?;
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the key lives until the call is over.
        let sum = unsafe {
            maskmaker_store_add(self.0.as_ptr(), key.as_ptr(), amount, &raw mut error_message)
        };
        if sum == i64::MIN { Err(take_error(error_message)) } else { Ok(sum) }
    }
}

/// Copies a value to the vector that `context` points to.
extern "C" fn copy_value(context: *mut c_void, value: *const u8, length: usize) {
    if length == 0 {
        return;
    }
    // A panic, which only a lack of memory can cause, must not unwind through C++.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `Store::get` passes its vector, and waits for the call. The C++ side passes a
        // pointer to `length` bytes.
        unsafe {
            let target = &mut *context.cast::<Vec<u8>>();
            target.extend_from_slice(std::slice::from_raw_parts(value, length));
        }
    }));
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `maskmaker_connect_store`, and nothing uses it later.
        unsafe { maskmaker_drop_store(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("port", &self.port()).finish()
    }
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
    /// Not all ranks came within `timeout`, which is also the longest time of each later call.
    pub fn join(
        store: &Store,
        rank: usize,
        world_size: usize,
        local_address: &str,
        timeout: Duration,
    ) -> Result<Self> {
        let address = to_c_string(local_address, "address")?;
        let timeout_ms = to_milliseconds(timeout);
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the store outlives the call, and the C++ side keeps a reference of its own.
        let raw = unsafe {
            maskmaker_join_group(
                store.0.as_ptr(),
                rank as c_int,
                world_size as c_int,
                address.as_ptr(),
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

    /// Waits until every rank has called this.
    pub fn barrier(&self) -> Result<()> {
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the group lives as long as `self`.
        let is_done = unsafe { maskmaker_barrier(self.as_ptr(), &raw mut error_message) };
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

/// The Reducer of `DistributedDataParallel`, which averages gradients over all ranks while the
/// backward pass computes the next ones.
pub struct GradientReducer {
    raw: NonNull<RawReducer>,
    /// Parameters whose gradients are averaged.
    parameters: Vec<Tensor>,
}

impl GradientReducer {
    /// Makes a reducer of the gradients of `parameters`, which are the same on all ranks. Every
    /// backward pass must compute a gradient of each.
    pub fn new(group: &ProcessGroup, parameters: Vec<Tensor>) -> Result<Self> {
        let pointers = tensor_pointers(&parameters);
        let mut error_message = std::ptr::null_mut();
        // SAFETY: group and tensors live until the call is over; the C++ side keeps references.
        let raw = unsafe {
            maskmaker_make_reducer(
                group.as_ptr(),
                pointers.as_ptr(),
                pointers.len(),
                &raw mut error_message,
            )
        };
        match NonNull::new(raw) {
            Some(raw) => Ok(Self { raw, parameters }),
            None => Err(take_error(error_message)),
        }
    }

    /// Makes the gradients 0 before the first backward pass of a step. They keep their memory,
    /// which is that of the buckets.
    pub fn zero_gradients(&self) -> Result<()> {
        tch::no_grad(|| -> Result<()> {
            for parameter in &self.parameters {
                let mut gradient = parameter.f_grad()?;
                if gradient.defined() {
                    let _ = gradient.f_zero_()?;
                }
            }
            Ok(())
        })
    }

    /// Lets the next backward pass replace each gradient, with what earlier passes of the step left
    /// in it, by its mean over all ranks. The forward pass is done by then. Without this call a
    /// backward pass exchanges nothing.
    pub fn prepare_exchange(&mut self) -> Result<()> {
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the reducer lives as long as `self`, which is borrowed for writing.
        let is_done =
            unsafe { maskmaker_prepare_exchange(self.raw.as_ptr(), &raw mut error_message) };
        check_call(is_done, error_message)
    }
}

impl Drop for GradientReducer {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `maskmaker_make_reducer`, and nothing uses it later.
        unsafe { maskmaker_drop_reducer(self.raw.as_ptr()) }
    }
}

impl fmt::Debug for GradientReducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GradientReducer")
            .field("parameters", &self.parameters.len())
            .finish_non_exhaustive()
    }
}

/// Runs `work` as each rank of a group, a thread per rank, and returns the results by rank.
#[cfg(test)]
pub(crate) fn run_ranks<T: Send>(
    world_size: usize,
    work: impl Fn(std::sync::Arc<ProcessGroup>) -> T + Sync,
) -> Vec<T> {
    const TIMEOUT: Duration = Duration::from_mins(2);
    let server = Store::serve(0, TIMEOUT).unwrap();
    let run_rank = |rank| {
        let store = Store::connect("127.0.0.1", server.port(), TIMEOUT).unwrap();
        let group = ProcessGroup::join(&store, rank, world_size, "127.0.0.1", TIMEOUT).unwrap();
        work(std::sync::Arc::new(group))
    };
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for rank in 0..world_size {
            let run_rank = &run_rank;
            threads.push(scope.spawn(move || run_rank(rank)));
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tch::Kind;

    use super::*;

    #[test]
    fn values_of_a_store_are_seen_by_every_connection() {
        let server = Store::serve(0, Duration::from_mins(1)).unwrap();
        let other = Store::connect("127.0.0.1", server.port(), Duration::from_mins(1)).unwrap();
        assert!(!other.has("key").unwrap());
        server.set("key", b"value\0").unwrap();
        other.wait("key", Duration::from_mins(1)).unwrap();
        assert!(other.has("key").unwrap());
        assert_eq!(other.get("key").unwrap(), b"value\0");
        other.set("key", b"").unwrap();
        assert_eq!(server.get("key").unwrap(), b"");
        assert_eq!(server.add("count", 3).unwrap(), 3);
        assert_eq!(other.add("count", -1).unwrap(), 2);
        assert!(server.set("a\0b", b"").is_err());
    }

    #[test]
    fn waiting_for_what_never_comes_ends_with_an_error() {
        let start = Instant::now();
        let server = Store::serve(0, Duration::from_mins(1)).unwrap();
        assert!(server.wait("never", Duration::from_millis(50)).is_err());
        let port = server.port();
        drop(server);
        assert!(Store::connect("127.0.0.1", port, Duration::from_secs(1)).is_err());
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_group_that_is_not_whole_is_an_error() {
        let server = Store::serve(0, Duration::from_mins(1)).unwrap();
        let alone = ProcessGroup::join(&server, 0, 2, "127.0.0.1", Duration::from_millis(200));
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
                group.barrier().unwrap();
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
