//! Many files at a time, each whole or absent.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::ledger::{DigestingWriter, FetchedFile, Ledger};
use crate::aws::{ErrorScope, GetRequest, ObjectSink, ObjectStore, S3Uri};
use crate::error::{Error, Problems, Result};
use crate::files::{PathContext, remove_partials, write_atomically_with};
use crate::label_studio::LabelStudio;
use crate::progress::Progress;
use crate::web_client::{
    AnswerReader, Url, WebAnswer, WebClient, WebError, WebErrorKind, WebRequest, name_reference,
};

/// Longest time between a request to stop and the moment at which a fetch gives up.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub enum DownloadSource {
    /// Address of Label Studio, asked with the user's token.
    LabelStudio(Url),
    /// Address of a server that is asked without any token.
    Web(Url),
    /// Object in S3.
    Object(S3Uri),
}

/// A file that is wanted.
#[derive(Debug, Clone)]
pub struct Download {
    /// Reference of the file, as the annotations have it, or its address.
    pub reference: String,
    /// Place below the output folder.
    pub place: PathBuf,
    pub source: DownloadSource,
    /// Version of the content, if the source states one before it is read.
    pub version: Option<String>,
}

/// Numbers of files that were fetched, and reasons of those that were not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchSummary {
    /// Files that were fetched, and their bytes.
    pub fetched: usize,
    pub bytes: u64,
    /// Files that lay there already.
    pub kept: usize,
    /// Reasons of files that their sources do not have, or do not give, each with the file's reference.
    pub missing: Vec<String>,
    /// Reasons of files that could not be fetched now and may be later.
    pub failed: Vec<String>,
}

impl FetchSummary {
    /// Adds the numbers of another fetch.
    pub fn add(&mut self, other: Self) {
        self.fetched += other.fetched;
        self.bytes += other.bytes;
        self.kept += other.kept;
        self.missing.extend(other.missing);
        self.failed.extend(other.failed);
    }
}

/// Clients by which files are fetched.
pub struct Downloader<'a> {
    pub output: &'a Path,
    /// Files at one time.
    pub parallel: usize,
    /// Largest file, in bytes.
    pub max_bytes: u64,
    pub web: &'a WebClient,
    pub label_studio: Option<&'a LabelStudio>,
    pub objects: Option<&'a dyn ObjectStore>,
    pub runtime: &'a Handle,
    /// Places that files of this run have, with the names of their sources.
    pub claims: &'a Claims,
    pub should_stop: &'a (dyn Fn() -> bool + Sync),
}

/// Places below the output that files of a run have, so that no source overwrites another one's files.
#[derive(Debug, Default)]
pub struct Claims(Mutex<HashMap<PathBuf, String>>);

impl Claims {
    /// Takes a place for a source. The error text follows the source in a sentence.
    pub(super) fn claim(&self, place: &Path, source: &str) -> Result<(), String> {
        let mut places = lock(&self.0);
        match places.get(place) {
            Some(other) if other != source => {
                Err(format!("would be {}, which {other} is already", place.display()))
            }
            Some(_) => Ok(()),
            None => {
                places.insert(place.to_owned(), source.to_owned());
                Ok(())
            }
        }
    }
}

/// Failure of one file.
enum DownloadError {
    /// The source has no such file, or does not give it to this user.
    Missing(String),
    /// The file could not be fetched now. Others may be.
    Failed(String),
    /// A fault that ends the fetch, since it would meet all files.
    Fatal(Error),
}

