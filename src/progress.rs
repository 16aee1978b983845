//! What a person or a log sees while images are worked through: on a terminal a bar with loss, img/s
//! and time left, elsewhere one plain line per interval.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::console::{self, note};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between plain lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Progress through a known number of images.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
    what: String,
    total: usize,
    done: usize,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// Starts showing `what` over `total` images.
    pub fn new(what: &str, total: usize) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let target =
            if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        // Short enough for a terminal of 80 columns.
        let template = "{prefix} {bar:20} {pos}/{len} {speed} {msg} {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            let speed = |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{:.1} img/s", state.per_sec());
            };
            bar.set_style(style.with_key("speed", speed));
        }
        bar.set_prefix(what.to_owned());
        console::show((!plain).then(|| bar.clone()));
        let now = Instant::now();
        let what = what.to_owned();
        Self { bar, plain, what, total, done: 0, started: now, last_line: now }
    }

    /// Counts `images` more. `loss` is asked for only when something is shown, because reading it
    /// waits for the device.
    pub fn advance(&mut self, images: usize, loss: impl FnOnce() -> Option<f64>) {
        self.done += images;
        let due = self.last_line.elapsed() >= INTERVAL;
        if self.plain && due {
            self.last_line = Instant::now();
            let speed = self.speed();
            let left = (self.total - self.done.min(self.total)) as f64 / speed.max(1e-9);
            let loss = loss().map_or(String::new(), |loss| format!(", loss {loss:.4}"));
            let Self { what, done, total, .. } = self;
            note(format_args!(
                "{what}: {done}/{total} images{loss}, {speed:.1} img/s, {left:.0} s left"
            ));
        } else if !self.plain {
            if let Some(loss) = loss() {
                self.bar.set_message(format!("loss {loss:.4}"));
            }
            self.bar.inc(images as u64);
        }
    }

    /// Images per second so far.
    pub fn speed(&self) -> f64 {
        self.done as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    /// Takes the bar away, so that lines can be printed.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
        console::show(None);
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
