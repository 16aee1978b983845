//! The tables of settings in `docs/`, made of what clap knows of each flag and of the ranges in
//! `src/settings.rs`. `make settings` writes them, and `tests/it/settings.rs` checks them.

use std::fmt::Write;

use clap::{Arg, CommandFactory};

use super::Cli;
use crate::settings::INTEGER_SETTINGS;

/// Begins the part of a help text that says a default which clap cannot say.
const DEFAULT_IN_HELP: &str = "[default: ";

/// Returns the flags of a subcommand as a Markdown table with a final newline; one below another is named
/// by both, such as `label-studio push`. The table is empty if there is no such subcommand. A flag that only SageMaker sets, by its variable, is hidden from
/// the help and left out here.
pub fn settings_markdown(subcommand: &str) -> String {
    let mut table = "| flag | variable | allowed | default | meaning |\n".to_owned();
    table.push_str("|---|---|---|---|---|\n");
    let cli = Cli::command();
    let mut command = Some(&cli);
    for name in subcommand.split(' ') {
        command = command.and_then(|command| command.find_subcommand(name));
    }
    if let Some(command) = command {
        for flag in command.get_arguments() {
            if flag.get_long().is_some() && !flag.is_hide_set() {
                table.push_str(&render_row(flag));
            }
        }
    }
    table
}

fn render_row(flag: &Arg) -> String {
    let name = render_name(flag);
    let variable = match flag.get_env() {
        Some(variable) => format!("`{}`", variable.to_string_lossy()),
        None => String::new(),
    };
    let allowed = describe_allowed(flag);
    let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
    let (meaning, default_in_help) = split_default(&help);
    let mut default = default_in_help.to_owned();
    if flag.get_action().takes_values() {
        for value in flag.get_default_values() {
            default = format!("`{}`", value.to_string_lossy());
        }
    }
    let mut meaning = meaning.to_owned();
    let mut separator = ". ";
    for value in flag.get_possible_values() {
        if let Some(help) = value.get_help() {
            let _ = write!(meaning, "{separator}`{}`: {help}", value.get_name());
            separator = "; ";
        }
    }
    format!("| {name} | {variable} | {allowed} | {default} | {meaning} |\n")
}

/// Returns the flag as one types it, such as `--max-side PIXELS`. A value that may be left out is
/// not shown.
fn render_name(flag: &Arg) -> String {
    let name = flag.get_long().unwrap_or_default();
    match flag.get_value_names() {
        Some([value, ..]) if flag.get_action().takes_values() && !may_lack_value(flag) => {
            format!("`--{name} {value}`")
        }
        _ => format!("`--{name}`"),
    }
}

/// Returns true if the flag may stand without a value. Such flags are `true` or `false`.
fn may_lack_value(flag: &Arg) -> bool {
    match flag.get_num_args() {
        Some(count) => flag.get_action().takes_values() && count.min_values() == 0,
        None => false,
    }
}

/// Splits a help text into its meaning and the default that it says in brackets, which may be
/// empty.
fn split_default(help: &str) -> (&str, &str) {
    match help.split_once(DEFAULT_IN_HELP) {
        Some((meaning, default)) => (meaning.trim_end(), default.trim_end_matches(']')),
        None => (help, ""),
    }
}

/// Returns the range or the allowed words. The text is empty if there are none.
fn describe_allowed(flag: &Arg) -> String {
    for setting in INTEGER_SETTINGS {
        if setting.name == flag.get_id().as_str() {
            return format!("{} to {}", setting.min, setting.max);
        }
    }
    if may_lack_value(flag) {
        return "`true`, `false`".to_owned();
    }
    let mut words = Vec::new();
    for value in flag.get_possible_values() {
        words.push(format!("`{}`", value.get_name()));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_units_in_the_tables_are_those_that_clap_checks() {
        for setting in INTEGER_SETTINGS {
            let mut uses = 0;
            for path in [
                &["train"][..],
                &["serve"],
                &["predict"],
                &["fetch"],
                &["label-studio", "push"],
                &["label-studio", "backend"],
                &["preprocess"],
                &["evaluate"],
                &["search"],
                &["pipeline", "status"],
            ] {
                let mut cli = Cli::command();
                cli.build();
                let subcommand = path.join(" ");
                let mut command = &cli;
                for name in path {
                    command = command.find_subcommand(name).unwrap();
                }
                let Some(flag) = command.get_arguments().find(|flag| flag.get_id() == setting.name)
                else {
                    continue;
                };
                uses += 1;
                assert_eq!(flag.get_value_names().unwrap(), [setting.unit], "{}", setting.name);
                let long = flag.get_long().unwrap();
                let accepts = |value: i64| {
                    let mut words = vec!["maskmaker".to_owned()];
                    words.extend(path.iter().map(|name| (*name).to_owned()));
                    words.push(format!("--{long}={value}"));
                    if subcommand == "predict" {
                        words.extend(["model".to_owned(), "image.jpg".to_owned()]);
                    }
                    if subcommand == "search" {
                        words.extend(["ranges.json".to_owned(), "--output=search".to_owned()]);
                    }
                    if path[0] == "label-studio" {
                        words.push("--label-studio=http://host".to_owned());
                    }
                    if subcommand == "label-studio push" {
                        words.push("--project=1".to_owned());
                    }
                    if setting.name == "robustness_images" {
                        words.push("--robustness".to_owned());
                    }
                    if setting.name == "occlusion_grid" {
                        words.push("--explain=1".to_owned());
                    }
                    Cli::command().try_get_matches_from(words).is_ok()
                };
                let (min, max) = (i64::from(setting.min), i64::from(setting.max));
                assert!(accepts(min) && accepts(max), "{subcommand} {}", setting.name);
                assert!(!accepts(min - 1) && !accepts(max + 1), "{subcommand} {}", setting.name);
            }
            assert!(uses > 0, "no flag is called {}", setting.name);
        }
    }

    #[test]
    fn a_row_has_the_default_that_the_help_text_says() {
        assert_eq!(split_default("Threads [default: one per core]"), ("Threads", "one per core"));
        assert_eq!(split_default("Address to listen on"), ("Address to listen on", ""));
    }
}