impl Downloader<'_> {
    /// Fetches all files that do not lie there already. Files that are missing or cannot be fetched are in
    /// the summary; a failure that concerns all files is an error. The same call goes on after both.
    pub fn fetch(&self, downloads: &[Download]) -> Result<FetchSummary> {
        let ledger = Ledger::open(self.output)?;
        let progress = Mutex::new(Progress::new("fetching", downloads.len()));
        let summary = Mutex::new(FetchSummary::default());
        let problems = Mutex::new(Problems::new());
        let next = AtomicUsize::new(0);
        let has_failed = || !lock(&problems).is_empty();
        let work = || {
            while !(self.should_stop)() && !has_failed() {
                let Some(download) = downloads.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    return;
                };
                let outcome = self.fetch_file(download, &ledger);
                lock(&progress).advance(1, || None);
                match outcome {
                    Ok(None) => lock(&summary).kept += 1,
                    Ok(Some(bytes)) => {
                        let mut summary = lock(&summary);
                        summary.fetched += 1;
                        summary.bytes += bytes;
                    }
                    Err(DownloadError::Missing(reason)) => {
                        lock(&summary)
                            .missing
                            .push(format!("{}: {reason}", name_reference(&download.reference)));
                    }
                    Err(DownloadError::Failed(reason)) => {
                        lock(&summary)
                            .failed
                            .push(format!("{}: {reason}", name_reference(&download.reference)));
                    }
                    Err(DownloadError::Fatal(error)) => {
                        lock(&problems).record_err::<()>(Err(error));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.parallel.clamp(1, downloads.len().max(1)) {
                scope.spawn(work);
            }
        });
        lock(&progress).finish();
        problems.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_result()?;
        self.check_stop()?;
        let mut summary = summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        summary.missing.sort();
        summary.failed.sort();
        Ok(summary)
    }

    /// Fails if the program was asked to stop.
    pub(super) fn check_stop(&self) -> Result<()> {
        if (self.should_stop)() { Err(stop_error()) } else { Ok(()) }
    }

    /// Waits for requests to servers, but not after the program was asked to stop: a server may be silent.
    pub(super) fn wait_for<T>(&self, operation: impl Future<Output = T>) -> Result<T> {
        let stop = async {
            while !(self.should_stop)() {
                tokio::time::sleep(STOP_POLL_INTERVAL).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                outcome = operation => Ok(outcome),
                () = stop => Err(stop_error()),
            }
        })
    }

    /// Fetches a file. Returns its size in bytes, or none if it lies there already.
    fn fetch_file(
        &self,
        download: &Download,
        ledger: &Ledger,
    ) -> Result<Option<u64>, DownloadError> {
        let Download { reference, place, source, version } = download;
        let name = name_reference(reference);
        self.claims.claim(place, &name).map_err(DownloadError::Missing)?;
        if ledger.find_current(place, &name, version.as_deref()).is_some() {
            return Ok(None);
        }
        let path = self.output.join(place);
        let mut read = None;
        let kept = write_atomically_with(&path, |partial| {
            let mut writer =
                DigestingWriter::new(File::create(partial).with_path("write", partial)?);
            let version = self.read_into(source, &mut writer);
            let outcome = version.map(|version| (writer.bytes(), version, writer.finish()));
            // Without a file that can be kept the temporary one is removed.
            let is_read = outcome.is_ok();
            read = Some(outcome);
            if is_read { Ok(()) } else { Err(Error::internal("was not read")) }
        });
        let (bytes, own_version, sha256) = match (read, kept) {
            (Some(Ok(written)), Ok(())) => written,
            (Some(Err(error)), _) => return Err(error),
            (_, Err(error)) => return Err(DownloadError::Fatal(error)),
            (None, Ok(())) => {
                return Err(DownloadError::Fatal(Error::internal("nothing was read")));
            }
        };
        let entry = FetchedFile {
            file: place.clone(),
            source: name,
            version: version.clone().or(own_version),
            bytes,
            sha256,
        };
        ledger.add(&entry).map_err(DownloadError::Fatal)?;
        Ok(Some(bytes))
    }

    /// Reads a file into `writer`, and returns its version if the source states it.
    fn read_into(
        &self,
        source: &DownloadSource,
        writer: &mut DigestingWriter,
    ) -> Result<Option<String>, DownloadError> {
        match source {
            DownloadSource::LabelStudio(url) => {
                let Some(label_studio) = self.label_studio else {
                    return Err(DownloadError::Fatal(Error::internal(
                        "there is no connection to Label Studio",
                    )));
                };
                let mut copy = DiskCopy { writer, downloader: self };
                let read = label_studio.read_file(url, &mut copy);
                let read = self.wait_for(read).map_err(DownloadError::Fatal)?;
                read.map_err(|error| classify(&error, source))
            }
            DownloadSource::Web(url) => {
                let request = WebRequest::get(url);
                let mut copy = DiskCopy { writer, downloader: self };
                let read = self.web.attempt(&request, &mut copy);
                let read = self.wait_for(read).map_err(DownloadError::Fatal)?;
                read.map_err(|error| classify(&error, source))
            }
            DownloadSource::Object(uri) => {
                let Some(objects) = self.objects else {
                    return Err(DownloadError::Fatal(Error::internal(
                        "there is no connection to S3",
                    )));
                };
                let request = GetRequest { uri, max_bytes: self.max_bytes, etag: None };
                match objects.get(&request, writer) {
                    Ok(info) => Ok(info.etag),
                    Err(error) if error.scope == ErrorScope::Object => {
                        Err(DownloadError::Missing(error.to_string()))
                    }
                    Err(error) => Err(DownloadError::Fatal(error.into())),
                }
            }
        }
    }
}

