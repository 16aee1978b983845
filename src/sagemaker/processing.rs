//! Processing jobs: their instances and their exit message.

use serde::Deserialize;
use serde_json::Value;

use super::{MlRoot, raw};
use crate::error::{Error, Result};
use crate::files::write_atomically;

/// Number of bytes of the message that SageMaker keeps as `ExitMessage`.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// The processing job that this process is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessingJob {
    /// Name of this instance, if there are several and their inputs may differ.
    pub host: Option<String>,
}

#[derive(Deserialize)]
struct ProcessingHosts {
    current_host: String,
    hosts: Vec<String>,
}

impl ProcessingJob {
    /// Reads the job's configuration; `None` outside of a processing job.
    pub fn read(root: &MlRoot) -> Result<Option<Self>> {
        if !root.processing_config_file().exists() {
            return Ok(None);
        }
        let path = root.processing_resource_config_file();
        let Some(map) = raw::read_json_object(&path)? else { return Ok(Some(Self { host: None })) };
        let hosts: ProcessingHosts = match serde_json::from_value(map.into()) {
            Ok(hosts) => hosts,
            Err(cause) => {
                return Err(Error::input(format!(
                    "{}: {cause}; expected {{\"current_host\": \"algo-1\", \"hosts\": [\"algo-1\"]}}",
                    path.display()
                )));
            }
        };
        let is_one_of_several = hosts.hosts.len() > 1 && !are_inputs_replicated(root)?;
        Ok(Some(Self { host: is_one_of_several.then_some(hosts.current_host) }))
    }

    /// Writes `output/message`, which SageMaker shows as `ExitMessage`.
    pub fn write_exit_message(&self, root: &MlRoot, message: &str) -> Result<()> {
        let message = match &self.host {
            Some(host) => format!("{host}: {message}"),
            None => message.to_owned(),
        };
        write_atomically(&root.exit_message_file(), shorten_message(&message).as_bytes())
    }
}

/// Returns true if every instance has all files of every input. An input whose distribution is not
/// stated counts as not replicated.
fn are_inputs_replicated(root: &MlRoot) -> Result<bool> {
    let config = raw::read_json_object(&root.processing_config_file())?.unwrap_or_default();
    let Some(Value::Array(inputs)) = config.get("ProcessingInputs") else { return Ok(false) };
    for input in inputs {
        if input["S3Input"]["S3DataDistributionType"].as_str() != Some("FullyReplicated") {
            return Ok(false);
        }
    }
    Ok(!inputs.is_empty())
}

/// Cuts a message to [`MAX_MESSAGE_BYTES`] bytes, between characters, because a message that is not
/// UTF-8 fails the job.
fn shorten_message(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(config: Option<&str>, resources: Option<&str>) -> Result<Option<ProcessingJob>> {
        let folder = tempfile::tempdir().unwrap();
        let root = MlRoot::new(folder.path());
        std::fs::create_dir_all(folder.path().join("config")).unwrap();
        for (path, text) in [
            (root.processing_config_file(), config),
            (root.processing_resource_config_file(), resources),
        ] {
            if let Some(text) = text {
                std::fs::write(path, text).unwrap();
            }
        }
        ProcessingJob::read(&root)
    }

    #[test]
    fn the_instance_matters_where_there_are_several() {
        assert_eq!(job(None, None).unwrap(), None);
        assert_eq!(job(Some("{}"), None).unwrap(), Some(ProcessingJob { host: None }));
        let one = r#"{"current_host": "algo-1", "hosts": ["algo-1"]}"#;
        assert_eq!(job(Some("{}"), Some(one)).unwrap().unwrap().host, None);
        let two = r#"{"current_host": "algo-2", "hosts": ["algo-1", "algo-2"], "topology": 1}"#;
        assert_eq!(job(Some("{}"), Some(two)).unwrap().unwrap().host.as_deref(), Some("algo-2"));
        let input = |kind| {
            format!(
                r#"{{"ProcessingInputs": [{{"S3Input": {{"S3DataDistributionType": "{kind}"}}}}]}}"#
            )
        };
        let host = |kind| job(Some(&input(kind)), Some(two)).unwrap().unwrap().host;
        assert_eq!(host("ShardedByS3Key").as_deref(), Some("algo-2"));
        assert_eq!(host("FullyReplicated"), None);
        let error = job(Some("{}"), Some("{}")).unwrap_err().to_string();
        assert!(error.contains("current_host"), "{error}");
    }

    #[test]
    fn messages_are_cut_between_characters() {
        assert_eq!(shorten_message("short"), "short");
        let long = shorten_message(&"é".repeat(2000)).len();
        assert!((MAX_MESSAGE_BYTES - 1..=MAX_MESSAGE_BYTES).contains(&long));
        assert_eq!(shorten_message(&format!("a{}", "é".repeat(2000))).len(), MAX_MESSAGE_BYTES - 1);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_files_never_panic(text in ".{0,60}") {
            let _ = job(Some(&text), Some(&text));
        }
    }
}
