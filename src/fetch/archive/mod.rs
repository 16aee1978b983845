//! Archives on the web (zip, tar and tar.gz), which are unpacked.

mod unpack;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use serde::{Deserialize, Serialize};

use self::unpack::Unpacker;
use super::downloads::{Downloader, FetchSummary, disk_error};
use super::ledger::{FetchedFile, Ledger, STATE_FOLDER, digest_file};
use crate::error::{ErrorContext, Result};
use crate::files::{PathContext, create_folder, read_file, remove_file_if_exists, write_json};
use crate::web_client::{
    Url, WebAnswer, WebError, WebErrorKind, WebRequest, name_reference, short_digest,
};

/// Folder of archives that are not unpacked yet, in that of the state.
const ARCHIVES_FOLDER: &str = "archives";

/// Statuses of an answer that holds the part of a file that was asked for, and of one that has no such
/// part.
const PARTIAL_CONTENT: u16 = 206;
const RANGE_NOT_SATISFIABLE: u16 = 416;

/// Attempts to fetch an archive, and the pause between them.
const MAX_ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// Archive of which a part lies on disk.
#[derive(Debug, Serialize, Deserialize)]
struct PartialArchive {
    /// Version of the archive to which the part belongs, if its server promises the same bytes for it.
    etag: Option<String>,
    /// Size of the whole, in bytes, if its server stated it.
    length: Option<u64>,
}

/// Fetches an archive and unpacks its files into `folder` below the output. A fetch that was interrupted
/// goes on where it was if the server can send a part. The archive itself is not kept.
pub fn fetch_archive(
    url: &Url,
    folder: &Path,
    downloader: &Downloader<'_>,
) -> Result<FetchSummary> {
    let ledger = Ledger::open(downloader.output)?;
    let mut source = name_reference(url.as_str());
    if folder != Path::new("") {
        source = format!("{source} into {}", folder.display());
    }
    // Addresses with other queries are other archives.
    let key = short_digest(&format!("{url} {}", folder.display()));
    let place = Path::new(STATE_FOLDER).join(ARCHIVES_FOLDER).join(key);
    if let Some(kept) = count_unpacked(&ledger, &place, &source, downloader)? {
        return Ok(FetchSummary { kept, ..Default::default() });
    }
    let part = downloader.output.join(&place);
    create_folder(&downloader.output.join(STATE_FOLDER).join(ARCHIVES_FOLDER))?;
    fetch_part(url, &part, downloader)?;
    let sha256 = digest_file(&part).with_path("read", &part)?;
    let bytes = fs::metadata(&part).with_path("read", &part)?.len();
    let unpacker = Unpacker::new(folder, &source, &sha256, &ledger, downloader);
    let unpacked = unpacker.unpack(&part).error_context(&source);
    if unpacked.is_ok() || !(downloader.should_stop)() {
        // One that cannot be unpacked is fetched again the next time.
        remove_file_if_exists(&part)?;
        remove_file_if_exists(&description_of(&part))?;
    }
    let summary = FetchSummary { bytes, ..unpacked? };
    // Written last: it says that all files of the archive were unpacked.
    let version = Some(sha256.clone());
    ledger.add(&FetchedFile { file: place, source, version, bytes, sha256 })?;
    Ok(summary)
}

/// Returns the number of an archive's files if all of them lie there as they were unpacked. `place` is that
/// of the archive's own entry.
fn count_unpacked(
    ledger: &Ledger,
    place: &Path,
    source: &str,
    downloader: &Downloader<'_>,
) -> Result<Option<usize>> {
    let Some(whole) = ledger.find(place) else { return Ok(None) };
    let mut files = 0;
    for entry in ledger.entries_of(&format!("{source}#")) {
        if entry.version != whole.version {
            continue;
        }
        downloader.check_stop()?;
        if ledger.find_current(&entry.file, &entry.source, entry.version.as_deref()).is_none() {
            return Ok(None);
        }
        // A conflict is told where the other source fetches.
        let _ = downloader.claims.claim(&entry.file, &entry.source);
        files += 1;
    }
    Ok(Some(files))
}

fn description_of(part: &Path) -> PathBuf {
    part.with_extension("json")
}

/// Fetches what `part` lacks of an archive.
fn fetch_part(url: &Url, part: &Path, downloader: &Downloader<'_>) -> Result<()> {
    for attempt in 1..=MAX_ATTEMPTS {
        match downloader.wait_for(fetch_rest(url, part, downloader))? {
            Err(error) if error.is_passing() && attempt < MAX_ATTEMPTS => {
                downloader.wait_for(async { tokio::time::sleep(PAUSE).await })?;
            }
            fetched => return Ok(fetched?),
        }
    }
    Ok(())
}

/// Asks for what lies behind the end of `part`, and for the whole archive if that has changed or the server
/// sends no parts.
async fn fetch_rest(url: &Url, part: &Path, downloader: &Downloader<'_>) -> Result<(), WebError> {
    let description = description_of(part);
    let bytes = fs::metadata(part).map_or(0, |file| file.len());
    let known = read_file(&description).ok();
    let known = known.and_then(|text| serde_json::from_slice::<PartialArchive>(&text).ok());
    let mut request = WebRequest::get(url);
    let mut asks_for_rest = false;
    if let Some(known) = known {
        if bytes > 0 && known.length == Some(bytes) {
            return Ok(());
        }
        if bytes > 0
            && let Some(etag) = known.etag
        {
            request = request.header(RANGE, &format!("bytes={bytes}-")).header(IF_RANGE, &etag);
            asks_for_rest = true;
        }
    }
    // The next attempt begins anew where this one cannot go on.
    let begin_anew = |reason: WebError| {
        let _ = fs::remove_file(&description);
        reason.with_kind(WebErrorKind::Connection)
    };
    let sent = downloader.web.send_once(&request).await;
    let mut answer = sent.map_err(|error| match error.kind {
        WebErrorKind::Status(RANGE_NOT_SATISFIABLE) if asks_for_rest => begin_anew(error),
        _ => error,
    })?;
    let is_rest = answer.status() == PARTIAL_CONTENT;
    if is_rest {
        let starts_there = |range: &str| range.starts_with(&format!("bytes {bytes}-"));
        if !asks_for_rest || !answer.header(CONTENT_RANGE).is_some_and(starts_there) {
            return Err(begin_anew(
                answer.fault("the server sends another part than was asked for"),
            ));
        }
    }
    let on_disk = |answer: &WebAnswer, cause: &io::Error| disk_error(answer, cause);
    let mut options = File::options();
    options.create(true);
    let mut received = if is_rest { bytes } else { 0 };
    let length = answer.content_length().map(|rest| received.saturating_add(rest));
    answer.check_length(length.unwrap_or(0), downloader.max_bytes)?;
    if is_rest {
        options.append(true);
    } else {
        options.write(true).truncate(true);
        // A weak ETag does not promise the same bytes.
        let etag = answer.header(ETAG).filter(|etag| !etag.starts_with("W/")).map(str::to_owned);
        let written = write_json(&description, &PartialArchive { etag, length });
        written.map_err(|error| answer.fault(error).with_kind(WebErrorKind::Disk))?;
    }
    let mut file = options.open(part).map_err(|cause| on_disk(&answer, &cause))?;
    while let Some(chunk) = answer.chunk().await? {
        let chunk: &[u8] = chunk.as_ref();
        received += chunk.len() as u64;
        answer.check_length(received, downloader.max_bytes)?;
        file.write_all(chunk).map_err(|cause| on_disk(&answer, &cause))?;
    }
    file.sync_all().map_err(|cause| on_disk(&answer, &cause))
}
