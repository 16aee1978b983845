//! `maskmaker preprocess` makes masks of annotations and writes the channels that `train` reads.

use crate::annotations::split::SplitConfig;
use crate::console::{print_stderr, print_stdout};
use crate::error::{Error, Result};
use crate::preprocess::{self, PreprocessSettings};
use crate::sagemaker::{MlRoot, ProcessingJob, StopSignal};

/// Writes the channels and prints a summary. In a processing job the summary, or the error, also
/// becomes the job's exit message.
pub fn run_preprocess(root: &MlRoot, settings: PreprocessSettings) -> Result<()> {
    let stop = StopSignal::listen()?;
    let job = ProcessingJob::read(root)?;
    let host = match &job {
        Some(job) => job.host.clone(),
        None => None,
    };
    let output = settings.output.clone();
    let result = preprocess::write_channels(&PreprocessSettings { host, ..settings }, &stop);
    let message = match &result {
        Ok(report) => report.summary().join("\n"),
        Err(error) => error.to_string(),
    };
    if let Some(job) = job
        && let Err(error) = job.write_exit_message(root, &message)
    {
        // The masks are written already, so a lost message does not fail the job.
        print_stderr(format_args!("warning: {error}"));
    }
    let report = result?;
    for line in report.summary() {
        print_stdout(line);
    }
    print_stdout(format_args!("-> {}", output.display()));
    Ok(())
}

/// Parses a share in percent, 0 to 100, such as `20`, `12.5` or `20 %`.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    // Not a number is in no range.
    let percentage = number.parse().unwrap_or(f64::NAN);
    if !(0.0..=100.0).contains(&percentage) {
        return Err("allowed is a percentage from 0 to 100".to_owned());
    }
    if percentage > 0.0 && percentage < 1.0 {
        // Other programs write 20 percent as 0.2.
        return Err(format!(
            "{text} percent is less than one image in a hundred; for {} percent write {0}",
            100.0 * percentage
        ));
    }
    Ok(percentage)
}

/// Refuses shares of validation and test that leave nothing to train on.
pub fn check_split_shares(split: SplitConfig) -> Result<()> {
    let SplitConfig { validation_percent, test_percent, .. } = split;
    if validation_percent + test_percent >= 100.0 {
        return Err(Error::input(format!(
            "--train-test-split-ratio {validation_percent} and --test-ratio {test_percent} leave \
             nothing to train on; together they must be less than 100"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages() {
        assert_eq!(parse_percent("20"), Ok(20.0));
        assert_eq!(parse_percent(" 12.5 % "), Ok(12.5));
        assert_eq!(parse_percent("0"), Ok(0.0));
        for (text, expected) in [
            ("0.2", "for 20 percent write 20"),
            ("101", "0 to 100"),
            ("-1", "0 to 100"),
            ("NaN", "0 to 100"),
            ("x", "0 to 100"),
        ] {
            let error = parse_percent(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
