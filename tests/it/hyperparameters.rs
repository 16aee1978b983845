//! The files in `hyperparameters/`: ready ones, and those generated from the table.

use std::path::{Path, PathBuf};

use maskmaker::train::{Hyperparameters, hyperparameters};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hyperparameters").join(name)
}

#[test]
fn page_and_schema_are_what_the_table_says_now() {
    for (name, expected) in [
        ("README.md", hyperparameters::hyperparameters_markdown()),
        ("schema.json", hyperparameters::hyperparameters_schema()),
    ] {
        let found = std::fs::read_to_string(file(name)).unwrap();
        assert!(found == expected, "hyperparameters/{name} is out of date: make hyperparameters");
    }
}

#[test]
fn the_program_prints_page_and_schema() {
    for (format, expected) in [
        ("markdown", hyperparameters::hyperparameters_markdown()),
        ("schema", hyperparameters::hyperparameters_schema()),
    ] {
        let mut command = crate::job::maskmaker();
        let output = command.args(["hyperparameters", "--format", format]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
}

#[test]
fn the_schema_knows_every_hyperparameter_of_the_ready_files() {
    let schema: serde_json::Value =
        serde_json::from_str(&hyperparameters::hyperparameters_schema()).unwrap();
    for name in ["demo.json", "8-gpu.json"] {
        let text = std::fs::read_to_string(file(name)).unwrap();
        let ready: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).unwrap();
        for key in ready.keys() {
            let property = &schema["properties"][key];
            assert!(property["description"].is_string(), "{name}: {key}");
            if let Some(words) = property["enum"].as_array() {
                assert!(words.contains(&ready[key]), "{name}: {key}");
            }
        }
    }
    // labels.json may take the place of num_classes, which an editor cannot know.
    assert!(schema.get("required").is_none());
}

#[test]
fn every_ready_file_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("hyperparameters");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        let ready = name.ends_with(".json")
            && !["schema.json", "metric-definitions.json"].contains(&name.as_ref());
        if ready {
            Hyperparameters::read(&path, || Ok(None)).unwrap_or_else(|error| panic!("{error}"));
            files += 1;
        }
    }
    assert!(files >= 4);
}

#[test]
fn the_pipelines_file_holds_the_pipelines_values() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("hyperparameters/pipeline-fcn-resnet50.json");
    let h = Hyperparameters::read(&path, || Ok(None)).unwrap();
    assert_eq!((h.backbone.name(), h.optimizer.name()), ("resnet-50", "rmsprop"));
    assert_eq!((h.epochs, h.mini_batch_size, h.validation_mini_batch_size), (10, 16, 8));
    assert_eq!((h.num_training_samples, h.crop_size), (None, 240));
    assert!((h.learning_rate - 0.0001).abs() < 1e-12);
}
