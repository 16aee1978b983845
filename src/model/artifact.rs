//! The model artifact: the folder that `train` writes and that the other subcommands read.
//!
//! `model.safetensors` (weights in torchvision's names) and `config.json` ([`ModelConfig`]) are the
//! model. This program reads none of the other files: `model.pt`, `metrics.json`, `labels.json` and
//! the model card are for people and other programs. Unknown files in the folder are ignored.
//! `docs/artifact.md` describes each file.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::graph::Graph;
use super::labels::Labels;
use super::network::{IMAGENET_MEAN, IMAGENET_STD, build_graph};
use super::tensor_file::{TensorFile, TensorSource};
use super::{Architecture, Network, weights};
use crate::error::{Error, ErrorContext, Problems, Result};
use crate::files::{read_file, remove_file_if_exists, write_atomically, write_json};
use crate::model::{Algorithm, Backbone};

/// Name of the file with the weights.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// Name of the file with the [`ModelConfig`].
pub const CONFIG_FILE: &str = "config.json";
/// Name of the file with the validation scores and the history of the training.
pub const METRICS_FILE: &str = "metrics.json";

/// Name of the file with the network and its weights as TorchScript, for other programs.
pub const TORCHSCRIPT_FILE: &str = "model.pt";
/// Name of the file with the network for ONNX Runtime, which only `maskmaker export` writes.
pub const ONNX_FILE: &str = "model.onnx";
/// Name of the file with the classes' names and colors.
pub const LABELS_FILE: &str = "labels.json";
/// Name of the file with the hashes of the images that the model was trained on.
pub const DATA_FILE: &str = "data.json";
/// Name of the model card.
pub const MODEL_CARD_FILE: &str = "README.md";
/// Pictures in the model card.
pub const LEARNING_CURVES_FILE: &str = "learning-curves.png";
pub const CONFUSION_MATRIX_FILE: &str = "confusion-matrix.png";
pub const CLASS_IOU_FILE: &str = "class-iou.png";

/// Version of the layout of `config.json` that this program writes and reads.
const FORMAT_VERSION: u32 = 1;

/// The content of `config.json`: everything that running the weights needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Version of this layout; only version 1 is read.
    pub format_version: u32,
    /// Version of the program that wrote the file.
    pub maskmaker_version: String,
    pub algorithm: Algorithm,
    pub backbone: Backbone,
    /// Number of classes, background included: 2 to 254.
    pub num_classes: usize,
    /// Name of each class, class 0 first.
    pub class_names: Vec<String>,
    /// Mean that is subtracted from red, green and blue after the division by 255.
    pub mean: [f32; 3],
    /// Standard deviations of red, green and blue that the differences are divided by. Files of
    /// earlier versions call them `deviation`.
    #[serde(alias = "deviation")]
    pub std: [f32; 3],
    /// Agreement of bfloat16 with 32 bits under these weights, if it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bf16: Option<Bf16Agreement>,
}

/// Disagreement of bfloat16 with 32-bit floats on the most likely class of validation pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Bf16Agreement {
    /// Share of the pixels whose class differs, 0 to 1.
    pub differing: f64,
    /// Number of compared images.
    pub images: usize,
    /// Number of compared pixels.
    pub pixels: u64,
}

impl ModelConfig {
    /// Returns the configuration of a network; classes without names are called `class 0` and so
    /// on.
    pub fn new(
        architecture: Architecture,
        num_classes: usize,
        class_names: Option<Vec<String>>,
    ) -> Self {
        let Architecture { algorithm, backbone } = architecture;
        Self {
            format_version: FORMAT_VERSION,
            maskmaker_version: env!("CARGO_PKG_VERSION").to_owned(),
            algorithm,
            backbone,
            num_classes,
            class_names: match class_names {
                Some(names) => names,
                None => Self::default_class_names(num_classes),
            },
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            bf16: None,
        }
    }

    /// Returns the names of classes that were given none.
    pub fn default_class_names(num_classes: usize) -> Vec<String> {
        (0..num_classes).map(|id| format!("class {id}")).collect()
    }

