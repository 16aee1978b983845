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

use super::failure::{CREDENTIALS, UNREACHABLE, explain, innermost};
use super::{About, Failure, Get, S3Uri, Sink, Store};

/// The longest that a request to stop goes unnoticed.
const SLICE: Duration = Duration::from_millis(100);

/// Opening a connection takes longer only where there is no way.
const CONNECT: Duration = Duration::from_secs(10);

/// The longest that is looked for a region and credentials, which may be a question to another service.
const LOOKING: Duration = Duration::from_mins(1);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Attempts unless `AWS_MAX_ATTEMPTS` says otherwise: with the pauses between them a few seconds without
/// S3 do no harm.
const ATTEMPTS: u32 = 5;

/// Names that a listing gives.
const MAX_NAMES: usize = 10_000;

/// The variables that name another endpoint, such as a VPC's or a test server's.
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// The variables that name a region.
const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// Says whether to give up because the job was asked to stop.
pub type Stopped = Arc<dyn Fn() -> bool + Send + Sync>;

/// How patient the client is.
#[derive(Clone)]
pub struct Settings {
    /// The longest time that S3 may bring nothing.
    pub timeout: Duration,
    /// The pause before the second attempt, about doubled before each further one.
    pub pause: Duration,
    /// Where S3 is, if neither `AWS_REGION` nor `AWS_DEFAULT_REGION` says so.
    pub region: Option<String>,
    /// Whether to give up.
    pub stopped: Stopped,
}

impl Settings {
    /// Those of a job.
    pub fn new(timeout: Duration, stopped: Stopped) -> Self {
        Self { timeout, pause: Duration::from_secs(1), region: None, stopped }
    }

    /// Ends when the job was asked to stop.
    async fn until_stopped(&self) -> Failure {
        while !(self.stopped)() {
            sleep(SLICE).await;
        }
        Failure::stopped()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A connection to S3. Any number of threads may read through it.
#[derive(Debug)]
pub struct Client {
    s3: aws_sdk_s3::Client,
    /// Only the drop takes it.
    runtime: Option<Runtime>,
    settings: Settings,
    attempts: u32,
    /// Where S3 is, for messages.
    endpoint: String,
}

impl Client {
    /// Finds region and credentials as every AWS SDK does: environment, profiles, web identity, the
    /// container's or the instance's role. `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL` name another
    /// endpoint, whose buckets are addressed by path.
    pub fn connect(settings: Settings) -> Result<Self, Failure> {
        let runtime = runtime()?;
        let config = runtime.block_on(async {
            tokio::select! {
                config = environment(settings.region.as_deref()) => config,
                failure = settings.until_stopped() => Err(failure),
                () = sleep(LOOKING) => Err(Failure::everything(
                    format!("no AWS credentials came within {} s", LOOKING.as_secs()),
                    CREDENTIALS,
                )),
            }
        })?;
        // AWS_ENDPOINT_URL_S3 is looked up by the builder itself.
        let endpoint = ENDPOINTS.iter().find_map(|name| given(name));
        let builder = Builder::from(&config).force_path_style(endpoint.is_some());
        let attempts = attempts(std::env::var("AWS_MAX_ATTEMPTS").ok().as_deref())?;
        let endpoint = endpoint.unwrap_or_else(|| {
            config.region().map_or("S3".to_owned(), |region| format!("S3 in {region}"))
        });
        Ok(Self::build(builder, endpoint, attempts, settings, runtime))
    }

    /// A client of the S3 at `url`, whatever the environment says.
    pub fn at(url: &str, (key, secret): (&str, &str), settings: Settings) -> Result<Self, Failure> {
        let credentials = aws_sdk_s3::config::Credentials::new(key, secret, None, None, "given");
        let builder = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .http_client(https())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(url)
            .force_path_style(true);
        Ok(Self::build(builder, url.to_owned(), ATTEMPTS, settings, runtime()?))
    }

    fn build(
        builder: Builder,
        endpoint: String,
        attempts: u32,
        settings: Settings,
        runtime: Runtime,
    ) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.timeout.min(CONNECT))
            .read_timeout(settings.timeout)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(attempts)
            .with_initial_backoff(settings.pause)
            .with_max_backoff(LONGEST_PAUSE);
        let config = builder
            .timeout_config(timeouts)
            .retry_config(retries)
            // Ours is the same for every kind of waiting, and can be set.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        let s3 = aws_sdk_s3::Client::from_conf(config);
        Self { s3, runtime: Some(runtime), settings, attempts, endpoint }
    }

