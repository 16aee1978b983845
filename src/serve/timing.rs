//! The times and sizes of a computed request, as the log, the metrics and `Server-Timing` tell
//! them.

use std::time::Duration;

use crate::http::{AccessInfo, milliseconds};

/// The stages of an answer with their times. For several images, the sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Timing {
    /// Time to decode the image from bytes to pixels.
    pub(super) decode: Duration,
    /// Time to wait for a decoder, for room, and for the model.
    pub(super) queue: Duration,
    /// Time of the network for all images of the batch together.
    pub(super) model: Duration,
    /// Time to encode the answer.
    pub(super) encode: Duration,
    /// Images of the largest batch.
    pub(super) batch_size: usize,
    /// Images of this request.
    pub(super) image_count: usize,
    /// Width and height of the largest image, in pixels.
    pub(super) size: (u32, u32),
}

impl Timing {
    /// Returns the stages in their order, by the names in `Server-Timing` and the metrics.
    pub(super) fn stages(&self) -> [(&'static str, Duration); 4] {
        [
            ("decode", self.decode),
            ("queue", self.queue),
            ("model", self.model),
            ("encode", self.encode),
        ]
    }

    /// Adds the times and sizes of another image.
    pub(super) fn add(&mut self, other: &Self) {
        self.decode += other.decode;
        self.queue += other.queue;
        self.model += other.model;
        self.encode += other.encode;
        self.batch_size = self.batch_size.max(other.batch_size);
        self.image_count += other.image_count;
        if pixel_count(other.size) > pixel_count(self.size) {
            self.size = other.size;
        }
    }

    /// Adds the sizes, in pixels, and the times, in milliseconds, to the request's log line.
    pub(super) fn report_to(&self, access_info: &mut AccessInfo) {
        let (width, height) = self.size;
        access_info.fields.extend([
            ("images", self.image_count.into()),
            ("width", width.into()),
            ("height", height.into()),
            ("batch", self.batch_size.into()),
            ("decode_ms", milliseconds(self.decode).into()),
            ("queue_ms", milliseconds(self.queue).into()),
            ("model_ms", milliseconds(self.model).into()),
            ("encode_ms", milliseconds(self.encode).into()),
        ]);
        access_info.stages.extend(self.stages());
    }
}

fn pixel_count((width, height): (u32, u32)) -> u64 {
    u64::from(width) * u64::from(height)
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
        let mut access_info = AccessInfo::default();
        sum.report_to(&mut access_info);
        let stages = [("decode", ms(2)), ("queue", ms(0)), ("model", ms(14)), ("encode", ms(0))];
        assert_eq!(access_info.stages, stages);
        let fields: Vec<_> =
            access_info.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            fields.join(" "),
            "images=2 width=3 height=30 batch=2 decode_ms=2.0 queue_ms=0.0 model_ms=14.0 \
             encode_ms=0.0"
        );
    }
}
