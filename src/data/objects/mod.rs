//! The objects of S3 that a manifest names: fetched side by side, and kept on disk in bounded space.
//!
//! What is kept stays. An epoch reads every sample once, in an order of its own: then no rule of what to
//! throw out finds more objects on disk than leaving them there does, and nothing is written twice. What
//! has no room is read from S3 each time it is needed.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use super::pairing::{list_examples, pluralize};
use crate::aws::{ErrorScope, GetRequest, ObjectStore, S3Error, S3Uri};
use crate::console::{print_stderr, print_stdout};
use crate::error::{Error, Result};

/// Bytes of the disk that objects leave free: checkpoints and models of a job are written to the same one,
/// several of up to 0.5 GB each.
pub const RESERVED_DISK_BYTES: u64 = 4 << 30;

/// Objects that are fetched at a time: S3 answers one after tens of milliseconds, whatever the bandwidth.
const MAX_CONCURRENT_FETCHES: usize = 16;

/// Bytes that an object may have, as a record of Pipe mode: more than any image within the limit of
/// pixels needs.
const MAX_OBJECT_BYTES: u64 = super::recordio::MAX_RECORD_BYTES as u64;

/// Objects that may fail before no others are tried.
const MAX_FAILURES: usize = 20;

/// Gives the store, which is connected to when it is first asked for.
pub type ConnectStore = Arc<dyn Fn() -> Result<Arc<dyn ObjectStore>, S3Error> + Send + Sync>;

/// How much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskBudget {
    /// Bytes that the objects may take, if there is a limit.
    pub max_bytes: Option<u64>,
    /// Bytes that must stay free on the disk.
    pub reserved_bytes: u64,
}

impl DiskBudget {
    /// Whether `size` bytes more can be kept in `folder`.
    fn allows(self, state: &CacheState, size_bytes: u64, folder: &Path) -> bool {
        let within = |limit| state.cached_bytes.saturating_add(size_bytes) <= limit;
        let free_bytes = || {
            let disk = rustix::fs::statvfs(folder).ok()?;
            Some(disk.f_bavail.saturating_mul(disk.f_frsize))
        };
        let needed_bytes =
            self.reserved_bytes.saturating_add(state.writing_bytes).saturating_add(size_bytes);
        self.max_bytes.is_none_or(within) && free_bytes().is_some_and(|free| free >= needed_bytes)
    }
}

/// All objects of a job.
pub struct ObjectCache {
    connect: ConnectStore,
    budget: DiskBudget,
    /// Where they are kept; nothing is kept before there is a folder.
    folder: OnceLock<PathBuf>,
    state: Mutex<CacheState>,
}

#[derive(Default)]
struct CacheState {
    entries: Vec<ObjectEntry>,
    by_uri: HashMap<S3Uri, usize>,
    /// Bytes that are kept or being written.
    cached_bytes: u64,
    /// Bytes being written, which the disk does not know of yet.
    writing_bytes: u64,
}

/// What is known of an object.
#[derive(Debug, Clone)]
struct ObjectEntry {
    uri: S3Uri,
    /// The first line that names it, and in which manifest.
    manifest: Arc<str>,
    line: u64,
    /// Its content when it was first read.
    etag: Option<String>,
    cached_path: Option<PathBuf>,
}

impl fmt::Debug for ObjectCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("room", &self.budget).finish_non_exhaustive()
    }
}

/// One object.
#[derive(Clone)]
pub struct CachedObject {
    cache: Arc<ObjectCache>,
    index: usize,
}

impl CachedObject {
    /// All bytes, from disk or from S3. What was fetched is kept if there is room.
    pub fn read(&self) -> Result<Vec<u8>, S3Error> {
        self.cache.read(self.index)
    }

    /// The line that names it.
    pub fn manifest_line(&self) -> String {
        self.cache.entry(self.index).manifest_line()
    }
}

impl ObjectEntry {
    /// `train/output.manifest line 3`.
    fn manifest_line(&self) -> String {
        format!("{} line {}", self.manifest, self.line)
    }
}

/// `train/output.manifest line 3: s3://bucket/key`.
impl fmt::Display for CachedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.cache.entry(self.index);
        write!(f, "{}: {}", entry.manifest_line(), entry.uri)
    }
}

