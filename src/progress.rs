//! Progress of work on images: on a terminal a bar with loss, images per second and time left,
//! elsewhere a plain line per interval.

use std::fmt;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::console::{self, print_stderr};

/// Least time between plain lines.
const PLAIN_LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Least time between two losses that the bar shows.
const BAR_LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// Progress through a known number of images.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    is_plain: bool,
    label: String,
    total_images: usize,
    images_done: usize,
    started: Instant,
    /// Time of the last plain line, or of the last loss in the bar.
    last_shown: Instant,
}

impl Progress {
    /// Starts to show progress through `total_images` images under the name `label`.
    pub fn new(label: &str, total_images: usize) -> Self {
        let is_plain = !std::io::stderr().is_terminal();
        let target =
            if is_plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(total_images as u64), target);
        // The line fits on a terminal of 80 columns.
        let template = "{prefix} {bar:20} {pos}/{len} {speed} {msg} {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("speed", write_speed));
        }
        bar.set_prefix(label.to_owned());
        console::set_progress_bar(if is_plain { None } else { Some(bar.clone()) });
        let now = Instant::now();
        let label = label.to_owned();
        Self { bar, is_plain, label, total_images, images_done: 0, started: now, last_shown: now }
    }

    /// Adds `images` to the images done. Calls `loss` only if a line, or another loss in the bar, is
    /// due to be shown, because reading the loss waits for the device.
    pub fn advance(&mut self, images: usize, loss: impl FnOnce() -> Option<f64>) {
        self.images_done += images;
        let interval = if self.is_plain { PLAIN_LINE_INTERVAL } else { BAR_LOSS_INTERVAL };
        let is_due = self.last_shown.elapsed() >= interval;
        if is_due {
            self.last_shown = Instant::now();
        }
        if self.is_plain && is_due {
            let images_per_second = self.images_per_second();
            let seconds_left = (self.total_images - self.images_done.min(self.total_images)) as f64
                / images_per_second.max(1e-9);
            let loss = match loss() {
                Some(loss) => format!(", loss {loss:.4}"),
                None => String::new(),
            };
            let Self { label, images_done, total_images, .. } = self;
            print_stderr(format_args!(
                "{label}: {images_done}/{total_images} images{loss}, {images_per_second:.1} img/s, \
                 {seconds_left:.0} s left"
            ));
        } else if !self.is_plain {
            if is_due && let Some(loss) = loss() {
                self.bar.set_message(format!("loss {loss:.4}"));
            }
            self.bar.inc(images as u64);
        }
    }

    /// Returns the mean images per second since the start.
    pub fn images_per_second(&self) -> f64 {
        self.images_done as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    /// Removes the bar, so that lines can be printed.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
        console::set_progress_bar(None);
    }
}

/// Writes the images per second into the bar's line.
fn write_speed(state: &ProgressState, writer: &mut dyn fmt::Write) {
    let _ = write!(writer, "{:.1} img/s", state.per_sec());
}

/// Removes the bar after an early end too, so that the error does not share a line with the bar.
impl Drop for Progress {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_read_when_it_is_due_and_not_at_each_step() {
        for is_plain in [true, false] {
            let mut progress = Progress::new("epoch 1/1", 100);
            progress.is_plain = is_plain;
            let mut reads = 0;
            for _ in 0..50 {
                progress.advance(1, || {
                    reads += 1;
                    Some(0.5)
                });
            }
            assert!(reads < 25, "{reads} reads in 50 steps");
            progress.last_shown -= PLAIN_LINE_INTERVAL;
            progress.advance(1, || {
                reads += 1000;
                Some(0.5)
            });
            assert!(reads >= 1000, "a loss that is due is read");
        }
    }
}
