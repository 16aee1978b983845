//! `maskmaker evaluate` scores a model on a test set, compares it with another one, and decides if it
//! may go live.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::device::check_inference_device;
use super::open_model::{OpenModel, make_temporary_folder};
use super::remote_pipeline::connect as connect_service;
use super::training_job::s3::lazy_s3_connection;
use crate::aws::{GetRequest, SAGEMAKER};
use crate::console::{print_stderr, print_stdout};
use crate::data::image_hashes::ImageHashes;
use crate::data::objects::ConnectStore;
use crate::error::{Error, Result};
use crate::evaluate::{
    Candidate, EVALUATION_FILE, EvaluateSettings, Evaluation, evaluate, prepare_output,
};
use crate::files::{PathContext, check_writable, create_folder};
use crate::inference::{Engine, EngineOptions};
use crate::model::archive::{ARCHIVE_FILE, unpack_model};
use crate::model::artifact::{CONFIG_FILE, DATA_FILE};
use crate::model::precision::ComputePrecision;
use crate::model::{Artifact, Network};
use crate::pipeline::{ApprovedModel, Registry, RegistryPlace, SageMakerRegistry};
use crate::sagemaker::{MlRoot, ProcessingJob, StopSignal};
use crate::torch::default_device;
use crate::train::write_scalars;

/// Models and settings of an evaluation.
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// Folder of the model, or its `model.tar.gz`, or a folder that holds this archive.
    pub model: PathBuf,
    /// Another model to compare with.
    pub other: Option<OtherModel>,
    pub settings: EvaluateSettings,
    pub engine: EngineOptions,
    /// Folder of `TensorBoard`'s event files, if they are wanted.
    pub tensorboard: Option<PathBuf>,
    /// Longest time that S3 may bring nothing.
    pub s3_timeout: Duration,
    /// Makes a gate that fails an error.
    pub fail: bool,
}

/// Model to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtherModel {
    /// Folder or archive of the model. An empty folder means that there is none yet.
    Path(PathBuf),
    /// The last approved version of a group of a registry, if there is one.
    Registry { place: RegistryPlace, group: String },
}

impl OtherModel {
    /// Reads the value of `--compare`: a path, or `registry:GROUP` for a group of a registry.
    pub fn parse(value: PathBuf, registry: PathBuf) -> Self {
        match value.to_str().and_then(|text| text.strip_prefix("registry:")) {
            Some(group) => {
                Self::Registry { place: RegistryPlace::new(registry), group: group.to_owned() }
            }
            None => Self::Path(value),
        }
    }

    /// Finds and opens the model. Returns nothing if there is none yet, which is printed.
    fn open(&self, connect: &ConnectStore, stop: &StopSignal) -> Result<Option<OpenModel>> {
        let (name, group) = match self {
            Self::Path(path) if is_empty_folder(path) => return Ok(None),
            Self::Path(path) => return OpenModel::open(path).map(Some),
            Self::Registry { place: RegistryPlace::Folder(folder), group } => {
                let registry = Registry::new(folder);
                if let Some(package) = registry.last_approved(group)? {
                    return OpenModel::open(&registry.model_folder(&package)).map(Some);
                }
                (folder.display().to_string(), group)
            }
            Self::Registry { place: RegistryPlace::SageMaker, group } => {
                let client = connect_service(&SAGEMAKER, stop)?;
                if let Some(model) = SageMakerRegistry(&client).last_approved(group)? {
                    return OpenModel::fetch(&model, connect).map(Some);
                }
                ("the account's registry".to_owned(), group)
            }
        };
        print_stderr(format_args!(
            "note: {name} has no approved version of {group}, so there is no other model"
        ));
        Ok(None)
    }
}

