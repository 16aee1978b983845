//! JSON lines on stderr, where SageMaker collects them: one for each request, and messages.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Info,
    Warning,
}

/// Prints a message.
pub(super) fn log_message(level: Level, message: impl Display) {
    #[derive(Serialize)]
    struct MessageEntry {
        time: String,
        level: Level,
        message: String,
    }
    write_json_line(&MessageEntry { time: utc_timestamp(), level, message: message.to_string() });
}

/// Prints a line; a closed stderr is no reason to stop serving.
pub(super) fn write_json_line(line: &impl Serialize) {
    // What is printed here always has keys that are strings.
    let Ok(mut text) = serde_json::to_string(line) else { return };
    text.push('\n');
    // In one piece, so that lines of several threads do not mix.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// The time in UTC to milliseconds, as RFC 3339 writes it.
pub(super) fn utc_timestamp() -> String {
    let now = OffsetDateTime::now_utc();
    let to_milliseconds = now.replace_millisecond(now.millisecond()).unwrap_or(now);
    // Fails only for years of more than four digits.
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
