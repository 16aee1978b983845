//! `maskmaker serve`: the model in the model folder, or those of a multi-model endpoint, over HTTP.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::aws::{self, GetRequest, ObjectStore, S3Client, S3Uri};
use crate::error::Result;
use crate::inference::{Engine, EngineOptions};
use crate::serve::{self, BoxFuture, LoadedModel, ModelLoader, ObjectFetcher, ServeSettings};

/// The longest that S3 may bring nothing.
const S3_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves until SIGTERM or SIGINT. With `references`, requests may name images in S3, which are read with the
/// endpoint's own role.
pub fn run_serve(
    settings: &ServeSettings,
    options: EngineOptions,
    allow_s3_references: bool,
) -> Result<()> {
    let fetcher =
        allow_s3_references.then(|| Arc::new(S3ObjectFetcher::default()) as Arc<dyn ObjectFetcher>);
    serve::run_server(settings, Arc::new(EngineLoader(options)), fetcher)
}

/// Makes engines of model folders.
struct EngineLoader(EngineOptions);

impl ModelLoader for EngineLoader {
    fn estimate_bytes(&self, folder: &Path) -> Result<u64> {
        Engine::memory_to_load(folder)
    }

    fn load(&self, folder: &Path) -> Result<LoadedModel> {
        let bytes = Engine::memory_to_load(folder)?;
        let engine = Engine::load(folder, self.0)?;
        Ok(LoadedModel { engine: Box::new(engine), memory_bytes: bytes })
    }
}

/// Objects of S3. The connection is made when the first is asked for.
#[derive(Default)]
struct S3ObjectFetcher(Arc<OnceLock<Arc<dyn ObjectStore>>>);

impl ObjectFetcher for S3ObjectFetcher {
    fn fetch(&self, uri: &str, max_bytes: usize) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let (store, uri) = (Arc::clone(&self.0), uri.to_owned());
        Box::pin(async move {
            let fetch_blocking = move || {
                let object_uri: S3Uri =
                    uri.parse().map_err(|problem| format!("{uri} {problem}"))?;
                let store = if let Some(store) = store.get() {
                    store
                } else {
                    // A failure is not kept: credentials may come later.
                    let settings = aws::S3Settings::new(S3_TIMEOUT, Arc::new(|| false));
                    let client = S3Client::connect(settings).map_err(|f| f.to_string())?;
                    store.get_or_init(|| Arc::new(client))
                };
                let mut bytes = Vec::new();
                let request =
                    GetRequest { uri: &object_uri, max_bytes: max_bytes as u64, etag: None };
                store.get(&request, &mut bytes).map_err(|failure| failure.to_string())?;
                Ok(bytes)
            };
            let result = tokio::task::spawn_blocking(fetch_blocking).await;
            result.unwrap_or_else(|_| Err("reading the object failed".to_owned()))
        })
    }
}
