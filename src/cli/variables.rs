//! Environment variables in place of flags: one that is set to nothing counts as unset, and those
//! that cannot be used are named.
//!
//! clap reads the variables, but takes an empty one for a value, and its messages name the flag
//! alone, which nobody gave.

use std::env;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::Cli;
use crate::error::Problems;

/// The command line as it was given, and what is wrong with the environment.
#[derive(Debug)]
pub(super) struct CommandLine {
    /// Flags and variables; without the variables that cannot be used.
    pub(super) cli: Cli,
    /// Variables that cannot be used, each with its value and what is allowed.
    pub(super) problems: Problems,
}

/// Parses the arguments of the process, the program's name first, and the variables of flags that
/// are not among them. The error is clap's, also where help or the version was asked for.
pub(super) fn parse_command_line(arguments: &[OsString]) -> Result<CommandLine, clap::Error> {
    let without_variables = keep_variables(Cli::command(), &|_| false);
    let typed = without_variables.try_get_matches_from(arguments)?;
    let unusable = find_unusable_variables(&typed);
    let mut problems = Problems::new();
    for variable in &unusable {
        problems.push(&variable.problem);
    }
    let command = keep_variables(Cli::command(), &|name| {
        let is_empty = env::var_os(name).is_none_or(|value| value.is_empty());
        !is_empty && unusable.iter().all(|variable| variable.name != name)
    });
    let matches = command.try_get_matches_from(arguments)?;
    Ok(CommandLine { cli: Cli::from_arg_matches(&matches)?, problems })
}

/// A variable whose value its flag refuses.
struct UnusableVariable {
    name: OsString,
    /// Variable, value and what is allowed.
    problem: String,
}

/// Returns the command with those variables of its flags, and of its subcommands' flags, that
/// `is_kept` returns true for.
fn keep_variables(command: Command, is_kept: &dyn Fn(&OsStr) -> bool) -> Command {
    let command = command.mut_args(|flag| match flag.get_env() {
        Some(name) if !is_kept(name) => flag.env(None::<&'static str>),
        _ => flag,
    });
    command.mut_subcommands(|subcommand| keep_variables(subcommand, is_kept))
}

/// Tries the value of each variable that the subcommand reads. `typed` holds the flags that were
/// given, whose variables are not read.
fn find_unusable_variables(typed: &ArgMatches) -> Vec<UnusableVariable> {
    let mut unusable = Vec::new();
    let Some((subcommand, flags)) = typed.subcommand() else { return unusable };
    let mut cli = Cli::command();
    // Adds the global flags to the subcommands.
    cli.build();
    let Some(command) = cli.find_subcommand(subcommand) else { return unusable };
    for flag in command.get_arguments() {
        let Some(name) = flag.get_env() else { continue };
        let value = env::var_os(name).unwrap_or_default();
        let is_typed = flags.value_source(flag.get_id().as_str()) == Some(ValueSource::CommandLine);
        if value.is_empty() || is_typed {
            continue;
        }
        if let Some(reason) = try_value(subcommand, flag, &value) {
            let problem = format!(
                "the environment variable {} is {:?}: {reason}; set another value, or unset it",
                name.to_string_lossy(),
                value.to_string_lossy()
            );
            unusable.push(UnusableVariable { name: name.to_owned(), problem });
        }
    }
    unusable
}

/// Returns the reason why clap refuses the value of a flag, if it does.
fn try_value(subcommand: &str, flag: &Arg, value: &OsStr) -> Option<String> {
    let mut argument = OsString::from(format!("--{}=", flag.get_long()?));
    argument.push(value);
    let arguments = [OsStr::new("maskmaker"), OsStr::new(subcommand), &argument];
    let command = keep_variables(Cli::command(), &|_| false);
    let error = command.try_get_matches_from(arguments).err()?;
    match error.kind() {
        ErrorKind::ValueValidation => match error.source() {
            Some(cause) => Some(cause.to_string()),
            None => Some("it cannot be used".to_owned()),
        },
        ErrorKind::InvalidValue => Some(format!("allowed: {}", list_possible_values(flag))),
        ErrorKind::InvalidUtf8 => Some("it is no UTF-8".to_owned()),
        // The value is fine, and the subcommand lacks arguments that it needs.
        _ => None,
    }
}

fn list_possible_values(flag: &Arg) -> String {
    let mut words = Vec::new();
    for value in flag.get_possible_values() {
        words.push(value.get_name().to_owned());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(subcommand: &str, id: &str, value: &str) -> Option<String> {
        let mut cli = Cli::command();
        cli.build();
        let command = cli.find_subcommand(subcommand).unwrap();
        let flag = command.get_arguments().find(|flag| flag.get_id() == id).unwrap();
        try_value(subcommand, flag, OsStr::new(value))
    }

    #[test]
    fn values_of_variables_are_judged_as_those_of_their_flags() {
        assert_eq!(reason("serve", "max_payload_in_mb", "6"), None);
        assert_eq!(reason("serve", "ml_root", "/anywhere"), None);
        // A subcommand that needs more than this flag.
        assert_eq!(reason("predict", "max_side", "64"), None);
        for (subcommand, id, value, words) in [
            ("serve", "max_payload_in_mb", "6.0", "whole number"),
            ("serve", "max_concurrent_transforms", "-1", "whole number"),
            ("serve", "batch_strategy", "Both", "SINGLE_RECORD or MULTI_RECORD"),
            ("serve", "batch", "maybe", "true or false"),
            ("serve", "bind-to-port", "80800", "65535"),
            ("predict", "max_side", "7", "32 to 16384"),
            ("predict", "max_side", "1,000", "32 to 16384"),
            ("predict", "precision", "int7", "allowed: auto, fp32"),
            ("train", "s3_timeout", "10m", "whole number"),
        ] {
            let reason = reason(subcommand, id, value).unwrap();
            assert!(reason.contains(words) && !reason.contains("--"), "{reason}");
        }
    }

    #[test]
    fn every_flag_with_a_variable_can_be_left_out_and_has_a_long_name() {
        let mut cli = Cli::command();
        cli.build();
        for command in cli.get_subcommands() {
            for flag in command.get_arguments().filter(|flag| flag.get_env().is_some()) {
                assert!(flag.get_long().is_some() && !flag.is_required_set(), "{flag}");
            }
        }
    }
}