impl fmt::Debug for CachedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({self})")
    }
}

impl PartialEq for CachedObject {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && Arc::ptr_eq(&self.cache, &other.cache)
    }
}

impl Eq for CachedObject {}

impl ObjectCache {
    /// No objects yet. Nothing is connected to before the first one is read.
    pub fn new(connect: ConnectStore, budget: DiskBudget) -> Arc<Self> {
        let (folder, state) = (OnceLock::new(), Mutex::default());
        Arc::new(Self { connect, budget, folder, state })
    }

    /// The object at `uri`, which `line` of `manifest` names. It is not looked for yet.
    pub fn add(self: &Arc<Self>, uri: S3Uri, manifest: &Arc<str>, line: u64) -> CachedObject {
        let mut state = self.state();
        let CacheState { entries, by_uri, .. } = &mut *state;
        let index = *by_uri.entry(uri.clone()).or_insert_with(|| {
            let manifest = manifest.clone();
            entries.push(ObjectEntry { uri, manifest, line, etag: None, cached_path: None });
            entries.len() - 1
        });
        drop(state);
        CachedObject { cache: self.clone(), index }
    }

    /// How many objects manifests name.
    pub fn count(&self) -> usize {
        self.state().entries.len()
    }

    /// Whether no manifest names any.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Fetches all that were not read yet into `folder`, until there is no more room. `progress` is
    /// called once per object, from any thread. Objects that cannot be read are listed together; being
    /// asked to stop is no failure.
    pub fn fetch_all(&self, folder: &Path, on_fetched: impl Fn() + Sync) -> Result<()> {
        fs::create_dir_all(folder).map_err(|cause| Error::io("make", folder, &cause))?;
        let _ = self.folder.set(folder.to_owned());
        // What concerns all objects is said without a line.
        match (self.connect)() {
            Err(failure) if failure.scope == ErrorScope::Stopped => return Ok(()),
            connected => connected?,
        };
        let not_cached =
            |(index, entry): (usize, &ObjectEntry)| entry.cached_path.is_none().then_some(index);
        let to_fetch: Vec<usize> =
            self.state().entries.iter().enumerate().filter_map(not_cached).collect();
        let next_position = AtomicUsize::new(0);
        let is_over = AtomicBool::new(false);
        let failures = Mutex::new(Vec::new());
        let fetch_next_objects = || {
            while !is_over.load(Ordering::Relaxed)
                && let Some(&index) = to_fetch.get(next_position.fetch_add(1, Ordering::Relaxed))
            {
                let failure = match self.fetch_object(index) {
                    Ok((_, is_cached)) => {
                        on_fetched();
                        if !is_cached {
                            is_over.store(true, Ordering::Relaxed);
                        }
                        continue;
                    }
                    Err(failure) => failure,
                };
                let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                if failure.scope != ErrorScope::Object || failures.len() + 1 >= MAX_FAILURES {
                    is_over.store(true, Ordering::Relaxed);
                }
                failures.push((index, failure));
            }
        };
        thread::scope(|scope| {
            for _ in 1..MAX_CONCURRENT_FETCHES.min(to_fetch.len()) {
                let thread_builder = thread::Builder::new().name("fetch".to_owned());
                // With fewer threads it only takes longer.
                if thread_builder.spawn_scoped(scope, fetch_next_objects).is_err() {
                    break;
                }
            }
            fetch_next_objects();
        });
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.combine_failures(failures, next_position.into_inner() < to_fetch.len())
    }

    /// All failures as one error, in the order of the lines.
    fn combine_failures(
        &self,
        mut failures: Vec<(usize, S3Error)>,
        has_untried: bool,
    ) -> Result<()> {
        if failures.iter().any(|(_, failure)| failure.scope == ErrorScope::Stopped) {
            return Ok(());
        }
        // That nothing can be read is said once.
        if let Some((index, failure)) =
            failures.iter().find(|(_, failure)| failure.scope == ErrorScope::AllObjects)
        {
            return Err(
                Error::from(failure.clone()).with_context(self.entry(*index).manifest_line())
            );
        }
        if failures.is_empty() {
            return Ok(());
        }
        failures.sort_by_key(|(index, _)| *index);
        let messages: Vec<String> = failures
            .iter()
            .map(|(index, failure)| {
                format!("{}: {}", self.entry(*index).manifest_line(), failure.message)
            })
            .collect();
        let mut advice: Vec<String> = failures.into_iter().map(|(_, f)| f.advice).collect();
        advice.sort();
        advice.dedup();
        advice.retain(|advice| !advice.is_empty());
        let untried_note = if has_untried { "; the others were not tried" } else { "" };
        let advice =
            if advice.is_empty() { String::new() } else { format!("; {}", advice.join("; ")) };
        Err(Error::input(format!(
            "{} cannot be read: {}{untried_note}{advice}",
            pluralize(messages.len(), "object"),
            list_examples(&messages)
        )))
    }

