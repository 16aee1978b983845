//! Event files of a training run for `TensorBoard`, in `output/tensorboard`, where SageMaker looks
//! for them.
//!
//! | tag | when | what |
//! |---|---|---|
//! | `train/loss`, `train/learning_rate` | every step | of the step |
//! | `train/images_per_second`, `train/waiting_for_data` | every epoch | throughput; share of the time, 0 to 1 |
//! | `validation/mIOU`, `validation/pixel_accuracy`, `validation/images_per_second` | every epoch | |
//! | `iou/NAME`, `precision/NAME`, `recall/NAME`, `f1/NAME` | every epoch | scores of a class that is there |
//! | `confusion_matrix`, `predictions` | every epoch | pictures |
//! | hyperparameters | at the start | for the `HPARAMS` tab |
//!
//! An error of writing does not end a training: it is one warning, and nothing more is written.

mod event_file;
mod message;
mod observer;

use std::collections::BTreeMap;
use std::path::Path;

use image::RgbImage;
use prost::Message;
use serde_json::Value as Json;
use tch::Tensor;

use self::event_file::{EventFile, unix_seconds};
use self::message::{
    HparamKind, HparamValue, Hparams, HparamsData, PluginData, SessionEnd, SessionStart, Status,
    SummaryContent, SummaryImage, SummaryMetadata, SummaryValue, TensorDim, TensorShape,
};
use super::history::{ClassMetrics, EpochMetrics, ModelMetrics};
use crate::console::print_stderr;
use crate::error::{Error, Result};
use crate::imaging::encode_png;
use crate::train::hyperparameters::Hyperparameters;

/// Number of steps whose losses are read together, because reading a loss waits for the device.
const MAX_PENDING_STEPS: usize = 50;
/// Name of the plugin of hyperparameters. The two tags below are those of its messages.
const HPARAMS_PLUGIN: &str = "hparams";
const SESSION_START: &str = "_hparams_/session_start_info";
const SESSION_END: &str = "_hparams_/session_end_info";

/// Writes the event file of a run; without a file, once writing has failed.
#[derive(Debug)]
pub struct SummaryWriter {
    file: Option<EventFile>,
    /// Steps whose losses may still be computed on the device: number, learning rate, loss.
    pending_steps: Vec<(usize, f64, Tensor)>,
    /// Share of the epoch's training time that was spent waiting for data, 0 to 1.
    waiting_share: Option<f64>,
}

impl SummaryWriter {
    /// Starts a file in `folder` with the hyperparameters, for a run that goes on after `step`
    /// steps.
    pub fn open(folder: &Path, hyperparameters: &Hyperparameters, step: usize) -> Self {
        let mut writer = Self { file: None, pending_steps: Vec::new(), waiting_share: None };
        match EventFile::create(folder, step) {
            Ok(file) => writer.file = Some(file),
            Err(error) => warn_disabled(&error),
        }
        let start = SessionStart {
            hparams: hparam_values(hyperparameters),
            start_time_secs: unix_seconds(),
        };
        writer.write_values(step, vec![hparams_value(SESSION_START, Hparams::Start(start))]);
        writer.flush();
        writer
    }

    /// Keeps the loss of step `step`, counted from 0, for later, without waiting for the device.
    pub fn add_step(&mut self, step: usize, lr: f64, loss: &Tensor) {
        if self.file.is_some() {
            self.pending_steps.push((step, lr, loss.shallow_clone()));
            if self.pending_steps.len() >= MAX_PENDING_STEPS {
                self.flush_steps();
            }
        }
    }

    /// Writes the steps that were kept.
    pub fn flush_steps(&mut self) {
        for (step, lr, loss) in std::mem::take(&mut self.pending_steps) {
            let mut values = vec![scalar_value("train/learning_rate", lr)];
            values.extend(loss.f_double_value(&[]).map(|loss| scalar_value("train/loss", loss)));
            self.write_values(step, values);
        }
        self.flush();
    }

