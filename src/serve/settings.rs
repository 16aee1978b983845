//! What can be set about the server: defaults, what is allowed, and what it costs in memory.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::error::{Problems, Result};

/// Bodies that are being received or that wait for their turn hold at most this many times
/// [`Settings::max_body_bytes`] together.
pub(super) const BODIES_HELD: usize = 4;

/// How the server listens, what it accepts, and how much it takes on at once.
///
/// Memory stays bounded however many clients come: all bodies together hold at most
/// 4 x `max_body_bytes` (twice that while buffers grow), and only `decoded_images` images exist
/// as pixels at a time, each up to about 12 bytes per pixel while it is decoded (3 as it waits).
/// With the defaults on 4 cores that is 0.4 GB plus, should every image have the full 64
/// megapixels, 3 GB. Whatever would go beyond is answered 503 at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The address to listen on; `0.0.0.0` is every interface, as SageMaker needs.
    pub host: IpAddr,
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// The largest request body. Asynchronous endpoints may want up to 1 GB.
    pub max_body_bytes: usize,
    /// The most pixels of an image that is decoded at all.
    pub max_pixels: u64,
    /// Requests with a whole body that are worked on or wait; the next one is answered 503.
    pub queue_depth: usize,
    /// Images that exist as pixels at a time: in decoding, before the model, in encoding.
    pub decoded_images: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a request's head may take to arrive; also how long an idle connection is kept.
    pub head_timeout: Duration,
    /// How long requests in flight may take after SIGTERM. SageMaker kills 30 s after it.
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::UNSPECIFIED.into(),
            port: 8080,
            max_body_bytes: 100 << 20,
            max_pixels: 64_000_000,
            queue_depth: 64,
            // All cores can decode; at least two, so that one image decodes while the model works.
            decoded_images: std::thread::available_parallelism().map_or(2, usize::from).max(2),
            body_timeout: Duration::from_mins(1),
            // Longer than proxies keep their side (60 s), so that they close and not we.
            head_timeout: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(25),
        }
    }
}

impl Settings {
    /// Names everything that cannot work.
    pub fn check(&self) -> Result<()> {
        let mut problems = Problems::new();
        let mut at_least_one = |name: &str, value: u64| {
            if value == 0 {
                problems.push(format!("{name} is 0; give 1 or more"));
            }
        };
        at_least_one("max_body_bytes", self.max_body_bytes as u64);
        at_least_one("max_pixels", self.max_pixels);
        at_least_one("queue_depth", self.queue_depth as u64);
        at_least_one("decoded_images", self.decoded_images as u64);
        let durations = [
            ("body_timeout", self.body_timeout),
            ("head_timeout", self.head_timeout),
            ("drain_timeout", self.drain_timeout),
        ];
        for (name, duration) in durations {
            if duration.is_zero() || duration > Duration::from_hours(1) {
                let got = duration.as_secs_f64();
                problems.push(format!("{name} is {got} s; give more than 0 s and at most 3600 s"));
            }
        }
        // The counters behind the limits are semaphores; theirs is the only upper bound.
        let most = tokio::sync::Semaphore::MAX_PERMITS / BODIES_HELD;
        for (name, value) in [
            ("max_body_bytes", self.max_body_bytes),
            ("queue_depth", self.queue_depth),
            ("decoded_images", self.decoded_images),
        ] {
            if value > most {
                problems.push(format!("{name} is {value}; give at most {most}"));
            }
        }
        problems.into_result()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_allowed() {
        Settings::default().check().unwrap();
    }

    #[test]
    fn everything_impossible_is_named_at_once() {
        let settings = Settings {
            queue_depth: 0,
            max_body_bytes: usize::MAX,
            drain_timeout: Duration::ZERO,
            ..Settings::default()
        };
        let error = settings.check().unwrap_err();
        assert_eq!(error.problems().len(), 3, "{error}");
        assert!(error.to_string().contains("queue_depth is 0"), "{error}");
    }
}
