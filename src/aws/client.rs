//! S3 client on Amazon's SDK with blocking calls: all transfers share one small runtime.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, ProvideCredentials, Region, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use super::error::{CREDENTIALS_ADVICE, UNREACHABLE_ADVICE, convert_sdk_error, root_cause};
use super::{GetRequest, ObjectInfo, ObjectSink, ObjectStore, S3Error, S3Uri};

/// Longest time between a request to stop and the moment at which a call gives up.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Longest time to open a connection. A connection that takes longer has no route to S3.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time to find a region and credentials; some providers ask another service for them.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_mins(1);

/// Longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(20);

/// Attempts per object if `AWS_MAX_ATTEMPTS` is not set. Their pauses add up to several seconds, so
/// a short outage of S3 fails no job.
const DEFAULT_MAX_ATTEMPTS: u32 = 5;

/// Largest number of names that a listing returns.
const MAX_LISTED_NAMES: usize = 10_000;

/// Environment variables that name another endpoint, such as a VPC's or a test server's.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// Environment variables that name a region.
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// Returns true if calls shall give up because the job was asked to stop.
pub type StopCheck = Arc<dyn Fn() -> bool + Send + Sync>;

/// Timeouts, region and stop check of a client.
#[derive(Clone)]
pub struct S3Settings {
    /// Longest time without a byte from S3, after which an attempt has failed.
    pub idle_timeout: Duration,
    /// Pause before the second attempt; each further pause is about twice the one before.
    pub initial_backoff: Duration,
    /// AWS region if neither `AWS_REGION` nor `AWS_DEFAULT_REGION` is set.
    pub region: Option<String>,
    /// Returns true if running calls shall give up.
    pub should_stop: StopCheck,
}

impl S3Settings {
    /// Returns a job's settings: a first pause of 1 s and no fallback region.
    pub fn new(idle_timeout: Duration, should_stop: StopCheck) -> Self {
        Self { idle_timeout, initial_backoff: Duration::from_secs(1), region: None, should_stop }
    }

    /// Returns the error of a stopped job once `should_stop` returns true.
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

/// Client of one S3 endpoint, which any number of threads may read through.
#[derive(Debug)]
pub struct S3Client {
    s3: aws_sdk_s3::Client,
    /// Runs the SDK's tasks. `None` only while the client is dropped.
    runtime: Option<Runtime>,
    settings: S3Settings,
    max_attempts: u32,
    /// Name of the endpoint in messages.
    endpoint_label: String,
}

impl S3Client {
    /// Finds region and credentials as every AWS SDK does: environment, profiles, web identity, the
    /// container's or the instance's role. `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL` name
    /// another endpoint, whose buckets are addressed by path.
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
        // The builder itself reads AWS_ENDPOINT_URL_S3; the URL is needed here for the addressing
        // style.
        let endpoint_url = first_env_variable(ENDPOINT_VARIABLES);
        let builder = Builder::from(&config).force_path_style(endpoint_url.is_some());
        let max_attempts = parse_max_attempts(std::env::var("AWS_MAX_ATTEMPTS").ok().as_deref())?;
        let endpoint_label = match (endpoint_url, config.region()) {
            (Some(url), _) => url,
            (None, Some(region)) => format!("S3 in {region}"),
            (None, None) => "S3".to_owned(),
        };
        Ok(Self::from_builder(builder, endpoint_label, max_attempts, settings, runtime))
    }

    /// Returns the name of the endpoint in messages, such as `S3 in eu-west-1`.
    pub fn endpoint_label(&self) -> &str {
        &self.endpoint_label
    }

    /// Makes a client of the S3 server at `url` with an access key and its secret. It reads no
    /// environment variables.
    pub fn for_endpoint(
        url: &str,
        access_key: &str,
        secret_key: &str,
        settings: S3Settings,
    ) -> Result<Self, S3Error> {
        let credentials = Credentials::new(access_key, secret_key, None, None, "given");
        let builder = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .http_client(https_client())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(url)
            .force_path_style(true);
        let (endpoint_label, runtime) = (url.to_owned(), start_runtime()?);
        Ok(Self::from_builder(builder, endpoint_label, DEFAULT_MAX_ATTEMPTS, settings, runtime))
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
            // `idle_timeout` covers every kind of waiting and can be configured, unlike this
            // protection.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        let s3 = aws_sdk_s3::Client::from_conf(config);
        Self { s3, runtime: Some(runtime), settings, max_attempts, endpoint_label }
    }

    /// Blocks until `operation` ends or the job is asked to stop.
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

    /// Reads an object into `sink`, and starts again from the first byte if a body is cut short.
    async fn read_with_retries(
        &self,
        request: &GetRequest<'_>,
        sink: &mut dyn ObjectSink,
    ) -> Result<ObjectInfo, S3Error> {
        let mut backoff = self.settings.initial_backoff;
        for attempt in 1.. {
            if let Err(cause) = sink.restart() {
                return Err(write_error(request.uri, &cause));
            }
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

    /// Reads an object in one attempt.
    async fn try_read(
        &self,
        request: &GetRequest<'_>,
        sink: &mut dyn ObjectSink,
    ) -> Result<Transfer, S3Error> {
        let GetRequest { uri, max_bytes, .. } = *request;
        let mut response = self.send_get(request).await?;
        let content_length =
            response.content_length().and_then(|length| u64::try_from(length).ok());
        check_size(uri, content_length.unwrap_or(0), max_bytes)?;
        let etag = response.e_tag().map(str::to_owned);
        let mut bytes_read = 0;
        loop {
            let chunk = match timeout(self.settings.idle_timeout, response.body.next()).await {
                Ok(None) => break,
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(cause))) => {
                    let cause = root_cause(&cause);
                    return Ok(self.interrupted(uri, bytes_read, content_length, &cause));
                }
                Err(_) => return Ok(self.timed_out(uri, bytes_read)),
            };
            bytes_read += chunk.len() as u64;
            check_size(uri, bytes_read, max_bytes)?;
            if let Err(cause) = sink.write_all(&chunk) {
                return Err(write_error(uri, &cause));
            }
        }
        if content_length.is_some_and(|expected| expected != bytes_read) {
            let cause = "the connection was closed";
            return Ok(self.interrupted(uri, bytes_read, content_length, cause));
        }
        Ok(Transfer::Complete(ObjectInfo { bytes: bytes_read, etag }))
    }

