//! The paths of the container contract, all below one root
//! (`docs/architecture.md#one-root-folder`).

use std::path::{Path, PathBuf};

/// The root that SageMaker mounts at `/opt/ml`, or the folder that `--ml-root` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlRoot(PathBuf);

impl MlRoot {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Returns the root folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `input/config/hyperparameters.json`.
    pub fn hyperparameters_file(&self) -> PathBuf {
        self.0.join("input/config/hyperparameters.json")
    }

    /// `input/config/inputdataconfig.json`.
    pub fn input_data_config_file(&self) -> PathBuf {
        self.0.join("input/config/inputdataconfig.json")
    }

    /// `input/config/resourceconfig.json`.
    pub fn resource_config_file(&self) -> PathBuf {
        self.0.join("input/config/resourceconfig.json")
    }

    /// `input/config/<name>`.
    pub fn config_file(&self, name: &str) -> PathBuf {
        self.0.join("input/config").join(name)
    }

    /// `input/data`, which holds one folder per channel.
    pub fn data_folder(&self) -> PathBuf {
        self.0.join("input/data")
    }

    /// `input/data/<channel>`.
    pub fn channel_folder(&self, name: &str) -> PathBuf {
        self.data_folder().join(name)
    }

    /// `input/data/<channel>_<epoch>`: the FIFO of a channel in Pipe mode; epochs count from 0.
    pub fn fifo(&self, channel: &str, epoch: usize) -> PathBuf {
        self.data_folder().join(format!("{channel}_{epoch}"))
    }

    /// `model`, whose files SageMaker packs into `model.tar.gz` after training, and which `serve`
    /// reads.
    pub fn model_folder(&self) -> PathBuf {
        self.0.join("model")
    }

    /// `output/data`, whose files SageMaker packs into `output.tar.gz` after training.
    pub fn output_data_folder(&self) -> PathBuf {
        self.0.join("output/data")
    }

    /// `output/tensorboard`, where SageMaker expects event files.
    pub fn tensorboard_folder(&self) -> PathBuf {
        self.0.join("output/tensorboard")
    }

    /// `checkpoints`, which SageMaker copies to S3 and back when a job is interrupted.
    pub fn checkpoints_folder(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// `processing/input/<name>`, by custom the input of that name.
    pub fn processing_input_folder(&self, name: &str) -> PathBuf {
        self.0.join("processing/input").join(name)
    }

    /// `processing/input`, the folder of all inputs.
    pub fn processing_inputs_folder(&self) -> PathBuf {
        self.0.join("processing/input")
    }

    /// `processing/model`, by custom the model of an evaluation.
    pub fn processing_model_folder(&self) -> PathBuf {
        self.0.join("processing/model")
    }

    /// `processing/output`, by custom the folder of all outputs.
    pub fn processing_output_folder(&self) -> PathBuf {
        self.0.join("processing/output")
    }

    /// `config/processingjobconfig.json`, which only processing jobs have.
    pub fn processing_config_file(&self) -> PathBuf {
        self.0.join("config/processingjobconfig.json")
    }

    /// `config/resourceconfig.json`: the instances of a processing job.
    pub fn processing_resource_config_file(&self) -> PathBuf {
        self.0.join("config/resourceconfig.json")
    }

    /// `output/message`, whose first 1024 bytes become a processing job's `ExitMessage`.
    pub fn exit_message_file(&self) -> PathBuf {
        self.0.join("output/message")
    }

    /// `output/failure`, whose first 1024 characters become the job's `FailureReason`.
    pub fn failure_file(&self) -> PathBuf {
        self.0.join("output/failure")
    }
}