    /// Waits for `work`, or for the job being asked to stop.
    fn wait<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let Some(runtime) = &self.runtime else { return Err(Failure::stopped()) };
        runtime.block_on(async {
            tokio::select! {
                done = work => done,
                failure = self.settings.until_stopped() => Err(failure),
            }
        })
    }

    /// Reads an object; a body that is cut is asked for again.
    async fn read(&self, get: &Get<'_>, sink: &mut dyn Sink) -> Result<About, Failure> {
        let mut pause = self.settings.pause;
        for attempt in 1.. {
            sink.restart().map_err(|cause| unwritable(get.uri, &cause))?;
            match self.attempt(get, sink).await? {
                Body::Whole(about) => return Ok(about),
                Body::Cut(failure) if attempt >= self.attempts => return Err(failure),
                Body::Cut(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(Failure::stopped())
    }

    async fn attempt(&self, get: &Get<'_>, sink: &mut dyn Sink) -> Result<Body, Failure> {
        let Get { uri, limit, etag } = *get;
        let request = self.s3.get_object().bucket(uri.bucket()).key(uri.key());
        let request = request.set_if_match(etag.map(str::to_owned)).send();
        let mut answer =
            request.await.map_err(|error| explain(&error, uri, "s3:GetObject", &self.endpoint))?;
        let expected = answer.content_length().and_then(|length| u64::try_from(length).ok());
        let too_large = |bytes: u64| {
            Failure::object(
                format!("{uri}: the object has {bytes} bytes or more"),
                format!("up to {limit} bytes are allowed"),
            )
        };
        if let Some(bytes) = expected.filter(|&bytes| bytes > limit) {
            return Err(too_large(bytes));
        }
        let etag = answer.e_tag().map(str::to_owned);
        let mut bytes = 0;
        loop {
            let piece = match timeout(self.settings.timeout, answer.body.next()).await {
                Ok(None) => break,
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(cause))) => {
                    return Ok(self.cut(uri, bytes, expected, &innermost(&cause)));
                }
                Err(_) => {
                    let waited = self.settings.timeout.as_secs_f64();
                    return Ok(Body::Cut(Failure::everything(
                        format!("{uri}: nothing came for {waited} s after {bytes} bytes"),
                        format!("{UNREACHABLE}; MASKMAKER_S3_TIMEOUT sets for how long is waited"),
                    )));
                }
            };
            bytes += piece.len() as u64;
            if bytes > limit {
                return Err(too_large(bytes));
            }
            sink.write_all(&piece).map_err(|cause| unwritable(uri, &cause))?;
        }
        if expected.is_some_and(|expected| expected != bytes) {
            return Ok(self.cut(uri, bytes, expected, "the connection was closed"));
        }
        Ok(Body::Whole(About { bytes, etag }))
    }

    fn cut(&self, uri: &S3Uri, bytes: u64, expected: Option<u64>, cause: &str) -> Body {
        let of = expected.map_or(String::new(), |expected| format!(" of {expected}"));
        Body::Cut(Failure::object(
            format!(
                "{uri}: {} broke off after {bytes}{of} bytes, {} times: {cause}",
                self.endpoint, self.attempts
            ),
            "a proxy or firewall on the way may do that",
        ))
    }

    async fn names(&self, folder: &S3Uri) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        let mut next = None;
        loop {
            let request = self.s3.list_objects_v2().bucket(folder.bucket()).prefix(folder.key());
            let request = request.delimiter("/").set_continuation_token(next).send();
            let answer = request
                .await
                .map_err(|error| explain(&error, folder, "s3:ListBucket", &self.endpoint))?;
            let keys = answer.contents().iter().filter_map(|object| object.key());
            let below = keys.filter_map(|key| key.strip_prefix(folder.key()));
            names.extend(below.filter(|name| !name.is_empty()).map(str::to_owned));
            if names.len() > MAX_NAMES {
                return Err(Failure::object(
                    format!("{folder}: the folder holds more than {MAX_NAMES} objects"),
                    "name the object itself",
                ));
            }
            next = answer.next_continuation_token().map(str::to_owned);
            if next.is_none() {
                return Ok(names);
            }
        }
    }
}

