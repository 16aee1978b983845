//! `maskmaker preprocess`: annotations become masks, in the channels that `train` reads.

use crate::console::{print_stderr, print_stdout};
use crate::error::{Error, Result};
use crate::preprocess::{self, PreprocessSettings};
use crate::sagemaker::{MlRoot, ProcessingJob, StopSignal};

/// Writes the channels and says what is in them; in a processing job also to SageMaker.
pub fn run_preprocess(root: &MlRoot, settings: PreprocessSettings) -> Result<()> {
    let stop = StopSignal::listen()?;
    let job = ProcessingJob::read(root)?;
    let host = job.as_ref().and_then(|job| job.host.clone());
    let output = settings.output.clone();
    let result = preprocess::write_channels(&PreprocessSettings { host, ..settings }, &stop);
    let message = match &result {
        Ok(report) => report.summary().join("\n"),
        Err(error) => error.to_string(),
    };
    if let Some(job) = job
        && let Err(error) = job.write_exit_message(root, &message)
    {
        // The masks matter more than the message about them.
        print_stderr(format_args!("warning: {error}"));
    }
    let report = result?;
    for line in report.summary() {
        print_stdout(line);
    }
    print_stdout(format_args!("-> {}", output.display()));
    Ok(())
}

/// A share in percent, as `--train-test-split-ratio 20`.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let percentage: Option<f64> = text.trim().trim_end_matches('%').trim_end().parse().ok();
    match percentage {
        Some(percentage) if (0.0..=100.0).contains(&percentage) => {
            if percentage > 0.0 && percentage < 1.0 {
                // 0.2 is how other programs write 20 percent.
                return Err(format!(
                    "{text} percent is less than one image in a hundred; for {} percent write {0}",
                    100.0 * percentage
                ));
            }
            Ok(percentage)
        }
        _ => Err("allowed is a percentage from 0 to 100".to_owned()),
    }
}

/// The settings, whose shares must leave something to train on.
pub fn check_split_shares(settings: PreprocessSettings) -> Result<PreprocessSettings> {
    let (validation_percent, test_percent) =
        (settings.split.validation_percent, settings.split.test_percent);
    if validation_percent + test_percent >= 100.0 {
        return Err(Error::input(format!(
            "--train-test-split-ratio {validation_percent} and --test-ratio {test_percent} leave nothing to train on; together they \
             must be less than 100"
        )));
    }
    Ok(settings)
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
