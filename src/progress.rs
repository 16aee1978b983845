//! What a person or a log sees while images are worked through: on a terminal a bar with loss, img/s
//! and time left, elsewhere one plain line per interval.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::console::{self, print_stderr};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between plain lines.
const PLAIN_LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Progress through a known number of images.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    is_plain: bool,
    label: String,
    total_images: usize,
    images_done: usize,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// Starts showing `what` over `total` images.
    pub fn new(label: &str, total_images: usize) -> Self {
        let is_plain = !std::io::stderr().is_terminal();
        let target =
            if is_plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(total_images as u64), target);
        // Short enough for a terminal of 80 columns.
        let template = "{prefix} {bar:20} {pos}/{len} {speed} {msg} {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            let speed = |state: &indicatif::ProgressState, writer: &mut dyn std::fmt::Write| {
                let _ = write!(writer, "{:.1} img/s", state.per_sec());
            };
            bar.set_style(style.with_key("speed", speed));
        }
        bar.set_prefix(label.to_owned());
        console::set_progress_bar((!is_plain).then(|| bar.clone()));
        let now = Instant::now();
        let label = label.to_owned();
        Self { bar, is_plain, label, total_images, images_done: 0, started: now, last_line: now }
    }

    /// Counts `images` more. `loss` is asked for only when something is shown, because reading it
    /// waits for the device.
    pub fn advance(&mut self, images: usize, loss: impl FnOnce() -> Option<f64>) {
        self.images_done += images;
        let is_due = self.last_line.elapsed() >= PLAIN_LINE_INTERVAL;
        if self.is_plain && is_due {
            self.last_line = Instant::now();
            let images_per_second = self.images_per_second();
            let seconds_left = (self.total_images - self.images_done.min(self.total_images)) as f64
                / images_per_second.max(1e-9);
            let loss = loss().map_or(String::new(), |loss| format!(", loss {loss:.4}"));
            let Self { label: what, images_done: done, total_images: total, .. } = self;
            print_stderr(format_args!(
                "{what}: {done}/{total} images{loss}, {images_per_second:.1} img/s, {seconds_left:.0} s left"
            ));
        } else if !self.is_plain {
            if let Some(loss) = loss() {
                self.bar.set_message(format!("loss {loss:.4}"));
            }
            self.bar.inc(images as u64);
        }
    }

    /// Images per second so far.
    pub fn images_per_second(&self) -> f64 {
        self.images_done as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    /// Takes the bar away, so that lines can be printed.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
        console::set_progress_bar(None);
    }
}

/// An error that ends the work early must not be written behind the bar either.
impl Drop for Progress {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.finish();
        }
    }
}
