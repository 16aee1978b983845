//! Fitting a file's tensors to a network. The backbone must fit as a whole; heads may be of other
//! classes or of another algorithm, and start at random then.

use std::collections::HashSet;

use safetensors::Dtype;
use tch::Kind;

use crate::error::{Error, Problems, Result};
use crate::model::graph::{Graph, ParameterRole, ParameterSpec};
use crate::model::network::build_graph;
use crate::model::state_dict::{StateDict, StateDictEntry};
use crate::model::weights::Weights;
use crate::sagemaker::hyperparameters::{Algorithm, Backbone};

const BACKBONE_PREFIX: &str = "backbone.";
const HEAD_NAMES: [&str; 2] = ["classifier", "aux_classifier"];
/// torchvision's last layer for ImageNet's classes, for which a segmentation network has no use.
const IMAGENET_LAYER_PREFIX: &str = "fc.";

/// Which tensor of the network takes which of the file.
#[derive(Debug)]
pub(super) struct WeightMapping {
    backbone: Backbone,
    /// Names in the network, and what they take.
    copied: Vec<(String, StateDictEntry)>,
    /// How many of them belong to the backbone.
    backbone_count: usize,
    /// A `num_batches_tracked`; files from before PyTorch 0.4.1 have none.
    counter: Option<StateDictEntry>,
    /// What starts at random, and why.
    randomly_initialized: Vec<String>,
}

impl WeightMapping {
    /// Compares names, types and shapes; every tensor of the backbone that does not fit is named.
    pub(super) fn new(
        (algorithm, backbone): (Algorithm, Backbone),
        classes: usize,
        file: &StateDict<'_>,
    ) -> Result<Self> {
        let network = build_graph(algorithm, backbone, classes);
        let specs = network.parameters();
        let backbone_file = BackboneFile::new(file);
        let misfits = find_misfits(&specs, backbone, &backbone_file);
        if !misfits.is_empty() {
            return Err(wrong_backbone_error((algorithm, backbone), misfits, &backbone_file));
        }
        let mut copied = Vec::new();
        let mut counter = None;
        for spec in specs_with_prefix(&specs, BACKBONE_PREFIX) {
            let Some(entry) = backbone_file.entry(&spec.name) else { continue };
            if spec.role != ParameterRole::BatchCounter {
                copied.push((spec.name.clone(), entry.clone()));
            } else if entry.dtype == Dtype::I64 && entry.shape.is_empty() {
                counter = Some(entry.clone());
            }
        }
        let backbone_count = copied.len();
        let mut mapping =
            Self { backbone, copied, backbone_count, counter, randomly_initialized: Vec::new() };
        for head in HEAD_NAMES {
            mapping.add_head(head, &network, &specs, file);
        }
        Ok(mapping)
    }

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
        let is_classifier_tensor = |name: &str| {
            let layer = name.rsplit_once('.').map_or(name, |(layer, _)| layer);
            network.classifier_layers().any(|conv| conv.name == layer)
        };
        let (mut fitting, mut problems, mut other_classes) = (Vec::new(), Vec::new(), None);
        for spec in specs_with_prefix(specs, &prefix)
            .filter(|spec| spec.role != ParameterRole::BatchCounter)
        {
            match (check_tensor(spec, &spec.name, file.entry(&spec.name)), file.entry(&spec.name)) {
                (Ok(entry), _) => fitting.push((spec.name.clone(), entry.clone())),
                (Err(_), Some(entry)) if is_classifier_tensor(&spec.name) => {
                    other_classes = entry.shape.first().copied();
                }
                (Err(problem), _) => problems.push(problem),
            }
        }
        let is_unknown = |entry: &&StateDictEntry| {
            entry.name.starts_with(&prefix) && specs.iter().all(|spec| spec.name != entry.name)
        };
        let unknown_entries = file.entries().iter().filter(is_unknown);
        problems.extend(
            unknown_entries.map(|entry| format!("tensor {} is not part of it", entry.name)),
        );
        if let Some(first) = problems.first() {
            // All of them would be a page.
            let more = match problems.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more do not fit"),
            };
            self.randomly_initialized.push(format!("{head} (of another algorithm: {first}{more})"));
            return;
        }
        if let Some(classes) = other_classes {
            fitting.retain(|(name, _)| !is_classifier_tensor(name));
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

    /// What is taken and what is not, for people.
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

/// A file by the network's names. torchvision's ResNet calls `conv1.weight` what its segmentation
/// networks, and ours, call `backbone.conv1.weight`.
#[derive(Debug)]
struct BackboneFile<'a> {
    file: &'a StateDict<'a>,
    /// Whether the file is of a ResNet by itself.
    is_bare_resnet: bool,
}