    /// Asks for an object and returns the answer, whose body is not read yet.
    async fn send_get(&self, request: &GetRequest<'_>) -> Result<GetObjectOutput, S3Error> {
        let uri = request.uri;
        let get_object = self
            .s3
            .get_object()
            .bucket(uri.bucket())
            .key(uri.key())
            .set_if_match(request.etag.map(str::to_owned));
        match get_object.send().await {
            Ok(response) => Ok(response),
            Err(error) => Err(convert_sdk_error(&error, uri, "s3:GetObject", &self.endpoint_label)),
        }
    }

    /// Returns the end of an attempt in which S3 sent nothing for too long.
    fn timed_out(&self, uri: &S3Uri, bytes_read: u64) -> Transfer {
        let timeout_seconds = self.settings.idle_timeout.as_secs_f64();
        Transfer::Interrupted(S3Error::for_all_objects(
            format!("{uri}: nothing came for {timeout_seconds} s after {bytes_read} bytes"),
            format!("{UNREACHABLE_ADVICE}; MASKMAKER_S3_TIMEOUT sets for how long is waited"),
        ))
    }

    /// Returns the end of an attempt whose body broke off.
    fn interrupted(
        &self,
        uri: &S3Uri,
        bytes_read: u64,
        content_length: Option<u64>,
        cause: &str,
    ) -> Transfer {
        let of_total = match content_length {
            Some(expected) => format!(" of {expected}"),
            None => String::new(),
        };
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
            let list_objects = self
                .s3
                .list_objects_v2()
                .bucket(folder.bucket())
                .prefix(folder.key())
                .delimiter("/")
                .set_continuation_token(continuation_token);
            let response = match list_objects.send().await {
                Ok(response) => response,
                Err(error) => {
                    let endpoint = &self.endpoint_label;
                    return Err(convert_sdk_error(&error, folder, "s3:ListBucket", endpoint));
                }
            };
            for object in response.contents() {
                // The folder itself may be an object.
                if let Some(name) = object.key().and_then(|key| key.strip_prefix(folder.key()))
                    && !name.is_empty()
                {
                    names.push(name.to_owned());
                }
            }
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
        // A plain drop would wait for name lookups that never end.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Result of one attempt that S3 answered.
enum Transfer {
    Complete(ObjectInfo),
    Interrupted(S3Error),
}

fn check_size(uri: &S3Uri, bytes: u64, max_bytes: u64) -> Result<(), S3Error> {
    if bytes <= max_bytes {
        return Ok(());
    }
    Err(S3Error::for_object(
        format!("{uri}: the object has {bytes} bytes or more"),
        format!("up to {max_bytes} bytes are allowed"),
    ))
}

fn write_error(uri: &S3Uri, cause: &io::Error) -> S3Error {
    S3Error::for_all_objects(
        format!("{uri}: cannot be written to disk: {cause}"),
        "name a folder on a larger disk with TMPDIR",
    )
}

fn start_runtime() -> Result<Runtime, S3Error> {
    // One thread moves the bytes of all connections. Callers process objects on their own threads.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).max_blocking_threads(8).thread_name("s3").enable_all();
    match builder.build() {
        Ok(runtime) => Ok(runtime),
        Err(cause) => {
            Err(S3Error::for_all_objects(format!("cannot start the S3 client: {cause}"), ""))
        }
    }
}

fn https_client() -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new();
    builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// Returns the first environment variable that is set and not empty.
fn first_env_variable(names: [&str; 2]) -> Option<String> {
    for name in names {
        if let Ok(value) = std::env::var(name)
            && !value.is_empty()
        {
            return Some(value);
        }
    }
    None
}

/// Returns the attempts per object that `AWS_MAX_ATTEMPTS` asks for.
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

/// Finds region and credentials, and asks for the credentials once before any object is read.
/// `region` is the region if no environment variable names one.
async fn load_sdk_config(region: Option<&str>) -> Result<SdkConfig, S3Error> {
    // An explicit retry configuration, because the SDK panics at values that other SDKs take, such
    // as AWS_RETRY_MODE=legacy.
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https_client())
        .retry_config(RetryConfig::standard());
    if let Some(region) = region
        && first_env_variable(REGION_VARIABLES).is_none()
    {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let mut config = loader.load().await;
    if config.region().is_none() {
        if first_env_variable(ENDPOINT_VARIABLES).is_none() {
            return Err(S3Error::for_all_objects(
                "there is no AWS region",
                "set AWS_REGION to that of the buckets",
            ));
        }
        // Other servers of S3's protocol have no regions, but the signature needs one.
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
