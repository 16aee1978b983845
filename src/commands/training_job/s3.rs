//! Access to S3 for a training job, which connects only when it is needed.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tempfile::TempPath;

use crate::aws::{GetRequest, ObjectStore, S3Client, S3Error, S3Settings, S3Uri, StopCheck};
use crate::console::print_stdout;
use crate::data::objects::ConnectStore;
use crate::error::{Error, Result};
use crate::files::PathContext;
use crate::model::Backbone;
use crate::model::initial;
use crate::sagemaker::StopSignal;

/// Returns the connection to S3, which all calls share.
pub(in crate::commands) fn lazy_s3_connection(
    timeout: Duration,
    stop: &StopSignal,
) -> ConnectStore {
    let stop = stop.clone();
    let mut settings = S3Settings::new(timeout, StopCheck::new(move || stop.is_requested()));
    settings.region = job_region();
    let client: OnceLock<Result<Arc<dyn ObjectStore>, S3Error>> = OnceLock::new();
    Arc::new(move || {
        let connect = || Ok(Arc::new(S3Client::connect(settings.clone())?) as Arc<dyn ObjectStore>);
        client.get_or_init(connect).clone()
    })
}

/// Returns the region of the training job. SageMaker documents no variable for the region, but one
/// for the job.
pub(in crate::commands) fn job_region() -> Option<String> {
    std::env::var("TRAINING_JOB_ARN").ok().as_deref().and_then(region_from_arn)
}

/// Returns the region in a resource's name, such as
/// `arn:aws:sagemaker:eu-west-1:123456789012:training-job/x`.
fn region_from_arn(arn: &str) -> Option<String> {
    let region = arn.strip_prefix("arn:")?.split(':').nth(2)?;
    if region.is_empty() { None } else { Some(region.to_owned()) }
}

/// Returns the S3 URI if a path is one.
pub(super) fn as_s3_uri(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    if text.starts_with("s3://") { Some(text) } else { None }
}

/// Weights in a temporary file, which is deleted when this is dropped.
pub(super) struct FetchedWeights {
    pub(super) path: TempPath,
    /// S3 URI of the weights.
    pub(super) uri: S3Uri,
}

/// Fetches the weights at a URI. For a folder it picks the file that is named after the backbone.
pub(super) fn fetch_weights(
    uri: &str,
    backbone: Backbone,
    connect: &ConnectStore,
) -> Result<FetchedWeights> {
    let mut uri = match uri.parse::<S3Uri>() {
        Ok(uri) => uri,
        Err(problem) => return Err(Error::input(format!("{uri} {problem}"))),
    };
    let store = connect()?;
    if uri.is_prefix() {
        uri = uri.join(&initial::pick_weights_file(store.list(&uri)?, &uri, backbone)?);
    }
    let file = tempfile::Builder::new()
        .prefix("maskmaker-")
        .tempfile()
        .with_path("write to", &std::env::temp_dir())?;
    let (mut file, path): (File, TempPath) = file.into_parts();
    let request = GetRequest { uri: &uri, max_bytes: initial::MAX_WEIGHTS_BYTES, etag: None };
    let info = store.get(&request, &mut file)?;
    print_stdout(format_args!("{uri} ({:.1} MB) fetched", info.bytes as f64 / 1e6));
    Ok(FetchedWeights { path, uri })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_name_has_its_region() {
        let arn = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/x";
        assert_eq!(region_from_arn(arn).as_deref(), Some("eu-west-1"));
        let arn = "arn:aws-cn:sagemaker:cn-north-1:123456789012:training-job/x";
        assert_eq!(region_from_arn(arn).as_deref(), Some("cn-north-1"));
        for other in ["", "arn:aws:s3:::bucket", "eu-west-1", "arn:aws"] {
            assert_eq!(region_from_arn(other), None);
        }
    }
}
