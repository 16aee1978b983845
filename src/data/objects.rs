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

use super::source::{count, examples};
use crate::aws::{Failure, Get, S3Uri, Scope, Store};
use crate::console::{note, say};
use crate::error::{Error, Result};

/// Bytes of the disk that objects leave free: checkpoints and models of a job are written to the same one,
/// several of up to 0.5 GB each.
pub const RESERVE: u64 = 4 << 30;

/// Objects that are fetched at a time: S3 answers one after tens of milliseconds, whatever the bandwidth.
const AT_A_TIME: usize = 16;

/// Bytes that an object may have, as a record of Pipe mode: more than any image within the limit of
/// pixels needs.
const MAX_OBJECT: u64 = super::recordio::MAX_RECORD as u64;

/// Objects that may fail before no others are tried.
const MAX_FAILURES: usize = 20;

/// Gives the store, which is connected to when it is first asked for.
pub type Connect = Arc<dyn Fn() -> Result<Arc<dyn Store>, Failure> + Send + Sync>;

/// How much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that the objects may take, if there is a limit.
    pub limit: Option<u64>,
    /// Bytes that must stay free on the disk.
    pub reserve: u64,
}

impl Room {
    /// Whether `size` bytes more can be kept in `folder`.
    fn takes(self, state: &State, size: u64, folder: &Path) -> bool {
        let within = |limit| state.kept.saturating_add(size) <= limit;
        let free = || {
            let disk = rustix::fs::statvfs(folder).ok()?;
            Some(disk.f_bavail.saturating_mul(disk.f_frsize))
        };
        let needed = self.reserve.saturating_add(state.writing).saturating_add(size);
        self.limit.is_none_or(within) && free().is_some_and(|free| free >= needed)
    }
}

/// All objects of a job.
pub struct Objects {
    connect: Connect,
    room: Room,
    /// Where they are kept; nothing is kept before there is a folder.
    folder: OnceLock<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    by_uri: HashMap<S3Uri, usize>,
    /// Bytes that are kept or being written.
    kept: u64,
    /// Bytes being written, which the disk does not know of yet.
    writing: u64,
}

/// What is known of an object.
#[derive(Debug, Clone)]
struct Entry {
    uri: S3Uri,
    /// The first line that names it, and in which manifest.
    manifest: Arc<str>,
    line: u64,
    /// Its content when it was first read.
    etag: Option<String>,
    kept: Option<PathBuf>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("room", &self.room).finish_non_exhaustive()
    }
}

/// One object.
#[derive(Clone)]
pub struct Object {
    objects: Arc<Objects>,
    index: usize,
}

impl Object {
    /// All bytes, from disk or from S3. What was fetched is kept if there is room.
    pub fn read(&self) -> Result<Vec<u8>, Failure> {
        self.objects.read(self.index)
    }

    /// The line that names it.
    pub fn line(&self) -> String {
        self.objects.entry(self.index).place()
    }
}

impl Entry {
    /// `train/output.manifest line 3`.
    fn place(&self) -> String {
        format!("{} line {}", self.manifest, self.line)
    }
}

/// `train/output.manifest line 3: s3://bucket/key`.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.objects.entry(self.index);
        write!(f, "{}: {}", entry.place(), entry.uri)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({self})")
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && Arc::ptr_eq(&self.objects, &other.objects)
    }
}

impl Eq for Object {}

impl Objects {
    /// No objects yet. Nothing is connected to before the first one is read.
    pub fn new(connect: Connect, room: Room) -> Arc<Self> {
        let (folder, state) = (OnceLock::new(), Mutex::default());
        Arc::new(Self { connect, room, folder, state })
    }

