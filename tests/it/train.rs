//! `maskmaker train` as SageMaker runs it: folders in, model, lines and exit code out.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::job::{Job, names};
use maskmaker::data::augment::{Augmentations, Transforms};
use maskmaker::data::batch_parts::RankShare;
use maskmaker::data::loader::DataLoaderConfig;
use maskmaker::data::pairing::pair_images_and_masks;
use maskmaker::error::Problems;
use maskmaker::model::{Algorithm, Architecture, Backbone, ModelConfig, Network};
use maskmaker::sagemaker::StopSignal;
use maskmaker::sagemaker::channels::SplitFolders;
use maskmaker::train::checkpoint::Checkpoints;
use maskmaker::train::fingerprint::Fingerprint;
use maskmaker::train::optimizer::OptimizerConfig;
use maskmaker::train::schedule::{LrCurve, LrSchedule, Warmup};
use maskmaker::train::{TrainConfig, TrainState, TrainStep, Trainer, TrainerSettings};
use serde_json::Value;

#[test]
fn a_job_leaves_a_model_with_its_configuration_and_scores() {
    let job = Job::new().with("epochs", "2").with("class_names", "background,disc,box,triangle");
    let run = job.train();
    assert_eq!(
        names(&job.path("model")),
        [
            "README.md",
            "class-iou.png",
            "config.json",
            "confusion-matrix.png",
            "data.json",
            "labels.json",
            "learning-curves.png",
            "metrics.json",
            "model.pt",
            "model.safetensors"
        ]
    );
    let json = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(job.path("model").join(name)).unwrap()).unwrap()
    };
    let config = json("config.json");
    assert_eq!(config["backbone"], "resnet-18");
    assert_eq!(config["num_classes"], 4);
    assert_eq!(config["class_names"][3], "triangle");
    let metrics = json("metrics.json");
    assert_eq!(metrics["epochs"].as_array().unwrap().len(), 2);
    assert!(metrics["mIOU"].as_f64().unwrap() > 0.0);
    let labels = json("labels.json");
    assert_eq!(labels["3"], serde_json::json!({"name": "triangle", "color": [128, 128, 0]}));
    let card = fs::read_to_string(job.path("model/README.md")).unwrap();
    let miou = format!("Mean IoU {:.4}, ", metrics["mIOU"].as_f64().unwrap());
    for line in [&miou, "| training | 6 | ", "| `epochs` | 2 |", "| 3 | triangle | #808000 | "] {
        assert!(card.contains(line), "{line} is not in the card:\n{card}");
    }
    // The table of IoU per class.
    for name in ["background", "disc", "box", "triangle", "mean"] {
        assert!(run.stdout.lines().any(|line| line.contains(name) && line.contains('.')), "{name}");
    }
    assert!(!job.path("output/failure").exists());
}

#[test]
fn the_same_job_gives_the_same_bytes_and_another_seed_others() {
    let model = |seed: &str| {
        let job = Job::new().with("seed", seed).with("optimizer", "rmsprop");
        job.train();
        fs::read(job.path("model/model.safetensors")).unwrap()
    };
    let first = model("1");
    assert!(first == model("1"));
    assert!(first != model("2"));
}

#[test]
fn what_storage_leaves_beside_data_and_upper_case_names_do_no_harm() {
    let job = Job::new();
    let image = job.first("train");
    fs::rename(&image, image.with_extension("JPG")).unwrap();
    for (channel, name, bytes) in [
        ("train", ".DS_Store", &b"x"[..]),
        ("train", "_SUCCESS", b""),
        ("train_annotation", "masks", b""),
        ("validation", "images_$folder$", b""),
    ] {
        fs::write(job.file(channel, name), bytes).unwrap();
    }
    job.train();
}

#[test]
fn wrong_settings_and_missing_channels_are_told_together() {
    let job = Job::without_data().with("epochs", "0").with("learnin_rate", "1");
    let reason = job.failure();
    let first = reason.lines().next().unwrap();
    assert!(
        first.starts_with("hyperparameters.json: learnin_rate is not a hyperparameter"),
        "{first}"
    );
    assert!(first.contains("did you mean \"learning_rate\"?"), "{first}");
    assert!(reason.contains("epochs is \"0\"; allowed: a whole number from 1"), "{reason}");
    for channel in ["train", "train_annotation", "validation", "validation_annotation"] {
        assert!(reason.contains(&format!("channel {channel} is missing")), "{reason}");
    }
}