/// Evaluates the model, and prints the scores. In a processing job the decision, or the error, also
/// becomes the job's exit message.
///
/// # Errors
///
/// Errors are those of [`evaluate`], a model that cannot be read, and with `fail` a gate that fails.
pub fn run_evaluate(root: &MlRoot, options: &EvaluateOptions) -> Result<()> {
    let stop = StopSignal::listen()?;
    let job = ProcessingJob::read(root)?;
    let result = match &job {
        Some(ProcessingJob { host: Some(host) }) => Err(several_hosts_error(host)),
        _ => evaluate_models(options, &stop),
    };
    let message = match &result {
        Ok(evaluation) => evaluation.short_summary(),
        Err(error) => error.to_string(),
    };
    if let Some(job) = job
        && let Err(error) = job.write_exit_message(root, &message)
    {
        // The scores are written already, so a lost message does not fail the job.
        print_stderr(format_args!("warning: {error}"));
    }
    let evaluation = result?;
    for warning in evaluation.warnings() {
        print_stderr(format_args!("warning: {warning}"));
    }
    for line in evaluation.summary() {
        print_stdout(line);
    }
    if let Some(folder) = &options.tensorboard
        && let Err(error) = write_scalars(folder, &evaluation.scalars())
    {
        print_stderr(format_args!("warning: nothing for TensorBoard: {error}"));
    }
    let file = options.settings.output.join(EVALUATION_FILE);
    print_stdout(format_args!("-> {}", file.display()));
    if options.fail && !evaluation.gate.passed {
        return Err(Error::rejected(evaluation.gate.summary()));
    }
    Ok(())
}

/// Returns the error of a job of which each instance has other inputs: each would score its part.
fn several_hosts_error(host: &str) -> Error {
    Error::input(format!(
        "the job has several instances, and {host} may have a part of the inputs: evaluate on one \
         instance, or with S3DataDistributionType FullyReplicated for every input"
    ))
}

fn evaluate_models(options: &EvaluateOptions, stop: &StopSignal) -> Result<Evaluation> {
    prepare_output(&options.settings)?;
    if let Some(folder) = &options.tensorboard {
        create_folder(folder)?;
        check_writable(folder)?;
    }
    check_inference_device()?;
    let connect = lazy_s3_connection(options.s3_timeout, stop);
    let model = OpenModel::open(&options.model)?;
    let mut engine = Engine::load(&model.folder, options.engine)?;
    let seen_images = ImageHashes::read(&model.folder.join(DATA_FILE))?;
    let network = match options.settings.explain {
        Some(_) => model.read_layers()?,
        None => None,
    };
    let path = &model.path;
    let candidate = Candidate { engine: &mut engine, network: network.as_ref(), path, seen_images };
    let other = match &options.other {
        Some(other) => other.open(&connect, stop)?,
        None => None,
    };
    let Some(other) = &other else {
        return evaluate(&options.settings, candidate, None, connect, stop);
    };
    let path = &other.path;
    let mut engine = Engine::load(&other.folder, options.engine)?;
    let seen_images = ImageHashes::read(&other.folder.join(DATA_FILE))?;
    let other = Candidate { engine: &mut engine, network: None, path, seen_images };
    evaluate(&options.settings, candidate, Some(other), connect, stop)
}

/// Returns true for a folder without files: the place of a model that was not trained yet.
fn is_empty_folder(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

impl OpenModel {
    /// Fetches and unpacks the model of a version in the account's registry.
    fn fetch(model: &ApprovedModel, connect: &ConnectStore) -> Result<Self> {
        let fetched = make_temporary_folder()?;
        let archive = fetched.path().join(ARCHIVE_FILE);
        let mut file = File::create(&archive).with_path("write", &archive)?;
        let request = GetRequest { uri: &model.model_data, max_bytes: u64::MAX, etag: None };
        print_stderr(format_args!("comparing with {}, {}", model.arn, model.model_data));
        connect()?.get(&request, &mut file)?;
        drop(file);
        let unpacked = make_temporary_folder()?;
        unpack_model(&archive, unpacked.path())?;
        Ok(Self::of_unpacked(PathBuf::from(&model.arn), unpacked))
    }

    /// Reads the model with its layers. Returns nothing for TorchScript, whose layers are not known.
    fn read_layers(&self) -> Result<Option<Network>> {
        if !self.folder.join(CONFIG_FILE).is_file() {
            print_stderr(
                "note: the layers of a TorchScript file are not known, so it is explained by occlusion alone",
            );
            return Ok(None);
        }
        let Artifact { network, .. } = Artifact::read(&self.folder, default_device())?;
        network.frozen_copy(ComputePrecision::Fp32).map(Some)
    }
}
