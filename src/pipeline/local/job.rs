//! Jobs of processing and training steps: what their requests say of program, environment, inputs
//! and outputs, and the files of `/opt/ml` by which a container learns of them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::error::Problems;
use crate::pipeline::definition::StepKind;
use crate::settings::DEFAULT_ML_ROOT;

/// Name of the only host of a job, as the service names the first one.
const HOST: &str = "algo-1";

/// A job, with all values in its request known.
#[derive(Debug)]
pub(super) struct Job {
    pub kind: StepKind,
    pub image: String,
    /// Program in place of the image's own.
    pub entrypoint: Vec<String>,
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub inputs: Vec<JobInput>,
    /// Places that get folders of a processing job when it has ended.
    pub outputs: Vec<JobOutput>,
    /// Place below which a training job's archives go; empty for a processing job.
    pub output_path: String,
    /// Place of a training job's checkpoints, and their folder.
    pub checkpoints: Option<JobOutput>,
    /// Files of configuration, by their paths below `/opt/ml`.
    pub config_files: Vec<(PathBuf, Value)>,
    /// Names of metrics and what finds them in a line of the log.
    pub metrics: Vec<(String, Regex)>,
    /// Lines that tell what a local run does in another way than the service.
    pub notes: Vec<String>,
}

/// Place that a job reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobInput {
    pub uri: String,
    /// Folder below `/opt/ml`.
    pub folder: PathBuf,
}

/// Place that a job writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobOutput {
    pub uri: String,
    /// Folder below `/opt/ml`.
    pub folder: PathBuf,
}

/// Reads a job's request, which [`super::super::check_definition`] found to be right.
struct Reader<'a> {
    arguments: &'a Value,
    problems: Problems,
    notes: Vec<String>,
}

impl Job {
    /// Reads the request of a processing or training step. All problems are told at once.
    pub(super) fn read(
        kind: StepKind,
        arguments: &Value,
        job_name: &str,
    ) -> crate::error::Result<Self> {
        let mut reader = Reader { arguments, problems: Problems::new(), notes: Vec::new() };
        let mut job = match kind {
            StepKind::Training => reader.read_training(job_name),
            _ => reader.read_processing(job_name),
        };
        reader.check_folders(&job);
        reader.problems.into_result()?;
        job.notes = reader.notes;
        Ok(job)
    }
}

