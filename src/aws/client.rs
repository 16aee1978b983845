//! S3 client on Amazon's SDK with blocking calls: all transfers share one small runtime.

use std::io;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, Credentials, StalledStreamProtectionConfig};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use tokio::time::{sleep, timeout};

use super::error::{UNREACHABLE_ADVICE, convert_sdk_error, root_cause};
use super::session::{
    BlockingRuntime, CONNECT_TIMEOUT, DEFAULT_MAX_ATTEMPTS, MAX_BACKOFF, Session, StopCheck,
    first_env_variable, https_client, read_max_attempts,
};
use super::{GetRequest, ObjectInfo, ObjectSink, ObjectStore, S3Error, S3Uri};

/// Largest number of names that a listing returns.
const MAX_LISTED_NAMES: usize = 10_000;

/// Environment variables that name another endpoint, such as a VPC's or a test server's.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// Timeouts, region and stop check of a client.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// Longest time without a byte from S3, after which an attempt has failed.
    pub idle_timeout: Duration,
    /// Pause before the second attempt; each further pause is about twice the one before.
    pub initial_backoff: Duration,
    /// AWS region if neither `AWS_REGION` nor `AWS_DEFAULT_REGION` is set.
    pub region: Option<String>,
    /// Check whether running calls shall give up.
    pub should_stop: StopCheck,
}

impl S3Settings {
    /// Returns a job's settings: a first pause of 1 s and no fallback region.
    pub fn new(idle_timeout: Duration, should_stop: StopCheck) -> Self {
        Self { idle_timeout, initial_backoff: Duration::from_secs(1), region: None, should_stop }
    }
}

/// Client of one S3 endpoint, which any number of threads may read through.
#[derive(Debug)]
pub struct S3Client {
    s3: aws_sdk_s3::Client,
    runtime: BlockingRuntime,
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
        // The builder itself reads AWS_ENDPOINT_URL_S3; the URL is needed here for the addressing
        // style.
        let endpoint_url = first_env_variable(ENDPOINT_VARIABLES);
        let Session { config, runtime } = Session::connect(
            settings.region.as_deref(),
            endpoint_url.is_some(),
            settings.should_stop.clone(),
        )?;
        let builder = Builder::from(&config).force_path_style(endpoint_url.is_some());
        let max_attempts = read_max_attempts()?;
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
        let runtime = BlockingRuntime::start(settings.should_stop.clone())?;
        let endpoint_label = url.to_owned();
        Ok(Self::from_builder(builder, endpoint_label, DEFAULT_MAX_ATTEMPTS, settings, runtime))
    }

    fn from_builder(
        builder: Builder,
        endpoint_label: String,
        max_attempts: u32,
        settings: S3Settings,
        runtime: BlockingRuntime,
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
        Self { s3, runtime, settings, max_attempts, endpoint_label }
    }

    /// Blocks until `operation` ends or the job is asked to stop.
    fn run_until_stopped<T>(
        &self,
        operation: impl Future<Output = Result<T, S3Error>>,
    ) -> Result<T, S3Error> {
        self.runtime.run(operation).unwrap_or_else(|| Err(S3Error::stopped()))
    }

    /// Calls `visit` with every object whose key begins with the prefix's, in the order of the keys'
    /// bytes.
    pub fn visit_objects(
        &self,
        prefix: &S3Uri,
        mut visit: impl FnMut(ListedObject<'_>),
    ) -> Result<(), S3Error> {
        self.run_until_stopped(async {
            let mut continuation_token = None;
            loop {
                let list_objects = self
                    .s3
                    .list_objects_v2()
                    .bucket(prefix.bucket())
                    .prefix(prefix.key())
                    .set_continuation_token(continuation_token);
                let response = list_objects.send().await.map_err(|error| {
                    convert_sdk_error(&error, prefix, "s3:ListBucket", &self.endpoint_label)
                })?;
                for object in response.contents() {
                    let etag = object.e_tag().unwrap_or_default();
                    visit(ListedObject { key: object.key().unwrap_or_default(), etag });
                }
                continuation_token = response.next_continuation_token().map(str::to_owned);
                if continuation_token.is_none() {
                    return Ok(());
                }
            }
        })
    }

    /// Writes an object, in place of one that may be there.
    pub fn put(&self, uri: &S3Uri, bytes: Vec<u8>) -> Result<(), S3Error> {
        let put_object = self.s3.put_object().bucket(uri.bucket()).key(uri.key());
        self.run_until_stopped(async {
            match put_object.body(ByteStream::from(bytes)).send().await {
                Ok(_) => Ok(()),
                Err(error) => {
                    Err(convert_sdk_error(&error, uri, "s3:PutObject", &self.endpoint_label))
                }
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

/// Object of a listing.
#[derive(Debug, Clone, Copy)]
pub struct ListedObject<'a> {
    pub key: &'a str,
    /// Identifier of the object's content, with the quotes that S3 writes; empty if a store has none.
    pub etag: &'a str,
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
