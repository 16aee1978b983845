//! The settings of the server: defaults, allowed values, and the memory that they cost.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::endpoint::{BatchStrategy, EndpointKind};
use crate::error::{Problems, Result};
use crate::sagemaker::MlRoot;
use crate::settings::{
    DEFAULT_DRAIN_TIMEOUT_S, DEFAULT_HOST, DEFAULT_MAX_BATCH, DEFAULT_MAX_PIXELS,
    DEFAULT_MAX_WAIT_S, DEFAULT_ML_ROOT, DEFAULT_PORT, DEFAULT_QUEUE_DEPTH, DRAIN_TIMEOUT,
    MAX_BATCH, MAX_PIXELS, MAX_SECONDS, MAX_WAIT, QUEUE_DEPTH,
};

/// Default of [`ServeSettings::bodies_bytes`], in bodies of the largest size.
const BODIES_IN_MEMORY: usize = 4;
/// A compressed body is in memory as it came and unpacked.
const FORMS_OF_A_BODY: usize = 2;
/// Least and largest default of [`ServeSettings::bodies_bytes`], in bytes. One body always fits
/// together with its compressed form, even a larger one.
const BODIES_BYTES_RANGE: (usize, usize) = (256 << 20, 2 << 30);
/// Largest setting in bytes that is no flag. Sums of such numbers do not overflow, and no machine
/// has so much memory.
const MAX_BYTES: u64 = 1 << 48;
const MAX_DECODERS: u64 = 1024;
/// Largest timeout that is no flag, in seconds.
const MAX_TIMEOUT_S: u32 = 3600;

/// Settings of the server: its address, the largest requests, and the bounds on work in progress.
///
/// The number of clients does not change the bound on memory:
///
/// - Bodies of requests and answers hold at most `bodies_bytes` together.
/// - At most `decoders` images are decoded at a time, each with up to about 12 bytes for each of
///   `max_pixels`.
/// - Decoded images that wait, are computed or are encoded hold at most `pixels_bytes` of RGB. A
///   single image may be larger.
///
/// The server answers 503 at once to a request that would go beyond. The network's own memory for a
/// batch comes on top; [`ServeSettings::batch_time`] bounds the size of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct ServeSettings {
    /// Address to listen on. SageMaker needs `0.0.0.0`, which is every interface.
    pub host: IpAddr,
    /// Port to listen on; with 0 the system chooses one.
    pub port: u16,
    /// Folder of the model. The server ignores it if `multi_model` is true.
    pub model_dir: PathBuf,
    /// True if clients load and unload models by `/models`; the server then starts without a model.
    pub multi_model: bool,
    /// Largest memory of all models together, in bytes; None is a share of the GPU's
    /// memory where there is one, else of the container's.
    pub models_bytes: Option<u64>,
    /// Largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Largest body of an answer, in bytes.
    pub max_reply_bytes: usize,
    /// Longest time to compute one request, predicted from the measured time per pixel.
    pub max_compute: Duration,
    /// Most computing time that may wait, by the same prediction. The server answers 503 to the
    /// next request; an idle server takes any one request.
    pub max_wait: Duration,
    /// Largest image, in pixels (width x height).
    pub max_pixels: u64,
    /// Most requests with a whole body that are in progress or wait; the server answers 503 to the
    /// next one. A request holds its place until its answer is encoded.
    pub queue_depth: usize,
    /// Most bytes of all bodies together: of requests that arrive or wait, and of answers that
    /// their clients have not read yet.
    pub bodies_bytes: usize,
    /// Most bytes of all decoded images together.
    pub pixels_bytes: u64,
    /// Most images that are decoded at a time.
    pub decoders: usize,
    /// Most images in a batch.
    pub max_batch: usize,
    /// Longest predicted time to compute a batch of two or more images.
    pub batch_time: Duration,
    /// Longest time that the model waits for images that are still being decoded.
    pub batch_wait: Duration,
    /// Side of the square image that a newly loaded model is tried and timed with, in pixels; 0
    /// leaves the trial out.
    pub warm_up_side: u32,
    /// `MaxConcurrentTransforms` of `/execution-parameters`; None is a number that suits the
    /// machine.
    pub max_concurrent_transforms: Option<u32>,
    /// `MaxPayloadInMB` of `/execution-parameters`, if the job sets it.
    pub max_payload_mb: Option<u32>,
    /// `BatchStrategy` of `/execution-parameters`.
    pub batch_strategy: BatchStrategy,
    /// True if the server logs a line for each request.
    pub log_requests: bool,
    /// Longest time for a request's body to arrive.
    pub body_timeout: Duration,
    /// Longest time for a request's head to arrive. The server closes an idle connection after as
    /// long.
    pub head_timeout: Duration,
    /// Longest time without a byte read by the client of an answer; the server then closes the
    /// connection.
    pub reply_timeout: Duration,
    /// Longest time for requests in progress after SIGTERM. SageMaker kills the server 30 s after
    /// it.
    pub drain_timeout: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self::for_endpoint(EndpointKind::default(), None)
    }
}

