//! S3 by Amazon's SDK, with a synchronous face: one small runtime for all objects.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, ProvideCredentials, Region, StalledStreamProtectionConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use super::error::{CREDENTIALS_ADVICE, UNREACHABLE_ADVICE, convert_sdk_error, root_cause};
use super::{GetRequest, ObjectInfo, ObjectSink, ObjectStore, S3Error, S3Uri};

/// The longest that a request to stop goes unnoticed.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Opening a connection takes longer only where there is no way.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that is looked for a region and credentials, which may be a question to another service.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_mins(1);

/// The longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(20);

/// Attempts unless `AWS_MAX_ATTEMPTS` says otherwise: with the pauses between them a few seconds without
/// S3 do no harm.
const DEFAULT_MAX_ATTEMPTS: u32 = 5;

/// Names that a listing gives.
const MAX_LISTED_NAMES: usize = 10_000;

/// The variables that name another endpoint, such as a VPC's or a test server's.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// The variables that name a region.
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// Says whether to give up because the job was asked to stop.
pub type StopCheck = Arc<dyn Fn() -> bool + Send + Sync>;

/// How patient the client is.
#[derive(Clone)]
pub struct S3Settings {
    /// The longest time that S3 may bring nothing.
    pub idle_timeout: Duration,
    /// The pause before the second attempt, about doubled before each further one.
    pub initial_backoff: Duration,
    /// Where S3 is, if neither `AWS_REGION` nor `AWS_DEFAULT_REGION` says so.
    pub region: Option<String>,
    /// Whether to give up.
    pub should_stop: StopCheck,
}

impl S3Settings {
    /// Those of a job.
    pub fn new(idle_timeout: Duration, should_stop: StopCheck) -> Self {
        Self { idle_timeout, initial_backoff: Duration::from_secs(1), region: None, should_stop }
    }

    /// Ends when the job was asked to stop.
    async fn wait_for_stop(&self) -> S3Error {
        while !(self.should_stop)() {
            sleep(STOP_POLL_INTERVAL).await;
        }
        S3Error::stopped()
    }
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("timeout", &self.idle_timeout).finish_non_exhaustive()
    }
}

/// A connection to S3. Any number of threads may read through it.
#[derive(Debug)]
pub struct S3Client {
    s3: aws_sdk_s3::Client,
    /// Only the drop takes it.
    runtime: Option<Runtime>,
    settings: S3Settings,
    max_attempts: u32,
    /// Where S3 is, for messages.
    endpoint_label: String,
}

impl S3Client {
    /// Finds region and credentials as every AWS SDK does: environment, profiles, web identity, the
    /// container's or the instance's role. `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL` name another
    /// endpoint, whose buckets are addressed by path.
    pub fn connect(settings: S3Settings) -> Result<Self, S3Error> {
        let runtime = start_runtime()?;
        let config = runtime.block_on(async {
            tokio::select! {
                config = load_sdk_config(settings.region.as_deref()) => config,
                failure = settings.wait_for_stop() => Err(failure),
                () = sleep(CREDENTIALS_TIMEOUT) => Err(S3Error::for_all_objects(
                    format!("no AWS credentials came within {} s", CREDENTIALS_TIMEOUT.as_secs()),
                    CREDENTIALS_ADVICE,
                )),
            }
        })?;
        // AWS_ENDPOINT_URL_S3 is looked up by the builder itself.
        let endpoint_url = ENDPOINT_VARIABLES.iter().find_map(|name| env_variable(name));
        let builder = Builder::from(&config).force_path_style(endpoint_url.is_some());
        let max_attempts = parse_max_attempts(std::env::var("AWS_MAX_ATTEMPTS").ok().as_deref())?;
        let endpoint_label = endpoint_url.unwrap_or_else(|| {
            config.region().map_or("S3".to_owned(), |region| format!("S3 in {region}"))
        });
        Ok(Self::from_builder(builder, endpoint_label, max_attempts, settings, runtime))
    }

    /// A client of the S3 at `url`, whatever the environment says.
    pub fn for_endpoint(
        url: &str,
        (key, secret): (&str, &str),
        settings: S3Settings,
    ) -> Result<Self, S3Error> {
        let credentials = aws_sdk_s3::config::Credentials::new(key, secret, None, None, "given");
        let builder = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .http_client(https_client())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(url)
            .force_path_style(true);
        Ok(Self::from_builder(
            builder,
            url.to_owned(),
            DEFAULT_MAX_ATTEMPTS,
            settings,
            start_runtime()?,
        ))
    }