    /// Writes the scores of an epoch that ended with step `last_step`, counted from 0.
    pub fn add_epoch(&mut self, last_step: usize, epoch: &EpochMetrics, metrics: &ModelMetrics) {
        self.flush_steps();
        let mut values = vec![
            scalar_value("train/images_per_second", epoch.train_throughput),
            scalar_value("validation/images_per_second", epoch.validation_throughput),
        ];
        let mut push_if_some = |tag: String, value: Option<f64>| {
            values.extend(value.map(|value| scalar_value(&tag, value)));
        };
        push_if_some("train/waiting_for_data".to_owned(), self.waiting_share.take());
        push_if_some("validation/mIOU".to_owned(), metrics.miou);
        push_if_some("validation/pixel_accuracy".to_owned(), metrics.pixel_accuracy);
        for ClassMetrics { id, name, scores } in &metrics.classes {
            let same_name_count =
                metrics.classes.iter().filter(|other| other.name == *name).count();
            let name = if same_name_count > 1 { format!("{name} ({id})") } else { name.clone() };
            push_if_some(format!("iou/{name}"), scores.iou);
            push_if_some(format!("precision/{name}"), scores.precision);
            push_if_some(format!("recall/{name}"), scores.recall);
            push_if_some(format!("f1/{name}"), scores.f1);
        }
        self.write_values(last_step, values);
        self.flush();
    }

    /// Returns true if events are still written, so that pictures are worth drawing.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Writes a picture of the state after step `last_step`, counted from 0.
    pub fn add_image(&mut self, last_step: usize, tag: &str, picture: &RgbImage) {
        let image = SummaryImage {
            height: picture.height() as i32,
            width: picture.width() as i32,
            colorspace: 3,
            encoded: encode_png(picture),
        };
        let content = Some(SummaryContent::Image(image));
        self.write_values(
            last_step,
            vec![SummaryValue { tag: tag.to_owned(), metadata: None, content }],
        );
        self.flush();
    }

    /// Writes that the run ended after `steps` steps, with success or with an error.
    pub fn add_session_end(&mut self, steps: usize, is_success: bool) {
        self.flush_steps();
        let status = if is_success { Status::Success } else { Status::Failure };
        let end = SessionEnd { status: status.into(), end_time_secs: unix_seconds() };
        self.write_values(steps, vec![hparams_value(SESSION_END, Hparams::End(end))]);
        self.flush();
    }

    fn write_values(&mut self, step: usize, values: Vec<SummaryValue>) {
        self.try_write(|file| file.write_summary(step, values));
    }

    fn flush(&mut self) {
        self.try_write(EventFile::flush);
    }

    /// Runs an operation on the file. If the operation fails, warns and writes no more.
    fn try_write(&mut self, operation: impl FnOnce(&mut EventFile) -> Result<()>) {
        if let Some(Err(error)) = self.file.as_mut().map(operation) {
            warn_disabled(&error);
            self.file = None;
            self.pending_steps.clear();
        }
    }
}

fn warn_disabled(error: &Error) {
    print_stderr(format_args!("warning: nothing more for TensorBoard, training goes on: {error}"));
}

/// Writes numbers of step 0 into an event file of their own in `folder`, such as the scores of an
/// evaluation.
pub fn write_scalars(folder: &Path, scalars: &[(String, f64)]) -> Result<()> {
    let mut file = EventFile::create(folder, 0)?;
    let values = scalars.iter().map(|(tag, value)| scalar_value(tag, *value)).collect();
    file.write_summary(0, values)?;
    file.flush()
}

fn scalar_value(tag: &str, value: f64) -> SummaryValue {
    let content = Some(SummaryContent::Scalar(value as f32));
    SummaryValue { tag: tag.to_owned(), metadata: None, content }
}

fn hparams_value(tag: &str, data: Hparams) -> SummaryValue {
    let content = HparamsData { data: Some(data) }.encode_to_vec();
    let plugin_data = Some(PluginData { plugin_name: HPARAMS_PLUGIN.to_owned(), content });
    let shape = Some(TensorShape { dim: vec![TensorDim { size: 1 }] });
    SummaryValue {
        tag: tag.to_owned(),
        metadata: Some(SummaryMetadata { plugin_data }),
        content: Some(SummaryContent::Tensor(message::TensorProto { dtype: 1, shape })),
    }
}

/// Returns every hyperparameter that has a value, as number, boolean or text.
fn hparam_values(hyperparameters: &Hyperparameters) -> BTreeMap<String, HparamValue> {
    let Ok(Json::Object(settings)) = serde_json::to_value(hyperparameters) else {
        return BTreeMap::new();
    };
    let mut hparams = BTreeMap::new();
    for (name, value) in settings {
        if let Some(kind) = hparam_kind(value) {
            hparams.insert(name, HparamValue { kind: Some(kind) });
        }
    }
    hparams
}

