//! `maskmaker doctor` looks at the machine, the container and the folders of a job, and says what
//! would keep training or serving from working, with the fix.

mod exchange_check;
mod finding;
mod job_checks;
mod machine_checks;

use self::finding::{Finding, Level};
use crate::console::print_stdout;
use crate::error::{Error, Result, pluralize};
use crate::sagemaker::MlRoot;
use crate::sagemaker::cluster::Cluster;

/// Prints a line per finding, or all as JSON. `rendezvous_port` is the port of the first host by
/// which the hosts of a job find each other.
///
/// # Errors
///
/// A finding is a problem.
pub fn run_doctor(root: &MlRoot, rendezvous_port: u16, as_json: bool) -> Result<()> {
    let mut findings = Vec::new();
    let mut report = |finding: Finding| {
        if !as_json {
            // At once, because the exchange over hosts and GPUs may take a minute, or end the process.
            let Finding { check, level, message } = &finding;
            print_stdout(format_args!("{:<8} {check:<20} {message}", level.name()));
        }
        findings.push(finding);
    };
    run_checks(root, rendezvous_port, &mut report);
    if as_json {
        print_stdout(render_json(&findings));
    }
    let problems = findings.iter().filter(|finding| finding.level == Level::Problem).count();
    if problems > 0 {
        return Err(Error::input(format!("doctor found {}", pluralize(problems, "problem"))));
    }
    Ok(())
}

/// Runs all checks, the exchange last, and hands each finding to `report`.
fn run_checks(root: &MlRoot, rendezvous_port: u16, report: &mut dyn FnMut(Finding)) {
    let cluster = Cluster::read(root);
    // The choice of the device comes before any other call of libtorch.
    let mut findings = machine_checks::check_gpus(cluster.as_ref().ok());
    findings.extend(machine_checks::check_processor_and_memory());
    findings.extend(job_checks::check_folders(root));
    findings.push(job_checks::check_aws());
    for finding in findings {
        report(finding);
    }
    match cluster {
        Ok(cluster) => {
            for finding in job_checks::check_hosts(&cluster) {
                report(finding);
            }
            if let Some(finding) = exchange_check::check_exchange(&cluster, rendezvous_port) {
                report(finding);
            }
        }
        // The folders told it.
        Err(_) if !root.path().is_dir() => {}
        Err(error) => report(Finding::problem("resourceconfig.json", error.to_string())),
    }
}

/// Renders the findings as `{"findings": [{"check": "memory", "level": "ok", "message": "..."}]}`.
/// Levels are `ok`, `warning` and `problem`.
fn render_json(findings: &[Finding]) -> String {
    format!("{:#}", serde_json::json!({ "findings": findings }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_json_for_programs() {
        let findings = [Finding::ok("memory", "2.0 GiB"), Finding::problem("model", "no room")];
        let text = render_json(&findings);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["findings"][0]["level"], "ok");
        assert_eq!(value["findings"][1]["check"], "model");
    }
}
