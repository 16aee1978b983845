use std::fmt::Display;
use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::data::objects::DiskBudget;
use crate::sagemaker::StopSignal;
use crate::sagemaker::channels::{LabelMapChannel, SplitFolders, SplitSource};

/// A listener that keeps lines and tasks in their order.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn record(&self, kind: &str, line: &dyn Display) {
        self.0.lock().unwrap().push(format!("{kind}: {line}"));
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Listener for Recorder {
    fn on_result(&self, line: &dyn Display) {
        self.record("result", line);
    }

    fn on_note(&self, line: &dyn Display) {
        self.record("note", line);
    }

    fn on_task(&self, task: &str, image_count: usize) {
        self.record("task", &format_args!("{task} ({image_count})"));
    }

    fn on_image(&self) {}

    fn on_task_end(&self) {}
}

/// A root with one damaged pair of files per split, a manifest, and no FIFO.
struct Root {
    folder: tempfile::TempDir,
    objects: Arc<ObjectCache>,
    stop: StopSignal,
    recorder: Recorder,
}

impl Root {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for split in ["train", "validation"] {
            for (channel, file) in [("", "a.jpg"), ("_annotation", "a.png")] {
                let path = folder.path().join(format!("{split}{channel}"));
                fs::create_dir_all(&path).unwrap();
                fs::write(path.join(file), "x").unwrap();
            }
        }
        let connect = Arc::new(|| panic!("no object is fetched"));
        let budget = DiskBudget { max_bytes: None, reserved_bytes: 0 };
        let objects = ObjectCache::new(connect, budget);
        Self { folder, objects, stop: StopSignal::default(), recorder: Recorder::default() }
    }

    fn folders(&self, name: &'static str) -> SplitSource {
        SplitSource::Folders(SplitFolders {
            name,
            images: self.folder.path().join(name),
            masks: self.folder.path().join(format!("{name}_annotation")),
        })
    }

    fn stream(&self, name: &'static str) -> SplitSource {
        SplitSource::Pipe { name, fifo: self.folder.path().join(format!("{name}_0")) }
    }

    /// A manifest of one line whose mask has a color map.
    fn colors(&self, name: &'static str) -> SplitSource {
        let line = serde_json::json!({
            "source-ref": format!("{name}/a.jpg"),
            "x-ref": format!("{name}_annotation/a.png"),
            "x-ref-metadata": {"internal-color-map": {
                "1": {"class-name": "road", "hex-color": "#010203"},
            }},
        });
        let file = self.folder.path().join(format!("{name}.manifest"));
        fs::write(&file, line.to_string()).unwrap();
        SplitSource::Manifest { name, file }
    }

    fn reader<'a>(&'a self, channels: &'a Channels) -> DatasetReader<'a> {
        DatasetReader {
            root: self.folder.path(),
            channels,
            num_classes: 2,
            required_names: None,
            objects: &self.objects,
            wait_limits: WaitLimits { idle_timeout: Duration::ZERO, stop: &self.stop },
            listener: &self.recorder,
        }
    }
}

fn channels(train: SplitSource, validation: SplitSource) -> Channels {
    let label_map = LabelMapChannel::default();
    Channels { train, validation, label_map, model: None, pretrained: None }
}

#[test]
fn a_job_with_problems_waits_for_no_stream_and_still_audits_its_folders() {
    let root = Root::new();
    let channels = channels(root.stream("train"), root.folders("validation"));
    let mut problems = Problems::new();
    problems.push("epochs is wrong");
    let streamed = root.reader(&channels).list(&mut problems).read_streams(&mut problems);
    assert_eq!(streamed.training_images(), 0);
    let dataset = streamed.prepare(&mut problems).unwrap();
    assert_eq!(dataset.validation.samples.len(), 1);
    let error = problems.into_result().unwrap_err();
    assert_eq!(error.problems().len(), 2, "{error}");
    assert!(
        error.problems()[1].contains("validation_annotation: 1 file cannot be read"),
        "{error}"
    );
    let lines = root.recorder.lines();
    assert_eq!(lines[0], "task: checking train (0)");
    assert_eq!(lines[2], "task: checking validation (1)");
}

#[test]
fn a_stream_that_does_not_come_is_a_problem() {
    let root = Root::new();
    let channels = channels(root.stream("train"), root.folders("validation"));
    let mut problems = Problems::new();
    root.reader(&channels).list(&mut problems).read_streams(&mut problems);
    let error = problems.into_result().unwrap_err().to_string();
    assert!(error.contains("train_0") && error.contains("it did not exist for 0 s"), "{error}");
}

#[test]
fn colors_get_their_classes_unless_lines_may_be_missing_or_the_job_is_asked_to_stop() {
    let root = Root::new();
    let channels = channels(root.colors("train"), root.colors("validation"));
    let prepare = |problems: &mut Problems| {
        root.reader(&channels).list(problems).read_streams(problems).prepare(problems)
    };
    let dataset = prepare(&mut Problems::new()).unwrap();
    assert_eq!(dataset.class_names.unwrap(), ["background", "road"]);
    let order = "result: classes by color (sorted by name; class_names would fix the order): \
                 0 background, 1 road";
    assert_eq!(root.recorder.lines()[0], order);

    let mut problems = Problems::new();
    problems.push("a line cannot be used");
    assert!(prepare(&mut problems).is_err());
    assert_eq!(problems.into_result().unwrap_err().problems().len(), 1, "no mask is audited");

    root.stop.request();
    let mut problems = Problems::new();
    assert!(prepare(&mut problems).is_err());
    assert!(problems.is_empty(), "a request to stop is no problem");
}

#[test]
fn the_training_split_alone_takes_names_of_both_splits() {
    let root = Root::new();
    let all_colors = channels(root.colors("train"), root.colors("validation"));
    let mut problems = Problems::new();
    let split = root.reader(&all_colors).read_training_split(&mut problems).unwrap();
    assert_eq!(split.class_names.unwrap(), ["background", "road"]);
    // Without colors the other split is not even listed.
    let folders = channels(root.folders("train"), root.stream("validation"));
    let split = root.reader(&folders).read_training_split(&mut problems).unwrap();
    assert_eq!((split.samples.len(), split.class_names), (1, None));
    problems.into_result().unwrap();
}
