//! What a training run tells `TensorBoard`: event files in `output/tensorboard`, where SageMaker looks for
//! them.
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
//! Nothing here ends a training: what cannot be written is a warning, once.

mod event_file;
mod message;

use std::path::Path;

use image::RgbImage;
use prost::Message;
use serde_json::Value as Json;
use tch::Tensor;

use self::event_file::{EventFile, seconds};
use self::message::{
    Any, Content, Dim, Hparams, HparamsData, Image, Kind, Metadata, PluginData, SessionEnd,
    SessionStart, Shape, Status, Value,
};
use super::history::{Epoch, Metrics, NamedScores};
use crate::console::note;
use crate::error::{Error, Result};
use crate::imaging::encode_png;
use crate::sagemaker::Hyperparameters;

/// Steps whose losses are read together: reading one waits for the device.
const TOGETHER: usize = 50;
/// The plugin of hyperparameters, and what it calls its two messages.
const PLUGIN: &str = "hparams";
const SESSION_START: &str = "_hparams_/session_start_info";
const SESSION_END: &str = "_hparams_/session_end_info";

/// The event file of a run; none where it cannot be written.
#[derive(Debug)]
pub struct Board {
    file: Option<EventFile>,
    /// Steps whose losses are still on the device: number, learning rate, loss.
    pending: Vec<(usize, f64, Tensor)>,
    /// The share of the epoch's training that was spent waiting for data, 0 to 1.
    pub waiting: Option<f64>,
}

impl Board {
    /// Starts a file in `folder` with the hyperparameters, for a run that goes on after `step` steps.
    pub fn open(folder: &Path, hyperparameters: &Hyperparameters, step: usize) -> Self {
        let mut board = Self::none();
        match EventFile::create(folder, step) {
            Ok(file) => board.file = Some(file),
            Err(error) => warn(&error),
        }
        let start = SessionStart { hparams: hparams(hyperparameters), start_time_secs: seconds() };
        board.write(step, vec![plugin(SESSION_START, Hparams::Start(start))]);
        board.flush();
        board
    }

    /// A board that nobody looks at.
    pub fn none() -> Self {
        Self { file: None, pending: Vec::new(), waiting: None }
    }

    /// Notes the loss of step `step`, counted from 0, without waiting for it.
    pub fn step(&mut self, step: usize, rate: f64, loss: &Tensor) {
        if self.file.is_some() {
            self.pending.push((step, rate, loss.shallow_clone()));
            if self.pending.len() >= TOGETHER {
                self.steps();
            }
        }
    }

    /// Writes the steps that were noted.
    pub fn steps(&mut self) {
        for (step, rate, loss) in std::mem::take(&mut self.pending) {
            let mut values = vec![scalar("train/learning_rate", rate)];
            values.extend(loss.f_double_value(&[]).map(|loss| scalar("train/loss", loss)));
            self.write(step, values);
        }
        self.flush();
    }

    /// Writes what an epoch came to that ended with step `last`, counted from 0.
    pub fn epoch(&mut self, last: usize, epoch: &Epoch, metrics: &Metrics) {
        self.steps();
        let mut values = vec![
            scalar("train/images_per_second", epoch.train_throughput),
            scalar("validation/images_per_second", epoch.validation_throughput),
        ];
        let mut some = |tag: String, value: Option<f64>| {
            values.extend(value.map(|value| scalar(&tag, value)));
        };
        some("train/waiting_for_data".to_owned(), self.waiting.take());
        some("validation/mIOU".to_owned(), metrics.miou);
        some("validation/pixel_accuracy".to_owned(), metrics.pixel_accuracy);
        for NamedScores { id, name, scores } in &metrics.classes {
            let others = metrics.classes.iter().filter(|other| other.name == *name).count();
            let name = if others > 1 { format!("{name} ({id})") } else { name.clone() };
            some(format!("iou/{name}"), scores.iou);
            some(format!("precision/{name}"), scores.precision);
            some(format!("recall/{name}"), scores.recall);
            some(format!("f1/{name}"), scores.f1);
        }
        self.write(last, values);
        self.flush();
    }

    /// Whether pictures are worth making.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Writes a picture of what step `last` led to.
    pub fn picture(&mut self, last: usize, tag: &str, picture: &RgbImage) {
        let image = Image {
            height: picture.height() as i32,
            width: picture.width() as i32,
            colorspace: 3,
            encoded: encode_png(picture),
        };
        let content = Some(Content::Image(image));
        self.write(last, vec![Value { tag: tag.to_owned(), metadata: None, content }]);
        self.flush();
    }

    /// Writes how the run ended after `steps` steps: well, or with an error.
    pub fn end(&mut self, steps: usize, well: bool) {
        self.steps();
        let status = if well { Status::Success } else { Status::Failure };
        let end = SessionEnd { status: status.into(), end_time_secs: seconds() };
        self.write(steps, vec![plugin(SESSION_END, Hparams::End(end))]);
        self.flush();
    }

