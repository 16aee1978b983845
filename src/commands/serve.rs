//! `maskmaker serve`: the model in the model folder, or those of a multi-model endpoint, over HTTP.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::aws::{self, Client, Get, S3Uri, Store};
use crate::error::Result;
use crate::inference::{Engine, Options};
use crate::serve::{self, BoxFuture, Fetch, Load, Loaded, Settings};

/// The longest that S3 may bring nothing.
const S3_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves until SIGTERM or SIGINT. With `references`, requests may name images in S3, which are read with the
/// endpoint's own role.
pub fn run(settings: &Settings, options: Options, references: bool) -> Result<()> {
    let fetch = references.then(|| Arc::new(Objects::default()) as Arc<dyn Fetch>);
    serve::run(settings, Arc::new(Engines(options)), fetch)
}

/// Makes engines of model folders.
struct Engines(Options);

impl Load for Engines {
    fn bytes(&self, folder: &Path) -> Result<u64> {
        Engine::memory_to_load(folder)
    }

    fn load(&self, folder: &Path) -> Result<Loaded> {
        let bytes = Engine::memory_to_load(folder)?;
        let engine = Engine::load(folder, self.0)?;
        Ok(Loaded { engine: Box::new(engine), bytes })
    }
}

/// Objects of S3. The connection is made when the first is asked for.
#[derive(Default)]
struct Objects(Arc<OnceLock<Arc<dyn Store>>>);

impl Fetch for Objects {
    fn fetch(&self, uri: &str, most: usize) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let (store, uri) = (Arc::clone(&self.0), uri.to_owned());
        Box::pin(async move {
            let object = move || {
                let name: S3Uri = uri.parse().map_err(|problem| format!("{uri} {problem}"))?;
                let store = if let Some(store) = store.get() {
                    store
                } else {
                    // A failure is not kept: credentials may come later.
                    let settings = aws::Settings::new(S3_TIMEOUT, Arc::new(|| false));
                    let client = Client::connect(settings).map_err(|f| f.to_string())?;
                    store.get_or_init(|| Arc::new(client))
                };
                let mut bytes = Vec::new();
                let get = Get { uri: &name, limit: most as u64, etag: None };
                store.get(&get, &mut bytes).map_err(|failure| failure.to_string())?;
                Ok(bytes)
            };
            let read = tokio::task::spawn_blocking(object).await;
            read.unwrap_or_else(|_| Err("reading the object failed".to_owned()))
        })
    }
}
