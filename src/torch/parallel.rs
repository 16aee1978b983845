//! Runs Rust closures on libtorch's own threads. These spin on their cores for a while after each
//! operation, so that a second pool of threads would contend with them.

// Calls parallel.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::ffi::take_c_string;
use crate::error::{Error, Result};

unsafe extern "C" {
    fn maskmaker_parallel_for(
        count: i64,
        work: extern "C" fn(*const c_void, i64, i64),
        context: *const c_void,
    ) -> *mut c_char;
}

/// State that [`parallel_for_each`] shares with the threads that run [`run_range`].
struct ParallelContext<T, F> {
    items: *mut T,
    work: F,
    panicked: AtomicBool,
}

/// Calls `work` with every item, on as many threads as libtorch has, and returns the results in the
/// order of the items. Each thread takes the next item that is left, so items may differ in how
/// long they take. libtorch's own operations within `work` run on the calling thread alone.
pub fn parallel_map<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next_index = AtomicUsize::new(0);
    let threads = tch::get_num_threads().max(1) as usize;
    let mut results_by_thread: Vec<Vec<(usize, Result<R>)>> = Vec::new();
    results_by_thread.resize_with(threads, Vec::new);
    parallel_for_each(&mut results_by_thread, |thread_results| {
        while let index = next_index.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(index)
        {
            thread_results.push((index, work(item)));
        }
    })?;
    let mut results: Vec<_> = results_by_thread.into_iter().flatten().collect();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Calls `work` with every item. The items are divided into runs of neighbors, one per thread of
/// libtorch. A panic in `work` becomes an error.
pub(crate) fn parallel_for_each<T: Send>(
    items: &mut [T],
    work: impl Fn(&mut T) + Sync,
) -> Result<()> {
    let context =
        ParallelContext { items: items.as_mut_ptr(), work, panicked: AtomicBool::new(false) };
    if !items.is_empty() {
        let callback = range_callback(&context);
        // SAFETY: the context outlives the call and has the types that `callback` was made for. The
        // C++ side hands out each index below the slice's length once.
        let error_message = unsafe {
            maskmaker_parallel_for(items.len() as i64, callback, (&raw const context).cast())
        };
        if !error_message.is_null() {
            return Err(tch::TchError::Torch(take_c_string(error_message)).into());
        }
    }
    if context.panicked.into_inner() {
        return Err(Error::internal("work in parallel panicked"));
    }
    Ok(())
}

/// Returns [`run_range`] for the types of this context, which callers cannot name.
fn range_callback<T: Send, F: Fn(&mut T) + Sync>(
    _: &ParallelContext<T, F>,
) -> extern "C" fn(*const c_void, i64, i64) {
    run_range::<T, F>
}

/// Works on the items from `first` until before `last`.
extern "C" fn run_range<T: Send, F: Fn(&mut T) + Sync>(
    context: *const c_void,
    first: i64,
    last: i64,
) {
    // SAFETY: `parallel_for_each` made the pointer from its context and waits until this call ends.
    let context = unsafe { &*context.cast::<ParallelContext<T, F>>() };
    // A panic must not unwind through C++.
    let result = catch_unwind(AssertUnwindSafe(|| {
        for index in first..last {
            // SAFETY: the index is below the slice's length, and no other call gets the same index.
            (context.work)(unsafe { &mut *context.items.add(index as usize) });
        }
    }));
    if result.is_err() {
        context.panicked.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        for count in [0, 1, 2, 3, 1000] {
            let mut items: Vec<usize> = (0..count).collect();
            parallel_for_each(&mut items, |item| *item += 1000).unwrap();
            assert_eq!(items, (1000..1000 + count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn results_come_in_the_order_of_their_items() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(
            parallel_map(&items, |item| Ok(item + 1)).unwrap(),
            (1..1001).collect::<Vec<_>>()
        );
        let fails = |&item: &usize| {
            if item < 600 { Ok(item) } else { Err(Error::internal(format!("no {item}"))) }
        };
        assert!(parallel_map(&items, fails).unwrap_err().to_string().contains("no 600"));
    }

    #[test]
    fn a_panic_is_an_error() {
        let mut items: Vec<usize> = (0..100).collect();
        let error = parallel_for_each(&mut items, |item| assert!(*item != 50)).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }
}
