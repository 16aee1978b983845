//! The model card: `README.md` of the artifact, Markdown with the head that Hugging Face reads.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value};

use super::history::{ClassMetrics, ModelMetrics, format_score};
use crate::colors::class_color;
use crate::data::audit::{Audit, SizeRange};
use crate::error::{Error, Result};
use crate::metrics::IGNORE_INDEX;
use crate::model::artifact::{
    CLASS_IOU_FILE, CONFUSION_MATRIX_FILE, LEARNING_CURVES_FILE, METRICS_FILE,
};
use crate::model::{Algorithm, Backbone, ModelConfig};

/// Content of a model card.
#[derive(Debug)]
pub struct ModelCard<'a> {
    /// Content of the model's `config.json`.
    pub config: &'a ModelConfig,
    /// Scores of the model; `None` if no epoch was validated.
    pub metrics: Option<&'a ModelMetrics>,
    /// Images that the model was trained on.
    pub training: SplitSummary<'a>,
    /// Images that the model was scored on.
    pub validation: SplitSummary<'a>,
    /// Hyperparameters of the job, by name.
    hyperparameters: Map<String, Value>,
}

/// Number of images of a split and the result of its audit.
#[derive(Debug, Clone, Copy)]
pub struct SplitSummary<'a> {
    pub images: usize,
    pub audit: &'a Audit,
}