impl ObjectSink for DigestingWriter {
    fn restart(&mut self) -> std::io::Result<()> {
        DigestingWriter::restart(self)
    }
}

/// Copies the body of an answer to disk, and returns its version if the server states it.
struct DiskCopy<'a, 'b> {
    writer: &'a mut DigestingWriter,
    downloader: &'a Downloader<'b>,
}

impl AnswerReader for DiskCopy<'_, '_> {
    type Output = Option<String>;

    async fn read(&mut self, mut answer: WebAnswer) -> Result<Option<String>, WebError> {
        let Self { writer, downloader } = self;
        // It would pass for the image for good.
        answer.refuse_page()?;
        answer.check_length(answer.content_length().unwrap_or(0), downloader.max_bytes)?;
        writer.restart().map_err(|cause| disk_error(&answer, &cause))?;
        while let Some(chunk) = answer.chunk().await? {
            let bytes: &[u8] = chunk.as_ref();
            answer.check_length(writer.bytes() + bytes.len() as u64, downloader.max_bytes)?;
            writer.write_all(bytes).map_err(|cause| disk_error(&answer, &cause))?;
        }
        if writer.bytes() == 0 {
            return Err(answer.fault("the answer is empty"));
        }
        let etag = answer.header(reqwest::header::ETAG).map(str::to_owned);
        Ok(etag)
    }
}

/// Makes the error of a disk that takes no more.
pub(super) fn disk_error(answer: &WebAnswer, cause: &std::io::Error) -> WebError {
    answer.fault(format_args!("cannot be written: {cause}")).with_kind(WebErrorKind::Disk)
}

/// Tells whom a failure concerns.
fn classify(error: &WebError, source: &DownloadSource) -> DownloadError {
    // Label Studio's own refusals meet every file; those of a storage that it leads to do not.
    let is_own = matches!(source, DownloadSource::LabelStudio(_)) && !error.was_redirected;
    match error.kind {
        WebErrorKind::Disk | WebErrorKind::Authorization => {
            DownloadError::Fatal(Error::input(error.to_string()))
        }
        WebErrorKind::Status(401) | WebErrorKind::Unreachable if is_own => {
            DownloadError::Fatal(Error::input(error.to_string()))
        }
        _ if error.is_passing() => DownloadError::Failed(error.to_string()),
        _ => DownloadError::Missing(error.to_string()),
    }
}

/// Removes the half-written files that a killed fetch left below a folder.
pub fn remove_partials_below(folder: &Path) {
    remove_partials(folder);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // Links are not followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_partials_below(&entry.path());
        }
    }
}

fn stop_error() -> Error {
    Error::input("the fetch was stopped; the same command goes on")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