fn hparam_kind(value: Json) -> Option<HparamKind> {
    Some(match value {
        Json::Null => return None,
        Json::Bool(value) => HparamKind::Bool(value),
        Json::Number(value) => HparamKind::Number(value.as_f64()?),
        Json::String(value) => HparamKind::Text(value),
        other => HparamKind::Text(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::message::{Event, EventPayload};
    use super::*;

    fn hyperparameters() -> Hyperparameters {
        let raw = [("num_classes", "4"), ("use_pretrained_model", "False"), ("loss", "dice")];
        let raw: BTreeMap<_, _> =
            raw.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Hyperparameters::parse(&raw).unwrap()
    }

    /// The events of the only file in `folder`.
    fn events(folder: &Path) -> Vec<Event> {
        let mut files = std::fs::read_dir(folder).unwrap();
        let path = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none());
        let bytes = std::fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let length = u64::from_le_bytes(*length) as usize;
            events.push(Event::decode(&after[4..4 + length]).unwrap());
            rest = &after[4 + length + 4..];
        }
        events
    }

    /// Tags with their steps and, where they have one, numbers.
    fn values(folder: &Path) -> Vec<(String, i64, Option<f32>)> {
        let summaries = events(folder).into_iter().flat_map(|event| {
            let values = match event.payload {
                Some(EventPayload::Summary(summary)) => summary.value,
                _ => Vec::new(),
            };
            values.into_iter().map(move |value| {
                let number = match value.content {
                    Some(SummaryContent::Scalar(number)) => Some(number),
                    _ => None,
                };
                (value.tag, event.step, number)
            })
        });
        summaries.collect()
    }

    #[test]
    fn losses_wait_for_each_other_and_all_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = SummaryWriter::open(folder.path(), &hyperparameters(), 0);
        for step in 0..MAX_PENDING_STEPS + 3 {
            writer.add_step(step, 0.1, &Tensor::from(step as f64));
        }
        let losses = |folder: &Path| {
            let values = values(folder).into_iter().filter(|(tag, ..)| tag == "train/loss");
            values.map(|(_, step, loss)| (step, loss)).collect::<Vec<_>>()
        };
        assert_eq!(losses(folder.path()).len(), MAX_PENDING_STEPS);
        writer.flush_steps();
        let expected: Vec<_> =
            (0..MAX_PENDING_STEPS + 3).map(|step| (step as i64, Some(step as f32))).collect();
        assert_eq!(losses(folder.path()), expected);
    }

    #[test]
    fn a_run_begins_with_its_hyperparameters_and_ends_with_how_it_went() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = SummaryWriter::open(folder.path(), &hyperparameters(), 7);
        writer.add_session_end(9, true);
        let events = events(folder.path());
        assert_eq!(events[0].payload, Some(EventPayload::FileVersion("brain.Event:2".to_owned())));
        assert!(
            matches!(events[1].payload, Some(EventPayload::SessionLog(_))) && events[1].step == 7
        );
        let data = |event: &Event| {
            let Some(EventPayload::Summary(summary)) = &event.payload else { panic!("{event:?}") };
            let plugin = summary.value[0].metadata.clone().unwrap().plugin_data.unwrap();
            assert_eq!(plugin.plugin_name, "hparams");
            HparamsData::decode(plugin.content.as_slice()).unwrap().data.unwrap()
        };
        let Hparams::Start(start) = data(&events[2]) else { panic!("no start") };
        assert_eq!(start.hparams["learning_rate"].kind, Some(HparamKind::Number(0.001)));
        assert_eq!(start.hparams["loss"].kind, Some(HparamKind::Text("dice=1".to_owned())));
        assert_eq!(start.hparams["syncbn"].kind, Some(HparamKind::Bool(false)));
        assert!(!start.hparams.contains_key("num_training_samples"));
        let Hparams::End(end) = data(&events[3]) else { panic!("no end") };
        assert_eq!(end.status(), Status::Success);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut writer = SummaryWriter::open(&file, &hyperparameters(), 0);
        assert!(!writer.is_open());
        writer.add_step(0, 0.1, &Tensor::from(1.0));
        writer.add_session_end(1, false);
    }
}
