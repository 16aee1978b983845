//! `maskmaker serve` serves the model in the model folder, or the models of a multi-model endpoint,
//! over HTTP.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::device::check_inference_device;
use crate::aws::{self, GetRequest, ObjectStore, S3Client, S3Uri};
use crate::console::print_stderr;
use crate::error::Result;
use crate::inference::{Engine, EngineOptions};
use crate::serve::{self, BoxFuture, LoadedModel, ModelLoader, ObjectFetcher, ServeSettings};
use crate::torch;

/// Longest time without a byte from S3.
const S3_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves until SIGTERM or SIGINT. With `allow_s3_references` requests may name images in S3, which
/// the server reads with the endpoint's own role.
pub fn run_serve(
    settings: &ServeSettings,
    options: EngineOptions,
    allow_s3_references: bool,
) -> Result<()> {
    check_inference_device()?;
    if torch::gpu_count() > 1 {
        print_stderr(format_args!(
            "this host has {} GPUs, and one server computes on the first; more servers, each on a \
             port of its own with MASKMAKER_DEVICE=cuda:N, use the others",
            torch::gpu_count()
        ));
    }
    let mut fetcher: Option<Arc<dyn ObjectFetcher>> = None;
    if allow_s3_references {
        fetcher = Some(Arc::new(S3ObjectFetcher::default()));
    }
    serve::run_server(settings, Arc::new(EngineLoader(options)), fetcher)
}

/// Loads model folders as engines with these options.
pub(super) struct EngineLoader(pub(super) EngineOptions);

impl ModelLoader for EngineLoader {
    fn estimate_bytes(&self, folder: &Path) -> Result<u64> {
        Engine::memory_to_load(folder)
    }

    fn gpu_memory_bytes(&self) -> Option<u64> {
        torch::gpu_memory_bytes()
    }

    fn load(&self, folder: &Path) -> Result<LoadedModel> {
        let bytes = Engine::memory_to_load(folder)?;
        let engine = Engine::load(folder, self.0)?;
        Ok(LoadedModel { engine: Box::new(engine), memory_bytes: bytes })
    }
}

/// Reads objects of S3. The client is made for the first object.
#[derive(Default)]
struct S3ObjectFetcher(Arc<OnceLock<S3Client>>);

impl ObjectFetcher for S3ObjectFetcher {
    fn fetch(&self, uri: &str, max_bytes: usize) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let client = Arc::clone(&self.0);
        let uri = uri.to_owned();
        Box::pin(async move {
            let task = tokio::task::spawn_blocking(move || fetch_object(&client, &uri, max_bytes));
            match task.await {
                Ok(result) => result,
                Err(_) => Err("reading the object failed".to_owned()),
            }
        })
    }
}

/// Reads an object of at most `max_bytes`. Waits for S3, so this is no function for the server's
/// asynchronous threads.
fn fetch_object(
    client: &OnceLock<S3Client>,
    uri: &str,
    max_bytes: usize,
) -> Result<Vec<u8>, String> {
    let object_uri = match uri.parse::<S3Uri>() {
        Ok(object_uri) => object_uri,
        Err(problem) => return Err(format!("{uri} {problem}")),
    };
    let client = connect_once(client)?;
    let request = GetRequest { uri: &object_uri, max_bytes: max_bytes as u64, etag: None };
    let mut bytes = Vec::new();
    client.get(&request, &mut bytes).map_err(|failure| failure.to_string())?;
    Ok(bytes)
}

/// Returns the client, and makes it at the first call. Only a client that works is kept:
/// credentials may become available later.
fn connect_once(client: &OnceLock<S3Client>) -> Result<&S3Client, String> {
    if let Some(client) = client.get() {
        return Ok(client);
    }
    let settings = aws::S3Settings::new(S3_TIMEOUT, aws::StopCheck::never());
    let connected = S3Client::connect(settings).map_err(|failure| failure.to_string())?;
    Ok(client.get_or_init(|| connected))
}