impl<'a> Reader<'a> {
    fn at(&self, path: &[&str]) -> Option<&'a Value> {
        path.iter().try_fold(self.arguments, |value, key| value.get(key))
    }

    fn text(&self, path: &[&str]) -> Option<String> {
        self.at(path)?.as_str().map(str::to_owned)
    }

    fn list(&self, path: &[&str]) -> &'a [Value] {
        self.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn texts(&self, path: &[&str]) -> Vec<String> {
        let mut texts = Vec::new();
        for entry in self.list(path) {
            texts.push(entry.as_str().map_or_else(|| entry.to_string(), str::to_owned));
        }
        texts
    }

    fn text_map(&self, key: &str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for (name, value) in self.at(&[key]).and_then(Value::as_object).into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            map.insert(name.clone(), text);
        }
        map
    }

    /// Returns a folder of the container below `/opt/ml`.
    fn folder(&mut self, place: &str, path: &str) -> PathBuf {
        let below = Path::new(path).strip_prefix(DEFAULT_ML_ROOT);
        match below {
            Ok(below) if below.components().all(|part| matches!(part, Component::Normal(_))) => {
                below.to_owned()
            }
            _ => {
                self.problems.push(format!(
                    "{place}: is {path}; a local run has folders below {DEFAULT_ML_ROOT} only"
                ));
                PathBuf::new()
            }
        }
    }

    fn note_instances(&mut self, path: &[&str]) {
        if let Some(count) = self.at(path).and_then(Value::as_u64)
            && count > 1
        {
            self.notes.push(format!("InstanceCount {count}: one job on this machine does all"));
        }
    }

    fn read_processing(&mut self, job_name: &str) -> Job {
        self.note_instances(&["ProcessingResources", "ClusterConfig", "InstanceCount"]);
        let mut inputs = Vec::new();
        for (index, input) in self.list(&["ProcessingInputs"]).iter().enumerate() {
            let place = format!("Arguments.ProcessingInputs[{index}]");
            let Some(s3) = input.get("S3Input") else {
                self.problems.push(format!("{place}: has no S3Input, which alone runs locally"));
                continue;
            };
            self.check_s3_data(&place, s3, "S3CompressionType");
            let path = s3.get("LocalPath").and_then(Value::as_str).unwrap_or_default();
            let folder = self.folder(&format!("{place}.S3Input.LocalPath"), path);
            inputs.push(JobInput { uri: text_of(s3, "S3Uri"), folder });
        }
        let mut outputs = Vec::new();
        let path = ["ProcessingOutputConfig", "Outputs"];
        for (index, output) in self.list(&path).iter().enumerate() {
            let place = format!("Arguments.ProcessingOutputConfig.Outputs[{index}]");
            let Some(s3) = output.get("S3Output") else {
                self.problems.push(format!("{place}: has no S3Output, which alone runs locally"));
                continue;
            };
            if s3.get("S3UploadMode").and_then(Value::as_str) == Some("Continuous") {
                let name = text_of(output, "OutputName");
                self.notes.push(format!("S3UploadMode Continuous of {name}: as EndOfJob"));
            }
            let path = s3.get("LocalPath").and_then(Value::as_str).unwrap_or_default();
            let folder = self.folder(&format!("{place}.S3Output.LocalPath"), path);
            outputs.push(JobOutput { uri: text_of(s3, "S3Uri"), folder });
        }
        let mut config = self.arguments.clone();
        config["ProcessingJobName"] = json!(job_name);
        Job {
            kind: StepKind::Processing,
            image: self.text(&["AppSpecification", "ImageUri"]).unwrap_or_default(),
            entrypoint: self.texts(&["AppSpecification", "ContainerEntrypoint"]),
            arguments: self.texts(&["AppSpecification", "ContainerArguments"]),
            environment: self.environment("PROCESSING", job_name),
            inputs,
            outputs,
            output_path: String::new(),
            checkpoints: None,
            config_files: vec![
                ("config/processingjobconfig.json".into(), config),
                ("config/resourceconfig.json".into(), resource_config()),
            ],
            metrics: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn read_training(&mut self, job_name: &str) -> Job {
        self.note_instances(&["ResourceConfig", "InstanceCount"]);
        let specification = "AlgorithmSpecification";
        let default_mode =
            self.text(&[specification, "TrainingInputMode"]).unwrap_or_else(|| "File".to_owned());
        let mut inputs = Vec::new();
        let mut channels = Map::new();
        for (index, channel) in self.list(&["InputDataConfig"]).iter().enumerate() {
            let place = format!("Arguments.InputDataConfig[{index}]");
            let name = text_of(channel, "ChannelName");
            let Some(s3) = channel.get("DataSource").and_then(|source| source.get("S3DataSource"))
            else {
                self.problems
                    .push(format!("{place}: has no S3DataSource, which alone runs locally"));
                continue;
            };
            self.check_s3_data(&place, s3, "CompressionType");
            self.check_compression(&place, channel, "CompressionType");
            let mode = channel.get("InputMode").and_then(Value::as_str).unwrap_or(&default_mode);
            if mode != "File" {
                self.notes.push(format!("channel {name}: input mode {mode} is File here"));
            }
            let uri = text_of(s3, "S3Uri");
            let folder = self.folder(&place, &format!("{DEFAULT_ML_ROOT}/input/data/{name}"));
            inputs.push(JobInput { uri, folder });
            let mut config = json!({
                "TrainingInputMode": "File",
                "S3DistributionType": s3.get("S3DataDistributionType").and_then(Value::as_str)
                    .unwrap_or("FullyReplicated"),
                "RecordWrapperType": "None",
            });
            if let Some(content_type) = channel.get("ContentType") {
                config["ContentType"] = content_type.clone();
            }
            channels.insert(name, config);
        }
        let checkpoint_config = self.at(&["CheckpointConfig"]);
        let checkpoints = checkpoint_config.map(|config| {
            let default = format!("{DEFAULT_ML_ROOT}/checkpoints");
            let path = config.get("LocalPath").and_then(Value::as_str).unwrap_or(&default);
            let folder = self.folder("Arguments.CheckpointConfig.LocalPath", path);
            JobOutput { uri: text_of(config, "S3Uri"), folder }
        });
        let mut metrics = Vec::new();
        let path = [specification, "MetricDefinitions"];
        for (index, metric) in self.list(&path).iter().enumerate() {
            // Patterns of the service are Python's; one that is not ours as well finds nothing.
            match Regex::new(&text_of(metric, "Regex")) {
                Ok(regex) => metrics.push((text_of(metric, "Name"), regex)),
                Err(_) => self.notes.push(format!(
                    "MetricDefinitions[{index}] has a pattern that is not understood here; the \
                     metric is not shown"
                )),
            }
        }
        let mut arguments = self.texts(&[specification, "ContainerArguments"]);
        let entrypoint = self.texts(&[specification, "ContainerEntrypoint"]);
        if entrypoint.is_empty() && arguments.is_empty() {
            // The service calls the image with this one argument.
            arguments.push("train".to_owned());
        }
        Job {
            kind: StepKind::Training,
            image: self.text(&[specification, "TrainingImage"]).unwrap_or_default(),
            entrypoint,
            arguments,
            environment: self.environment("TRAINING", job_name),
            inputs,
            outputs: Vec::new(),
            output_path: self.text(&["OutputDataConfig", "S3OutputPath"]).unwrap_or_default(),
            checkpoints,
            config_files: vec![
                (
                    "input/config/hyperparameters.json".into(),
                    json!(self.text_map("HyperParameters")),
                ),
                ("input/config/inputdataconfig.json".into(), Value::Object(channels)),
                ("input/config/resourceconfig.json".into(), resource_config()),
            ],
            metrics,
            notes: Vec::new(),
        }
    }

    /// Finds kinds of data that a local run does not bring into a container.
    fn check_s3_data(&mut self, place: &str, s3: &Value, compression_key: &str) {
        let kind = s3.get("S3DataType").and_then(Value::as_str).unwrap_or("S3Prefix");
        if kind != "S3Prefix" {
            self.problems
                .push(format!("{place}: S3DataType is {kind}; a local run has S3Prefix only"));
        }
        self.check_compression(place, s3, compression_key);
        if s3.get("S3InputMode").and_then(Value::as_str) == Some("Pipe") {
            self.notes.push(format!("{place}: S3InputMode Pipe is File here"));
        }
    }

    fn check_compression(&mut self, place: &str, object: &Value, key: &str) {
        if object.get(key).and_then(Value::as_str) == Some("Gzip") {
            self.problems.push(format!(
                "{place}: {key} is Gzip; a local run has None only: unpack the data"
            ));
        }
    }

    /// Returns the variables of the step, and the job's name. The service also adds the job's ARN,
    /// which here would name a region that is none.
    fn environment(&self, prefix: &str, job_name: &str) -> BTreeMap<String, String> {
        let mut environment = self.text_map("Environment");
        environment.insert(format!("{prefix}_JOB_NAME"), job_name.to_owned());
        environment
    }

    /// Finds folders of a job that lie in each other. What one writes would be the other's.
    fn check_folders(&mut self, job: &Job) {
        for (index, output) in job.outputs.iter().enumerate() {
            for other in &job.outputs[..index] {
                if output.folder.starts_with(&other.folder)
                    || other.folder.starts_with(&output.folder)
                {
                    self.problems.push(format!(
                        "the outputs {DEFAULT_ML_ROOT}/{} and {DEFAULT_ML_ROOT}/{} lie in each \
                         other; a local run needs folders that do not",
                        other.folder.display(),
                        output.folder.display()
                    ));
                }
            }
        }
        for (index, input) in job.inputs.iter().enumerate() {
            if job.inputs[..index].iter().any(|other| other.folder == input.folder) {
                let folder = input.folder.display();
                self.problems.push(format!("two inputs are put into {DEFAULT_ML_ROOT}/{folder}"));
            }
        }
    }
}

fn text_of(object: &Value, key: &str) -> String {
    object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Returns the hosts of a job. The instance type is left out: this machine is not of that type, and
/// `train` would ask for its GPUs.
fn resource_config() -> Value {
    json!({"current_host": HOST, "hosts": [HOST], "network_interface_name": "lo"})
}