    /// Returns the architecture of the network.
    pub fn architecture(&self) -> Architecture {
        Architecture { algorithm: self.algorithm, backbone: self.backbone }
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        // The version comes first, because a newer file may differ in everything else.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let Version { format_version } = parse_json(bytes)?;
        if format_version != FORMAT_VERSION {
            return Err(Error::input(format!(
                "format_version is {format_version}; this version of maskmaker reads \
                 {FORMAT_VERSION}: use the maskmaker that wrote the model, or train again"
            )));
        }
        let config: Self = parse_json(bytes)?;
        let mut problems = Problems::new();
        if !(2..=254).contains(&config.num_classes) {
            problems.push(format!("num_classes is {}; allowed: 2 to 254", config.num_classes));
        }
        if config.class_names.len() != config.num_classes {
            let (names, classes) = (config.class_names.len(), config.num_classes);
            problems.push(format!("class_names has {names} names for num_classes {classes}"));
        }
        if (config.mean, config.std) != (IMAGENET_MEAN, IMAGENET_STD) {
            problems.push("mean and std must be ImageNet's in this version");
        }
        problems.into_result()?;
        Ok(config)
    }
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|cause| Error::input(cause.to_string()))
}

/// A model in its folder. Its tensors are read one at a time, when they are asked for.
#[derive(Debug)]
pub struct StoredModel {
    /// Configuration in `config.json`.
    pub config: ModelConfig,
    pub graph: Graph,
    file: TensorFile,
    path: PathBuf,
}

impl StoredModel {
    /// Reads the configuration, and compares names, types and shapes of the tensors with it.
    /// Problems name the file.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG_FILE);
        if !path.is_file() {
            return Err(no_model_error(folder));
        }
        let config = ModelConfig::parse(&read_file(&path)?).error_context(path.display())?;
        let path = folder.join(WEIGHTS_FILE);
        let file = TensorFile::open(&path)?;
        let graph = build_graph(config.architecture(), config.num_classes);
        check_num_classes(&config, &file).error_context(path.display())?;
        weights::check_tensors(&file, "", &graph.parameters()).error_context(path.display())?;
        Ok(Self { config, graph, file, path })
    }

    /// Reads the tensor `<module>.<leaf>` to the CPU, in the file's order of elements.
    pub fn tensor(&self, module: &str, leaf: &str) -> Result<Tensor> {
        weights::read_tensor(&self.file, &format!("{module}.{leaf}"), Kind::Float)
    }
}

/// A model that was read from its folder as a whole.
#[derive(Debug)]
pub struct Artifact {
    /// Configuration in `config.json`.
    pub config: ModelConfig,
    pub network: Network,
}

impl Artifact {
    /// Reads the model in `folder`. Problems name the file.
    pub fn read(folder: &Path, device: Device) -> Result<Self> {
        let StoredModel { config, file, path, .. } = StoredModel::open(folder)?;
        let network =
            Network::from_tensors(&config, &file, "", device).error_context(path.display())?;
        Ok(Self { config, network })
    }

    /// Writes the network as ONNX. The file's metadata are `class_names`, `mean` and `std`.
    pub fn write_onnx(&self, path: &Path) -> Result<()> {
        let ModelConfig { class_names, mean, std, .. } = &self.config;
        let metadata = [
            ("class_names", serde_json::json!(class_names).to_string()),
            ("mean", format!("{mean:?}")),
            ("std", format!("{std:?}")),
        ];
        self.network.write_onnx(path, &metadata)
    }
}

/// Writes weights, labels and configuration. Each file is whole or absent, and the configuration is
/// written last. Files of an earlier model that describe or repeat its weights are removed first.
pub fn write_model(folder: &Path, config: &ModelConfig, network: &Network) -> Result<()> {
    write_model_bytes(folder, config, &network.weights.to_safetensors()?)
}