    /// The object at `uri`, which `line` of `manifest` names. It is not looked for yet.
    pub fn add(self: &Arc<Self>, uri: S3Uri, manifest: &Arc<str>, line: u64) -> Object {
        let mut state = self.state();
        let State { entries, by_uri, .. } = &mut *state;
        let index = *by_uri.entry(uri.clone()).or_insert_with(|| {
            let manifest = manifest.clone();
            entries.push(Entry { uri, manifest, line, etag: None, kept: None });
            entries.len() - 1
        });
        drop(state);
        Object { objects: self.clone(), index }
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
    pub fn fetch(&self, folder: &Path, progress: impl Fn() + Sync) -> Result<()> {
        fs::create_dir_all(folder).map_err(|cause| Error::io("make", folder, &cause))?;
        let _ = self.folder.set(folder.to_owned());
        // What concerns all objects is said without a line.
        match (self.connect)() {
            Err(failure) if failure.scope == Scope::Stopped => return Ok(()),
            connected => connected?,
        };
        let fresh = |(index, entry): (usize, &Entry)| entry.kept.is_none().then_some(index);
        let wanted: Vec<usize> =
            self.state().entries.iter().enumerate().filter_map(fresh).collect();
        let next = AtomicUsize::new(0);
        let over = AtomicBool::new(false);
        let failures = Mutex::new(Vec::new());
        let work = || {
            while !over.load(Ordering::Relaxed)
                && let Some(&index) = wanted.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let failure = match self.obtain(index) {
                    Ok((_, kept)) => {
                        progress();
                        if !kept {
                            over.store(true, Ordering::Relaxed);
                        }
                        continue;
                    }
                    Err(failure) => failure,
                };
                let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                if failure.scope != Scope::Object || failures.len() + 1 >= MAX_FAILURES {
                    over.store(true, Ordering::Relaxed);
                }
                failures.push((index, failure));
            }
        };
        thread::scope(|scope| {
            for _ in 1..AT_A_TIME.min(wanted.len()) {
                let thread = thread::Builder::new().name("fetch".to_owned());
                // With fewer threads it only takes longer.
                if thread.spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.report(failures, next.into_inner() < wanted.len())
    }

    /// All failures as one error, in the order of the lines.
    fn report(&self, mut failures: Vec<(usize, Failure)>, more: bool) -> Result<()> {
        if failures.iter().any(|(_, failure)| failure.scope == Scope::Stopped) {
            return Ok(());
        }
        // That nothing can be read is said once.
        if let Some((index, failure)) =
            failures.iter().find(|(_, failure)| failure.scope == Scope::Everything)
        {
            return Err(Error::from(failure.clone()).within(self.entry(*index).place()));
        }
        if failures.is_empty() {
            return Ok(());
        }
        failures.sort_by_key(|(index, _)| *index);
        let whats: Vec<String> = failures
            .iter()
            .map(|(index, failure)| format!("{}: {}", self.entry(*index).place(), failure.what))
            .collect();
        let mut advice: Vec<String> = failures.into_iter().map(|(_, f)| f.advice).collect();
        advice.sort();
        advice.dedup();
        advice.retain(|advice| !advice.is_empty());
        let rest = if more { "; the others were not tried" } else { "" };
        let advice =
            if advice.is_empty() { String::new() } else { format!("; {}", advice.join("; ")) };
        Err(Error::input(format!(
            "{} cannot be read: {}{rest}{advice}",
            count(whats.len(), "object"),
            examples(&whats)
        )))
    }

    /// Says what was fetched, and whether some has to be fetched each time.
    pub fn describe(&self) {
        let state = self.state();
        let all = state.entries.len();
        let kept = state.entries.iter().filter(|entry| entry.kept.is_some()).count();
        let gigabytes = state.kept as f64 / 1e9;
        say(format_args!("{} ({gigabytes:.3} GB) fetched from S3", count(kept, "object")));
        if kept < all {
            note(format_args!(
                "warning: {} of {all} objects do not fit on disk{} and are fetched anew in every \
                 epoch, which is slower; give the job a larger VolumeSizeInGB, name a folder on a \
                 larger disk with TMPDIR, or raise MASKMAKER_S3_CACHE_SIZE if it is set",
                all - kept,
                self.room.limit.map_or(String::new(), |limit| {
                    format!(" within MASKMAKER_S3_CACHE_SIZE ({} MB)", limit >> 20)
                })
            ));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the lock is let go.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, index: usize) -> Entry {
        self.state().entries[index].clone()
    }

    fn read(&self, index: usize) -> Result<Vec<u8>, Failure> {
        if let Some(path) = self.entry(index).kept {
            return fs::read(&path).map_err(|cause| {
                Failure::object(
                    format!("{}: {}", path.display(), cause),
                    "leave the temporary folder of a running job alone",
                )
            });
        }
        self.obtain(index).map(|(bytes, _)| bytes)
    }

    /// Fetches an object and keeps it if there is room.
    fn obtain(&self, index: usize) -> Result<(Vec<u8>, bool), Failure> {
        let Entry { uri, etag, .. } = self.entry(index);
        let mut bytes = Vec::new();
        let get = Get { uri: &uri, limit: MAX_OBJECT, etag: etag.as_deref() };
        let about = (self.connect)()?.get(&get, &mut bytes)?;
        self.keep(index, &bytes);
        let entry = &mut self.state().entries[index];
        entry.etag = entry.etag.take().or(about.etag);
        Ok((bytes, entry.kept.is_some()))
    }

    /// Writes an object to disk, if there is room.
    fn keep(&self, index: usize, bytes: &[u8]) {
        let Some(folder) = self.folder.get() else { return };
        let size = bytes.len() as u64;
        {
            let mut state = self.state();
            // Another thread was faster, or there is no room.
            if state.entries[index].kept.is_some() || !self.room.takes(&state, size, folder) {
                return;
            }
            state.kept += size;
            state.writing += size;
        }
        // Each thread writes to a name of its own: two may have fetched the same object.
        let written = tempfile::Builder::new()
            .prefix(&format!("object-{index:08}-"))
            .tempfile_in(folder)
            .and_then(|mut file| std::io::Write::write_all(&mut file, bytes).map(|()| file))
            .and_then(|file| file.keep().map_err(|failed| failed.error));
        let mut state = self.state();
        state.writing -= size;
        if let (Ok((_, path)), None) = (&written, &state.entries[index].kept) {
            state.entries[index].kept = Some(path.clone());
            return;
        }
        state.kept -= size;
        drop(state);
        if let Ok((_, path)) = written {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests;
