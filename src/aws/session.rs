//! Connection of this program to AWS: region and credentials, found as every AWS SDK finds them, and
//! the runtime on which clients with blocking calls run the SDK's tasks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::runtime::Runtime;
use tokio::time::sleep;

use super::S3Error;
use super::error::{CREDENTIALS_ADVICE, root_cause};

/// Longest time between a request to stop and the moment at which a call gives up.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Longest time to open a connection. A connection that takes longer has no route to the service.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time to find a region and credentials; some providers ask another service for them.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_mins(1);

/// Longest pause between two attempts.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(20);

/// Attempts per call if `AWS_MAX_ATTEMPTS` is not set. Their pauses add up to several seconds, so a
/// short outage of a service fails no job.
pub(super) const DEFAULT_MAX_ATTEMPTS: u32 = 5;

/// Environment variables that name a region.
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// Returns true if calls shall give up because the job was asked to stop.
#[derive(Clone)]
pub struct StopCheck(Arc<dyn Fn() -> bool + Send + Sync>);

impl StopCheck {
    /// Makes a check that asks `is_requested` ten times a second.
    pub fn new(is_requested: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_requested))
    }

    /// Makes the check of a program that nothing asks to stop.
    pub fn never() -> Self {
        Self::new(|| false)
    }

    /// Returns once the program was asked to stop.
    pub(super) async fn wait(&self) {
        while !(self.0)() {
            sleep(STOP_POLL_INTERVAL).await;
        }
    }
}

impl fmt::Debug for StopCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StopCheck")
    }
}

/// Region, credentials and runtime of one client.
#[derive(Debug)]
pub(super) struct Session {
    pub config: SdkConfig,
    pub runtime: BlockingRuntime,
}

impl Session {
    /// Finds region and credentials: environment, profiles, web identity, the container's or the
    /// instance's role. `fallback_region` counts if no environment variable names a region;
    /// `has_endpoint` tells that the endpoint of a test server or a VPC is given, for which no region
    /// is needed.
    pub(super) fn connect(
        fallback_region: Option<&str>,
        has_endpoint: bool,
        should_stop: StopCheck,
    ) -> Result<Self, S3Error> {
        let runtime = BlockingRuntime::start(should_stop)?;
        let credentials_timeout = async {
            sleep(CREDENTIALS_TIMEOUT).await;
            Err(S3Error::for_all_objects(
                format!("no AWS credentials came within {} s", CREDENTIALS_TIMEOUT.as_secs()),
                CREDENTIALS_ADVICE,
            ))
        };
        let config = runtime
            .run(async {
                tokio::select! {
                    config = load_sdk_config(fallback_region, has_endpoint) => config,
                    failure = credentials_timeout => failure,
                }
            })
            .unwrap_or_else(|| Err(S3Error::stopped()))?;
        Ok(Self { config, runtime })
    }
}

/// Runtime with calls that block until they are done or the program is asked to stop.
#[derive(Debug)]
pub(super) struct BlockingRuntime {
    /// Runs the SDK's tasks. `None` only while the runtime is dropped.
    runtime: Option<Runtime>,
    should_stop: StopCheck,
}

impl BlockingRuntime {
    pub(super) fn start(should_stop: StopCheck) -> Result<Self, S3Error> {
        // One thread moves the bytes of all connections. Callers process objects on their own
        // threads.
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).max_blocking_threads(8).thread_name("aws").enable_all();
        match builder.build() {
            Ok(runtime) => Ok(Self { runtime: Some(runtime), should_stop }),
            Err(cause) => {
                Err(S3Error::for_all_objects(format!("cannot start the AWS client: {cause}"), ""))
            }
        }
    }

    /// Blocks until `operation` ends. Returns nothing if the program was asked to stop before.
    pub(super) fn run<T>(&self, operation: impl Future<Output = T>) -> Option<T> {
        self.runtime.as_ref()?.block_on(async {
            tokio::select! {
                result = operation => Some(result),
                () = self.should_stop.wait() => None,
            }
        })
    }
}

impl Drop for BlockingRuntime {
    fn drop(&mut self) {
        // A plain drop would wait for name lookups that never end.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Makes the HTTP client of all AWS clients.
pub(super) fn https_client() -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new();
    builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// Returns the first environment variable that is set and not empty.
pub(super) fn first_env_variable(names: [&str; 2]) -> Option<String> {
    for name in names {
        if let Ok(value) = std::env::var(name)
            && !value.is_empty()
        {
            return Some(value);
        }
    }
    None
}

/// Returns the attempts per call that `AWS_MAX_ATTEMPTS` asks for.
pub(super) fn read_max_attempts() -> Result<u32, S3Error> {
    parse_max_attempts(std::env::var("AWS_MAX_ATTEMPTS").ok().as_deref())
}

fn parse_max_attempts(variable: Option<&str>) -> Result<u32, S3Error> {
    let text = variable.unwrap_or("").trim();
    if text.is_empty() {
        return Ok(DEFAULT_MAX_ATTEMPTS);
    }
    match text.parse() {
        Ok(attempts) if attempts > 0 => Ok(attempts),
        _ => Err(S3Error::for_all_objects(
            format!("AWS_MAX_ATTEMPTS is {text:?}"),
            format!("set it to a whole number from 1, or leave it out for {DEFAULT_MAX_ATTEMPTS}"),
        )),
    }
}

/// Loads the SDK's configuration, and asks for the credentials once before anything else is asked
/// for.
async fn load_sdk_config(
    fallback_region: Option<&str>,
    has_endpoint: bool,
) -> Result<SdkConfig, S3Error> {
    // An explicit retry configuration, because the SDK panics at values that other SDKs take, such
    // as AWS_RETRY_MODE=legacy.
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https_client())
        .retry_config(RetryConfig::standard());
    if let Some(region) = fallback_region
        && first_env_variable(REGION_VARIABLES).is_none()
    {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let mut config = loader.load().await;
    // A variable may be there and empty.
    if config.region().is_none_or(|region| region.as_ref().is_empty()) {
        // A profile may name an endpoint, too.
        if !has_endpoint && config.endpoint_url().is_none() {
            return Err(S3Error::for_all_objects(
                "there is no AWS region",
                "set AWS_REGION to that of the buckets and pipelines",
            ));
        }
        // Other servers of AWS' protocols have no regions, but the signature needs one.
        config = config.into_builder().region(Region::from_static("us-east-1")).build();
    }
    let Some(provider) = config.credentials_provider() else {
        return Err(S3Error::for_all_objects("there are no AWS credentials", CREDENTIALS_ADVICE));
    };
    match provider.provide_credentials().await {
        Ok(_) => Ok(config),
        Err(cause) => Err(S3Error::for_all_objects(
            format!("there are no AWS credentials ({})", root_cause(&cause)),
            CREDENTIALS_ADVICE,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_a_whole_number_from_1() {
        for (text, expected) in
            [(None, DEFAULT_MAX_ATTEMPTS), (Some(" "), DEFAULT_MAX_ATTEMPTS), (Some("3"), 3)]
        {
            assert_eq!(parse_max_attempts(text).unwrap(), expected);
        }
        for text in ["0", "many", "-1", "2.5"] {
            assert!(parse_max_attempts(Some(text)).unwrap_err().message.contains(text));
        }
    }
}