    /// Says what was fetched, and whether some has to be fetched each time.
    pub fn print_summary(&self) {
        let state = self.state();
        let object_count = state.entries.len();
        let cached_count = state.entries.iter().filter(|entry| entry.cached_path.is_some()).count();
        let gigabytes = state.cached_bytes as f64 / 1e9;
        print_stdout(format_args!(
            "{} ({gigabytes:.3} GB) fetched from S3",
            pluralize(cached_count, "object")
        ));
        if cached_count < object_count {
            print_stderr(format_args!(
                "warning: {} of {object_count} objects do not fit on disk{} and are fetched anew in every \
                 epoch, which is slower; give the job a larger VolumeSizeInGB, name a folder on a \
                 larger disk with TMPDIR, or raise MASKMAKER_S3_CACHE_SIZE if it is set",
                object_count - cached_count,
                self.budget.max_bytes.map_or(String::new(), |limit| {
                    format!(" within MASKMAKER_S3_CACHE_SIZE ({} MB)", limit >> 20)
                })
            ));
        }
    }

    fn state(&self) -> MutexGuard<'_, CacheState> {
        // Every change is whole before the lock is let go.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, index: usize) -> ObjectEntry {
        self.state().entries[index].clone()
    }

    fn read(&self, index: usize) -> Result<Vec<u8>, S3Error> {
        if let Some(path) = self.entry(index).cached_path {
            return fs::read(&path).map_err(|cause| {
                S3Error::for_object(
                    format!("{}: {}", path.display(), cause),
                    "leave the temporary folder of a running job alone",
                )
            });
        }
        self.fetch_object(index).map(|(bytes, _)| bytes)
    }

    /// Fetches an object and keeps it if there is room.
    fn fetch_object(&self, index: usize) -> Result<(Vec<u8>, bool), S3Error> {
        let ObjectEntry { uri, etag, .. } = self.entry(index);
        let mut bytes = Vec::new();
        let request = GetRequest { uri: &uri, max_bytes: MAX_OBJECT_BYTES, etag: etag.as_deref() };
        let info = (self.connect)()?.get(&request, &mut bytes)?;
        self.cache_object(index, &bytes);
        let entry = &mut self.state().entries[index];
        entry.etag = entry.etag.take().or(info.etag);
        Ok((bytes, entry.cached_path.is_some()))
    }

    /// Writes an object to disk, if there is room.
    fn cache_object(&self, index: usize, bytes: &[u8]) {
        let Some(folder) = self.folder.get() else { return };
        let size_bytes = bytes.len() as u64;
        {
            let mut state = self.state();
            // Another thread was faster, or there is no room.
            if state.entries[index].cached_path.is_some()
                || !self.budget.allows(&state, size_bytes, folder)
            {
                return;
            }
            state.cached_bytes += size_bytes;
            state.writing_bytes += size_bytes;
        }
        // Each thread writes to a name of its own: two may have fetched the same object.
        let written = tempfile::Builder::new()
            .prefix(&format!("object-{index:08}-"))
            .tempfile_in(folder)
            .and_then(|mut file| std::io::Write::write_all(&mut file, bytes).map(|()| file))
            .and_then(|file| file.keep().map_err(|error| error.error));
        let mut state = self.state();
        state.writing_bytes -= size_bytes;
        if let (Ok((_, path)), None) = (&written, &state.entries[index].cached_path) {
            state.entries[index].cached_path = Some(path.clone());
            return;
        }
        state.cached_bytes -= size_bytes;
        drop(state);
        if let Ok((_, path)) = written {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests;
