//! Lines for people and logs. A closed or full standard output is no reason to end a job, so a line
//! that cannot be written is let go; `println!` would panic, and is banned by the lint table.

use std::fmt::Display;
use std::io::Write;

/// A result: to standard output.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Progress, a warning or an error: to standard error.
pub fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
