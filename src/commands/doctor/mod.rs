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
    let findings = collect_findings(root, rendezvous_port);
    if as_json {
        print_stdout(render_json(&findings));
    } else {
        for Finding { check, level, message } in &findings {
            print_stdout(format_args!("{:<8} {check:<20} {message}", level.name()));
        }
    }
    let problems = findings.iter().filter(|finding| finding.level == Level::Problem).count();
    if problems > 0 {
        return Err(Error::input(format!("doctor found {}", pluralize(problems, "problem"))));
    }
    Ok(())
}

fn collect_findings(root: &MlRoot, rendezvous_port: u16) -> Vec<Finding> {
    let mut cluster_findings = Vec::new();
    let cluster = match Cluster::read(root) {
        Ok(cluster) => Some(cluster),
        // Told by the folders.
        Err(_) if !root.path().is_dir() => None,
        Err(error) => {
            cluster_findings.push(Finding::problem("resourceconfig.json", error.to_string()));
            None
        }
    };
    // The choice of the device comes before any other call of libtorch.
    let mut findings = machine_checks::check_gpus(cluster.as_ref());
    findings.extend(machine_checks::check_processor_and_memory());
    findings.extend(job_checks::check_folders(root));
    findings.extend(cluster_findings);
    if let Some(cluster) = &cluster {
        findings.extend(job_checks::check_hosts(cluster));
        findings.extend(exchange_check::check_exchange(cluster, rendezvous_port));
    }
    findings.push(job_checks::check_aws());
    findings
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
