//! The mapping of a file's tensors to a network's. The backbone must fit as a whole. Heads may be
//! for other classes or of another algorithm, and start at random then.

use std::collections::HashSet;

use safetensors::Dtype;
use tch::Kind;

use crate::error::{Error, Problems, Result};
use crate::model::graph::{Graph, ParameterRole, ParameterSpec};
use crate::model::network::build_graph;
use crate::model::state_dict::{StateDict, StateDictEntry};
use crate::model::weights::Weights;
use crate::model::{Architecture, Backbone};

const BACKBONE_PREFIX: &str = "backbone.";
const HEAD_NAMES: [&str; 2] = ["classifier", "aux_classifier"];
/// Prefix of torchvision's last layer for ImageNet's classes, which a segmentation network has no
/// use for.
const IMAGENET_LAYER_PREFIX: &str = "fc.";

/// The tensors of the file that tensors of the network take over.
#[derive(Debug)]
pub(super) struct WeightMapping {
    backbone: Backbone,
    /// Names in the network, and the file's tensors that they take over.
    copied: Vec<(String, StateDictEntry)>,
    /// Number of `copied` tensors that belong to the backbone.
    backbone_count: usize,
    /// Any `num_batches_tracked`, which all have the same value. Files from before PyTorch 0.4.1
    /// have none.
    counter: Option<StateDictEntry>,
    /// Parts that start at random, each with the reason.
    randomly_initialized: Vec<String>,
}

impl WeightMapping {
    /// Compares names, types and shapes. The error names every tensor of the backbone that does not
    /// fit.
    pub(super) fn new(
        architecture: Architecture,
        classes: usize,
        file: &StateDict<'_>,
    ) -> Result<Self> {
        let network = build_graph(architecture, classes);
        let specs = network.parameters();
        let backbone_file = BackboneFile::new(file);
        let misfits = find_misfits(&specs, architecture.backbone, &backbone_file);
        if !misfits.is_empty() {
            return Err(wrong_backbone_error(architecture, misfits, &backbone_file));
        }
        let mut mapping = Self {
            backbone: architecture.backbone,
            copied: Vec::new(),
            backbone_count: 0,
            counter: None,
            randomly_initialized: Vec::new(),
        };
        for spec in specs_with_prefix(&specs, BACKBONE_PREFIX) {
            let Some(entry) = backbone_file.entry(&spec.name) else { continue };
            if spec.role != ParameterRole::BatchCounter {
                mapping.copied.push((spec.name.clone(), entry.clone()));
            } else if entry.dtype == Dtype::I64 && entry.shape.is_empty() {
                mapping.counter = Some(entry.clone());
            }
        }
        mapping.backbone_count = mapping.copied.len();
        for head in HEAD_NAMES {
            mapping.add_head(head, &network, &specs, file);
        }
        Ok(mapping)
    }

    /// Adds the tensors of a head if the file's head fits, apart from a last layer for other
    /// classes.
    fn add_head(
        &mut self,
        head: &str,
        network: &Graph,
        specs: &[ParameterSpec],
        file: &StateDict<'_>,
    ) {
        let prefix = format!("{head}.");
        if !file.entries().iter().any(|entry| entry.name.starts_with(&prefix)) {
            self.randomly_initialized.push(format!("{head} (not in the file)"));
            return;
        }
        let (mut fitting, mut problems, mut other_classes) = (Vec::new(), Vec::new(), None);
        for spec in specs_with_prefix(specs, &prefix) {
            if spec.role == ParameterRole::BatchCounter {
                continue;
            }
            let entry = file.entry(&spec.name);
            match (check_tensor(spec, &spec.name, entry), entry) {
                (Ok(entry), _) => fitting.push((spec.name.clone(), entry.clone())),
                (Err(_), Some(entry)) if is_classifier_tensor(network, &spec.name) => {
                    other_classes = entry.shape.first().copied();
                }
                (Err(problem), _) => problems.push(problem),
            }
        }
        for StateDictEntry { name, .. } in file.entries() {
            if name.starts_with(&prefix) && specs.iter().all(|spec| spec.name != *name) {
                problems.push(format!("tensor {name} is not part of it"));
            }
        }
        if let Some(first) = problems.first() {
            // All problems together would fill a page.
            let more = match problems.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more do not fit"),
            };
            self.randomly_initialized.push(format!("{head} (of another algorithm: {first}{more})"));
            return;
        }
        if let Some(classes) = other_classes {
            fitting.retain(|(name, _)| !is_classifier_tensor(network, name));
            self.randomly_initialized
                .push(format!("the last layer of {head} (of {classes} classes)"));
        }
        self.copied.extend(fitting);
    }

    /// Copies the file's elements into `weights`, as 32-bit floats.
    pub(super) fn copy_into(&self, file: &StateDict<'_>, weights: &mut Weights) -> Result<()> {
        let mut problems = Problems::new();
        for (name, entry) in &self.copied {
            let tensor = file.tensor(entry)?.f_to_kind(Kind::Float)?;
            if tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
                problems.push(format!(
                    "tensor {} holds values that are infinite or no numbers; take the weights of a \
                     training that did not diverge",
                    entry.name
                ));
                continue;
            }
            weights.replace(name, &tensor)?;
        }
        if let Some(counter) = &self.counter {
            weights.set_batches_tracked(file.tensor(counter)?.f_int64_value(&[])?);
        }
        problems.into_result()
    }

    /// Returns a sentence about the copied tensors and those that start at random.
    pub(super) fn describe(&self) -> String {
        let taken = self.backbone_count;
        let in_heads = match self.copied.len() - taken {
            0 => String::new(),
            in_heads => format!(" and {in_heads} of the heads"),
        };
        let random = match self.randomly_initialized.as_slice() {
            [] => String::new(),
            random => format!("; initialized at random: {}", random.join(", ")),
        };
        format!("{taken} tensors of {}{in_heads}{random}", self.backbone.name())
    }
}

