//! `maskmaker label-studio backend`: the ML backend that Label Studio asks.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use super::connection::{LabelStudioConnection, connect_images};
use super::local_model::LocalModel;
use crate::commands::device::check_inference_device;
use crate::error::{Error, Result};
use crate::http::{self, Level, log_message};
use crate::inference::EngineOptions;
use crate::preannotation::{
    Backend, BackendSettings, BasicAuth, RegionOptions, Segmenter, TaskPredictor, run_backend,
};
use crate::sagemaker::StopSignal;
use crate::settings::{BASIC_AUTH_PASSWORD_VARIABLE, BASIC_AUTH_USER_VARIABLE};
use crate::web_client::{AddressRule, WebClient, WebClientSettings};

/// Model, address and limits of a backend.
#[derive(Debug, Clone)]
pub struct BackendCommand {
    pub connection: LabelStudioConnection,
    /// Folder of the model, or its `model.tar.gz`, or a folder that holds this archive.
    pub model: PathBuf,
    pub engine: EngineOptions,
    /// Address and limits; name and password come from the environment.
    pub settings: BackendSettings,
    pub regions: RegionOptions,
    /// Largest image, in bytes and in pixels.
    pub max_image_bytes: u64,
    pub max_pixels: u64,
}

/// Serves until SIGTERM or SIGINT.
pub fn run_label_studio_backend(command: &BackendCommand) -> Result<()> {
    check_inference_device()?;
    let auth = read_auth()?;
    let images =
        connect_images(&command.connection, command.max_image_bytes, &StopSignal::default())?;
    let runtime = http::build_runtime()?;
    let outcome = runtime.block_on(async {
        // The handlers are installed before anything that takes time, so that no signal is missed.
        let stop = http::stop_signal()?;
        let model = LocalModel::load(&command.model, command.engine, command.max_pixels).await?;
        let model = Arc::new(model);
        let segmenter: Arc<dyn Segmenter> = Arc::clone(&model) as _;
        let predictor = TaskPredictor { images, segmenter, regions: command.regions };
        let settings = BackendSettings { auth, ..command.settings.clone() };
        // Whoever retrains is chosen by who starts this server, and may have a private address.
        let private_servers = settings.retrain_url.iter().cloned().collect();
        let addresses = AddressRule { allow_private: false, private_servers };
        let web = WebClient::new(WebClientSettings { addresses, ..Default::default() })?;
        let backend = Backend::new(settings, predictor, web);
        tokio::spawn(async move { model.watch().await });
        run_backend(&backend, stop).await
    });
    // A decoder may still work for a client that was cut off; the process does not wait for it.
    runtime.shutdown_background();
    outcome
}

/// Returns name and password of the environment, and none without both.
fn read_auth() -> Result<Option<BasicAuth>> {
    let read = |variable: &str| env::var(variable).ok().filter(|text| !text.is_empty());
    match (read(BASIC_AUTH_USER_VARIABLE), read(BASIC_AUTH_PASSWORD_VARIABLE)) {
        (Some(name), Some(password)) => Ok(Some(BasicAuth::new(&name, &password))),
        (None, None) => {
            log_message(
                Level::Warning,
                format_args!(
                    "everybody who reaches this server may ask for predictions; set {BASIC_AUTH_USER_VARIABLE} and \
                     {BASIC_AUTH_PASSWORD_VARIABLE}, and give both to Label Studio"
                ),
            );
            Ok(None)
        }
        _ => Err(Error::input(format!(
            "one of {BASIC_AUTH_USER_VARIABLE} and {BASIC_AUTH_PASSWORD_VARIABLE} is set alone; set both or none"
        ))),
    }
}
