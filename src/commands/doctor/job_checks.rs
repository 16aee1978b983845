//! Checks of the job's folders, its hosts, and the access to AWS.

use std::path::Path;
use std::time::Duration;

use super::finding::Finding;
use crate::aws::{S3Client, S3Settings, StopCheck};
use crate::commands::training_job::read_hyperparameters;
use crate::commands::training_job::s3::job_region;
use crate::distributed::Route;
use crate::error::Result;
use crate::files::check_writable;
use crate::sagemaker::cluster::Cluster;
use crate::sagemaker::{Channels, MlRoot, OutputFolders};

/// Longest time without a byte from AWS.
const AWS_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the findings about the folders of the contract.
pub(super) fn check_folders(root: &MlRoot) -> Vec<Finding> {
    if root.path().exists() && !root.path().is_dir() {
        let message = format!("{} is a file: --ml-root names a folder", root.path().display());
        return vec![Finding::problem("root", message)];
    }
    if !root.path().is_dir() {
        return vec![Finding::warning(
            "root",
            format!(
                "there is no folder {}: mount it, or name another by --ml-root \
                 (MASKMAKER_ML_ROOT)",
                root.path().display()
            ),
        )];
    }
    let mut findings = vec![Finding::ok("root", root.path().display().to_string())];
    findings.push(check_input("hyperparameters.json", root.hyperparameters_file(), || {
        read_hyperparameters(root).map(drop)
    }));
    findings.push(check_input("inputdataconfig.json", root.input_data_config_file(), || {
        Channels::read(root).map(drop)
    }));
    let output_folders = OutputFolders::read(root);
    for line in output_folders.describe() {
        findings.push(Finding::ok("output folders", line));
    }
    for (check, folder) in [
        ("model", root.model_folder()),
        ("checkpoints", output_folders.checkpoints.path),
        ("output/data", root.output_data_folder()),
    ] {
        // A folder that is missing is made by whoever writes to it first.
        let exists = |ancestor: &&Path| ancestor.symlink_metadata().is_ok();
        let existing = folder.ancestors().find(exists).unwrap_or(&folder);
        findings.push(match check_writable(existing) {
            Ok(()) => Finding::ok(check, format!("{} can be written", folder.display())),
            Err(error) => Finding::problem(check, error.to_string()),
        });
    }
    findings
}

/// Reads a file of the job as `train` does. Serving needs none.
fn check_input(
    name: &'static str,
    file: impl AsRef<Path>,
    read: impl FnOnce() -> Result<()>,
) -> Finding {
    let metadata = file.as_ref().symlink_metadata();
    if metadata.is_err_and(|cause| cause.kind() == std::io::ErrorKind::NotFound) {
        return Finding::ok(name, "is not there, as for an endpoint");
    }
    match read() {
        Ok(()) => Finding::ok(name, "can be read"),
        Err(error) => Finding::problem(name, error.to_string()),
    }
}

/// Returns the findings about the hosts of the job, each of which must have an address.
pub(super) fn check_hosts(cluster: &Cluster) -> Vec<Finding> {
    let mut findings = Vec::new();
    for host in &cluster.hosts {
        if cluster.hosts.len() == 1 {
            break;
        }
        findings.push(match Route::find(host) {
            Ok(Route { interface: Some(interface), .. }) => {
                Finding::ok("hosts", format!("{host} is reached by {interface}"))
            }
            Ok(_) => Finding::ok("hosts", format!("{host} has an address")),
            Err(cause) => Finding::problem(
                "hosts",
                format!(
                    "{host} has no address ({cause}): the host has not started yet, or the \
                     container is in another network"
                ),
            ),
        });
    }
    findings
}

/// Looks for region and credentials, which jobs need that read S3.
pub(super) fn check_aws() -> Finding {
    let mut settings = S3Settings::new(AWS_TIMEOUT, StopCheck::never());
    settings.region = job_region();
    match S3Client::connect(settings) {
        Ok(client) => {
            Finding::ok("AWS", format!("credentials are there; reads {}", client.endpoint_label()))
        }
        Err(failure) => {
            Finding::warning("AWS", format!("what lies in S3 cannot be read: {failure}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    /// Returns the level and message of a check.
    fn find<'a>(findings: &'a [Finding], check: &str) -> (Level, &'a str) {
        let finding = findings.iter().find(|finding| finding.check == check).unwrap();
        (finding.level, &finding.message)
    }

    #[test]
    fn a_root_that_is_missing_is_one_warning() {
        let findings = check_folders(&MlRoot::new("/no/such/root"));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].level, Level::Warning);
        assert!(findings[0].message.contains("--ml-root"));
    }

    #[test]
    fn files_of_a_job_are_read_as_train_does() {
        let folder = tempfile::tempdir().unwrap();
        let root = MlRoot::new(folder.path());
        let findings = check_folders(&root);
        assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:?}");
        assert!(!root.model_folder().exists(), "doctor changes nothing");
        std::fs::create_dir_all(folder.path().join("input/config")).unwrap();
        std::fs::write(root.hyperparameters_file(), r#"{"num_classes": "0"}"#).unwrap();
        let findings = check_folders(&root);
        let (level, message) = find(&findings, "hyperparameters.json");
        assert_eq!(level, Level::Problem);
        assert!(message.contains("num_classes"), "{message}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model"), "a file").unwrap();
        let findings = check_folders(&MlRoot::new(folder.path()));
        let (level, message) = find(&findings, "model");
        assert_eq!(level, Level::Problem);
        assert!(message.contains("model"), "{message}");
    }

    #[test]
    fn what_only_looks_like_a_file_or_a_folder_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let root = MlRoot::new(folder.path());
        std::fs::create_dir_all(root.hyperparameters_file()).unwrap();
        std::os::unix::fs::symlink("/no/such/folder", root.model_folder()).unwrap();
        let findings = check_folders(&root);
        assert_eq!(find(&findings, "hyperparameters.json").0, Level::Problem);
        assert_eq!(find(&findings, "model").0, Level::Problem);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(check_folders(&MlRoot::new(&file))[0].level, Level::Problem);
    }

    #[test]
    fn hosts_without_an_address_are_named() {
        let cluster = |hosts: &[&str]| Cluster {
            current_host: hosts[0].to_owned(),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            current_instance_type: None,
        };
        assert!(check_hosts(&cluster(&["alone"])).is_empty());
        let findings = check_hosts(&cluster(&["127.0.0.1", "no-such-host.invalid"]));
        assert_eq!(findings[0].level, Level::Ok);
        assert_eq!(findings[1].level, Level::Problem);
        assert!(findings[1].message.starts_with("no-such-host.invalid has no address"));
    }
}