/// A file by the network's names. torchvision's ResNet calls a tensor `conv1.weight` that its
/// segmentation networks, and ours, call `backbone.conv1.weight`.
#[derive(Debug)]
struct BackboneFile<'a> {
    file: &'a StateDict<'a>,
    /// True if the file holds a ResNet alone, whose names have no prefix.
    is_bare_resnet: bool,
}

impl<'a> BackboneFile<'a> {
    fn new(file: &'a StateDict<'_>) -> Self {
        let is_bare_resnet =
            file.entries().iter().all(|entry| !entry.name.starts_with(BACKBONE_PREFIX));
        Self { file, is_bare_resnet }
    }

    /// Returns the file's name of a tensor of the network.
    fn stored_name<'n>(&self, name: &'n str) -> &'n str {
        if self.is_bare_resnet { name.strip_prefix(BACKBONE_PREFIX).unwrap_or(name) } else { name }
    }

    /// Returns the file's tensor for a tensor of the backbone.
    fn entry(&self, name: &str) -> Option<&'a StateDictEntry> {
        self.file.entry(self.stored_name(name))
    }

    /// Lists the file's tensors that should be part of the backbone.
    fn backbone_entries(&self) -> Vec<&'a StateDictEntry> {
        let mut entries = Vec::new();
        for entry in self.file.entries() {
            let is_of_imagenet =
                self.is_bare_resnet && entry.name.starts_with(IMAGENET_LAYER_PREFIX);
            if !is_of_imagenet && !is_head_tensor(&entry.name) {
                entries.push(entry);
            }
        }
        entries
    }
}

fn is_head_tensor(name: &str) -> bool {
    match name.split_once('.') {
        Some((head, _)) => HEAD_NAMES.contains(&head),
        None => false,
    }
}

/// Returns true if a tensor of the network belongs to a layer whose outputs are logits.
fn is_classifier_tensor(network: &Graph, name: &str) -> bool {
    let layer = match name.rsplit_once('.') {
        Some((layer, _)) => layer,
        None => name,
    };
    network.classifier_layers().any(|conv| conv.name == layer)
}

fn specs_with_prefix<'a>(
    specs: &'a [ParameterSpec],
    prefix: &str,
) -> impl Iterator<Item = &'a ParameterSpec> {
    specs.iter().filter(move |spec| spec.name.starts_with(prefix))
}

/// Lists the differences between the file's backbone and `backbone`.
fn find_misfits(
    specs: &[ParameterSpec],
    backbone: Backbone,
    file: &BackboneFile<'_>,
) -> Vec<String> {
    let mut expected_names = HashSet::new();
    let mut misfits = Vec::new();
    for spec in specs_with_prefix(specs, BACKBONE_PREFIX) {
        let name = file.stored_name(&spec.name);
        expected_names.insert(name);
        if spec.role != ParameterRole::BatchCounter
            && let Err(problem) = check_tensor(spec, name, file.entry(&spec.name))
        {
            misfits.push(problem);
        }
    }
    for StateDictEntry { name, .. } in file.backbone_entries() {
        if !expected_names.contains(name.as_str()) {
            misfits.push(format!("tensor {name} is not part of {}", backbone.name()));
        }
    }
    misfits
}

/// Checks that a tensor of the file can become one of the network. `name` is the file's.
fn check_tensor<'a>(
    spec: &ParameterSpec,
    name: &str,
    entry: Option<&'a StateDictEntry>,
) -> Result<&'a StateDictEntry, String> {
    let Some(entry) = entry else { return Err(format!("tensor {name} is missing")) };
    let StateDictEntry { shape, dtype, .. } = entry;
    if *shape != spec.shape {
        return Err(format!(
            "tensor {name} has shape {shape:?}; the network needs {:?}",
            spec.shape
        ));
    }
    if !matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return Err(format!("tensor {name} holds {dtype:?}; weights are F32, F64, F16 or BF16"));
    }
    Ok(entry)
}

/// Returns the error about a backbone that does not fit. If the file fits another backbone, one
/// sentence says so in place of a list of all differences.
fn wrong_backbone_error(
    architecture: Architecture,
    misfits: Vec<String>,
    file: &BackboneFile<'_>,
) -> Error {
    let expected_name = architecture.backbone.name();
    for other in Backbone::ALL {
        let specs = build_graph(Architecture { backbone: other, ..architecture }, 2).parameters();
        if find_misfits(&specs, other, file).is_empty() {
            let found_name = other.name();
            return Error::input(format!(
                "the weights are for backbone {found_name}, the job's backbone is {expected_name}; \
                 set backbone to {found_name}, or give weights for {expected_name}"
            ));
        }
    }
    let mut problems = Problems::new();
    for problem in misfits {
        problems.push(problem);
    }
    match problems.into_result() {
        Err(error) => error,
        Ok(()) => Error::internal("weights that fit were refused"),
    }
}
