//! `hyperparameters.json`: the built-in algorithm's names, ranges and defaults, and our own `seed`
//! and `class_names`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::raw;
use super::table::{self, Allowed, Default, Setting, Values};
use crate::error::{Error, Problems, Result, did_you_mean};

/// Switches of the built-in that this version knows only in the off position.
const OFF_ONLY: [&str; 2] = ["early_stopping", "syncbn"];

/// Keys of the built-in that mean nothing while the switches are off and `lr_scheduler` is poly.
const WITHOUT_EFFECT: [&str; 5] = [
    "early_stopping_min_epochs",
    "early_stopping_patience",
    "early_stopping_tolerance",
    "lr_scheduler_factor",
    "lr_scheduler_step",
];

/// Every hyperparameter, in the order in which they are documented.
pub const TABLE: &[Setting] = &[
    Setting {
        name: "backbone",
        allowed: Allowed::OneOf(&["resnet-18", "resnet-34", "resnet-50", "resnet-101"]),
        default: Default::Value("resnet-50"),
        about: "the network that computes the features",
    },
    Setting {
        name: "algorithm",
        allowed: Allowed::OneOf(&["fcn"]),
        default: Default::Value("fcn"),
        about: "the head that turns features into classes",
    },
    Setting {
        name: "use_pretrained_model",
        allowed: Allowed::Boolean,
        default: Default::Value("True"),
        about: "start from a pretrained backbone",
    },
    Setting {
        name: "num_classes",
        allowed: Allowed::Integer(2, 254),
        default: Default::Required,
        about: "the number of classes, background included",
    },
    Setting {
        name: "class_names",
        allowed: Allowed::Text,
        default: Default::None,
        about: "comma list of num_classes names, class 0 first; for tables and legends",
    },
    Setting {
        name: "num_training_samples",
        allowed: Allowed::Integer(1, 1_000_000_000),
        default: Default::None,
        about: "lays out the learning-rate schedule; counted when absent",
    },
    Setting {
        name: "epochs",
        allowed: Allowed::Integer(1, 1_000_000),
        default: Default::Value("10"),
        about: "passes over the training images",
    },
    Setting {
        name: "mini_batch_size",
        allowed: Allowed::Integer(1, 65_536),
        default: Default::Value("16"),
        about: "images per training step",
    },
    Setting {
        name: "validation_mini_batch_size",
        allowed: Allowed::Integer(1, 65_536),
        default: Default::Value("16"),
        about: "whole images of one size that are scored together at most",
    },
    Setting {
        name: "base_size",
        allowed: Allowed::Integer(17, 8192),
        default: Default::Value("520"),
        about: "pixels; an image's longer side is scaled to base_size times 0.5 to 2",
    },
    Setting {
        name: "crop_size",
        allowed: Allowed::Integer(17, 4096),
        default: Default::Value("240"),
        about: "pixels; side of the random square crop, rounded up to a multiple of 8",
    },
    Setting {
        name: "optimizer",
        allowed: Allowed::OneOf(&["sgd", "rmsprop"]),
        default: Default::Value("sgd"),
        about: "the update rule",
    },
    Setting {
        name: "learning_rate",
        allowed: Allowed::Number { low: 0.0, high: 1.0, above: true },
        default: Default::Value("0.001"),
        about: "the initial learning rate",
    },
    Setting {
        name: "lr_scheduler",
        allowed: Allowed::OneOf(&["poly"]),
        default: Default::Value("poly"),
        about: "how the learning rate falls from step to step",
    },
    Setting {
        name: "momentum",
        allowed: Allowed::Number { low: 0.0, high: 1.0, above: true },
        default: Default::Value("0.9"),
        about: "momentum of sgd",
    },
    Setting {
        name: "weight_decay",
        allowed: Allowed::Number { low: 0.0, high: 1.0, above: false },
        default: Default::Value("0.0001"),
        about: "L2 penalty of sgd",
    },
    Setting {
        name: "gamma1",
        allowed: Allowed::Number { low: 0.0, high: 1.0, above: false },
        default: Default::Value("0.9"),
        about: "decay of rmsprop's average of squared gradients",
    },
    Setting {
        name: "gamma2",
        allowed: Allowed::Number { low: 0.0, high: 1.0, above: false },
        default: Default::Value("0.9"),
        about: "momentum of rmsprop",
    },
    Setting {
        name: "seed",
        allowed: Allowed::Integer(0, u64::MAX >> 1),
        default: Default::Value("0"),
        about: "fixes initial weights, order of samples, augmentation and dropout",
    },
];

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// The word that stands for it in hyperparameters and in `config.json`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            fn from_word(word: &str) -> Result<Self> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    other => Err(Error::internal(format!("{other:?} is in the table, not in the code"))),
                }
            }
        }
    };
}

