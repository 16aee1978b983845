//! The ready files in `hyperparameters/`.

use std::path::Path;

use maskmaker::sagemaker::Hyperparameters;

#[test]
fn every_ready_file_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("hyperparameters");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            Hyperparameters::read(&path).unwrap_or_else(|error| panic!("{error}"));
            files += 1;
        }
    }
    assert!(files >= 3);
}

#[test]
fn the_pipelines_file_holds_the_pipelines_values() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("hyperparameters/pipeline-fcn-resnet50.json");
    let h = Hyperparameters::read(&path).unwrap();
    assert_eq!((h.backbone.name(), h.optimizer.name()), ("resnet-50", "rmsprop"));
    assert_eq!((h.epochs, h.mini_batch_size, h.validation_mini_batch_size), (10, 16, 8));
    assert_eq!((h.num_training_samples, h.crop_size), (None, 240));
    assert!((h.learning_rate - 0.0001).abs() < 1e-12);
}
