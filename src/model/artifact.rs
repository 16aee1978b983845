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
use super::network::{DEVIATION, MEAN, graph};
use super::tensor_file::{TensorFile, Tensors};
use super::weights;
use crate::error::{Error, Problems, Result};
use crate::files::{read, remove, write_atomically};
use crate::sagemaker::hyperparameters::{Algorithm, Backbone};

/// File names inside the folder.
pub const WEIGHTS: &str = "model.safetensors";
/// See [`Config`].
pub const CONFIG: &str = "config.json";
/// Scores on the validation images and the history of the training.
pub const METRICS: &str = "metrics.json";

/// The same network and weights as TorchScript, for other programs; nothing here reads it.
pub const TORCHSCRIPT: &str = "model.pt";
/// The network for ONNX Runtime and the like; `maskmaker export` writes it when asked.
pub const ONNX: &str = "model.onnx";
/// The classes' names and colours.
pub const LABELS: &str = "labels.json";
/// The model card, for people.
pub const CARD: &str = "README.md";

/// The layout of `config.json` that this version writes and reads.
const FORMAT_VERSION: u32 = 1;

/// `config.json`: all that is needed to run the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
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
    /// What they are divided by then.
    pub deviation: [f32; 3],
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

impl Config {
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
            class_names: class_names.unwrap_or_else(|| Self::nameless(num_classes)),
            mean: MEAN,
            deviation: DEVIATION,
            bf16: None,
        }
    }

    /// What classes without names are called.
    pub fn nameless(num_classes: usize) -> Vec<String> {
        (0..num_classes).map(|id| format!("class {id}")).collect()
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        // The version first: a newer file may differ in everything else.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let wrong = |cause: serde_json::Error| Error::input(cause.to_string());
        let Version { format_version } = serde_json::from_slice(bytes).map_err(wrong)?;
        if format_version != FORMAT_VERSION {
            return Err(Error::input(format!(
                "format_version is {format_version}; this version of maskmaker reads \
                 {FORMAT_VERSION}: use the maskmaker that wrote the model, or train again"
            )));
        }
        let config: Self = serde_json::from_slice(bytes).map_err(wrong)?;
        let mut problems = Problems::new();
        if !(2..=254).contains(&config.num_classes) {
            problems.push(format!("num_classes is {}; allowed: 2 to 254", config.num_classes));
        }
        if config.class_names.len() != config.num_classes {
            let (names, classes) = (config.class_names.len(), config.num_classes);
            problems.push(format!("class_names has {names} names for num_classes {classes}"));
        }
        if (config.mean, config.deviation) != (MEAN, DEVIATION) {
            problems.push("mean and deviation must be ImageNet's in this version");
        }
        problems.into_result()?;
        Ok(config)
    }
}

/// A model in its folder, whose tensors are read when they are asked for.
#[derive(Debug)]
pub struct Stored {
    /// What `config.json` says.
    pub config: Config,
    /// Its layers.
    pub graph: Graph,
    file: TensorFile,
    path: PathBuf,
}

impl Stored {
    /// Reads the configuration, and holds names, types and shapes of the tensors against it; problems name the file.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        if !path.is_file() {
            return Err(no_model(folder));
        }
        let config = Config::parse(&read(&path)?).map_err(|e| e.within(path.display()))?;
        let path = folder.join(WEIGHTS);
        let file = TensorFile::open(&path)?;
        let graph = graph(config.algorithm, config.backbone, config.num_classes);
        check_classes(&config, &file)
            .and_then(|()| weights::check(&file, "", &graph.parameters()))
            .map_err(|e| e.within(path.display()))?;
        Ok(Self { config, graph, file, path })
    }

    /// The tensor `<module>.<leaf>`, on the processor and in the file's order.
    pub fn tensor(&self, module: &str, leaf: &str) -> Result<Tensor> {
        weights::read(&self.file, &format!("{module}.{leaf}"), Kind::Float)
    }
}

/// A model read from its folder.
#[derive(Debug)]
pub struct Artifact {
    /// What `config.json` says.
    pub config: Config,
    /// The network with its weights.
    pub network: Network,
}

impl Artifact {
    /// Reads the folder; problems name the file.
    pub fn read(folder: &Path, device: Device) -> Result<Self> {
        let Stored { config, file, path, .. } = Stored::open(folder)?;
        let network = Network::from_tensors(&config, &file, "", device)
            .map_err(|e| e.within(path.display()))?;
        Ok(Self { config, network })
    }
}

impl Artifact {
    /// Writes the network as ONNX, with what its user must know of the configuration as metadata.
    pub fn write_onnx(&self, path: &Path) -> Result<()> {
        let Config { class_names, mean, deviation, .. } = &self.config;
        let metadata = [
            ("class_names", serde_json::json!(class_names).to_string()),
            ("mean", format!("{mean:?}")),
            ("deviation", format!("{deviation:?}")),
        ];
        self.network.write_onnx(path, &metadata)
    }
}

/// Writes weights, labels and configuration; each file is whole or absent, the configuration last.
/// What describes other weights than these, or holds them in another form, is removed before.
pub fn write(folder: &Path, config: &Config, network: &Network) -> Result<()> {
    write_again(folder, config, &network.weights.to_safetensors()?)
}