impl ServeSettings {
    /// Returns the defaults of a kind of endpoint. `payload_mb` is that of
    /// [`EndpointKind::limits`].
    pub fn for_endpoint(endpoint: EndpointKind, payload_mb: Option<u32>) -> Self {
        let limits = endpoint.limits(payload_mb);
        // All cores can decode. Two at least, so that one image decodes while the model computes.
        let decoders = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        Self {
            host: DEFAULT_HOST,
            port: DEFAULT_PORT,
            model_dir: MlRoot::new(DEFAULT_ML_ROOT).model_folder(),
            multi_model: false,
            models_bytes: None,
            max_body_bytes: limits.max_body_bytes,
            max_reply_bytes: limits.max_reply_bytes,
            max_compute: limits.max_compute,
            max_wait: Duration::from_secs(DEFAULT_MAX_WAIT_S),
            max_pixels: DEFAULT_MAX_PIXELS,
            queue_depth: DEFAULT_QUEUE_DEPTH as usize,
            bodies_bytes: default_bodies_bytes(limits.max_body_bytes),
            pixels_bytes: 512 << 20,
            decoders,
            max_batch: usize::from(DEFAULT_MAX_BATCH),
            batch_time: Duration::from_millis(400),
            batch_wait: Duration::from_millis(2),
            warm_up_side: 96,
            max_concurrent_transforms: None,
            max_payload_mb: payload_mb,
            batch_strategy: BatchStrategy::default(),
            log_requests: true,
            body_timeout: Duration::from_mins(1),
            // Longer than proxies keep an idle connection (60 s), so that the proxy closes it. A
            // server that closes first can cut off a request that is on its way.
            head_timeout: Duration::from_secs(75),
            reply_timeout: Duration::from_mins(1),
            drain_timeout: Duration::from_secs(DEFAULT_DRAIN_TIMEOUT_S),
        }
    }

    /// Returns the settings with this largest body, in bytes, and the default memory for such
    /// bodies.
    #[must_use]
    pub fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self.bodies_bytes = default_bodies_bytes(bytes);
        self
    }

    /// Checks every setting and reports all that cannot work.
    pub fn validate(&self) -> Result<()> {
        let mut problems = Problems::new();
        for (name, value, max) in [
            ("max_body_bytes", self.max_body_bytes as u64, MAX_BYTES),
            ("max_reply_bytes", self.max_reply_bytes as u64, MAX_BYTES),
            (MAX_PIXELS.name, self.max_pixels, u64::from(MAX_PIXELS.max)),
            (QUEUE_DEPTH.name, self.queue_depth as u64, u64::from(QUEUE_DEPTH.max)),
            ("pixels_bytes", self.pixels_bytes, MAX_BYTES),
            ("decoders", self.decoders as u64, MAX_DECODERS),
            (MAX_BATCH.name, self.max_batch as u64, u64::from(MAX_BATCH.max)),
        ] {
            if value == 0 || value > max {
                problems.push(format!("{name} is {value}; give 1 to {max}"));
            }
        }
        if self.bodies_bytes < self.max_body_bytes.saturating_mul(FORMS_OF_A_BODY) {
            problems.push(format!(
                "bodies_bytes is {}, which not one body of max_body_bytes = {} and its compressed \
                 form fit into; give at least {FORMS_OF_A_BODY} times that",
                self.bodies_bytes, self.max_body_bytes
            ));
        }
        if self.warm_up_side > 4096 {
            problems.push(format!("warm_up_side is {}; give 0 to 4096", self.warm_up_side));
        }
        for (name, duration, max_seconds) in [
            ("max_compute", self.max_compute, MAX_SECONDS.max),
            (MAX_WAIT.name, self.max_wait, MAX_WAIT.max),
            ("body_timeout", self.body_timeout, MAX_TIMEOUT_S),
            ("head_timeout", self.head_timeout, MAX_TIMEOUT_S),
            ("reply_timeout", self.reply_timeout, MAX_TIMEOUT_S),
            (DRAIN_TIMEOUT.name, self.drain_timeout, DRAIN_TIMEOUT.max),
        ] {
            if duration.is_zero() || duration > Duration::from_secs(max_seconds.into()) {
                let seconds = duration.as_secs_f64();
                problems.push(format!(
                    "{name} is {seconds} s; give more than 0 s and at most {max_seconds} s"
                ));
            }
        }
        for (name, duration) in [("batch_time", self.batch_time), ("batch_wait", self.batch_wait)] {
            if duration > Duration::from_mins(1) {
                let seconds = duration.as_secs_f64();
                problems.push(format!("{name} is {seconds} s; give 0 to 60 s"));
            }
        }
        problems.into_result()
    }
}

fn default_bodies_bytes(max_body_bytes: usize) -> usize {
    let (min_bytes, max_bytes) = BODIES_BYTES_RANGE;
    let one_body = max_body_bytes.saturating_mul(FORMS_OF_A_BODY);
    max_body_bytes.saturating_mul(BODIES_IN_MEMORY).clamp(min_bytes, max_bytes).max(one_body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_every_endpoint_are_allowed() {
        for endpoint in EndpointKind::ALL {
            for payload in [None, Some(0), Some(6), Some(100)] {
                ServeSettings::for_endpoint(endpoint, payload).validate().unwrap();
            }
        }
        let largest = ServeSettings::default().with_max_body_bytes(8 << 30);
        assert_eq!(largest.bodies_bytes, 16 << 30);
        largest.validate().unwrap();
    }

    #[test]
    fn everything_impossible_is_named_at_once() {
        let settings = ServeSettings {
            queue_depth: 0,
            max_body_bytes: usize::MAX,
            drain_timeout: Duration::ZERO,
            batch_wait: Duration::from_hours(1),
            ..ServeSettings::default()
        };
        let error = settings.validate().unwrap_err();
        assert_eq!(error.problems().len(), 5, "{error}");
        for words in ["queue_depth is 0", "bodies_bytes", "drain_timeout", "batch_wait"] {
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