/// Writes a model as [`write_model`] does, from the bytes of a whole weights file.
pub fn write_model_bytes(folder: &Path, config: &ModelConfig, safetensors: &[u8]) -> Result<()> {
    // The configuration goes first: a folder without it holds no model, so an interruption leaves
    // no mixture of two models.
    for name in [
        CONFIG_FILE,
        LABELS_FILE,
        TORCHSCRIPT_FILE,
        ONNX_FILE,
        METRICS_FILE,
        DATA_FILE,
        MODEL_CARD_FILE,
        LEARNING_CURVES_FILE,
        CONFUSION_MATRIX_FILE,
        CLASS_IOU_FILE,
    ] {
        remove_file_if_exists(&folder.join(name))?;
    }
    write_atomically(&folder.join(WEIGHTS_FILE), safetensors)?;
    write_json(&folder.join(LABELS_FILE), &Labels { names: &config.class_names, colors: None })?;
    write_json(&folder.join(CONFIG_FILE), config)
}

/// Writes the model in `folder` as TorchScript beside its weights.
pub fn add_torchscript(folder: &Path) -> Result<()> {
    let Artifact { network, .. } = Artifact::read(folder, Device::Cpu)?;
    network.write_torchscript(&folder.join(TORCHSCRIPT_FILE))
}

/// Checks that the weights are for `config.num_classes` classes. The check has a message of its own
/// because a list of shapes would not name the cause.
pub(super) fn check_num_classes(config: &ModelConfig, file: &dyn TensorSource) -> Result<()> {
    let graph = build_graph(config.architecture(), config.num_classes);
    let Some(classifier) = graph.classifier() else { return Ok(()) };
    let description = file.dtype_and_shape(&format!("{}.weight", classifier.name));
    let Some((_, shape)) = description else { return Ok(()) };
    match shape.first() {
        Some(&weight_classes) if weight_classes != config.num_classes as i64 => {
            Err(Error::input(format!(
                "the weights are for {weight_classes} classes, config.json says num_classes {}; \
                 the two files are not of one model",
                config.num_classes
            )))
        }
        _ => Ok(()),
    }
}

/// Files in an artifact of Amazon's built-in algorithm.
const BUILT_IN_MODEL_FILES: [&str; 3] = ["model_algo-1", "model_best.params", "hyperparams.json"];

/// Returns true if the built-in algorithm writes files of this name.
pub(super) fn is_built_in_model_file(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    BUILT_IN_MODEL_FILES.contains(&name) || name.starts_with("model_algo-")
}

