//! The objects of S3 that a manifest names, fetched in parallel and kept on disk in bounded space.
//!
//! Objects on disk are never replaced. An epoch reads every sample once, in an order of its own, so
//! no rule of replacement finds more objects on disk, and nothing is written twice. Objects without
//! room are read from S3 each time they are needed.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use serde::{Deserialize, Serialize};

use crate::aws::{ErrorScope, GetRequest, ObjectStore, S3Error, S3Uri};
use crate::error::{Error, Result, join_examples, pluralize};
use crate::files::PathContext;
use crate::machine;

/// Bytes that objects leave free on the disk: checkpoints and models of the job, of up to 0.5 GB
/// each, are written to the same disk.
pub const RESERVED_DISK_BYTES: u64 = 4 << 30;

/// Number of objects that are fetched at a time: S3 takes tens of milliseconds per answer, whatever
/// the bandwidth.
const MAX_CONCURRENT_FETCHES: usize = 16;

/// Largest number of bytes of an object, as of a record in Pipe mode: more than any image within
/// the limit of pixels needs.
const MAX_OBJECT_BYTES: u64 = super::recordio::MAX_RECORD_BYTES as u64;

/// Number of objects that may fail before no others are tried.
const MAX_FAILURES: usize = 20;

/// Returns the store, and connects to it on the first call.
pub type ConnectStore = Arc<dyn Fn() -> Result<Arc<dyn ObjectStore>, S3Error> + Send + Sync>;

/// Limits on the disk space that objects take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskBudget {
    /// Largest number of bytes of all objects, if there is a limit.
    pub max_bytes: Option<u64>,
    /// Bytes that must stay free on the disk.
    pub reserved_bytes: u64,
}

impl DiskBudget {
    /// Returns true if `size_bytes` more can be kept in `folder`.
    fn allows(self, state: &CacheState, size_bytes: u64, folder: &Path) -> bool {
        if let Some(limit) = self.max_bytes
            && state.cached_bytes.saturating_add(size_bytes) > limit
        {
            return false;
        }
        let needed_bytes =
            self.reserved_bytes.saturating_add(state.writing_bytes).saturating_add(size_bytes);
        machine::free_bytes(folder).is_some_and(|free_bytes| free_bytes >= needed_bytes)
    }
}

/// All objects of a job.
pub struct ObjectCache {
    connect: ConnectStore,
    budget: DiskBudget,
    /// Folder of the objects on disk; objects are kept only once it is set.
    folder: OnceLock<PathBuf>,
    state: Mutex<CacheState>,
}

#[derive(Default)]
struct CacheState {
    entries: Vec<ObjectEntry>,
    by_uri: HashMap<S3Uri, usize>,
    /// Bytes of objects on disk or being written.
    cached_bytes: u64,
    /// Bytes being written, which the disk does not count yet.
    writing_bytes: u64,
}

/// Objects that several threads fetch.
struct FetchQueue {
    /// Indices of the objects.
    to_fetch: Vec<usize>,
    /// Position in `to_fetch` of the next object.
    next_position: AtomicUsize,
    /// True once no further object is to be fetched.
    is_over: AtomicBool,
    failures: Mutex<Vec<(usize, S3Error)>>,
}

/// State of one object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ObjectEntry {
    #[serde(with = "uri_text")]
    uri: S3Uri,
    /// First manifest and line that name the object.
    #[serde(with = "shared_text")]
    manifest: Arc<str>,
    line: u64,
    /// Tag of the object's content when it was first read.
    etag: Option<String>,
    cached_path: Option<PathBuf>,
}

/// Writes a URI as text.
mod uri_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::S3Uri;

    pub(super) fn serialize<S: Serializer>(uri: &S3Uri, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(uri)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<S3Uri, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Writes a text that several objects share.
mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        text: &Arc<str>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Arc::from)
    }
}

impl fmt::Debug for ObjectCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("room", &self.budget).finish_non_exhaustive()
    }
}

/// Numbers of objects after fetching. Its text says how many lie on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchSummary {
    object_count: usize,
    /// Objects that lie on disk.
    cached_count: usize,
    /// Bytes of the objects on disk.
    cached_bytes: u64,
    /// Bytes that objects may take, if the job sets a limit.
    max_bytes: Option<u64>,
}

impl fmt::Display for FetchSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = self.cached_bytes as f64 / 1e9;
        write!(f, "{} ({gigabytes:.3} GB) fetched from S3", pluralize(self.cached_count, "object"))
    }
}