    fn from_builder(
        builder: Builder,
        endpoint_label: String,
        max_attempts: u32,
        settings: S3Settings,
        runtime: Runtime,
    ) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.idle_timeout.min(CONNECT_TIMEOUT))
            .read_timeout(settings.idle_timeout)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(max_attempts)
            .with_initial_backoff(settings.initial_backoff)
            .with_max_backoff(MAX_BACKOFF);
        let config = builder
            .timeout_config(timeouts)
            .retry_config(retries)
            // Ours is the same for every kind of waiting, and can be set.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        let s3 = aws_sdk_s3::Client::from_conf(config);
        Self { s3, runtime: Some(runtime), settings, max_attempts, endpoint_label }
    }

    /// Waits for `work`, or for the job being asked to stop.
    fn run_until_stopped<T>(
        &self,
        operation: impl Future<Output = Result<T, S3Error>>,
    ) -> Result<T, S3Error> {
        let Some(runtime) = &self.runtime else { return Err(S3Error::stopped()) };
        runtime.block_on(async {
            tokio::select! {
                result = operation => result,
                failure = self.settings.wait_for_stop() => Err(failure),
            }
        })
    }

    /// Reads an object; a body that is cut is asked for again.
    async fn read_with_retries(
        &self,
        request: &GetRequest<'_>,
        sink: &mut dyn ObjectSink,
    ) -> Result<ObjectInfo, S3Error> {
        let mut backoff = self.settings.initial_backoff;
        for attempt in 1.. {
            sink.restart().map_err(|cause| write_error(request.uri, &cause))?;
            match self.try_read(request, sink).await? {
                Transfer::Complete(about) => return Ok(about),
                Transfer::Interrupted(failure) if attempt >= self.max_attempts => {
                    return Err(failure);
                }
                Transfer::Interrupted(_) => {}
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
        Err(S3Error::stopped())
    }

    async fn try_read(
        &self,
        get_request: &GetRequest<'_>,
        sink: &mut dyn ObjectSink,
    ) -> Result<Transfer, S3Error> {
        let GetRequest { uri, max_bytes: limit, etag } = *get_request;
        let request = self.s3.get_object().bucket(uri.bucket()).key(uri.key());
        let request = request.set_if_match(etag.map(str::to_owned)).send();
        let mut response = request.await.map_err(|error| {
            convert_sdk_error(&error, uri, "s3:GetObject", &self.endpoint_label)
        })?;
        let content_length =
            response.content_length().and_then(|length| u64::try_from(length).ok());
        let too_large = |bytes: u64| {
            S3Error::for_object(
                format!("{uri}: the object has {bytes} bytes or more"),
                format!("up to {limit} bytes are allowed"),
            )
        };
        if let Some(bytes) = content_length.filter(|&bytes| bytes > limit) {
            return Err(too_large(bytes));
        }
        let etag = response.e_tag().map(str::to_owned);
        let mut bytes_read = 0;
        loop {
            let chunk = match timeout(self.settings.idle_timeout, response.body.next()).await {
                Ok(None) => break,
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(cause))) => {
                    return Ok(self.interrupted(
                        uri,
                        bytes_read,
                        content_length,
                        &root_cause(&cause),
                    ));
                }
                Err(_) => {
                    let timeout_seconds = self.settings.idle_timeout.as_secs_f64();
                    return Ok(Transfer::Interrupted(S3Error::for_all_objects(
                        format!(
                            "{uri}: nothing came for {timeout_seconds} s after {bytes_read} bytes"
                        ),
                        format!(
                            "{UNREACHABLE_ADVICE}; MASKMAKER_S3_TIMEOUT sets for how long is waited"
                        ),
                    )));
                }
            };
            bytes_read += chunk.len() as u64;
            if bytes_read > limit {
                return Err(too_large(bytes_read));
            }
            sink.write_all(&chunk).map_err(|cause| write_error(uri, &cause))?;
        }
        if content_length.is_some_and(|expected| expected != bytes_read) {
            return Ok(self.interrupted(
                uri,
                bytes_read,
                content_length,
                "the connection was closed",
            ));
        }
        Ok(Transfer::Complete(ObjectInfo { bytes: bytes_read, etag }))
    }

    fn interrupted(
        &self,
        uri: &S3Uri,
        bytes_read: u64,
        content_length: Option<u64>,
        cause: &str,
    ) -> Transfer {
        let of_total = content_length.map_or(String::new(), |expected| format!(" of {expected}"));
        Transfer::Interrupted(S3Error::for_object(
            format!(
                "{uri}: {} broke off after {bytes_read}{of_total} bytes, {} times: {cause}",
                self.endpoint_label, self.max_attempts
            ),
            "a proxy or firewall on the way may do that",
        ))
    }

    async fn list_names(&self, folder: &S3Uri) -> Result<Vec<String>, S3Error> {
        let mut names = Vec::new();
        let mut continuation_token = None;
        loop {
            let request = self.s3.list_objects_v2().bucket(folder.bucket()).prefix(folder.key());
            let request = request.delimiter("/").set_continuation_token(continuation_token).send();
            let response = request.await.map_err(|error| {
                convert_sdk_error(&error, folder, "s3:ListBucket", &self.endpoint_label)
            })?;
            let keys = response.contents().iter().filter_map(|object| object.key());
            let relative_names = keys.filter_map(|key| key.strip_prefix(folder.key()));
            names.extend(relative_names.filter(|name| !name.is_empty()).map(str::to_owned));
            if names.len() > MAX_LISTED_NAMES {
                return Err(S3Error::for_object(
                    format!("{folder}: the folder holds more than {MAX_LISTED_NAMES} objects"),
                    "name the object itself",
                ));
            }
            continuation_token = response.next_continuation_token().map(str::to_owned);
            if continuation_token.is_none() {
                return Ok(names);
            }
        }
    }
}

