//! The mapping of a file's tensors to a network's. The backbone must fit as a whole. Heads may be
//! for other classes or of another algorithm, and start at random then.

use safetensors::Dtype;
use tch::Kind;

use super::backbone_file::{
    BACKBONE_PREFIX, BackboneFile, HEAD_NAMES, check_tensor, specs_with_prefix,
};
use super::misfits::{find_misfits, wrong_backbone_error};
use crate::error::{Problems, Result};
use crate::model::graph::{Graph, ParameterRole, ParameterSpec};
use crate::model::network::build_graph;
use crate::model::state_dict::{StateDict, StateDictEntry};
use crate::model::weights::Weights;
use crate::model::{Architecture, Backbone};

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
    /// Sentence about the prefix and the tensors that are left out; empty if there are none.
    file_note: String,
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
        let backbone_file = BackboneFile::find(file, architecture.backbone)?;
        let misfits = find_misfits(&specs, &backbone_file);
        if !misfits.is_empty() {
            return Err(wrong_backbone_error(architecture, misfits, &backbone_file));
        }
        let mut mapping = Self {
            backbone: architecture.backbone,
            copied: Vec::new(),
            backbone_count: 0,
            counter: None,
            randomly_initialized: Vec::new(),
            file_note: backbone_file.describe(file),
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
            mapping.add_head(head, &network, &specs, &backbone_file);
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
        file: &BackboneFile,
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
            let entry = file.named_entry(&spec.name);
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
        let (name, note) = (self.backbone.name(), &self.file_note);
        format!("{taken} tensors of {name}{in_heads}{note}{random}")
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
