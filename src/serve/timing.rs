//! What is told of a request that was computed: sizes, and where its time went.

use std::fmt::Write;
use std::time::Duration;

use axum::http::HeaderValue;

/// Left in the response's extensions by handlers, for headers, log and metrics.
#[derive(Debug, Clone, Default)]
pub(super) struct AccessInfo {
    /// Bytes of the request's body that came.
    pub(super) bytes_in: usize,
    /// The model that was asked for, where there are several.
    pub(super) model: Option<String>,
    /// Nothing where no image was computed.
    pub(super) timing: Option<Timing>,
}

/// Where the time of an answer went; of several images, the sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Timing {
    /// Time to decode the image from bytes to pixels.
    pub(super) decode: Duration,
    /// Waiting: for the turn to be decoded, for room, and for the model.
    pub(super) queue: Duration,
    /// The network, all images of the batch together.
    pub(super) model: Duration,
    /// Writing the answer.
    pub(super) encode: Duration,
    /// Images that were computed together, at most.
    pub(super) batch_size: usize,
    /// Images of this request.
    pub(super) image_count: usize,
    /// Columns and rows; of the largest image.
    pub(super) size: (u32, u32),
}

impl Timing {
    /// The stages in their order, by the names that headers, log and metrics use.
    pub(super) fn stages(&self) -> [(&'static str, Duration); 4] {
        [
            ("decode", self.decode),
            ("queue", self.queue),
            ("model", self.model),
            ("encode", self.encode),
        ]
    }

    /// Adds those of another image.
    pub(super) fn add(&mut self, other: &Self) {
        self.decode += other.decode;
        self.queue += other.queue;
        self.model += other.model;
        self.encode += other.encode;
        self.batch_size = self.batch_size.max(other.batch_size);
        self.image_count += other.image_count;
        let pixels = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        if pixels(other.size) > pixels(self.size) {
            self.size = other.size;
        }
    }

    /// The header `Server-Timing` (W3C): milliseconds by stage, which browsers show in their network view.
    pub(super) fn server_timing_header(&self, total: Duration) -> Option<HeaderValue> {
        let mut text = String::with_capacity(112);
        for (name, elapsed) in self.stages().into_iter().chain([("total", total)]) {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing to a string does not fail.
            let _ = write!(text, "{comma}{name};dur={:.3}", milliseconds(elapsed));
        }
        HeaderValue::try_from(text).ok()
    }
}

/// To three decimals, which is microseconds.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_one_request_are_added_up() {
        let ms = Duration::from_millis;
        let one = Timing {
            decode: ms(1),
            model: ms(7),
            batch_size: 2,
            image_count: 1,
            size: (9, 9),
            ..Timing::default()
        };
        let mut sum = one;
        sum.add(&Timing { batch_size: 1, size: (3, 30), ..one });
        assert_eq!((sum.decode, sum.batch_size, sum.image_count, sum.size), (ms(2), 2, 2, (3, 30)));
        assert_eq!(
            sum.server_timing_header(Duration::from_micros(15_250)).unwrap(),
            "decode;dur=2.000, queue;dur=0.000, model;dur=14.000, encode;dur=0.000, total;dur=15.250"
        );
    }
}
