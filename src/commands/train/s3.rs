//! What a job reads from S3, which is connected to only when it is needed.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tempfile::TempPath;

use crate::aws::{Client, Failure, Get, S3Uri, Settings, Store};
use crate::console::say;
use crate::data::objects::Connect;
use crate::error::{Error, Result};
use crate::model::initial;
use crate::sagemaker::Stop;
use crate::sagemaker::hyperparameters::Backbone;

/// Gives the client, one for the whole job.
pub(in crate::commands) fn connect(timeout: Duration, stop: &Stop) -> Connect {
    let stop = stop.clone();
    let mut settings = Settings::new(timeout, Arc::new(move || stop.is_requested()));
    // SageMaker documents no variable for the region, but one for the job.
    settings.region = std::env::var("TRAINING_JOB_ARN").ok().as_deref().and_then(region);
    let client: OnceLock<Result<Arc<dyn Store>, Failure>> = OnceLock::new();
    Arc::new(move || {
        let connect = || Ok(Arc::new(Client::connect(settings.clone())?) as Arc<dyn Store>);
        client.get_or_init(connect).clone()
    })
}

/// The region in a resource's name: `arn:aws:sagemaker:eu-west-1:123456789012:training-job/x`.
fn region(arn: &str) -> Option<String> {
    let region = arn.strip_prefix("arn:")?.split(':').nth(2)?;
    (!region.is_empty()).then(|| region.to_owned())
}

/// A path that is meant as an S3 URI.
pub(super) fn uri(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.starts_with("s3://"))
}

/// Weights in a temporary file.
pub(super) struct Fetched {
    pub(super) path: TempPath,
    /// Where they come from.
    pub(super) uri: S3Uri,
}

/// Fetches the weights at a URI; of a folder, those that are named after the backbone.
pub(super) fn weights(uri: &str, backbone: Backbone, connect: &Connect) -> Result<Fetched> {
    let parsed = uri.parse::<S3Uri>();
    let mut uri = parsed.map_err(|what| Error::input(format!("{uri} {what}")))?;
    let store = connect()?;
    if uri.is_folder() {
        uri = uri.join(&initial::pick(store.list(&uri)?, &uri, backbone)?);
    }
    let io = |cause: &std::io::Error| Error::io("write to", &std::env::temp_dir(), cause);
    let file = tempfile::Builder::new().prefix("maskmaker-").tempfile().map_err(|e| io(&e))?;
    let (mut file, path): (File, TempPath) = file.into_parts();
    let get = Get { uri: &uri, limit: initial::MAX_BYTES, etag: None };
    let about = store.get(&get, &mut file)?;
    say(format_args!("{uri} ({:.1} MB) fetched", about.bytes as f64 / 1e6));
    Ok(Fetched { path, uri })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_name_has_its_region() {
        let arn = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/x";
        assert_eq!(region(arn).as_deref(), Some("eu-west-1"));
        let arn = "arn:aws-cn:sagemaker:cn-north-1:123456789012:training-job/x";
        assert_eq!(region(arn).as_deref(), Some("cn-north-1"));
        for other in ["", "arn:aws:s3:::bucket", "eu-west-1", "arn:aws"] {
            assert_eq!(region(other), None);
        }
    }
}
