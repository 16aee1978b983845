//! `hyperparameters.json`: the built-in algorithm's names, ranges and defaults, and some of our
//! own.

mod document;
mod specs;

pub use document::{hyperparameters_markdown, hyperparameters_schema};
pub use specs::HYPERPARAMETER_SPECS;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::criterion::{ClassWeights, Loss, LossTerm};
use super::optimizer::OptimizerKind;
use super::schedule::LrScheduler;
use crate::data::augment::Augmentations;
use crate::error::{Error, ErrorContext, Problems, Result, did_you_mean};
use crate::model::precision::Precision;
use crate::model::{Algorithm, Backbone};
use crate::sagemaker::hyperparameter_spec::{self, CheckedValues};
use crate::sagemaker::{list_text, raw};

/// Weight decay of adamw when none is given, as in PyTorch. The table's default is the built-in's
/// for sgd, which is too small to have an effect when it is decoupled from the gradient.
const ADAMW_WEIGHT_DECAY: f64 = 0.01;

/// Validated hyperparameters; the fields are described in [`HYPERPARAMETER_SPECS`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, clippy::struct_excessive_bools)]
pub struct Hyperparameters {
    pub backbone: Backbone,
    pub algorithm: Algorithm,
    pub use_pretrained_model: bool,
    pub num_classes: usize,
    pub num_training_samples: Option<usize>,
    pub epochs: usize,
    pub mini_batch_size: usize,
    pub validation_mini_batch_size: usize,
    pub base_size: u32,
    /// Side of a crop in pixels, rounded up to a multiple of 8.
    pub crop_size: u32,
    pub optimizer: OptimizerKind,
    pub learning_rate: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub gamma1: f64,
    pub gamma2: f64,
    pub lr_scheduler: LrScheduler,
    pub lr_scheduler_factor: f64,
    /// Empty unless given.
    pub lr_scheduler_step: Vec<usize>,
    pub early_stopping: bool,
    pub early_stopping_min_epochs: usize,
    pub early_stopping_patience: usize,
    pub early_stopping_tolerance: f64,
    pub syncbn: bool,
    pub class_names: Option<Vec<String>>,
    pub seed: u64,
    pub warmup_epochs: f64,
    pub warmup_factor: f64,
    /// Seconds between checkpoints.
    pub checkpoint_interval: u64,
    pub precision: Precision,
    /// True if convolutions of 32-bit floats may be computed in TF32.
    pub allow_tf32: bool,
    /// True if a GPU gives the same bits each time.
    pub deterministic: bool,
    pub loss: Loss,
    pub focal_gamma: f64,
    pub class_weights: Option<ClassWeights>,
    pub gradient_accumulation_steps: usize,
    /// Largest norm of all gradients together; 0 is without a limit.
    pub gradient_clip_norm: f64,
    /// Decay of the average of the weights; 0 is without an average.
    pub ema_decay: f64,
    pub augmentations: Augmentations,
}

