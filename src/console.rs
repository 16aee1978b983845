//! Lines on standard output and standard error. A closed or full output must not end a job, so a
//! line that cannot be written is dropped. `println!` would panic there, and the lint table in
//! `Cargo.toml` refuses it.

use std::fmt::Display;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

/// Progress bar at the bottom of the terminal, if one is shown. Lines are written above it, because
/// a metric on the same line as the bar would be misread.
static PROGRESS_BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes a line of results to standard output.
pub fn print_stdout(line: impl Display) {
    let line = format!("{line}\n");
    write_above_bar(|| std::io::stdout().lock().write_all(line.as_bytes()));
}

/// Writes a line of results to standard output. Returns false if nobody reads it any more, as behind
/// `| head`.
pub fn try_print_stdout(line: impl Display) -> bool {
    let line = format!("{line}\n");
    let mut is_open = true;
    write_above_bar(|| {
        let written = std::io::stdout().lock().write_all(line.as_bytes());
        is_open =
            !written.as_ref().is_err_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe);
        written
    });
    is_open
}

/// Writes a line of progress, a warning or an error to standard error.
pub fn print_stderr(line: impl Display) {
    let line = format!("{line}\n");
    write_above_bar(|| std::io::stderr().lock().write_all(line.as_bytes()));
}

/// Sets the progress bar that lines are written above; None is no bar.
pub(crate) fn set_progress_bar(bar: Option<ProgressBar>) {
    *PROGRESS_BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Hides the bar, calls `write`, and draws the bar again below the line.
fn write_above_bar(write: impl FnOnce() -> std::io::Result<()>) {
    // The lock is held until the line is written, so that lines of several threads do not mix.
    let bar = PROGRESS_BAR.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = match bar.as_ref() {
        Some(bar) => bar.suspend(write),
        None => write(),
    };
}