impl ObjectStore for S3Client {
    fn get(
        &self,
        request: &GetRequest<'_>,
        sink: &mut dyn ObjectSink,
    ) -> Result<ObjectInfo, S3Error> {
        self.run_until_stopped(self.read_with_retries(request, sink))
    }

    fn list(&self, folder: &S3Uri) -> Result<Vec<String>, S3Error> {
        self.run_until_stopped(self.list_names(folder))
    }
}

impl Drop for S3Client {
    fn drop(&mut self) {
        // Without waiting for a name server that does not answer.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How an attempt ended that S3 answered.
enum Transfer {
    Complete(ObjectInfo),
    Interrupted(S3Error),
}

fn write_error(uri: &S3Uri, cause: &io::Error) -> S3Error {
    S3Error::for_all_objects(
        format!("{uri}: cannot be written to disk: {cause}"),
        "name a folder on a larger disk with TMPDIR",
    )
}

fn start_runtime() -> Result<Runtime, S3Error> {
    // One thread moves the bytes of all connections; who waits for an object works on it himself.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).max_blocking_threads(8).thread_name("s3").enable_all();
    builder.build().map_err(|cause| {
        S3Error::for_all_objects(format!("cannot start the S3 client: {cause}"), "")
    })
}

fn https_client() -> aws_sdk_s3::config::SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new();
    builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// Region and credentials, asked for once before any object.
/// A variable of the environment; an empty one is as good as none.
fn env_variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Attempts per object by `AWS_MAX_ATTEMPTS`.
fn parse_max_attempts(variable: Option<&str>) -> Result<u32, S3Error> {
    let Some(text) = variable.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(DEFAULT_MAX_ATTEMPTS);
    };
    text.parse().ok().filter(|&attempts| attempts > 0).ok_or_else(|| {
        S3Error::for_all_objects(
            format!("AWS_MAX_ATTEMPTS is {text:?}"),
            format!("set it to a whole number from 1, or leave it out for {DEFAULT_MAX_ATTEMPTS}"),
        )
    })
}

async fn load_sdk_config(region: Option<&str>) -> Result<SdkConfig, S3Error> {
    // Ours, because the SDK panics at what other SDKs take, such as AWS_RETRY_MODE=legacy.
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https_client())
        .retry_config(RetryConfig::standard());
    if let Some(region) =
        region.filter(|_| !REGION_VARIABLES.iter().any(|name| env_variable(name).is_some()))
    {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let mut config = loader.load().await;
    if config.region().is_none() {
        if ENDPOINT_VARIABLES.iter().all(|name| env_variable(name).is_none()) {
            return Err(S3Error::for_all_objects(
                "there is no AWS region",
                "set AWS_REGION to that of the buckets",
            ));
        }
        // Other servers of S3's protocol have none, but the signature needs one.
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