#[test]
fn a_job_without_hyperparameters_says_what_the_file_must_hold() {
    let job = Job::new();
    let folder = job.path("elsewhere");
    fs::create_dir(&folder).unwrap();
    let mut command = crate::job::maskmaker();
    let output = command.arg("--ml-root").arg(&folder).arg("train").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let reason = fs::read_to_string(folder.join("output/failure")).unwrap();
    assert!(reason.contains("hyperparameters.json is missing"), "{reason}");
    assert!(reason.contains("num_classes"), "{reason}");
}

#[test]
fn a_root_that_is_not_there_is_not_made() {
    let job = Job::without_data();
    let folder = job.path("mistyped");
    let mut command = crate::job::maskmaker();
    let output = command.arg("--ml-root").arg(&folder).arg("train").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("there is no folder") && said.contains("--ml-root"), "{said}");
    assert!(!folder.exists());
    // Nor to write the reason of another failure to it.
    let output = command.env("MASKMAKER_PIPE_TIMEOUT", "soon").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!folder.exists());
}

#[test]
fn a_full_or_closed_standard_output_does_not_end_a_job() {
    let job = Job::new();
    let mut command = crate::job::maskmaker();
    command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let run = job.run_to_the_end(command, &["train"]);
    assert_eq!(run, Some(0));
    assert!(job.path("model/config.json").exists() && !job.path("output/failure").exists());
}

#[test]
fn a_long_reason_is_cut_to_what_sagemaker_keeps() {
    let mut job = Job::new();
    for number in 0..60 {
        job = job.with(&format!("unheard_of_setting_{number}"), "x");
    }
    assert_eq!(job.failure().chars().count(), 1024);
}

#[test]
fn training_that_diverges_is_an_error_and_keeps_no_model() {
    let job = Job::new();
    let data = |name: &'static str| {
        let images = job.path("input/data").join(name);
        let masks = job.path("input/data").join(format!("{name}_annotation"));
        pair_images_and_masks(&SplitFolders { name, images, masks }, &mut Problems::new())
    };
    let kind = Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet18 };
    let network = Network::random(kind, 4, 1, tch::Device::Cpu).unwrap();
    let mut bias = network.weights.get("classifier.4", "bias").unwrap().shallow_clone();
    let _ = tch::no_grad(|| bias.fill_(f64::NAN));
    let settings = TrainerSettings {
        epochs: 1,
        lr_schedule: LrSchedule {
            curve: LrCurve::Poly,
            base_lr: 0.1,
            total_steps: 1,
            warmup: Warmup::NONE,
        },
        loader_config: DataLoaderConfig {
            samples: Arc::new(data("train")),
            transforms: Transforms {
                base_size: 64,
                crop_size: 32,
                augmentations: Augmentations::default(),
            },
            batch_size: 3,
            micro_batch_size: 3,
            share: RankShare::default(),
            shards: None,
            seed: 0,
        },
        validation_samples: data("validation"),
        validation_share: RankShare::default(),
        validation_images: 2,
        validation_batch_size: 2,
        early_stopping: None,
        config: ModelConfig::new(kind, 4, None),
        model_folder: job.path("model"),
    };
    let stepper = TrainStep::new(
        network,
        TrainConfig::new(OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 }),
    )
    .unwrap();
    let (interval, job_of) = (Duration::from_mins(5), Fingerprint::default());
    let mut checkpoints = Checkpoints::open(&job.path("checkpoints"), interval, job_of).unwrap();
    let trainer = Trainer {
        train_step: stepper,
        state: TrainState::new(None),
        settings: &settings,
        checkpoints: Some(&mut checkpoints),
        stop_signal: &StopSignal::default(),
        observers: Vec::new(),
    };
    let error = trainer.run().unwrap_err();
    assert!(error.to_string().contains("training diverged; lower learning_rate"), "{error}");
    assert_eq!(error.exit_code(), 3);
    assert!(!job.path("model").exists());
    assert_eq!(names(&job.path("checkpoints")), [""; 0]);
}