    fn write(&mut self, step: usize, values: Vec<Value>) {
        self.attempt(|file| file.values(step, values));
    }

    fn flush(&mut self) {
        self.attempt(EventFile::flush);
    }

    /// Does something with the file, and gives it up when that fails.
    fn attempt(&mut self, act: impl FnOnce(&mut EventFile) -> Result<()>) {
        if let Some(Err(error)) = self.file.as_mut().map(act) {
            warn(&error);
            self.file = None;
            self.pending.clear();
        }
    }
}

fn warn(error: &Error) {
    note(format_args!("warning: nothing more for TensorBoard, training goes on: {error}"));
}

fn scalar(tag: &str, value: f64) -> Value {
    let content = Some(Content::Scalar(value as f32));
    Value { tag: tag.to_owned(), metadata: None, content }
}

fn plugin(tag: &str, data: Hparams) -> Value {
    let content = HparamsData { data: Some(data) }.encode_to_vec();
    let plugin_data = Some(PluginData { plugin_name: PLUGIN.to_owned(), content });
    let shape = Some(Shape { dim: vec![Dim { size: 1 }] });
    Value {
        tag: tag.to_owned(),
        metadata: Some(Metadata { plugin_data }),
        content: Some(Content::Tensor(message::Tensor { dtype: 1, shape })),
    }
}

/// Every hyperparameter that has a value, as number, switch or text.
fn hparams(hyperparameters: &Hyperparameters) -> std::collections::BTreeMap<String, Any> {
    let Ok(Json::Object(all)) = serde_json::to_value(hyperparameters) else {
        return std::collections::BTreeMap::new();
    };
    let any = |value: Json| {
        let kind = match value {
            Json::Null => return None,
            Json::Bool(value) => Kind::Switch(value),
            Json::Number(value) => Kind::Number(value.as_f64()?),
            Json::String(value) => Kind::Text(value),
            other => Kind::Text(other.to_string()),
        };
        Some(Any { kind: Some(kind) })
    };
    all.into_iter().filter_map(|(name, value)| Some((name, any(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::message::{Event, What};
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
            let values = match event.what {
                Some(What::Summary(summary)) => summary.value,
                _ => Vec::new(),
            };
            values.into_iter().map(move |value| {
                let number = match value.content {
                    Some(Content::Scalar(number)) => Some(number),
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
        let mut board = Board::open(folder.path(), &hyperparameters(), 0);
        for step in 0..TOGETHER + 3 {
            board.step(step, 0.1, &Tensor::from(step as f64));
        }
        let losses = |folder: &Path| {
            let values = values(folder).into_iter().filter(|(tag, ..)| tag == "train/loss");
            values.map(|(_, step, loss)| (step, loss)).collect::<Vec<_>>()
        };
        assert_eq!(losses(folder.path()).len(), TOGETHER);
        board.steps();
        let expected: Vec<_> =
            (0..TOGETHER + 3).map(|step| (step as i64, Some(step as f32))).collect();
        assert_eq!(losses(folder.path()), expected);
    }

    #[test]
    fn a_run_begins_with_its_hyperparameters_and_ends_with_how_it_went() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = Board::open(folder.path(), &hyperparameters(), 7);
        board.end(9, true);
        let events = events(folder.path());
        assert_eq!(events[0].what, Some(What::FileVersion("brain.Event:2".to_owned())));
        assert!(matches!(events[1].what, Some(What::SessionLog(_))) && events[1].step == 7);
        let data = |event: &Event| {
            let Some(What::Summary(summary)) = &event.what else { panic!("{event:?}") };
            let plugin = summary.value[0].metadata.clone().unwrap().plugin_data.unwrap();
            assert_eq!(plugin.plugin_name, "hparams");
            HparamsData::decode(plugin.content.as_slice()).unwrap().data.unwrap()
        };
        let Hparams::Start(start) = data(&events[2]) else { panic!("no start") };
        assert_eq!(start.hparams["learning_rate"].kind, Some(Kind::Number(0.001)));
        assert_eq!(start.hparams["loss"].kind, Some(Kind::Text("dice=1".to_owned())));
        assert_eq!(start.hparams["syncbn"].kind, Some(Kind::Switch(false)));
        assert!(!start.hparams.contains_key("num_training_samples"));
        let Hparams::End(end) = data(&events[3]) else { panic!("no end") };
        assert_eq!(end.status(), Status::Success);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut board = Board::open(&file, &hyperparameters(), 0);
        assert!(!board.is_open());
        board.step(0, 0.1, &Tensor::from(1.0));
        board.end(1, false);
    }
}