impl Hyperparameters {
    /// Reads and checks `hyperparameters.json`; problems are prefixed with the file's name.
    /// `count_classes` is asked for an absent `num_classes`; it returns nothing if no other file of
    /// the job names the classes.
    pub fn read(
        path: &Path,
        count_classes: impl FnOnce() -> Result<Option<usize>>,
    ) -> Result<Self> {
        let Some(map) = raw::read_json_object(path)? else {
            return Err(Error::input(format!(
                "{} is missing; it must hold at least {{\"num_classes\": \"...\"}}",
                path.display()
            )));
        };
        let mut values = raw::stringify_values(map);
        if !values.contains_key("num_classes")
            && let Some(classes) = count_classes()?
        {
            values.insert("num_classes".to_owned(), classes.to_string());
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::parse(&values).error_context(name)
    }

    /// Returns what [`parse`](Self::parse) finds wrong with raw strings.
    pub fn find_problems(raw: &BTreeMap<String, String>) -> Vec<String> {
        Self::parse(raw).err().map(|error| error.problems().to_vec()).unwrap_or_default()
    }

    /// Returns true for the name of a hyperparameter that is a whole number.
    pub fn is_whole_number(name: &str) -> bool {
        let spec = HYPERPARAMETER_SPECS.iter().find(|spec| spec.name == name);
        spec.is_some_and(|spec| {
            matches!(spec.allowed, hyperparameter_spec::AllowedValues::Integer(..))
        })
    }

    /// Returns the epochs of a job that does not say how many.
    pub fn default_epochs() -> u64 {
        for spec in HYPERPARAMETER_SPECS {
            if let ("epochs", hyperparameter_spec::DefaultValue::Value(text)) =
                (spec.name, spec.default)
            {
                return text.parse().unwrap_or(1);
            }
        }
        1
    }

    /// Checks raw strings. The error holds all problems.
    pub fn parse(raw: &BTreeMap<String, String>) -> Result<Self> {
        let (values, mut problems) = hyperparameter_spec::check_hyperparameters(
            HYPERPARAMETER_SPECS,
            raw,
            unknown_key_problem,
        );
        check_combinations(&values, &mut problems);
        let loss = read_list_text(&values, "loss").and_then(|text| Loss::parse(&text));
        let loss = problems.check(loss);
        let class_weights = parse_class_weights(&values, loss.as_ref().ok(), &mut problems);
        let augmentations =
            read_list_text(&values, "augmentations").and_then(|text| Augmentations::parse(&text));
        let augmentations = problems.record_err(augmentations);
        let class_names = problems.record_err(parse_class_names(&values)).flatten();
        let loss = problems.finish_with(loss)?;
        let num_training_samples = if values.is_set("num_training_samples") {
            Some(values.count("num_training_samples")?)
        } else {
            None
        };
        let optimizer = read_word(&values, "optimizer", OptimizerKind::from_name)?;
        let takes_adamw_default =
            optimizer == OptimizerKind::Adamw && !raw.contains_key("weight_decay");
        let weight_decay =
            if takes_adamw_default { ADAMW_WEIGHT_DECAY } else { values.number("weight_decay")? };
        Ok(Self {
            backbone: read_word(&values, "backbone", Backbone::from_name)?,
            algorithm: read_word(&values, "algorithm", Algorithm::from_name)?,
            use_pretrained_model: values.boolean("use_pretrained_model")?,
            num_classes: values.count("num_classes")?,
            num_training_samples,
            epochs: values.count("epochs")?,
            mini_batch_size: values.count("mini_batch_size")?,
            validation_mini_batch_size: values.count("validation_mini_batch_size")?,
            base_size: values.integer("base_size")? as u32,
            crop_size: (values.integer("crop_size")? as u32).next_multiple_of(8),
            optimizer,
            learning_rate: values.number("learning_rate")?,
            momentum: values.number("momentum")?,
            weight_decay,
            gamma1: values.number("gamma1")?,
            gamma2: values.number("gamma2")?,
            lr_scheduler: read_word(&values, "lr_scheduler", LrScheduler::from_name)?,
            lr_scheduler_factor: values.number("lr_scheduler_factor")?,
            lr_scheduler_step: values
                .integers("lr_scheduler_step")
                .iter()
                .map(|&epoch| epoch as usize)
                .collect(),
            early_stopping: values.boolean("early_stopping")?,
            early_stopping_min_epochs: values.count("early_stopping_min_epochs")?,
            early_stopping_patience: values.count("early_stopping_patience")?,
            early_stopping_tolerance: values.number("early_stopping_tolerance")?,
            syncbn: values.boolean("syncbn")?,
            class_names,
            seed: values.integer("seed")?,
            warmup_epochs: values.number("warmup_epochs")?,
            warmup_factor: values.number("warmup_factor")?,
            checkpoint_interval: values.integer("checkpoint_interval")?,
            precision: read_word(&values, "precision", Precision::from_name)?,
            allow_tf32: values.boolean("allow_tf32")?,
            deterministic: values.boolean("deterministic")?,
            loss,
            focal_gamma: values.number("focal_gamma")?,
            class_weights,
            gradient_accumulation_steps: values.count("gradient_accumulation_steps")?,
            gradient_clip_norm: values.number("gradient_clip_norm")?,
            ema_decay: values.number("ema_decay")?,
            augmentations: augmentations.unwrap_or_default(),
        })
    }
}

/// Reads a word of the table as a value of its enumeration.
fn read_word<T>(values: &CheckedValues, name: &str, from_name: fn(&str) -> Option<T>) -> Result<T> {
    let word = values.word(name)?;
    match from_name(word) {
        Some(value) => Ok(value),
        None => Err(Error::internal(format!("{word:?} is in the table, not in the code"))),
    }
}

/// Checks values that depend on each other, as far as each is right by itself.
fn check_combinations(values: &CheckedValues, problems: &mut Problems) {
    let lr_scheduler = values.word("lr_scheduler").unwrap_or_default();
    if lr_scheduler == "step" && values.integers("lr_scheduler_step").is_empty() {
        problems.push(
            "lr_scheduler is step, but lr_scheduler_step is missing; give the epochs after which \
             the learning rate falls, for example \"10, 20\"",
        );
    }
    if let (algorithm @ ("psp" | "deeplab"), Ok(1)) =
        (values.word("algorithm").unwrap_or_default(), values.integer("mini_batch_size"))
    {
        problems.push(format!(
            "mini_batch_size is 1, but algorithm {algorithm} pools an image to a single value per \
             channel, over which BatchNorm needs at least 2 images; set mini_batch_size to 2 or \
             more, or algorithm to fcn"
        ));
    }
    if let (Ok(warmup), Ok(epochs)) = (values.number("warmup_epochs"), values.integer("epochs"))
        && warmup >= epochs as f64
    {
        problems.push(format!(
            "warmup_epochs is {warmup}, epochs is {epochs}; the warm-up must end before the \
             training does"
        ));
    }
}

/// Reads the text of a setting that is a list, separated by commas.
fn read_list_text<'a>(values: &'a CheckedValues, name: &str) -> Result<Cow<'a, str>> {
    match list_text::join_list(values.text(name).unwrap_or_default()) {
        Ok(text) => Ok(text),
        Err(reason) => Err(Error::input(format!("{name} {reason}; separate items by commas"))),
    }
}

