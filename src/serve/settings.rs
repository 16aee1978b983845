//! What can be set about the server: defaults, what is allowed, and what it costs in memory.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::endpoint::{BatchStrategy, EndpointKind};
use crate::error::{Problems, Result};

/// Bodies together hold [`Settings::bodies_bytes`]: by default this many of the largest ...
const BODIES_IN_MEMORY: usize = 4;
/// ... but at least and, where one body is not larger, at most so much.
const BODIES_BYTES_RANGE: (usize, usize) = (256 << 20, 2 << 30);

/// How the server listens, what it accepts, and how much it takes on at once.
///
/// Memory stays bounded however many clients come: bodies of requests and answers hold at most `bodies_bytes` together,
/// `decoders` images are being decoded (each up to about 12 bytes for each of `max_pixels`), and those that wait for the
/// model, are computed or encoded hold at most `pixels_bytes` of RGB, or are one. Whatever would go beyond is answered
/// 503 at once. What the network itself needs for a batch comes on top; [`Settings::batch_time`] bounds it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServeSettings {
    /// The address to listen on; `0.0.0.0` is every interface, as SageMaker needs.
    pub host: IpAddr,
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// The folder of the one model; not looked at when `multi_model`.
    pub model_dir: PathBuf,
    /// Whether models come and go by `/models`, and none is there at the start.
    pub multi_model: bool,
    /// What all models may hold in memory together, in bytes; without, a share of the memory that the container has.
    pub models_bytes: Option<u64>,
    /// The largest body of a request.
    pub max_body_bytes: usize,
    /// The largest body of an answer.
    pub max_reply_bytes: usize,
    /// The longest that one request may be computed, by the time that pixels have taken so far.
    pub max_compute: Duration,
    /// How much computing may wait, by the same measure; the next request is answered 503. An idle server takes any one.
    pub max_wait: Duration,
    /// The most pixels of an image that is decoded at all.
    pub max_pixels: u64,
    /// Requests with a whole body that are worked on or wait; the next one is answered 503.
    pub queue_depth: usize,
    /// What all bodies may hold that arrive, wait, or are answers which their clients have not taken yet, in bytes.
    pub bodies_bytes: usize,
    /// What all decoded images may hold, in bytes.
    pub pixels_bytes: u64,
    /// Images that are being decoded at a time.
    pub decoders: usize,
    /// The most images that are computed together.
    pub max_batch: usize,
    /// The longest that a batch may be computed, by measure, if it is of more than one image.
    pub batch_time: Duration,
    /// The longest that the model waits for images that are still being decoded.
    pub batch_wait: Duration,
    /// The side, in pixels, of the image that a loaded model is tried and timed with; 0 leaves that out.
    pub warm_up_side: u32,
    /// What a batch transform job is told about concurrent requests; without, what pays on this machine.
    pub max_concurrent_transforms: Option<u32>,
    /// What it is told about the size of a request, in MB.
    pub max_payload_mb: Option<u32>,
    /// What it is told about records.
    pub batch_strategy: BatchStrategy,
    /// Whether a line is printed for each request.
    pub log_requests: bool,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a request's head may take to arrive; also how long an idle connection is kept.
    pub head_timeout: Duration,
    /// How long a client may take nothing of its answer, after which the connection is closed.
    pub reply_timeout: Duration,
    /// How long requests in flight may take after SIGTERM. SageMaker kills 30 s after it.
    pub drain_timeout: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self::for_endpoint(EndpointKind::default(), None)
    }
}

impl ServeSettings {
    /// The defaults of a kind of endpoint; `payload_mb` as for [`Endpoint::limits`].
    pub fn for_endpoint(endpoint: EndpointKind, payload_mb: Option<u32>) -> Self {
        let limits = endpoint.limits(payload_mb);
        // All cores can decode; at least two, so that one image decodes while the model works.
        let decoders = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        Self {
            host: Ipv4Addr::UNSPECIFIED.into(),
            port: 8080,
            model_dir: PathBuf::from("/opt/ml/model"),
            multi_model: false,
            models_bytes: None,
            max_body_bytes: limits.max_body_bytes,
            max_reply_bytes: limits.max_reply_bytes,
            max_compute: limits.max_compute,
            max_wait: Duration::from_secs(20),
            max_pixels: 64_000_000,
            queue_depth: 1024,
            bodies_bytes: default_bodies_bytes(limits.max_body_bytes),
            pixels_bytes: 512 << 20,
            decoders,
            max_batch: 8,
            batch_time: Duration::from_millis(400),
            batch_wait: Duration::from_millis(2),
            warm_up_side: 96,
            max_concurrent_transforms: None,
            max_payload_mb: payload_mb,
            batch_strategy: BatchStrategy::default(),
            log_requests: true,
            body_timeout: Duration::from_mins(1),
            // Longer than proxies keep their side (60 s), so that they close and not we.
            head_timeout: Duration::from_secs(75),
            reply_timeout: Duration::from_mins(1),
            drain_timeout: Duration::from_secs(25),
        }
    }

    /// The same settings with another limit on bodies, and memory for as many of them as by default.
    #[must_use]
    pub fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self.bodies_bytes = default_bodies_bytes(bytes);
        self
    }

    /// Names everything that cannot work.
    pub fn validate(&self) -> Result<()> {
        let mut problems = Problems::new();
        // The widest that can be added up without care; far beyond any machine.
        let max_value = 1_u64 << 48;
        for (name, value) in [
            ("max_body_bytes", self.max_body_bytes as u64),
            ("max_reply_bytes", self.max_reply_bytes as u64),
            ("max_pixels", self.max_pixels),
            ("queue_depth", self.queue_depth as u64),
            ("pixels_bytes", self.pixels_bytes),
            ("decoders", self.decoders as u64),
            ("max_batch", self.max_batch as u64),
        ] {
            if value == 0 || value > max_value {
                problems.push(format!("{name} is {value}; give 1 to {max_value}"));
            }
        }
        if self.decoders > 1024 {
            problems.push(format!("decoders is {}; give at most 1024", self.decoders));
        }
        if self.bodies_bytes < self.max_body_bytes {
            problems.push(format!(
                "bodies_bytes is {}, which not one body of max_body_bytes = {} fits into; give at least that",
                self.bodies_bytes, self.max_body_bytes
            ));
        }
        if self.warm_up_side > 4096 {
            problems.push(format!("warm_up_side is {}; give 0 to 4096", self.warm_up_side));
        }
        for (name, duration) in [
            ("max_compute", self.max_compute),
            ("max_wait", self.max_wait),
            ("body_timeout", self.body_timeout),
            ("head_timeout", self.head_timeout),
            ("reply_timeout", self.reply_timeout),
            ("drain_timeout", self.drain_timeout),
        ] {
            if duration.is_zero() || duration > Duration::from_hours(1) {
                let seconds = duration.as_secs_f64();
                problems
                    .push(format!("{name} is {seconds} s; give more than 0 s and at most 3600 s"));
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
    max_body_bytes.saturating_mul(BODIES_IN_MEMORY).clamp(min_bytes, max_bytes).max(max_body_bytes)
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
        assert_eq!(largest.bodies_bytes, 8 << 30);
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
