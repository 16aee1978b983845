//! The model artifact: the folder that `train` writes and that everything else reads.
//!
//! `model.safetensors` (weights in torchvision's names) and `config.json` ([`Config`]) are the model;
//! the rest is for people and other programs, and nothing here reads it: `model.pt`, `metrics.json`,
//! `labels.json` and the model card. Other files in the folder are ignored. `docs/artifact.md`
//! describes them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::Network;
use super::graph::Graph;
use super::labels::Labels;
use super::network::{IMAGENET_MEAN, IMAGENET_STD, build_graph};
use super::tensor_file::{TensorFile, TensorSource};
use super::weights;
use crate::error::{Error, Problems, Result};
use crate::files::{read_file, remove_file_if_exists, write_atomically};
use crate::sagemaker::hyperparameters::{Algorithm, Backbone};

/// File names inside the folder.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// See [`Config`].
pub const CONFIG_FILE: &str = "config.json";
/// Scores on the validation images and the history of the training.
pub const METRICS_FILE: &str = "metrics.json";

/// The same network and weights as TorchScript, for other programs; nothing here reads it.
pub const TORCHSCRIPT_FILE: &str = "model.pt";
/// The network for ONNX Runtime and the like; `maskmaker export` writes it when asked.
pub const ONNX_FILE: &str = "model.onnx";
/// The classes' names and colors.
pub const LABELS_FILE: &str = "labels.json";
/// The model card, for people.
pub const MODEL_CARD_FILE: &str = "README.md";

/// The layout of `config.json` that this version writes and reads.
const FORMAT_VERSION: u32 = 1;

/// `config.json`: all that is needed to run the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Version of this layout; a reader refuses newer ones.
    pub format_version: u32,
    /// The maskmaker that wrote it.
    pub maskmaker_version: String,
    /// The head.
    pub algorithm: Algorithm,
    /// The features.
    pub backbone: Backbone,
    /// Classes, background included: 2 to 254.
    pub num_classes: usize,
    /// One name per class, class 0 first.
    pub class_names: Vec<String>,
    /// What is subtracted from red, green and blue after division by 255.
    pub mean: [f32; 3],
    /// The standard deviations that the differences are divided by. Files of earlier versions say `deviation`.
    #[serde(alias = "deviation")]
    pub std: [f32; 3],
    /// How far bfloat16 can be trusted with these weights, if that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bf16: Option<Bf16Agreement>,
}

/// How often the most likely class in bfloat16 is another than in 32 bits, on validation images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Bf16Agreement {
    /// Share of the pixels whose class differs, 0 to 1.
    pub differing: f64,
    /// Images that were compared.
    pub images: usize,
    /// Their pixels.
    pub pixels: u64,
}

impl ModelConfig {
    /// The configuration of a network; classes without names are called `class 0` and so on.
    pub fn new(
        (algorithm, backbone): (Algorithm, Backbone),
        num_classes: usize,
        class_names: Option<Vec<String>>,
    ) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            maskmaker_version: env!("CARGO_PKG_VERSION").to_owned(),
            algorithm,
            backbone,
            num_classes,
            class_names: class_names.unwrap_or_else(|| Self::default_class_names(num_classes)),
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            bf16: None,
        }
    }

    /// What classes without names are called.
    pub fn default_class_names(num_classes: usize) -> Vec<String> {
        (0..num_classes).map(|id| format!("class {id}")).collect()
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        // The version first: a newer file may differ in everything else.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let json_error = |cause: serde_json::Error| Error::input(cause.to_string());
        let Version { format_version } = serde_json::from_slice(bytes).map_err(json_error)?;
        if format_version != FORMAT_VERSION {
            return Err(Error::input(format!(
                "format_version is {format_version}; this version of maskmaker reads \
                 {FORMAT_VERSION}: use the maskmaker that wrote the model, or train again"
            )));
        }
        let config: Self = serde_json::from_slice(bytes).map_err(json_error)?;
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

/// A model in its folder, whose tensors are read when they are asked for.
#[derive(Debug)]
pub struct StoredModel {
    /// What `config.json` says.
    pub config: ModelConfig,
    /// Its layers.
    pub graph: Graph,
    file: TensorFile,
    path: PathBuf,
}

impl StoredModel {
    /// Reads the configuration, and holds names, types and shapes of the tensors against it; problems name the file.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG_FILE);
        if !path.is_file() {
            return Err(no_model_error(folder));
        }
        let config =
            ModelConfig::parse(&read_file(&path)?).map_err(|e| e.with_context(path.display()))?;
        let path = folder.join(WEIGHTS_FILE);
        let file = TensorFile::open(&path)?;
        let graph = build_graph(config.algorithm, config.backbone, config.num_classes);
        check_num_classes(&config, &file)
            .and_then(|()| weights::check_tensors(&file, "", &graph.parameters()))
            .map_err(|e| e.with_context(path.display()))?;
        Ok(Self { config, graph, file, path })
    }

    /// The tensor `<module>.<leaf>`, on the processor and in the file's order.
    pub fn tensor(&self, module: &str, leaf: &str) -> Result<Tensor> {
        weights::read_tensor(&self.file, &format!("{module}.{leaf}"), Kind::Float)
    }
}