impl<'a> BackboneFile<'a> {
    fn new(file: &'a StateDict<'_>) -> Self {
        let is_bare_resnet =
            file.entries().iter().all(|entry| !entry.name.starts_with(BACKBONE_PREFIX));
        Self { file, is_bare_resnet }
    }

    /// The file's name of a tensor of the network.
    fn stored_name<'n>(&self, name: &'n str) -> &'n str {
        if self.is_bare_resnet { name.strip_prefix(BACKBONE_PREFIX).unwrap_or(name) } else { name }
    }

    /// What a tensor of the backbone takes.
    fn entry(&self, name: &str) -> Option<&'a StateDictEntry> {
        self.file.entry(self.stored_name(name))
    }

    /// Every tensor of the file that should be part of the backbone.
    fn backbone_entries(&self) -> impl Iterator<Item = &'a StateDictEntry> {
        let is_bare_resnet = self.is_bare_resnet;
        let is_foreign = move |name: &str| {
            HEAD_NAMES
                .iter()
                .any(|head| name.strip_prefix(head).is_some_and(|rest| rest.starts_with('.')))
                || is_bare_resnet && name.starts_with(IMAGENET_LAYER_PREFIX)
        };
        self.file.entries().iter().filter(move |entry| !is_foreign(&entry.name))
    }
}

fn specs_with_prefix<'a>(
    specs: &'a [ParameterSpec],
    prefix: &str,
) -> impl Iterator<Item = &'a ParameterSpec> {
    specs.iter().filter(move |spec| spec.name.starts_with(prefix))
}

/// What keeps the file's backbone from being `backbone`.
fn find_misfits(
    specs: &[ParameterSpec],
    backbone: Backbone,
    file: &BackboneFile<'_>,
) -> Vec<String> {
    let expected_names: HashSet<&str> = specs_with_prefix(specs, BACKBONE_PREFIX)
        .map(|spec| file.stored_name(&spec.name))
        .collect();
    let checked_specs = specs_with_prefix(specs, BACKBONE_PREFIX)
        .filter(|spec| spec.role != ParameterRole::BatchCounter);
    let misfit_messages = checked_specs.filter_map(|spec| {
        check_tensor(spec, file.stored_name(&spec.name), file.entry(&spec.name)).err()
    });
    let unknown_entries =
        file.backbone_entries().filter(|entry| !expected_names.contains(entry.name.as_str()));
    let name = backbone.name();
    let unknown_messages =
        unknown_entries.map(|entry| format!("tensor {} is not part of {name}", entry.name));
    misfit_messages.chain(unknown_messages).collect()
}

/// Whether a tensor of the file can become one of the network; `name` is the file's.
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

/// A file of another backbone gets one sentence, not a list of all that differs.
fn wrong_backbone_error(
    (algorithm, backbone): (Algorithm, Backbone),
    misfits: Vec<String>,
    file: &BackboneFile<'_>,
) -> Error {
    let fits = |other: &Backbone| {
        let specs = build_graph(algorithm, *other, 2).parameters();
        self::find_misfits(&specs, *other, file).is_empty()
    };
    if let Some(other) = Backbone::ALL.into_iter().find(fits) {
        let (found_name, expected_name) = (other.name(), backbone.name());
        return Error::input(format!(
            "the weights are for backbone {found_name}, the job's backbone is {expected_name}; set backbone to \
             {found_name}, or give weights for {expected_name}"
        ));
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
