//! `maskmaker export`: a model for other programs.

use std::fs;

use maskmaker::model::{Algorithm, Architecture, Backbone, ModelConfig, Network, artifact};
use tch::Device;

use crate::job::{Job, maskmaker, names};

/// A model as earlier versions left it: weights and configuration alone.
fn old_model() -> Job {
    let job = Job::without_data();
    let kind = Architecture { algorithm: Algorithm::Psp, backbone: Backbone::Resnet18 };
    let network = Network::random(kind, 3, 1, Device::Cpu).unwrap();
    let folder = job.path("model");
    artifact::write_model(&folder, &ModelConfig::new(kind, 3, None), &network).unwrap();
    fs::remove_file(folder.join(artifact::LABELS_FILE)).unwrap();
    job
}

#[test]
fn a_bare_file_name_is_one_in_the_current_folder() {
    let job = old_model();
    for (format, file) in [("torchscript", "a.pt"), ("onnx", "a.onnx")] {
        let mut command = maskmaker();
        command.current_dir(job.path("")).args(["export", "model", "--format", format]);
        let output = command.args(["--output", file]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(job.path(file).is_file());
    }
}

#[test]
fn both_forms_are_written_beside_the_weights_or_where_one_says() {
    let job = old_model();
    let folder = job.path("model");
    let path = folder.to_str().unwrap();
    for format in ["torchscript", "onnx"] {
        let run = job.run(&["export", path, "--format", format]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
    assert_eq!(names(&folder), ["config.json", "model.onnx", "model.pt", "model.safetensors"]);

    let elsewhere = job.path("a new folder/mine.pt");
    let output = elsewhere.to_str().unwrap();
    let run = job.run(&["export", path, "--format", "torchscript", "--output", output]);
    assert!(run.stdout.contains("a new folder/mine.pt"), "{}", run.stdout);
    assert!(fs::read(elsewhere).unwrap() == fs::read(folder.join("model.pt")).unwrap());
}

#[test]
fn what_cannot_be_exported_is_said_and_nothing_is_left() {
    let job = old_model();
    let folder = job.path("model");
    let path = folder.to_str().unwrap();
    let run = job.run(&["export", job.path("input").to_str().unwrap(), "--format", "onnx"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("holds no model: config.json"), "{}", run.stderr);

    for format in ["torchscript", "onnx"] {
        let run = job.run(&["export", path, "--format", format, "--output", "/proc/none/model"]);
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        assert!(run.stderr.contains("cannot write /proc/none/model"), "{}", run.stderr);
    }
    assert_eq!(job.run(&["export", path, "--format", "caffe"]).code, Some(2));
    assert_eq!(names(&folder), ["config.json", "model.safetensors"]);
}
