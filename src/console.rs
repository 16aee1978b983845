//! Lines for people and logs. A closed or full standard output is no reason to end a job, so a line
//! that cannot be written is let go; `println!` would panic, and is banned by the lint table.

use std::fmt::Display;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

/// The bar at the bottom of the terminal, if there is one. Lines are written above it; a metric
/// that stood behind a bar on one line would be read as another one by a person.
static PROGRESS_BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// A result: to standard output.
pub fn print_stdout(line: impl Display) {
    let line = format!("{line}\n");
    write_above_bar(|| std::io::stdout().lock().write_all(line.as_bytes()));
}

/// Progress, a warning or an error: to standard error.
pub fn print_stderr(line: impl Display) {
    let line = format!("{line}\n");
    write_above_bar(|| std::io::stderr().lock().write_all(line.as_bytes()));
}

/// Sets the bar that lines are kept apart from, or none.
pub(crate) fn set_progress_bar(bar: Option<ProgressBar>) {
    *PROGRESS_BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// The bar is taken away, the line written, and the bar drawn again below it.
fn write_above_bar(write: impl FnOnce() -> std::io::Result<()>) {
    // Held until the line is out, so that lines of several threads do not mix either.
    let bar = PROGRESS_BAR.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = match bar.as_ref() {
        Some(bar) => bar.suspend(write),
        None => write(),
    };
}
