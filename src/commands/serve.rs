//! `maskmaker serve`: the model in the model folder, over HTTP.

use crate::error::Result;
use crate::inference::{Engine, Options, Segment};
use crate::sagemaker::MlRoot;
use crate::serve::{self, Settings};

/// Serves until SIGTERM or SIGINT.
pub fn run(root: &MlRoot, settings: &Settings, options: Options) -> Result<()> {
    let folder = root.model();
    serve::run(settings, move || {
        let engine: Box<dyn Segment> = Box::new(Engine::load(&folder, options)?);
        Ok(engine)
    })
}