impl Store for Client {
    fn get(&self, get: &Get<'_>, sink: &mut dyn Sink) -> Result<About, Failure> {
        self.wait(self.read(get, sink))
    }

    fn list(&self, folder: &S3Uri) -> Result<Vec<String>, Failure> {
        self.wait(self.names(folder))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Without waiting for a name server that does not answer.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How an attempt ended that S3 answered.
enum Body {
    Whole(About),
    Cut(Failure),
}

fn unwritable(uri: &S3Uri, cause: &io::Error) -> Failure {
    Failure::everything(
        format!("{uri}: cannot be written to disk: {cause}"),
        "name a folder on a larger disk with TMPDIR",
    )
}

fn runtime() -> Result<Runtime, Failure> {
    // One thread moves the bytes of all connections; who waits for an object works on it himself.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).max_blocking_threads(8).thread_name("s3").enable_all();
    builder
        .build()
        .map_err(|cause| Failure::everything(format!("cannot start the S3 client: {cause}"), ""))
}

fn https() -> aws_sdk_s3::config::SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new();
    builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// Region and credentials, asked for once before any object.
/// A variable of the environment; an empty one is as good as none.
fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Attempts per object by `AWS_MAX_ATTEMPTS`.
fn attempts(given: Option<&str>) -> Result<u32, Failure> {
    let Some(text) = given.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(ATTEMPTS);
    };
    text.parse().ok().filter(|&attempts| attempts > 0).ok_or_else(|| {
        Failure::everything(
            format!("AWS_MAX_ATTEMPTS is {text:?}"),
            format!("set it to a whole number from 1, or leave it out for {ATTEMPTS}"),
        )
    })
}

async fn environment(region: Option<&str>) -> Result<SdkConfig, Failure> {
    // Ours, because the SDK panics at what other SDKs take, such as AWS_RETRY_MODE=legacy.
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https())
        .retry_config(RetryConfig::standard());
    if let Some(region) = region.filter(|_| !REGIONS.iter().any(|name| given(name).is_some())) {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let mut config = loader.load().await;
    if config.region().is_none() {
        if ENDPOINTS.iter().all(|name| given(name).is_none()) {
            return Err(Failure::everything(
                "there is no AWS region",
                "set AWS_REGION to that of the buckets",
            ));
        }
        // Other servers of S3's protocol have none, but the signature needs one.
        config = config.into_builder().region(Region::from_static("us-east-1")).build();
    }
    let Some(provider) = config.credentials_provider() else {
        return Err(Failure::everything("there are no AWS credentials", CREDENTIALS));
    };
    match provider.provide_credentials().await {
        Ok(_) => Ok(config),
        Err(cause) => Err(Failure::everything(
            format!("there are no AWS credentials ({})", innermost(&cause)),
            CREDENTIALS,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_a_whole_number_from_1() {
        for (text, expected) in [(None, ATTEMPTS), (Some(" "), ATTEMPTS), (Some("3"), 3)] {
            assert_eq!(attempts(text).unwrap(), expected);
        }
        for text in ["0", "many", "-1", "2.5"] {
            assert!(attempts(Some(text)).unwrap_err().what.contains(text));
        }
    }
}