/// The same with a whole weights file that was read before.
pub fn write_again(folder: &Path, config: &Config, weights: &[u8]) -> Result<()> {
    // The configuration first: without it a folder holds no model, whatever else is left of an old one.
    for name in [CONFIG, LABELS, TORCHSCRIPT, ONNX, METRICS, CARD] {
        remove(&folder.join(name))?;
    }
    write_atomically(&folder.join(WEIGHTS), weights)?;
    write_json(&folder.join(LABELS), &Labels { names: &config.class_names, colours: None })?;
    write_json(&folder.join(CONFIG), config)
}

/// Writes the model in `folder` as TorchScript beside its weights.
pub fn add_torchscript(folder: &Path) -> Result<()> {
    let Artifact { network, .. } = Artifact::read(folder, Device::Cpu)?;
    network.write_torchscript(&folder.join(TORCHSCRIPT))
}

/// Writes a value as indented JSON with a final newline.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|cause| Error::internal(format!("{}: {cause}", path.display())))?;
    text.push('\n');
    write_atomically(path, text.as_bytes())
}

/// A `num_classes` unlike the weights' gets its own words, not a list of shapes.
pub(super) fn check_classes(config: &Config, file: &dyn Tensors) -> Result<()> {
    let graph = graph(config.algorithm, config.backbone, config.num_classes);
    let weight = graph.classifier().map(|conv| format!("{}.weight", conv.name));
    let held = weight.and_then(|name| file.describe(&name));
    match held.and_then(|(_, shape)| shape.first().copied()) {
        Some(held) if held != config.num_classes as i64 => Err(Error::input(format!(
            "the weights are for {held} classes, config.json says num_classes {}; the two files \
             are not of one model",
            config.num_classes
        ))),
        _ => Ok(()),
    }
}

/// What is said of a folder without a model.
pub fn no_model(folder: &Path) -> Error {
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
        "{} holds no model: {CONFIG}, which `maskmaker train` writes beside {WEIGHTS}, is missing \
         ({found}){hint}",
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FCN18: (Algorithm, Backbone) = (Algorithm::Fcn, Backbone::Resnet18);

    fn model(classes: usize) -> (tempfile::TempDir, Config, Network) {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::new(FCN18, classes, None);
        let network = Network::random(FCN18, classes, 3, Device::Cpu).unwrap();
        write(folder.path(), &config, &network).unwrap();
        (folder, config, network)
    }

    fn failure(folder: &Path) -> String {
        Artifact::read(folder, Device::Cpu).unwrap_err().to_string()
    }

    #[test]
    fn a_written_model_is_read_back_and_foreign_files_do_not_matter() {
        let (folder, config, network) = model(3);
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let again = Artifact::read(folder.path(), Device::Cpu).unwrap();
        assert_eq!(again.config, config);
        let bytes = again.network.weights.to_safetensors().unwrap();
        assert_eq!(bytes, network.weights.to_safetensors().unwrap());
    }

    #[test]
    fn a_stored_model_gives_its_tensors_one_by_one() {
        let (folder, config, network) = model(3);
        let stored = Stored::open(folder.path()).unwrap();
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
        let first = std::fs::read(path(TORCHSCRIPT)).unwrap();
        for name in [METRICS, CARD, ONNX] {
            std::fs::write(path(name), "of the first").unwrap();
        }
        write(folder.path(), &config, &network).unwrap();
        for name in [TORCHSCRIPT, METRICS, CARD, ONNX] {
            assert!(!path(name).exists(), "{name}");
        }
        add_torchscript(folder.path()).unwrap();
        assert!(std::fs::read(path(TORCHSCRIPT)).unwrap() == first, "the same network");
    }

    #[test]
    fn classes_unlike_the_weights_name_both_sides_whatever_the_head() {
        for algorithm in [Algorithm::Fcn, Algorithm::Psp, Algorithm::Deeplab] {
            let kind = (algorithm, Backbone::Resnet18);
            let folder = tempfile::tempdir().unwrap();
            let network = Network::random(kind, 3, 1, Device::Cpu).unwrap();
            write(folder.path(), &Config::new(kind, 3, None), &network).unwrap();
            assert!(Artifact::read(folder.path(), Device::Cpu).is_ok());
            write_json(&folder.path().join(CONFIG), &Config::new(kind, 4, None)).unwrap();
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
        std::fs::write(folder.path().join(CONFIG), r#"{"format_version": 9}"#).unwrap();
        assert!(failure(folder.path()).contains("format_version is 9"));
        std::fs::write(folder.path().join(CONFIG), "{").unwrap();
        assert!(failure(folder.path()).contains("config.json"));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_configurations_never_panic(bytes: Vec<u8>, key in "[a-z_]{0,12}", number: i64) {
            let mut json = serde_json::to_value(Config::new(FCN18, 3, None)).unwrap();
            json[key] = number.into();
            json["num_classes"] = number.into();
            let _ = Config::parse(&bytes);
            proptest::prop_assert_eq!(Config::parse(json.to_string().as_bytes()).is_ok(), number == 3);
        }
    }

    #[test]
    fn cut_weights_are_named() {
        let (folder, _, _) = model(3);
        let path = folder.path().join(WEIGHTS);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let said = failure(folder.path());
        assert!(said.contains("model.safetensors: not a whole safetensors file"), "{said}");
    }
}
