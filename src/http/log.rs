//! JSON lines on standard error, where SageMaker collects them: messages, and a line per request.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The importance of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// An event of normal work.
    Info,
    /// A problem that the server works around.
    Warning,
}

/// Prints a message with its time and level.
pub fn log_message(level: Level, message: impl Display) {
    #[derive(Serialize)]
    struct MessageEntry {
        time: String,
        level: Level,
        message: String,
    }
    write_json_line(&MessageEntry { time: utc_timestamp(), level, message: message.to_string() });
}

/// Prints a line. A closed standard error is no reason to stop serving.
pub(super) fn write_json_line(line: &impl Serialize) {
    // Serializing fails only for maps whose keys are no strings, and lines have none.
    let Ok(mut text) = serde_json::to_string(line) else { return };
    text.push('\n');
    // One write per line, so that lines of several threads do not mix.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Returns the time in UTC, to milliseconds, in the format of RFC 3339.
pub(super) fn utc_timestamp() -> String {
    let now = OffsetDateTime::now_utc();
    let to_milliseconds = now.replace_millisecond(now.millisecond()).unwrap_or(now);
    // Formatting fails only for years of more than four digits.
    to_milliseconds.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_utc_to_milliseconds() {
        let text = utc_timestamp();
        assert!(text.starts_with("20") && text.ends_with('Z') && text.len() <= 24, "{text}");
    }
}