#[test]
fn class_names_come_from_labels_json_too() {
    let job = Job::new();
    let label_map = job.path("input/data/label_map");
    fs::create_dir(&label_map).unwrap();
    let labels = r#"{"0": "background", "1": "disc", "3": "triangle", "2": "box"}"#;
    fs::write(label_map.join("labels.json"), labels).unwrap();
    let run = job.train();
    let config = fs::read_to_string(job.path("model/config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["class_names"], serde_json::json!(["background", "disc", "box", "triangle"]));
    assert!(run.stdout.contains("triangle"));
    let reason = job.with("class_names", "a,b,c,d").with("epochs", "0").failure();
    assert!(reason.contains("epochs is \"0\""), "{reason}");
}

#[test]
fn class_names_and_labels_json_that_disagree_are_told_with_the_other_problems_of_the_data() {
    let job = Job::new().with("class_names", "a,b,c,d");
    let label_map = job.path("input/data/label_map");
    fs::create_dir(&label_map).unwrap();
    fs::write(label_map.join("labels.json"), r#"["a", "b", "c", "x"]"#).unwrap();
    fs::remove_file(job.first("train_annotation")).unwrap();
    let reason = job.failure();
    assert!(reason.contains("class_names says a, b, c, d, "), "{reason}");
    assert!(reason.contains("channel train: 1 image without a mask"), "{reason}");
}

/// Counts how often `tag` stands in the event file, in which tags are plain text.
fn count_tag(events: &[u8], tag: &str) -> usize {
    events.windows(tag.len()).filter(|window| *window == tag.as_bytes()).count()
}

#[test]
fn every_observer_is_told_of_every_epoch() {
    let job = Job::new().with("epochs", "2");
    job.train();
    let mut files = fs::read_dir(job.path("output/tensorboard")).unwrap();
    let events = fs::read(files.next().unwrap().unwrap().path()).unwrap();
    for tag in ["train/waiting_for_data", "train/images_per_second", "validation/pixel_accuracy"] {
        assert_eq!(count_tag(&events, tag), 2, "{tag}");
    }
    let metrics = fs::read_to_string(job.path("model/metrics.json")).unwrap();
    let metrics: Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(metrics["epochs"].as_array().unwrap().len(), 2);
    assert!(job.path("output/data/learning-curves.png").is_file());
}

#[test]
fn metrics_hold_every_score_of_every_class_and_the_confusion_matrix() {
    let job = Job::new();
    job.train();
    let metrics = fs::read_to_string(job.path("model/metrics.json")).unwrap();
    let metrics: Value = serde_json::from_str(&metrics).unwrap();
    let matrix: Vec<Vec<u64>> =
        serde_json::from_value(metrics["confusion_matrix"].clone()).unwrap();
    let classes = metrics["classes"].as_array().unwrap();
    assert_eq!((classes.len(), matrix.len()), (4, 4));
    for (id, class) in classes.iter().enumerate() {
        let hits = matrix[id][id] as f64;
        let truth = matrix[id].iter().sum::<u64>() as f64;
        let predicted = matrix.iter().map(|row| row[id]).sum::<u64>() as f64;
        for (score, part, whole) in [
            ("iou", hits, truth + predicted - hits),
            ("precision", hits, predicted),
            ("recall", hits, truth),
            ("f1", 2.0 * hits, truth + predicted),
        ] {
            match class[score].as_f64() {
                Some(value) => assert!((value - part / whole).abs() < 1e-12, "{id} {score}"),
                None => assert!(whole == 0.0 && class[score].is_null(), "{id} {score}"),
            }
        }
    }
}

#[test]
fn the_learning_curves_are_a_picture_in_output_data() {
    let job = Job::new().with("epochs", "2");
    job.train();
    let picture = image::open(job.path("output/data/learning-curves.png")).unwrap().to_rgb8();
    assert!(picture.width() >= 800 && picture.height() >= 600);
    let inks: std::collections::HashSet<_> = picture.pixels().map(|pixel| pixel.0).collect();
    assert!(inks.len() > 10, "paper, ink, grid, two curves and their soft edges");
}

#[test]
fn early_stopping_ends_a_job_and_says_why() {
    // No score improves by the whole of the best one every epoch.
    let job = Job::new()
        .with("epochs", "9")
        .with("early_stopping", "True")
        .with("early_stopping_min_epochs", "1")
        .with("early_stopping_patience", "1")
        .with("early_stopping_tolerance", "1.0");
    let run = job.train();
    let line = run.stdout.lines().find(|line| line.starts_with("stopping early after epoch "));
    let line = line.unwrap_or_else(|| panic!("{}", run.stdout));
    assert!(line.contains("/9: validation mIOU did not improve on "), "{line}");
    assert!(line.contains("early_stopping_patience 1, early_stopping_tolerance 1"), "{line}");
    let metrics = fs::read_to_string(job.path("model/metrics.json")).unwrap();
    let metrics: Value = serde_json::from_str(&metrics).unwrap();
    let epochs = metrics["epochs"].as_array().unwrap().len();
    assert!(line.contains(&format!("after epoch {epochs}/9")) && epochs < 9, "{line}");
}

#[test]
fn one_image_is_too_few_where_batch_norm_would_see_one_value() {
    let job = Job::new().with("algorithm", "deeplab");
    let keep = names(&job.path("input/data/train")).remove(0);
    for name in names(&job.path("input/data/train")).into_iter().filter(|name| *name != keep) {
        fs::remove_file(job.file("train", &name)).unwrap();
        fs::remove_file(job.file("train_annotation", &name.replace(".jpg", ".png"))).unwrap();
    }
    let reason = job.failure();
    assert!(reason.contains("holds 1 image, but algorithm deeplab pools"), "{reason}");
    job.with("algorithm", "fcn").train();
}

#[test]
fn synchronized_batch_norm_is_accepted_and_says_once_that_it_has_no_effect() {
    let run = Job::new().with("syncbn", "True").with("epochs", "2").train();
    assert_eq!(run.stderr.matches("syncbn").count(), 1, "{}", run.stderr);
}

#[test]
fn a_validation_split_of_background_alone_is_fine() {
    let job = Job::new();
    let sizes = |name: &str| image::open(job.file("validation", name)).unwrap().to_rgb8();
    for name in names(&job.path("input/data/validation")) {
        let size = sizes(&name).dimensions();
        let mask =
            image::GrayImage::from_fn(size.0, size.1, |x, _| image::Luma([255 * u8::from(x < 2)]));
        let name = name.replace(".jpg", ".png");
        let bytes = maskmaker::imaging::encode_mask(&mask);
        fs::write(job.file("validation_annotation", &name), bytes).unwrap();
    }
    job.train();
}

#[test]
fn images_without_masks_and_masks_without_images_are_told_for_both_splits() {
    let job = Job::new();
    fs::remove_file(job.first("train_annotation")).unwrap();
    fs::remove_file(job.first("validation")).unwrap();
    // The pairs that exist are looked at all the same.
    fs::write(job.first("validation"), "no picture").unwrap();
    let reason = job.failure();
    assert!(reason.contains("1 file cannot be read"), "{reason}");
    assert!(reason.contains("channel train: 1 image without a mask"), "{reason}");
    assert!(reason.contains("channel validation_annotation: 1 mask without an image"), "{reason}");
}

#[test]
fn a_validation_annotation_channel_that_points_at_the_images_is_named() {
    let job = Job::new();
    fs::remove_dir_all(job.path("input/data/validation_annotation")).unwrap();
    fs::create_dir(job.path("input/data/validation_annotation")).unwrap();
    for name in names(&job.path("input/data/validation")) {
        fs::copy(job.file("validation", &name), job.file("validation_annotation", &name)).unwrap();
    }
    let reason = job.failure();
    assert!(reason.contains("validation_annotation: 2 masks are not of class ids"), "{reason}");
    assert!(reason.contains("does its S3 URI point at the images of validation?"), "{reason}");
}

#[test]
fn too_few_classes_come_with_a_histogram() {
    let reason = Job::new().with("num_classes", "2").failure();
    assert!(reason.contains("class ids outside num_classes 2: allowed are 0 to 1"), "{reason}");
    assert!(reason.contains("pixels found per value: 0: "), "{reason}");
}

#[test]
fn sizes_that_differ_and_damaged_files_are_told_together() {
    let job = Job::new();
    let image = job.first("train");
    let bytes = fs::read(&image).unwrap();
    fs::write(&image, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let mask = job.first("validation_annotation");
    fs::write(&mask, maskmaker::imaging::encode_mask(&image::GrayImage::new(9, 9))).unwrap();
    let reason = job.failure();
    assert!(reason.contains(&image.display().to_string()), "{reason}");
    assert!(reason.contains("1 file cannot be read"), "{reason}");
    assert!(reason.contains("is 9x9, the image "), "{reason}");
}

#[test]
fn an_unwritable_model_folder_is_noticed_before_training() {
    let job = Job::new();
    // A file in its place cannot be written into, even by root.
    fs::write(job.path("model"), "").unwrap();
    let reason = job.failure();
    assert!(reason.contains("the model folder must be writable"), "{reason}");
}

#[test]
fn the_reason_of_an_earlier_failure_goes_away() {
    let job = Job::new().with("epochs", "none");
    job.failure();
    let job = job.with("epochs", "1");
    job.train();
    assert!(!job.path("output/failure").exists());
}

#[test]
fn usage_errors_have_exit_code_2_and_the_bare_program_prints_its_usage() {
    let job = Job::without_data();
    assert_eq!(job.run(&["trian"]).code, Some(2));
    let output = crate::job::maskmaker().output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: maskmaker"));
}
