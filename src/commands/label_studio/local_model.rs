//! A model in this process, behind the queue of `serve`.

use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::commands::open_model::OpenModel;
use crate::commands::serve::EngineLoader;
use crate::error::{Error, Result};
use crate::files::PathContext;
use crate::http::{Level, log_message};
use crate::inference::{EngineOptions, OutputDetail, SegmentOptions, TestTimeAugmentation};
use crate::model::archive::ARCHIVE_FILE;
use crate::model::artifact::{CONFIG_FILE, LABELS_FILE, TORCHSCRIPT_FILE, WEIGHTS_FILE};
use crate::preannotation::{
    BoxFuture, ModelVersion, PredictedMask, SegmentError, SegmentErrorKind, Segmenter,
};
use crate::serve::{ApiError, EndpointKind, ErrorType, ServeSettings, Server};

/// Digits of the weights' SHA-256 in the name of a version.
const VERSION_DIGITS: usize = 12;

/// Time between two looks at the files of the model.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Options by which images are computed: the class of each pixel, and how sure the model is of it.
const SEGMENT_OPTIONS: SegmentOptions = SegmentOptions {
    tile: false,
    tta: TestTimeAugmentation { flip: false, scales: Vec::new() },
    detail: OutputDetail::Classes,
    pixel_entropy: true,
};

/// A model of a path, in the version that lies there now.
pub(super) struct LocalModel {
    path: PathBuf,
    server: Server,
    version: Mutex<Arc<ModelVersion>>,
}

/// Names, sizes and times of change of a model's files, by which a new model is noticed.
type FileStamps = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl LocalModel {
    /// Loads the model at a path: a folder, an archive, or a folder with an archive. `max_pixels` is the
    /// largest image. Must be called on the runtime.
    pub(super) async fn load(path: &Path, options: EngineOptions, max_pixels: u64) -> Result<Self> {
        let settings = ServeSettings {
            multi_model: true,
            max_pixels,
            // One program sends all images, so that none is refused for its size or time.
            ..ServeSettings::for_endpoint(EndpointKind::Async, None)
        };
        let server = Server::start(&settings, Arc::new(EngineLoader(options)), None)?;
        let version = Mutex::new(Arc::new(load_version(&server, path).await?));
        Ok(Self { path: path.to_owned(), server, version })
    }

    /// Looks at the files of the model for ever, and loads a model that took the place of the old one.
    pub(super) async fn watch(&self) {
        let mut known = read_stamps(&self.path);
        let mut refused = None;
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            let stamps = read_stamps(&self.path);
            if stamps == known || Some(&stamps) == refused.as_ref() || stamps.is_empty() {
                continue;
            }
            // Files that are still being written change until the next look.
            tokio::time::sleep(WATCH_INTERVAL).await;
            if read_stamps(&self.path) != stamps {
                continue;
            }
            match self.replace().await {
                Ok(()) => known = stamps,
                Err(error) => {
                    log_message(
                        Level::Warning,
                        format_args!("the new model cannot be used, the old one stays: {error}"),
                    );
                    refused = Some(stamps);
                }
            }
        }
    }

    /// Loads the model that lies at the path now, unless it is the one that is loaded.
    async fn replace(&self) -> Result<()> {
        let old = self.version();
        let model = OpenModel::open(&self.path)?;
        if name_version(&model.folder)? == old.name {
            return Ok(());
        }
        let new = load_version(&self.server, &self.path).await?;
        log_message(
            Level::Info,
            format_args!("the model is {} now, it was {}", new.name, old.name),
        );
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        // Images that wait for the old model are computed first.
        if let Err(error) = self.server.unload_model(&old.name).await {
            log_message(
                Level::Warning,
                format_args!("the old model stays in memory: {}", error.message()),
            );
        }
        Ok(())
    }

    fn version(&self) -> Arc<ModelVersion> {
        Arc::clone(&self.version.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Segmenter for LocalModel {
    fn current_model(&self) -> BoxFuture<'_, Result<Arc<ModelVersion>, SegmentError>> {
        Box::pin(async { Ok(self.version()) })
    }

    fn segment(&self, image: Vec<u8>) -> BoxFuture<'_, Result<PredictedMask, SegmentError>> {
        Box::pin(async {
            let version = self.version();
            let segmented = self.server.segment(&version.name, image, SEGMENT_OPTIONS).await;
            let mut segmented = segmented.map_err(|error| describe(&error))?;
            let segmentation = std::mem::take(&mut segmented.segmentation);
            Ok(PredictedMask {
                ids: segmentation.ids,
                pixel_entropy: Some(segmentation.pixel_entropy),
                model: version,
                compute_time: segmented.decode_time + segmented.model_time,
                queue_place: Some(Box::new(segmented)),
            })
        })
    }
}

/// Loads the model at a path under the name of its version.
async fn load_version(server: &Server, path: &Path) -> Result<ModelVersion> {
    let model = OpenModel::open(path)?;
    let name = name_version(&model.folder)?;
    let loaded = server.load_model(&name, &model.folder).await;
    let info = loaded.map_err(|error| Error::input(error.message().to_owned()))?;
    Ok(ModelVersion { name, class_names: info.class_names })
}

/// Says whom a failure concerns.
fn describe(error: &ApiError) -> SegmentError {
    let kind = match error.error_type() {
        // A model that was unloaded while the image was decoded has a successor.
        ErrorType::Overloaded | ErrorType::ModelLoading | ErrorType::ModelNotFound => {
            SegmentErrorKind::Busy
        }
        ErrorType::ModelUnavailable => SegmentErrorKind::Model,
        _ => SegmentErrorKind::Image,
    };
    SegmentError { kind, message: error.message().to_owned() }
}

/// Names the version of a model by the content of its weights and of the names of its classes.
fn name_version(folder: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    let mut has_weights = false;
    for name in [WEIGHTS_FILE, TORCHSCRIPT_FILE, LABELS_FILE] {
        let path = folder.join(name);
        // A model has its weights in one of two forms; a TorchScript file beside the others is a copy.
        if !path.is_file() || name == TORCHSCRIPT_FILE && has_weights {
            continue;
        }
        has_weights = true;
        digest.update(name);
        add_file(&path, &mut digest)?;
    }
    let mut version = "maskmaker-".to_owned();
    for byte in &digest.finalize()[..VERSION_DIGITS / 2] {
        // Writing to a text does not fail.
        let _ = write!(version, "{byte:02x}");
    }
    Ok(version)
}

fn add_file(path: &Path, digest: &mut Sha256) -> Result<()> {
    let mut add = || -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            digest.update(&buffer[..count]);
        }
    };
    add().with_path("read", path)
}

/// Returns what is known of the files of a model without reading them; empty if there are none.
fn read_stamps(path: &Path) -> FileStamps {
    let mut stamps = Vec::new();
    let below = [ARCHIVE_FILE, CONFIG_FILE, WEIGHTS_FILE, TORCHSCRIPT_FILE, LABELS_FILE];
    let files = below.iter().map(|name| path.join(name)).chain([path.to_owned()]);
    for file in files {
        if let Ok(metadata) = fs::metadata(&file)
            && metadata.is_file()
        {
            stamps.push((file, metadata.len(), metadata.modified().ok()));
        }
    }
    stamps
}