/// Returns the error about a folder without a model, which lists up to 10 of its files.
pub fn no_model_error(folder: &Path) -> Error {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().take(10) {
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    let found = match names.as_slice() {
        [] if folder.is_dir() => "the folder is empty".to_owned(),
        [] => "there is no such folder".to_owned(),
        _ => format!("found: {}", names.join(", ")),
    };
    let hint = if names.iter().any(|name| name == "model.tar.gz") {
        "; unpack model.tar.gz there first"
    } else {
        ""
    };
    Error::input(format!(
        "{} holds no model: {CONFIG_FILE}, which `maskmaker train` writes beside {WEIGHTS_FILE}, \
         is missing ({found}){hint}",
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FCN18: Architecture =
        Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet18 };

    fn model(classes: usize) -> (tempfile::TempDir, ModelConfig, Network) {
        let folder = tempfile::tempdir().unwrap();
        let config = ModelConfig::new(FCN18, classes, None);
        let network = Network::random(FCN18, classes, 3, Device::Cpu).unwrap();
        write_model(folder.path(), &config, &network).unwrap();
        (folder, config, network)
    }

    fn failure(folder: &Path) -> String {
        Artifact::read(folder, Device::Cpu).unwrap_err().to_string()
    }

    #[test]
    fn a_written_model_is_read_back_and_foreign_files_do_not_matter() {
        let (folder, config, network) = model(3);
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let reread = Artifact::read(folder.path(), Device::Cpu).unwrap();
        assert_eq!(reread.config, config);
        let bytes = reread.network.weights.to_safetensors().unwrap();
        assert_eq!(bytes, network.weights.to_safetensors().unwrap());
    }

    #[test]
    fn a_configuration_of_earlier_versions_is_read() {
        let (folder, config, _) = model(3);
        let path = folder.path().join(CONFIG_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("\"std\"").count(), 1, "{text}");
        std::fs::write(&path, text.replace("\"std\"", "\"deviation\"")).unwrap();
        assert_eq!(Artifact::read(folder.path(), Device::Cpu).unwrap().config, config);
    }

    #[test]
    fn a_stored_model_gives_its_tensors_one_by_one() {
        let (folder, config, network) = model(3);
        let stored = StoredModel::open(folder.path()).unwrap();
        assert_eq!(stored.config, config);
        for (module, leaf) in [("backbone.conv1", "weight"), ("backbone.bn1", "running_var")] {
            let tensor = stored.tensor(module, leaf).unwrap();
            assert!(tensor.is_contiguous());
            assert_eq!(&tensor, network.weights.get(module, leaf).unwrap());
        }
        let said = stored.tensor("backbone.conv1", "bias").unwrap_err().to_string();
        assert!(said.contains("backbone.conv1.bias"), "{said}");
    }

    #[test]
    fn nothing_stays_that_is_of_other_weights() {
        let (folder, config, network) = model(3);
        let path = |name: &str| folder.path().join(name);
        add_torchscript(folder.path()).unwrap();
        let first = std::fs::read(path(TORCHSCRIPT_FILE)).unwrap();
        let others = [
            METRICS_FILE,
            DATA_FILE,
            MODEL_CARD_FILE,
            ONNX_FILE,
            LEARNING_CURVES_FILE,
            CONFUSION_MATRIX_FILE,
            CLASS_IOU_FILE,
        ];
        for name in others {
            std::fs::write(path(name), "of the first").unwrap();
        }
        write_model(folder.path(), &config, &network).unwrap();
        assert!(!path(TORCHSCRIPT_FILE).exists());
        for name in others {
            assert!(!path(name).exists(), "{name}");
        }
        add_torchscript(folder.path()).unwrap();
        assert!(std::fs::read(path(TORCHSCRIPT_FILE)).unwrap() == first, "the same network");
    }

    #[test]
    fn classes_unlike_the_weights_name_both_sides_whatever_the_head() {
        for algorithm in [Algorithm::Fcn, Algorithm::Psp, Algorithm::Deeplab] {
            let architecture = Architecture { algorithm, backbone: Backbone::Resnet18 };
            let folder = tempfile::tempdir().unwrap();
            let network = Network::random(architecture, 3, 1, Device::Cpu).unwrap();
            let config = ModelConfig::new(architecture, 3, None);
            write_model(folder.path(), &config, &network).unwrap();
            assert!(Artifact::read(folder.path(), Device::Cpu).is_ok());
            let config = ModelConfig::new(architecture, 4, None);
            write_json(&folder.path().join(CONFIG_FILE), &config).unwrap();
            let said = failure(folder.path());
            assert!(
                said.contains("weights are for 3 classes, config.json says num_classes 4"),
                "{said}"
            );
        }
    }

    #[test]
    fn what_is_no_model_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        assert!(failure(folder.path()).contains("the folder is empty"));
        assert!(failure(&folder.path().join("x")).contains("there is no such folder"));
        std::fs::write(folder.path().join("model.tar.gz"), "").unwrap();
        assert!(failure(folder.path()).contains("unpack model.tar.gz"));
        std::fs::write(folder.path().join(CONFIG_FILE), r#"{"format_version": 9}"#).unwrap();
        assert!(failure(folder.path()).contains("format_version is 9"));
        std::fs::write(folder.path().join(CONFIG_FILE), "{").unwrap();
        assert!(failure(folder.path()).contains("config.json"));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_configurations_never_panic(bytes: Vec<u8>, key in "[a-z_]{0,12}", number: i64) {
            let mut json = serde_json::to_value(ModelConfig::new(FCN18, 3, None)).unwrap();
            json[key] = number.into();
            json["num_classes"] = number.into();
            let _ = ModelConfig::parse(&bytes);
            proptest::prop_assert_eq!(ModelConfig::parse(json.to_string().as_bytes()).is_ok(), number == 3);
        }
    }

    #[test]
    fn cut_weights_are_named() {
        let (folder, _, _) = model(3);
        let path = folder.path().join(WEIGHTS_FILE);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let said = failure(folder.path());
        assert!(said.contains("model.safetensors: not a whole safetensors file"), "{said}");
    }
}