/// A model read from its folder.
#[derive(Debug)]
pub struct Artifact {
    /// What `config.json` says.
    pub config: ModelConfig,
    /// The network with its weights.
    pub network: Network,
}

impl Artifact {
    /// Reads the folder; problems name the file.
    pub fn read(folder: &Path, device: Device) -> Result<Self> {
        let StoredModel { config, file, path, .. } = StoredModel::open(folder)?;
        let network = Network::from_tensors(&config, &file, "", device)
            .map_err(|e| e.with_context(path.display()))?;
        Ok(Self { config, network })
    }
}

impl Artifact {
    /// Writes the network as ONNX, with what its user must know of the configuration as metadata.
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

/// Writes weights, labels and configuration; each file is whole or absent, the configuration last.
/// What describes other weights than these, or holds them in another form, is removed before.
pub fn write_model(folder: &Path, config: &ModelConfig, network: &Network) -> Result<()> {
    write_model_bytes(folder, config, &network.weights.to_safetensors()?)
}

/// The same with a whole weights file that was read before.
pub fn write_model_bytes(folder: &Path, config: &ModelConfig, safetensors: &[u8]) -> Result<()> {
    // The configuration first: without it a folder holds no model, whatever else is left of an old one.
    for name in
        [CONFIG_FILE, LABELS_FILE, TORCHSCRIPT_FILE, ONNX_FILE, METRICS_FILE, MODEL_CARD_FILE]
    {
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

/// Writes a value as indented JSON with a final newline.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|cause| Error::internal(format!("{}: {cause}", path.display())))?;
    text.push('\n');
    write_atomically(path, text.as_bytes())
}

/// A `num_classes` unlike the weights' gets its own words, not a list of shapes.
pub(super) fn check_num_classes(config: &ModelConfig, file: &dyn TensorSource) -> Result<()> {
    let graph = build_graph(config.algorithm, config.backbone, config.num_classes);
    let weight = graph.classifier().map(|conv| format!("{}.weight", conv.name));
    let description = weight.and_then(|name| file.dtype_and_shape(&name));
    match description.and_then(|(_, shape)| shape.first().copied()) {
        Some(weight_classes) if weight_classes != config.num_classes as i64 => {
            Err(Error::input(format!(
                "the weights are for {weight_classes} classes, config.json says num_classes {}; the two files \
             are not of one model",
                config.num_classes
            )))
        }
        _ => Ok(()),
    }
}

/// What is said of a folder without a model.
pub fn no_model_error(folder: &Path) -> Error {
    let names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .take(10)
        .collect();
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
        "{} holds no model: {CONFIG_FILE}, which `maskmaker train` writes beside {WEIGHTS_FILE}, is missing \
         ({found}){hint}",
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FCN18: (Algorithm, Backbone) = (Algorithm::Fcn, Backbone::Resnet18);

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
        for name in [METRICS_FILE, MODEL_CARD_FILE, ONNX_FILE] {
            std::fs::write(path(name), "of the first").unwrap();
        }
        write_model(folder.path(), &config, &network).unwrap();
        for name in [TORCHSCRIPT_FILE, METRICS_FILE, MODEL_CARD_FILE, ONNX_FILE] {
            assert!(!path(name).exists(), "{name}");
        }
        add_torchscript(folder.path()).unwrap();
        assert!(std::fs::read(path(TORCHSCRIPT_FILE)).unwrap() == first, "the same network");
    }

    #[test]
    fn classes_unlike_the_weights_name_both_sides_whatever_the_head() {
        for algorithm in [Algorithm::Fcn, Algorithm::Psp, Algorithm::Deeplab] {
            let kind = (algorithm, Backbone::Resnet18);
            let folder = tempfile::tempdir().unwrap();
            let network = Network::random(kind, 3, 1, Device::Cpu).unwrap();
            write_model(folder.path(), &ModelConfig::new(kind, 3, None), &network).unwrap();
            assert!(Artifact::read(folder.path(), Device::Cpu).is_ok());
            write_json(&folder.path().join(CONFIG_FILE), &ModelConfig::new(kind, 4, None)).unwrap();
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