impl FetchSummary {
    /// Returns a warning if some objects have to be fetched in each epoch.
    pub fn warning(&self) -> Option<String> {
        if self.cached_count == self.object_count {
            return None;
        }
        let limit = match self.max_bytes {
            Some(bytes) => format!(" within MASKMAKER_S3_CACHE_SIZE ({} MB)", bytes >> 20),
            None => String::new(),
        };
        Some(format!(
            "{} of {} objects do not fit on disk{limit} and are fetched anew in every epoch, which \
             is slower; give the job a larger VolumeSizeInGB, name a folder on a larger disk with \
             TMPDIR, or raise MASKMAKER_S3_CACHE_SIZE if it is set",
            self.object_count - self.cached_count,
            self.object_count
        ))
    }
}

/// Handle of one object.
#[derive(Clone)]
pub struct CachedObject {
    cache: Arc<ObjectCache>,
    index: usize,
}

impl CachedObject {
    /// Reads all bytes, from disk or from S3. A fetched object is kept if there is room.
    pub fn read(&self) -> Result<Vec<u8>, S3Error> {
        self.cache.read(self.index)
    }

    /// Returns the tag of the object's content, once it was read from S3.
    pub fn etag(&self) -> Option<String> {
        self.cache.entry(self.index).etag
    }

    /// Returns the state of the object, for another process.
    pub(super) fn entry(&self) -> ObjectEntry {
        self.cache.entry(self.index)
    }

    /// Returns the first line that names the object.
    pub fn manifest_line(&self) -> String {
        self.cache.entry(self.index).manifest_line()
    }
}

impl ObjectEntry {
    /// Returns the manifest and the line, such as `train/output.manifest line 3`.
    fn manifest_line(&self) -> String {
        format!("{} line {}", self.manifest, self.line)
    }
}

