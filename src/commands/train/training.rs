//! Training in this process, be it the only one of its job or one of several.

use tch::Device;

use super::inputs::Inputs;
use super::settings::{JobSettings, ProcessPlace};
use super::{finish, start};
use crate::data::batch_parts::RankShare;
use crate::data::dataset::AuditedSplit;
use crate::error::Result;
use crate::files::write_json;
use crate::model::artifact;
use crate::model::initial::InitialWeights;
use crate::sagemaker::{MlRoot, StopSignal};
use crate::train::data_record::{DataRecord, SplitRecord};
use crate::train::observer::{Console, MetricsFile, TrainObserver};
use crate::train::{LearningCurves, SummaryWriter, TrainConfig, TrainState, TrainStep, Trainer};

/// Trains as the only process of a job.
pub(super) fn train_alone(
    root: &MlRoot,
    job: &JobSettings,
    inputs: Inputs,
    stop: &StopSignal,
    device: Device,
) -> Result<()> {
    let Inputs { initial, training, validation, class_names, spool: _spool } = inputs;
    let data = DataRecord {
        training: SplitRecord::new(&training.samples, &training.audit.digests)?,
        validation: SplitRecord::new(&validation.samples, &validation.audit.digests)?,
    };
    let place = ProcessPlace {
        share: RankShare::default(),
        shards: None,
        validation_share: RankShare::default(),
        validation_images: validation.samples.len(),
    };
    let writer =
        WriterProcess { root, job, place, splits: [training, validation], data, class_names };
    writer.train(initial, stop, device, |_, _| Ok(()), Vec::new())
}

/// The process that writes the files of a job: the only one, or rank 0.
#[derive(Debug)]
pub(super) struct WriterProcess<'a> {
    pub(super) root: &'a MlRoot,
    pub(super) job: &'a JobSettings,
    pub(super) place: ProcessPlace,
    /// Training and validation samples of this host.
    pub(super) splits: [AuditedSplit; 2],
    /// Names and digests of the samples of all hosts.
    pub(super) data: DataRecord,
    pub(super) class_names: Option<Vec<String>>,
}

impl WriterProcess<'_> {
    /// Trains and writes the model. `join_ranks` hands the state before the first step to the other
    /// ranks, if there are any. `observers` are called before those that write files.
    pub(super) fn train(
        self,
        initial: InitialWeights,
        stop: &StopSignal,
        device: Device,
        join_ranks: impl FnOnce(&mut TrainStep, &TrainState) -> Result<()>,
        mut observers: Vec<Box<dyn TrainObserver>>,
    ) -> Result<()> {
        let Self { root, job, place, splits: [training, validation], data, class_names } = self;
        let image_hashes = data.image_hashes();
        let mut checkpoints =
            start::open_checkpoints(job, [&training, &validation], data, &initial)?;
        let audits = [training.audit, validation.audit];
        let settings =
            job.trainer_settings(root, place, training.samples, validation.samples, class_names);
        let pixels = &audits[0].histogram[..settings.config.num_classes];
        let train_config = TrainConfig::from_hyperparameters(&job.hyperparameters, pixels, device);
        start::print_device_and_warnings(job, &train_config, &settings, device);
        start::warn_of_absent_classes(&audits, &settings);
        let restored = checkpoints.restore(&settings.config, &train_config, device)?;
        let (mut train_step, mut state) =
            start::start(restored, initial, train_config, &settings, device)?;
        start::move_to_hosts(&mut state, &settings);
        join_ranks(&mut train_step, &state)?;
        start::print_plan(job, &train_step, &settings);
        let tensorboard = &job.output_folders.tensorboard.path;
        let writer = SummaryWriter::open(tensorboard, &job.hyperparameters, state.steps);
        // Observers are called in this order, in which their lines and files appear.
        observers.push(Box::new(Console::default()));
        observers.push(Box::new(writer));
        observers.push(Box::new(LearningCurves::new(root.output_data_folder())));
        observers.push(Box::new(MetricsFile::new(root.model_folder())));
        let trainer = Trainer {
            observers,
            train_step,
            state,
            settings: &settings,
            checkpoints: Some(&mut checkpoints),
            stop_signal: stop,
        };
        let outcome = trainer.run()?;
        write_json(&settings.model_folder.join(artifact::DATA_FILE), &image_hashes)?;
        finish::write_torchscript_and_card(&settings, &job.hyperparameters, &audits)?;
        finish::print_outcome(&outcome, &settings.model_folder);
        Ok(())
    }
}