words! {
    /// The network that computes the features.
    Backbone {
        /// ResNet-18, for CPU endpoints.
        Resnet18 = "resnet-18",
        /// ResNet-34, for CPU endpoints.
        Resnet34 = "resnet-34",
        /// ResNet-50.
        Resnet50 = "resnet-50",
        /// ResNet-101.
        Resnet101 = "resnet-101",
    }
}
words! {
    /// The head that turns features into classes.
    Algorithm {
        /// Fully convolutional network.
        Fcn = "fcn",
    }
}
words! {
    /// The update rule.
    Optimizer {
        /// Stochastic gradient descent with momentum.
        Sgd = "sgd",
        /// `RMSprop` with momentum.
        Rmsprop = "rmsprop",
    }
}
words! {
    /// How the learning rate falls.
    LrScheduler {
        /// `(1 - step/steps)^0.9`.
        Poly = "poly",
    }
}

/// Validated hyperparameters; the fields are described in [`TABLE`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Hyperparameters {
    pub backbone: Backbone,
    pub algorithm: Algorithm,
    pub use_pretrained_model: bool,
    pub num_classes: usize,
    pub class_names: Option<Vec<String>>,
    pub num_training_samples: Option<usize>,
    pub epochs: usize,
    pub mini_batch_size: usize,
    pub validation_mini_batch_size: usize,
    pub base_size: u32,
    /// Already a multiple of 8.
    pub crop_size: u32,
    pub optimizer: Optimizer,
    pub learning_rate: f64,
    pub lr_scheduler: LrScheduler,
    pub momentum: f64,
    pub weight_decay: f64,
    pub gamma1: f64,
    pub gamma2: f64,
    pub seed: u64,
}

impl Hyperparameters {
    /// Reads and checks `hyperparameters.json`; problems are prefixed with the file's name.
    pub fn read(path: &Path) -> Result<Self> {
        let Some(map) = raw::object(path)? else {
            return Err(Error::input(format!(
                "{} is missing; it must hold at least {{\"num_classes\": \"...\"}}",
                path.display()
            )));
        };
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::parse(&raw::strings(map)).map_err(|error| error.within(name))
    }

    /// Checks raw strings, all at once.
    pub fn parse(raw: &BTreeMap<String, String>) -> Result<Self> {
        let (values, mut problems) = table::check(TABLE, raw, unknown);
        check_together(&values, &mut problems);
        problems.into_result()?;
        let size = |name| values.integer(name).map(|value| value as usize);
        Ok(Self {
            backbone: Backbone::from_word(values.word("backbone")?)?,
            algorithm: Algorithm::from_word(values.word("algorithm")?)?,
            use_pretrained_model: values.boolean("use_pretrained_model")?,
            num_classes: size("num_classes")?,
            class_names: values.text("class_names").map(names),
            num_training_samples: values
                .is_set("num_training_samples")
                .then(|| size("num_training_samples"))
                .transpose()?,
            epochs: size("epochs")?,
            mini_batch_size: size("mini_batch_size")?,
            validation_mini_batch_size: size("validation_mini_batch_size")?,
            base_size: values.integer("base_size")? as u32,
            crop_size: (values.integer("crop_size")? as u32).next_multiple_of(8),
            optimizer: Optimizer::from_word(values.word("optimizer")?)?,
            learning_rate: values.number("learning_rate")?,
            lr_scheduler: LrScheduler::from_word(values.word("lr_scheduler")?)?,
            momentum: values.number("momentum")?,
            weight_decay: values.number("weight_decay")?,
            gamma1: values.number("gamma1")?,
            gamma2: values.number("gamma2")?,
            seed: values.integer("seed")?,
        })
    }
}

/// What one value says about another, as far as both are right by themselves.
fn check_together(values: &Values, problems: &mut Problems) {
    if values.boolean("use_pretrained_model").unwrap_or(false) {
        problems.push(
            "use_pretrained_model is True (its default), but this version cannot be given \
             pretrained weights yet, and training from random weights without being asked would \
             waste the job; set use_pretrained_model to False to train from scratch",
        );
    }
    if let (Some(names), Ok(classes)) =
        (values.text("class_names").map(names), values.integer("num_classes"))
    {
        if names.len() as u64 != classes {
            problems.push(format!(
                "class_names has {} names for num_classes {classes}; give one name per class, \
                 class 0 (background) first",
                names.len()
            ));
        }
        if names.iter().any(|name| name.is_empty() || name.contains(char::is_control)) {
            problems.push("class_names has an empty or unprintable name; separate by commas");
        }
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(|name| name.trim().to_owned()).collect()
}

/// The problem with a key that the table lacks; none for those that SageMaker itself adds, and for
/// those of the built-in that change nothing here.
fn unknown(key: &str, value: &str) -> Option<String> {
    let added = key.starts_with("sagemaker_") || key == "_tuning_objective_metric";
    let is_off = OFF_ONLY.contains(&key) && value.eq_ignore_ascii_case("false");
    if added || is_off || WITHOUT_EFFECT.contains(&key) {
        return None;
    }
    if OFF_ONLY.contains(&key) {
        return Some(format!(
            "{key} is {value:?}; this version does not support it yet: set it to False"
        ));
    }
    let known: Vec<_> = TABLE.iter().map(|setting| setting.name).collect();
    let hint = did_you_mean(key, known.iter().copied());
    Some(if hint.is_empty() {
        format!("{key} is not a hyperparameter; known: {}", known.join(", "))
    } else {
        format!("{key} is not a hyperparameter{hint}")
    })
}

#[cfg(test)]
mod tests;