/// Reads the names of the classes, one per class.
fn parse_class_names(values: &CheckedValues) -> Result<Option<Vec<String>>> {
    let Some(text) = values.text("class_names") else { return Ok(None) };
    let names = match list_text::parse_list(text) {
        Ok(names) => names,
        Err(reason) => {
            return Err(Error::input(format!(
                "class_names {reason}; allowed: background, road or [\"background\", \"road\"]"
            )));
        }
    };
    let mut problems = Problems::new();
    if let Ok(num_classes) = values.integer("num_classes")
        && names.len() as u64 != num_classes
    {
        problems.push(format!(
            "class_names has {} names for num_classes {num_classes}; give one name per class, \
             class 0 (background) first",
            names.len()
        ));
    }
    if names.iter().any(|name| name.is_empty() || name.contains(char::is_control)) {
        problems.push("class_names has an empty or unprintable name; separate by commas");
    }
    problems.into_result()?;
    Ok(Some(names))
}

/// Reads the weights of the classes, as far as the settings beside them are right.
fn parse_class_weights(
    values: &CheckedValues,
    loss: Option<&Loss>,
    problems: &mut Problems,
) -> Option<ClassWeights> {
    values.text("class_weights")?;
    let text = problems.record_err(read_list_text(values, "class_weights"))?;
    if loss.is_some_and(|loss| !loss.has_term(LossTerm::CrossEntropy)) {
        problems.push(
            "class_weights is given, but loss has no cross_entropy, the only part that they weigh; \
             leave class_weights out, or add cross_entropy to loss",
        );
    }
    let num_classes = values.integer("num_classes").ok()?;
    problems.record_err(ClassWeights::parse(&text, num_classes as usize))
}

/// Describes the problem with a key that the table lacks; `None` for keys that SageMaker adds.
fn unknown_key_problem(key: &str) -> Option<String> {
    if key.starts_with("sagemaker_") || key == "_tuning_objective_metric" {
        return None;
    }
    let known_names: Vec<_> = HYPERPARAMETER_SPECS.iter().map(|setting| setting.name).collect();
    let hint = did_you_mean(key, known_names.iter().copied());
    Some(if hint.is_empty() {
        format!("{key} is not a hyperparameter; known: {}", known_names.join(", "))
    } else {
        format!("{key} is not a hyperparameter{hint}")
    })
}

#[cfg(test)]
mod tests;
