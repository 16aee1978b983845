//! Descriptions of the table of hyperparameters: a page for people (`hyperparameters/README.md`)
//! and a JSON schema for editors and checkers (`hyperparameters/schema.json`). `make
//! hyperparameters` writes the two files.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::specs::HYPERPARAMETER_SPECS;
use crate::data::augment::{augmentations_markdown, augmentations_pattern};
use crate::sagemaker::hyperparameter_spec::{AllowedValues, DefaultValue, HyperparameterSpec};

const INTRODUCTION: &str = "# Hyperparameters

All values are strings in a SageMaker job; `hyperparameters.json` on a laptop may hold numbers and
booleans too. Words and booleans come in any case. Keys that SageMaker adds (`sagemaker_*`,
`_tuning_objective_metric`) are ignored, any other unknown key is an error. All problems are told at
once.

This page and [`schema.json`](schema.json) (JSON Schema, draft 2020-12, in which words are spelled as
here) are generated from the program's own table: `make hyperparameters`. Ready files lie beside it;
[`metric-definitions.json`](metric-definitions.json) is the `MetricDefinitions` of a training or
tuning job.
";

const COMBINATION_CHECKS: &str = "
## Checked together

- `lr_scheduler` step needs `lr_scheduler_step`.
- `algorithm` psp and deeplab need a `mini_batch_size` of 2 or more, and 2 training images: they pool an
  image to one value per channel, and BatchNorm over a single value has no variance.
- `warmup_epochs` must be less than `epochs`.
- `class_names` needs one name per class; when the label_map channel holds `labels.json` too, both must
  say the same.
";

/// Returns the page for people, in Markdown.
pub fn hyperparameters_markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (title, is_extension) in [("Those of the built-in algorithm", false), ("Our own", true)] {
        let _ = write!(page, "\n## {title}\n\n| name | allowed | default | meaning |\n");
        page.push_str("|---|---|---|---|\n");
        for setting in
            HYPERPARAMETER_SPECS.iter().filter(|setting| setting.is_extension == is_extension)
        {
            let HyperparameterSpec { name, allowed, default, description, .. } = setting;
            let default = match default {
                DefaultValue::Value(text) => format!("`{text}`"),
                DefaultValue::None => "none".to_owned(),
                DefaultValue::RequiredWithout(other) => format!("required without {other}"),
            };
            let allowed = match allowed {
                AllowedValues::OneOf(words) => format!("`{}`", words.join("`, `")),
                AllowedValues::Boolean => "`True`, `False`".to_owned(),
                other => other.to_string(),
            };
            let _ = writeln!(page, "| `{name}` | {allowed} | {default} | {description} |");
        }
    }
    page + &augmentations_markdown() + COMBINATION_CHECKS
}

/// Returns the JSON schema of `hyperparameters.json`, with a final newline.
pub fn hyperparameters_schema() -> String {
    let properties: Map<String, Value> = HYPERPARAMETER_SPECS
        .iter()
        .map(|setting| (setting.name.to_owned(), property_schema(setting)))
        .collect();
    let step_condition = json!({"properties": {"lr_scheduler": {"const": "step"}}});
    let step_condition = with_key(step_condition, "required", json!(["lr_scheduler"]));
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "maskmaker hyperparameters",
        "type": "object",
        "properties": properties,
        "patternProperties": {"^(sagemaker_.*|_tuning_objective_metric)$": {}},
        "additionalProperties": false,
        "if": step_condition,
        "then": {"required": ["lr_scheduler_step"]},
    });
    format!("{schema:#}\n")
}

/// Returns the schema of a text that matches a regular expression.
fn text_pattern(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

fn property_schema(setting: &HyperparameterSpec) -> Value {
    let HyperparameterSpec { allowed, default, description, .. } = setting;
    let value_schema = match allowed {
        AllowedValues::OneOf(words) => json!({"enum": words}),
        AllowedValues::Boolean => json!({"enum": ["True", "False", true, false]}),
        AllowedValues::Integer(low, high) => json!({"anyOf": [
            {"type": "integer", "minimum": low, "maximum": high},
            text_pattern("^[0-9]+(\\.0)?$"),
        ]}),
        AllowedValues::Integers(..) => text_pattern("^ *([0-9]+( *, *[0-9]+)*)? *$"),
        AllowedValues::Number { low, high, exclusive_low } => {
            let minimum_key = if *exclusive_low { "exclusiveMinimum" } else { "minimum" };
            let number = json!({"type": "number", "maximum": high});
            json!({"anyOf": [
                with_key(number, minimum_key, json!(low)),
                text_pattern("^[0-9.]+([eE][-+]?[0-9]+)?$"),
            ]})
        }
        AllowedValues::Text if setting.name == "augmentations" => {
            text_pattern(&augmentations_pattern())
        }
        AllowedValues::Text => json!({"type": "string"}),
    };
    let value_schema =
        with_key(value_schema, "description", format!("{description}; allowed: {allowed}").into());
    match default {
        DefaultValue::Value(text) => with_key(value_schema, "default", (*text).into()),
        DefaultValue::None | DefaultValue::RequiredWithout(_) => value_schema,
    }
}

fn with_key(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}
