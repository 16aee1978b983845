//! `maskmaker preprocess`: annotations become masks, in the channels that `train` reads.

use crate::console::{note, say};
use crate::error::{Error, Result};
use crate::preprocess::{self, Settings};
use crate::sagemaker::{MlRoot, ProcessingJob, Stop};

/// Writes the channels and says what is in them; in a processing job also to SageMaker.
pub fn run(root: &MlRoot, settings: Settings) -> Result<()> {
    let stop = Stop::listen()?;
    let job = ProcessingJob::read(root)?;
    let host = job.as_ref().and_then(|job| job.host.clone());
    let output = settings.output.clone();
    let result = preprocess::run(&Settings { host, ..settings }, &stop);
    let message = match &result {
        Ok(report) => report.summary().join("\n"),
        Err(error) => error.to_string(),
    };
    if let Some(job) = job
        && let Err(error) = job.say(root, &message)
    {
        // The masks matter more than the message about them.
        note(format_args!("warning: {error}"));
    }
    let report = result?;
    for line in report.summary() {
        say(line);
    }
    say(format_args!("-> {}", output.display()));
    Ok(())
}

/// A share in percent, as `--train-test-split-ratio 20`.
pub fn percent(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim().trim_end_matches('%').trim_end().parse().ok();
    match number {
        Some(number) if (0.0..=100.0).contains(&number) => {
            if number > 0.0 && number < 1.0 {
                // 0.2 is how other programs write 20 percent.
                return Err(format!(
                    "{text} percent is less than one image in a hundred; for {} percent write {0}",
                    100.0 * number
                ));
            }
            Ok(number)
        }
        _ => Err("allowed is a percentage from 0 to 100".to_owned()),
    }
}

/// The settings, whose shares must leave something to train on.
pub fn check(settings: Settings) -> Result<Settings> {
    let (validation, test) = (settings.split.validation, settings.split.test);
    if validation + test >= 100.0 {
        return Err(Error::input(format!(
            "--train-test-split-ratio {validation} and --test-ratio {test} leave nothing to train on; together they \
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
        assert_eq!(percent("20"), Ok(20.0));
        assert_eq!(percent(" 12.5 % "), Ok(12.5));
        assert_eq!(percent("0"), Ok(0.0));
        for (text, said) in [
            ("0.2", "for 20 percent write 20"),
            ("101", "0 to 100"),
            ("-1", "0 to 100"),
            ("NaN", "0 to 100"),
            ("x", "0 to 100"),
        ] {
            let error = percent(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
