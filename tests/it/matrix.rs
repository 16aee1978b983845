//! Every value that the built-in documents for a hyperparameter, through real jobs. One job takes
//! many values: it must train whatever the combination. What is out of range is refused by name in
//! `train::hyperparameters`' own tests.

use std::collections::BTreeSet;
use std::fs;

use maskmaker::sagemaker::hyperparameter_spec::{AllowedValues, HyperparameterSpec};
use maskmaker::train::hyperparameters::HYPERPARAMETER_SPECS;
use serde_json::Value;

use crate::job::Job;

/// Networks: each head and each backbone, and the smallest sizes and batches.
const NETWORKS: &[&str] = &[
    "algorithm=fcn backbone=resnet-18 mini_batch_size=1 validation_mini_batch_size=1 base_size=17 \
     crop_size=17",
    "algorithm=psp backbone=resnet-18 mini_batch_size=2 base_size=64 crop_size=25",
    "algorithm=deeplab backbone=resnet-18 mini_batch_size=2 base_size=33 crop_size=32",
    "algorithm=psp backbone=resnet-34 mini_batch_size=6 crop_size=17 validation_mini_batch_size=2",
    "algorithm=deeplab backbone=resnet-50 crop_size=17 mini_batch_size=2",
    "algorithm=fcn backbone=resnet-101 crop_size=17 mini_batch_size=2",
];

/// Optimizers and schedules with the ends of their ranges.
const LEARNING: &[&str] = &[
    "optimizer=sgd learning_rate=0.1 momentum=0.9 weight_decay=0.00001 lr_scheduler=poly",
    "optimizer=sgd learning_rate=0.0001 momentum=1 weight_decay=0.999 lr_scheduler=cosine",
    "optimizer=nag learning_rate=0.001 momentum=0.999 weight_decay=0.001 lr_scheduler=step \
     lr_scheduler_step=1 lr_scheduler_factor=0",
    "optimizer=nag momentum=0.000001 weight_decay=0 lr_scheduler=step lr_scheduler_step=1,2 \
     lr_scheduler_factor=1",
    "optimizer=adam learning_rate=0.001 lr_scheduler=cosine warmup_epochs=0.5 warmup_factor=0",
    "optimizer=adamw learning_rate=0.001 lr_scheduler=step lr_scheduler_step=10,20",
    "optimizer=adagrad learning_rate=1 lr_scheduler=poly warmup_factor=1",
    "optimizer=rmsprop gamma1=0 gamma2=0 lr_scheduler=poly weight_decay=1",
    "optimizer=rmsprop gamma1=1 gamma2=1 learning_rate=0.0001 lr_scheduler_factor=0.1",
];

/// Losses, number formats, and what is done to gradients and weights.
const BEYOND: &[&str] = &[
    "precision=bf16 loss=cross_entropy=1,dice=0.5 class_weights=auto mini_batch_size=2 \
     augmentations=vflip,rotate=180,perspective=0.6,color_jitter,blur,noise,jpeg,cutout",
    "precision=fp16 loss=focal focal_gamma=0 gradient_clip_norm=1 ema_decay=0.999",
    "precision=fp32 loss=lovasz=1000 gradient_accumulation_steps=3 mini_batch_size=2",
    "precision=auto loss=dice=0.000001,focal=3 focal_gamma=10 ema_decay=0 algorithm=psp \
     gradient_accumulation_steps=1024 mini_batch_size=2",
    "precision=bf16 algorithm=deeplab mini_batch_size=3 class_weights=0,0,1000,0.5",
];

/// Everything else.
const RUNNING: &[&str] = &[
    "early_stopping=True early_stopping_min_epochs=0 early_stopping_patience=0 \
     early_stopping_tolerance=1 epochs=2 syncbn=True num_training_samples=1 \
     allow_tf32=True deterministic=True",
    "early_stopping=false early_stopping_min_epochs=5 early_stopping_patience=4 \
     early_stopping_tolerance=0 syncbn=false num_training_samples=1000000 checkpoint_interval=1 \
     use_pretrained_model=false allow_tf32=False deterministic=False",
    "early_stopping=TRUE epochs=1 seed=0 class_names=background,disc,box,triangle num_classes=4 \
     checkpoint_interval=86400 _tuning_objective_metric=validation:mIOU sagemaker_job_name=x",
    "num_classes=254 seed=9223372036854775807 mini_batch_size=128 warmup_epochs=0 epochs=2",
];

fn values(row: &str) -> Vec<(&str, &str)> {
    row.split_whitespace().map(|pair| pair.split_once('=').unwrap()).collect()
}

fn trains(rows: &[&str]) {
    for row in rows {
        let job =
            values(row).into_iter().fold(Job::new(), |job, (key, value)| job.with(key, value));
        let run = job.run(&["train"]);
        assert_eq!(run.code, Some(0), "{row}\n{}{}", run.stdout, run.stderr);
        let metrics = fs::read_to_string(job.path("model/metrics.json")).unwrap();
        let metrics: Value = serde_json::from_str(&metrics).unwrap();
        assert!(metrics["epochs"][0]["train_loss"].as_f64().unwrap().is_finite(), "{row}");
        assert!(metrics["mIOU"].as_f64().is_some(), "{row}");
        assert!(job.path("model/model.safetensors").exists(), "{row}");
    }
}

#[test]
fn every_head_and_backbone_trains_down_to_the_smallest_sizes() {
    trains(NETWORKS);
}

#[test]
fn every_optimizer_and_schedule_trains_at_the_ends_of_its_ranges() {
    trains(LEARNING);
}

#[test]
fn every_loss_and_number_format_trains() {
    trains(BEYOND);
}

#[test]
fn every_other_value_trains() {
    trains(RUNNING);
}

/// A value that is added to the table without a job here is noticed.
#[test]
fn the_jobs_cover_every_word_and_every_setting() {
    let rows = [NETWORKS, LEARNING, BEYOND, RUNNING].concat();
    let tried: BTreeSet<(&str, String)> = rows
        .iter()
        .flat_map(|row| values(row))
        .map(|(key, value)| (key, value.to_lowercase()))
        .collect();
    let mut missing = Vec::new();
    for HyperparameterSpec { name, allowed, .. } in HYPERPARAMETER_SPECS {
        let words = match allowed {
            AllowedValues::OneOf(words) => words.iter().map(|word| (*word).to_owned()).collect(),
            // True needs weights: `initial_weights` trains with them.
            AllowedValues::Boolean if *name == "use_pretrained_model" => vec!["false".to_owned()],
            AllowedValues::Boolean => vec!["true".to_owned(), "false".to_owned()],
            _ => {
                if !tried.iter().any(|(key, _)| key == name) {
                    missing.push((*name).to_owned());
                }
                continue;
            }
        };
        missing.extend(
            words
                .into_iter()
                .filter(|word| !tried.contains(&(name, word.clone())))
                .map(|word| format!("{name}={word}")),
        );
    }
    assert!(missing.is_empty(), "{missing:?}");
}