impl<'a> ModelCard<'a> {
    /// Returns the card of a job with these settings.
    pub fn new(
        config: &'a ModelConfig,
        metrics: Option<&'a ModelMetrics>,
        [training, validation]: [SplitSummary<'a>; 2],
        hyperparameters: &impl Serialize,
    ) -> Result<Self> {
        match serde_json::to_value(hyperparameters) {
            Ok(Value::Object(hyperparameters)) => {
                Ok(Self { config, metrics, training, validation, hyperparameters })
            }
            _ => Err(Error::internal("the settings are no object")),
        }
    }

    /// Formats the whole page.
    pub fn to_markdown(&self) -> String {
        let ModelConfig { algorithm, backbone, num_classes, maskmaker_version, .. } = self.config;
        let (algorithm, backbone) = (algorithm.name(), backbone.name());
        let parts = [
            format!(
                "---\npipeline_tag: image-segmentation\ntags:\n- semantic-segmentation\n\
                 - {algorithm}\n- {backbone}\n- safetensors\n- torchscript\n---\n"
            ),
            format!(
                "# {algorithm} on {backbone}, {num_classes} classes\n\n\
                 Semantic segmentation: an image in, the class of every pixel out. Trained by \
                 maskmaker {maskmaker_version} ({}).\n",
                env!("MASKMAKER_REVISION")
            ),
            self.scores_section(),
            self.data_section(),
            self.settings_section(),
            self.usage_section(),
        ];
        parts.join("\n")
    }

    fn scores_section(&self) -> String {
        let Some(metrics) = self.metrics else {
            return "## Scores\n\nNone: the job was stopped before the first validation.\n"
                .to_owned();
        };
        let mut text = format!(
            "## Scores\n\nOn the {} validation images, each at its own size. The weights are those of \
             epoch {} of {}, the best by mean IoU.\n\n\
             Mean IoU {}, pixel accuracy {}.\n\n\
             | id | class | color | IoU | precision | recall | F1 | pixels |\n\
             |---:|---|---|---:|---:|---:|---:|---:|\n",
            self.validation.images,
            metrics.best_epoch,
            metrics.epochs.len(),
            format_score(metrics.miou, 4, "absent"),
            format_score(metrics.pixel_accuracy, 4, "absent"),
        );
        for ClassMetrics { id, name, scores } in &metrics.classes {
            let [red, green, blue] = class_color(*id as u8);
            push_line(
                &mut text,
                format_args!(
                    "| {id} | {} | #{red:02x}{green:02x}{blue:02x} | {} | {} | {} | {} | {} |",
                    escape_markdown(name),
                    format_score(scores.iou, 4, "absent"),
                    format_score(scores.precision, 4, "absent"),
                    format_score(scores.recall, 4, "absent"),
                    format_score(scores.f1, 4, "absent"),
                    scores.pixels,
                ),
            );
        }
        push_line(
            &mut text,
            format_args!(
                "\nA score whose denominator is zero is absent. `{METRICS_FILE}` holds all of them, \
                 the confusion matrix and every epoch.\n\n\
                 ![IoU of each class]({CLASS_IOU_FILE})\n\n\
                 ![Confusion matrix of the validation images]({CONFUSION_MATRIX_FILE})\n\n\
                 ![Loss, scores and learning rate by epoch]({LEARNING_CURVES_FILE})"
            ),
        );
        text
    }

    fn data_section(&self) -> String {
        let splits = [("training", self.training), ("validation", self.validation)];
        let mut text = "## Data\n\n| split | images | width | height | ignored pixels |\n\
                        |---|---:|---:|---:|---:|\n"
            .to_owned();
        for (name, SplitSummary { images, audit }) in splits {
            let format_range =
                |get_range: fn(SizeRange) -> (u32, u32)| match audit.size_range.map(get_range) {
                    None => "unknown".to_owned(),
                    Some((min, max)) if min == max => min.to_string(),
                    Some((min, max)) => format!("{min} to {max}"),
                };
            let (width, height) =
                (format_range(|sides| sides.width), format_range(|sides| sides.height));
            let ignored_share = format_percent(
                audit.histogram[usize::from(IGNORE_INDEX)],
                audit.histogram.iter().sum(),
            );
            push_line(
                &mut text,
                format_args!("| {name} | {images} | {width} | {height} | {ignored_share} |"),
            );
        }
        text.push_str(
            "\nShare of the pixels that are not ignored, by class:\n\n\
             | id | class | training | validation |\n|---:|---|---:|---:|\n",
        );
        for (id, name) in self.config.class_names.iter().enumerate() {
            let [training, validation] = splits.map(|(_, SplitSummary { audit, .. })| {
                let class_pixels = &audit.histogram[..self.config.num_classes];
                format_percent(class_pixels[id], class_pixels.iter().sum())
            });
            push_line(
                &mut text,
                format_args!("| {id} | {} | {training} | {validation} |", escape_markdown(name)),
            );
        }
        text
    }

    fn settings_section(&self) -> String {
        let mut text = "## Settings\n\n| hyperparameter | value |\n|---|---|\n".to_owned();
        for (name, value) in &self.hyperparameters {
            push_line(
                &mut text,
                format_args!("| `{name}` | {} |", escape_markdown(&format_setting(value))),
            );
        }
        text
    }

    fn usage_section(&self) -> String {
        let ModelConfig { mean, std, num_classes, .. } = self.config;
        let torch_usage = format!(
            "## Use it\n\nIn Python with PyTorch alone; `mask` holds the class of every pixel:\n\n\
             ```python\n\
             import numpy, PIL.Image, torch\n\n\
             pixels = torch.from_numpy(numpy.array(PIL.Image.open(\"image.png\").convert(\"RGB\")))\n\
             x = ((pixels / 255 - torch.tensor({mean:?})) / torch.tensor({std:?})).permute(2, 0, 1)\n\
             mask = torch.jit.load(\"model.pt\")(x[None])[\"out\"].argmax(1)[0]\n\
             ```\n\n\
             `model.pt` takes normalized images `[batch, 3, height, width]` of any size and returns the \
             logits of both heads, `{{\"out\": ..., \"aux\": ...}}`, as torchvision's networks do.\n\n"
        );
        let torchvision_usage = match torchvision_name(self.config.algorithm, self.config.backbone)
        {
            Ok(network) => format!(
                "As torchvision's own network, from the same weights:\n\n\
                 ```python\n\
                 import safetensors.torch, torchvision\n\n\
                 model = torchvision.models.segmentation.{network}(weights=None, weights_backbone=None, \
                 num_classes={num_classes}, aux_loss=True)\n\
                 model.load_state_dict(safetensors.torch.load_file(\"model.safetensors\"))\n\
                 mask = model.eval()(x[None])[\"out\"].argmax(1)[0]\n\
                 ```\n\n"
            ),
            Err(reason) => {
                format!("{reason}; the names in `model.safetensors` follow its style.\n\n")
            }
        };
        let maskmaker_usage = "With maskmaker, on a laptop and as a server (the folder of this file is `model`):\n\n\
             ```sh\n\
             maskmaker predict model image.png\n\
             docker run --rm -p 8080:8080 -v \"$PWD/model:/opt/ml/model:ro\" maskmaker:cpu serve\n\
             curl --data-binary @image.png -H 'content-type: image/png' localhost:8080/invocations > mask.png\n\
             ```\n\n\
             On SageMaker, `model.tar.gz` of the training job is the model data of an endpoint or a batch \
             transform with the same image, and the `model` channel of a job that trains on.\n";
        [&torch_usage, &torchvision_usage, maskmaker_usage].concat()
    }
}

/// Returns the name of the same network in torchvision, or the reason why it has none.
fn torchvision_name(algorithm: Algorithm, backbone: Backbone) -> Result<String, String> {
    let algorithm = match algorithm {
        Algorithm::Fcn => "fcn",
        Algorithm::Deeplab => "deeplabv3",
        Algorithm::Psp => return Err("torchvision has no PSPNet".to_owned()),
    };
    match backbone {
        Backbone::Resnet50 => Ok(format!("{algorithm}_resnet50")),
        Backbone::Resnet101 => Ok(format!("{algorithm}_resnet101")),
        other_backbone => {
            Err(format!("torchvision has no segmentation network on {}", other_backbone.name()))
        }
    }
}

/// Formats a setting as it is written in `hyperparameters.json`.
fn format_setting(value: &Value) -> String {
    match value {
        Value::Null => "unset".to_owned(),
        Value::String(word) => word.clone(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(format_setting).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn push_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{line}");
}

fn format_percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    format!("{:.2} %", part as f64 / whole as f64 * 100.0)
}

/// Escapes a user's text for a cell of a table, so that none of it is markup.
fn escape_markdown(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' | '$' | '#' | '!' => {
                escaped.extend(['\\', character]);
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ConfusionMatrix;
    use crate::model::Architecture;

    fn audit(counts: &[(usize, u64)], sides: Option<SizeRange>) -> Audit {
        let mut pixels = Box::new([0; 256]);
        for &(id, count) in counts {
            pixels[id] = count;
        }
        Audit {
            digests: Vec::new(),
            histogram: pixels,
            size_range: sides,
            snapped: Vec::new(),
            only_ignored: Vec::new(),
        }
    }

    fn page(kind: (Algorithm, Backbone), scored: bool) -> String {
        let names = ["background", "a|b<i>", "c"].map(str::to_owned).to_vec();
        let architecture = Architecture { algorithm: kind.0, backbone: kind.1 };
        let config = ModelConfig::new(architecture, 3, Some(names));
        let sides = SizeRange { width: (48, 64), height: (64, 64) };
        let training = audit(&[(0, 60), (1, 20), (255, 20)], Some(sides));
        let validation = audit(&[(0, 4)], None);
        let mut matrix = ConfusionMatrix::new(3);
        matrix.update(&[0, 0, 1, 1], &[0, 0, 1, 0]);
        let metrics = ModelMetrics::new(2, &matrix, &config.class_names);
        let splits = [
            SplitSummary { images: 5, audit: &training },
            SplitSummary { images: 1, audit: &validation },
        ];
        let settings = serde_json::json!({"epochs": 2, "algorithm": "fcn", "class_names": null,
            "lr_scheduler_step": [10, 20], "empty": []});
        let metrics = scored.then_some(&metrics);
        ModelCard::new(&config, metrics, splits, &settings).unwrap().to_markdown()
    }

    #[test]
    fn a_card_tells_scores_data_settings_and_how_to_load_the_model() {
        let page = page((Algorithm::Fcn, Backbone::Resnet50), true);
        for expected in [
            "---\npipeline_tag: image-segmentation\n",
            "Mean IoU 0.5833, pixel accuracy 0.7500.",
            "| 0 | background | #000000 | 0.6667 | 0.6667 | 1.0000 | 0.8000 | 2 |",
            "| 1 | a\\|b&lt;i> | #800000 | 0.5000 | 1.0000 | 0.5000 | 0.6667 | 2 |",
            "| 2 | c | #008000 | absent | absent | absent | absent | 0 |",
            "| training | 5 | 48 to 64 | 64 | 20.00 % |",
            "| validation | 1 | unknown | unknown | 0.00 % |",
            "| 0 | background | 75.00 % | 100.00 % |",
            "| `class_names` | unset |",
            "| `epochs` | 2 |",
            "| `lr_scheduler_step` | 10, 20 |",
            "| `empty` | none |",
            "torch.tensor([0.485, 0.456, 0.406])",
            "segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=3",
            "maskmaker:cpu serve",
        ] {
            assert!(page.contains(expected), "{expected:?} is not in:\n{page}");
        }
    }

    #[test]
    fn what_torchvision_lacks_is_said() {
        assert!(page((Algorithm::Psp, Backbone::Resnet50), true).contains("has no PSPNet"));
        let small = page((Algorithm::Deeplab, Backbone::Resnet18), true);
        assert!(
            small.contains("no segmentation network on resnet-18")
                && !small.contains("import safetensors")
        );
    }

    #[test]
    fn a_model_without_scores_says_so() {
        let page = page((Algorithm::Fcn, Backbone::Resnet18), false);
        assert!(page.contains("stopped before the first validation") && !page.contains("Mean IoU"));
    }

    proptest::proptest! {
        #[test]
        fn no_name_ends_its_cell(name in ".{0,20}") {
            let escaped = escape_markdown(&name).replace("\\\\", "");
            proptest::prop_assert!(!escaped.replace("\\|", "").contains('|'));
            proptest::prop_assert!(!escaped.contains('<'));
        }
    }
}