/// Shows the line and the URI, such as `train/output.manifest line 3: s3://bucket/key`.
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
    /// Creates an empty collection. It connects to the store when the first object is read.
    pub fn new(connect: ConnectStore, budget: DiskBudget) -> Arc<Self> {
        let (folder, state) = (OnceLock::new(), Mutex::default());
        Arc::new(Self { connect, budget, folder, state })
    }

    /// Adds the object at `uri`, which `line` of `manifest` names, without looking for it.
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

    /// Adds an object as another process of this host left it.
    pub(super) fn add_entry(self: &Arc<Self>, entry: ObjectEntry) -> CachedObject {
        let mut state = self.state();
        let CacheState { entries, by_uri, .. } = &mut *state;
        let index = *by_uri.entry(entry.uri.clone()).or_insert_with(|| {
            entries.push(entry);
            entries.len() - 1
        });
        drop(state);
        CachedObject { cache: self.clone(), index }
    }

    /// Returns the number of objects that manifests name.
    pub fn count(&self) -> usize {
        self.state().entries.len()
    }

    /// Returns true if no manifest names an object.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Fetches all objects that were not read yet into `folder`, until one has no room there.
    /// `on_fetched` is called once per object, from any thread. Objects that cannot be read are
    /// listed together. A request to stop is no failure.
    pub fn fetch_all(&self, folder: &Path, on_fetched: impl Fn() + Sync) -> Result<()> {
        fs::create_dir_all(folder).with_path("make", folder)?;
        let _ = self.folder.set(folder.to_owned());
        // A failure of the connection concerns all objects, so it comes without a line.
        match (self.connect)() {
            Err(failure) if failure.scope == ErrorScope::Stopped => return Ok(()),
            connected => connected?,
        };
        let queue = FetchQueue {
            to_fetch: self.list_uncached(),
            next_position: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            failures: Mutex::default(),
        };
        thread::scope(|scope| {
            for _ in 1..MAX_CONCURRENT_FETCHES.min(queue.to_fetch.len()) {
                let thread_builder = thread::Builder::new().name("fetch".to_owned());
                // Fewer threads only take longer.
                if thread_builder
                    .spawn_scoped(scope, || self.fetch_from_queue(&queue, &on_fetched))
                    .is_err()
                {
                    break;
                }
            }
            self.fetch_from_queue(&queue, &on_fetched);
        });
        let has_untried = queue.next_position.into_inner() < queue.to_fetch.len();
        let failures = queue.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.combine_failures(failures, has_untried)
    }

    fn list_uncached(&self) -> Vec<usize> {
        let mut indices = Vec::new();
        for (index, entry) in self.state().entries.iter().enumerate() {
            if entry.cached_path.is_none() {
                indices.push(index);
            }
        }
        indices
    }

    /// Fetches objects until the queue is empty or over.
    fn fetch_from_queue(&self, queue: &FetchQueue, on_fetched: &(impl Fn() + Sync)) {
        while !queue.is_over.load(Ordering::Relaxed)
            && let Some(&index) =
                queue.to_fetch.get(queue.next_position.fetch_add(1, Ordering::Relaxed))
        {
            match self.fetch_object(index) {
                Ok((_, is_cached)) => {
                    on_fetched();
                    if !is_cached {
                        queue.is_over.store(true, Ordering::Relaxed);
                    }
                }
                Err(failure) => {
                    let mut failures =
                        queue.failures.lock().unwrap_or_else(PoisonError::into_inner);
                    if failure.scope != ErrorScope::Object || failures.len() + 1 >= MAX_FAILURES {
                        queue.is_over.store(true, Ordering::Relaxed);
                    }
                    failures.push((index, failure));
                }
            }
        }
    }

    /// Combines all failures to one error, in the order of the lines.
    fn combine_failures(
        &self,
        mut failures: Vec<(usize, S3Error)>,
        has_untried: bool,
    ) -> Result<()> {
        if failures.iter().any(|(_, failure)| failure.scope == ErrorScope::Stopped) {
            return Ok(());
        }
        // A failure that concerns all objects is told once.
        for (index, failure) in &failures {
            if failure.scope == ErrorScope::AllObjects {
                let line = self.entry(*index).manifest_line();
                return Err(Error::from(failure.clone()).with_context(line));
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        failures.sort_by_key(|(index, _)| *index);
        let mut messages = Vec::new();
        let mut advice = Vec::new();
        for (index, failure) in failures {
            messages.push(format!("{}: {}", self.entry(index).manifest_line(), failure.message));
            if !failure.advice.is_empty() {
                advice.push(failure.advice);
            }
        }
        advice.sort();
        advice.dedup();
        let untried_note = if has_untried { "; the others were not tried" } else { "" };
        let advice =
            if advice.is_empty() { String::new() } else { format!("; {}", advice.join("; ")) };
        Err(Error::input(format!(
            "{} cannot be read: {}{untried_note}{advice}",
            pluralize(messages.len(), "object"),
            join_examples(messages.iter().cloned())
        )))
    }

    /// Counts the objects that lie on disk and those that have to be fetched each time.
    pub fn summary(&self) -> FetchSummary {
        let state = self.state();
        FetchSummary {
            object_count: state.entries.len(),
            cached_count: state.entries.iter().filter(|entry| entry.cached_path.is_some()).count(),
            cached_bytes: state.cached_bytes,
            max_bytes: self.budget.max_bytes,
        }
    }

    fn state(&self) -> MutexGuard<'_, CacheState> {
        // Every change is complete before the lock is released, so a panic leaves the state intact.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, index: usize) -> ObjectEntry {
        self.state().entries[index].clone()
    }

    fn read(&self, index: usize) -> Result<Vec<u8>, S3Error> {
        if let Some(path) = self.entry(index).cached_path {
            return match fs::read(&path) {
                Ok(bytes) => Ok(bytes),
                Err(cause) => Err(S3Error::for_object(
                    format!("{}: {}", path.display(), cause),
                    "leave the temporary folder of a running job alone",
                )),
            };
        }
        let (bytes, _) = self.fetch_object(index)?;
        Ok(bytes)
    }

    /// Fetches an object and keeps it if there is room. Returns true if it is on disk.
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
        // Each thread writes to a file of its own: two may have fetched the same object.
        let written = write_object(folder, index, bytes);
        let mut state = self.state();
        state.writing_bytes -= size_bytes;
        if let (Ok(path), None) = (&written, &state.entries[index].cached_path) {
            state.entries[index].cached_path = Some(path.clone());
            return;
        }
        state.cached_bytes -= size_bytes;
        drop(state);
        if let Ok(path) = written {
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes an object to a new file in `folder`, which is removed if that fails.
fn write_object(folder: &Path, index: usize, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut file =
        tempfile::Builder::new().prefix(&format!("object-{index:08}-")).tempfile_in(folder)?;
    file.write_all(bytes)?;
    let (_, path) = file.keep().map_err(|error| error.error)?;
    Ok(path)
}

#[cfg(test)]
mod tests;
