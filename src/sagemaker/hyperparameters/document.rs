//! What the table says, for people (`hyperparameters/README.md`) and for editors and checkers
//! (`hyperparameters/schema.json`). `make hyperparameters` writes the two.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::augmentations;
use super::known::TABLE;
use crate::sagemaker::table::{Allowed, Default, Setting};

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

const TOGETHER: &str = "
## Checked together

- `lr_scheduler` step needs `lr_scheduler_step`.
- `algorithm` psp and deeplab need a `mini_batch_size` of 2 or more, and 2 training images: they pool an
  image to one value per channel, and BatchNorm over a single value has no variance.
- `warmup_epochs` must be less than `epochs`.
- `class_names` needs one name per class; when the label_map channel holds `labels.json` too, both must
  say the same.
";

/// The page for people.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (title, ours) in [("Those of the built-in algorithm", false), ("Our own", true)] {
        let _ = write!(page, "\n## {title}\n\n| name | allowed | default | meaning |\n");
        page.push_str("|---|---|---|---|\n");
        for setting in TABLE.iter().filter(|setting| setting.ours == ours) {
            let Setting { name, allowed, default, about, .. } = setting;
            let default = match default {
                Default::Value(text) => format!("`{text}`"),
                Default::None => "none".to_owned(),
                Default::Required => "required".to_owned(),
            };
            let allowed = match allowed {
                Allowed::OneOf(words) => format!("`{}`", words.join("`, `")),
                Allowed::Boolean => "`True`, `False`".to_owned(),
                other => other.to_string(),
            };
            let _ = writeln!(page, "| `{name}` | {allowed} | {default} | {about} |");
        }
    }
    page + &augmentations::markdown() + TOGETHER
}

/// The JSON schema of `hyperparameters.json`, with a final newline.
pub fn schema() -> String {
    let properties: Map<String, Value> =
        TABLE.iter().map(|setting| (setting.name.to_owned(), property(setting))).collect();
    let required: Vec<&str> = TABLE
        .iter()
        .filter(|setting| setting.default == Default::Required)
        .map(|setting| setting.name)
        .collect();
    let step = json!({"properties": {"lr_scheduler": {"const": "step"}}});
    let step = with(step, "required", json!(["lr_scheduler"]));
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "maskmaker hyperparameters",
        "type": "object",
        "properties": properties,
        "patternProperties": {"^(sagemaker_.*|_tuning_objective_metric)$": {}},
        "additionalProperties": false,
        "required": required,
        "if": step,
        "then": {"required": ["lr_scheduler_step"]},
    });
    format!("{schema:#}\n")
}

fn property(setting: &Setting) -> Value {
    let Setting { allowed, default, about, .. } = setting;
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let rule = match allowed {
        Allowed::OneOf(words) => json!({"enum": words}),
        Allowed::Boolean => json!({"enum": ["True", "False", true, false]}),
        Allowed::Integer(low, high) => json!({"anyOf": [
            {"type": "integer", "minimum": low, "maximum": high},
            text("^[0-9]+(\\.0)?$"),
        ]}),
        Allowed::Integers(..) => text("^ *([0-9]+( *, *[0-9]+)*)? *$"),
        Allowed::Number { low, high, above } => {
            let least = if *above { "exclusiveMinimum" } else { "minimum" };
            let number = json!({"type": "number", "maximum": high});
            json!({"anyOf": [
                with(number, least, json!(low)),
                text("^[0-9.]+([eE][-+]?[0-9]+)?$"),
            ]})
        }
        Allowed::Text if setting.name == "augmentations" => text(&augmentations::pattern()),
        Allowed::Text => json!({"type": "string"}),
    };
    let rule = with(rule, "description", format!("{about}; allowed: {allowed}").into());
    match default {
        Default::Value(text) => with(rule, "default", (*text).into()),
        Default::None | Default::Required => rule,
    }
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}
