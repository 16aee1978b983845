//! Work on the threads that libtorch computes with. They keep their cores for a while after each operation, so that
//! threads of anybody else's would have to share with them.

// The border to parallel.cpp: each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::c_string::take_c_string;
use crate::error::{Error, Result};

unsafe extern "C" {
    fn maskmaker_parallel_for(
        count: i64,
        work: extern "C" fn(*const c_void, i64, i64),
        context: *const c_void,
    ) -> *mut c_char;
}

/// What [`part`] gets of [`for_each`].
struct ParallelContext<T, F> {
    items: *mut T,
    work: F,
    panicked: AtomicBool,
}

/// What `work` makes of every item, on as many threads as libtorch has, each of which takes the next that is left. libtorch's
/// own operations inside compute on the thread that they are called on alone.
pub fn parallel_map<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next_index = AtomicUsize::new(0);
    let threads = tch::get_num_threads().max(1) as usize;
    let mut results_by_thread: Vec<Vec<(usize, Result<R>)>> =
        (0..threads).map(|_| Vec::new()).collect();
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

/// Does `work` to every item; several threads at a time, each of which has a run of neighbors.
pub(super) fn parallel_for_each<T: Send>(
    items: &mut [T],
    work: impl Fn(&mut T) + Sync,
) -> Result<()> {
    let context =
        ParallelContext { items: items.as_mut_ptr(), work, panicked: AtomicBool::new(false) };
    if !items.is_empty() {
        let callback = range_callback(&context);
        // Sound: the context lives through the call, and is of the types that `part` was made for. The other side hands out
        // each number below `count` once.
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

/// [`part`] for this context: names its types, which no caller can.
fn range_callback<T: Send, F: Fn(&mut T) + Sync>(
    _: &ParallelContext<T, F>,
) -> extern "C" fn(*const c_void, i64, i64) {
    run_range::<T, F>
}

/// The items from `first` until before `last`.
extern "C" fn run_range<T: Send, F: Fn(&mut T) + Sync>(
    context: *const c_void,
    first: i64,
    last: i64,
) {
    // Sound: `for_each` gave it, and waits for this to end.
    let context = unsafe { &*context.cast::<ParallelContext<T, F>>() };
    let work = || {
        for index in first..last {
            // Sound: the index is below the slice's length, and no other call has it.
            (context.work)(unsafe { &mut *context.items.add(index as usize) });
        }
    };
    // No panic may pass through the other side.
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
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
