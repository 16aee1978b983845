//! Files below a prefix of S3, and those that a manifest of Ground Truth names.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::downloads::{Download, DownloadSource, Downloader, FetchSummary};
use super::place::{place_image, place_names};
use crate::aws::{GetRequest, ObjectStore, S3Client, S3Uri};
use crate::data::manifest_lines::{IMAGE_KEY, ManifestLineError, ManifestLines};
use crate::error::{Error, Problems, Result};
use crate::files::write_atomically;
use crate::web_client::name_reference;

/// Largest manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 30;

/// Folder of manifests and masks below the output.
const ANNOTATIONS_FOLDER: &str = "annotations";

/// Fetches all objects below a prefix into `folder` below the output, where they lie as they do in S3. One
/// that changed there since is fetched again.
pub fn fetch_prefix(
    client: &S3Client,
    prefix: &S3Uri,
    folder: &Path,
    downloader: &Downloader<'_>,
) -> Result<FetchSummary> {
    // A folder's name without its slash would also be the beginning of other folders' names.
    let prefix = if prefix.is_prefix() { prefix.clone() } else { prefix.join("/") };
    let mut downloads = Vec::new();
    let mut problems = Problems::new();
    client.visit_objects(&prefix, |object| {
        let name = object.key.strip_prefix(prefix.key()).unwrap_or(object.key);
        // Consoles make empty objects for folders.
        if name.is_empty() || name.ends_with('/') {
            return;
        }
        match place_names(folder, name.split('/')) {
            Ok(place) => downloads.push(Download {
                reference: prefix.join(name).to_string(),
                place,
                source: DownloadSource::Object(prefix.join(name)),
                version: Some(object.etag.to_owned()),
            }),
            Err(reason) => problems.push(format!("{} {reason}", prefix.join(name))),
        }
    })?;
    problems.into_result()?;
    if downloads.is_empty() {
        return Err(Error::input(format!(
            "{prefix}: there are no objects; check bucket and prefix"
        )));
    }
    downloader.fetch(&downloads)
}

/// Fetches a manifest of Ground Truth with the images and masks that its lines name, into `annotations/`
/// and `images/` below the output.
pub fn fetch_manifest(
    client: &S3Client,
    manifest: &S3Uri,
    downloader: &Downloader<'_>,
) -> Result<FetchSummary> {
    let mut bytes = Vec::new();
    let request = GetRequest { uri: manifest, max_bytes: MAX_MANIFEST_BYTES, etag: None };
    client.get(&request, &mut bytes)?;
    let place =
        place_key(manifest).map_err(|reason| Error::input(format!("{manifest} {reason}")))?;
    let mut downloads = Vec::new();
    let mut unusable = Vec::new();
    for line in ManifestLines::new(Cursor::new(&bytes)) {
        let line = line.map_err(|cause| match cause {
            ManifestLineError::Read(cause) => Error::input(format!("{manifest}: {cause}")),
            ManifestLineError::TooLong { number } => {
                Error::input(format!("{manifest}: line {number} is too long for one of a manifest"))
            }
        })?;
        // preprocess tells of lines that are no objects.
        if let Ok(object) = line.object {
            add_line(&object, &mut downloads, &mut unusable);
        }
    }
    if downloads.is_empty() {
        return Err(Error::input(format!(
            "{manifest}: no line names an image or a mask in S3 ({IMAGE_KEY}, ...-ref); is it the output manifest of a \
             labeling job?"
        )));
    }
    write_atomically(&downloader.output.join(place), &bytes)?;
    downloads.sort_by(|first: &Download, second| first.reference.cmp(&second.reference));
    downloads.dedup_by(|first, second| first.reference == second.reference);
    let mut summary = downloader.fetch(&downloads)?;
    summary.missing.extend(unusable);
    Ok(summary)
}

/// Adds the files that a line names: the image, and what its other references lead to.
fn add_line(
    object: &Map<String, Value>,
    downloads: &mut Vec<Download>,
    unusable: &mut Vec<String>,
) {
    for (key, value) in object {
        let (true, Some(reference)) = (key == IMAGE_KEY || key.ends_with("-ref"), value.as_str())
        else {
            continue;
        };
        let uri = reference.parse::<S3Uri>();
        let place = match &uri {
            Ok(_) if key == IMAGE_KEY => place_image(reference, None),
            Ok(uri) => place_key(uri),
            Err(reason) => Err(reason.clone()),
        };
        match (uri, place) {
            (Ok(uri), Ok(place)) => downloads.push(Download {
                reference: reference.to_owned(),
                place,
                source: DownloadSource::Object(uri),
                version: None,
            }),
            (_, Err(reason)) | (Err(reason), _) => {
                unusable.push(format!("{}: {reason}", name_reference(reference)));
            }
        }
    }
}

/// Returns the place of an object of a labeling job: its bucket and key in the folder of annotations.
fn place_key(uri: &S3Uri) -> Result<PathBuf, String> {
    place_names(&Path::new(ANNOTATIONS_FOLDER).join(uri.bucket()), uri.key().split('/'))
}
