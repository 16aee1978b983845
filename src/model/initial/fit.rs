//! Fitting a file's tensors to a network. The backbone must fit as a whole; heads may be of other
//! classes or of another algorithm, and start at random then.

use std::collections::HashSet;

use safetensors::Dtype;
use tch::Kind;

use crate::error::{Error, Problems, Result};
use crate::model::graph::{Graph, ParameterSpec, Role};
use crate::model::network::graph;
use crate::model::state_dict::{Entry, StateDict};
use crate::model::weights::Weights;
use crate::sagemaker::hyperparameters::{Algorithm, Backbone};

const BACKBONE: &str = "backbone.";
const HEADS: [&str; 2] = ["classifier", "aux_classifier"];
/// torchvision's last layer for ImageNet's classes, for which a segmentation network has no use.
const IMAGENET_CLASSES: &str = "fc.";

/// Which tensor of the network takes which of the file.
#[derive(Debug)]
pub(super) struct Plan {
    backbone: Backbone,
    /// Names in the network, and what they take.
    copied: Vec<(String, Entry)>,
    /// How many of them belong to the backbone.
    in_backbone: usize,
    /// A `num_batches_tracked`; files from before PyTorch 0.4.1 have none.
    counter: Option<Entry>,
    /// What starts at random, and why.
    random: Vec<String>,
}

impl Plan {
    /// Compares names, types and shapes; every tensor of the backbone that does not fit is named.
    pub(super) fn new(
        (algorithm, backbone): (Algorithm, Backbone),
        classes: usize,
        file: &StateDict<'_>,
    ) -> Result<Self> {
        let network = graph(algorithm, backbone, classes);
        let specs = network.parameters();
        let named = Named::new(file);
        let misfits = misfits(&specs, backbone, &named);
        if !misfits.is_empty() {
            return Err(wrong_backbone((algorithm, backbone), misfits, &named));
        }
        let mut copied = Vec::new();
        let mut counter = None;
        for spec in own(&specs, BACKBONE) {
            let Some(entry) = named.entry(&spec.name) else { continue };
            if spec.role != Role::Counter {
                copied.push((spec.name.clone(), entry.clone()));
            } else if entry.dtype == Dtype::I64 && entry.shape.is_empty() {
                counter = Some(entry.clone());
            }
        }
        let in_backbone = copied.len();
        let mut plan = Self { backbone, copied, in_backbone, counter, random: Vec::new() };
        for head in HEADS {
            plan.add_head(head, &network, &specs, file);
        }
        Ok(plan)
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
            self.random.push(format!("{head} (not in the file)"));
            return;
        }
        let of_classes = |name: &str| {
            let layer = name.rsplit_once('.').map_or(name, |(layer, _)| layer);
            network.class_layers().any(|conv| conv.name == layer)
        };
        let (mut fitting, mut problems, mut other_classes) = (Vec::new(), Vec::new(), None);
        for spec in own(specs, &prefix).filter(|spec| spec.role != Role::Counter) {
            match (check(spec, &spec.name, file.entry(&spec.name)), file.entry(&spec.name)) {
                (Ok(entry), _) => fitting.push((spec.name.clone(), entry.clone())),
                (Err(_), Some(entry)) if of_classes(&spec.name) => {
                    other_classes = entry.shape.first().copied();
                }
                (Err(problem), _) => problems.push(problem),
            }
        }
        let unknown = |entry: &&Entry| {
            entry.name.starts_with(&prefix) && specs.iter().all(|spec| spec.name != entry.name)
        };
        let unknown = file.entries().iter().filter(unknown);
        problems.extend(unknown.map(|entry| format!("tensor {} is not part of it", entry.name)));
        if let Some(first) = problems.first() {
            // All of them would be a page.
            let more = match problems.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more do not fit"),
            };
            self.random.push(format!("{head} (of another algorithm: {first}{more})"));
            return;
        }
        if let Some(classes) = other_classes {
            fitting.retain(|(name, _)| !of_classes(name));
            self.random.push(format!("the last layer of {head} (of {classes} classes)"));
        }
        self.copied.extend(fitting);
    }

    /// Copies the file's elements into `weights`, as 32-bit floats.
    pub(super) fn load(&self, file: &StateDict<'_>, weights: &mut Weights) -> Result<()> {
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
            weights.set_batches(file.tensor(counter)?.f_int64_value(&[])?);
        }
        problems.into_result()
    }

    /// What is taken and what is not, for people.
    pub(super) fn describe(&self) -> String {
        let taken = self.in_backbone;
        let in_heads = match self.copied.len() - taken {
            0 => String::new(),
            in_heads => format!(" and {in_heads} of the heads"),
        };
        let random = match self.random.as_slice() {
            [] => String::new(),
            random => format!("; initialised at random: {}", random.join(", ")),
        };
        format!("{taken} tensors of {}{in_heads}{random}", self.backbone.name())
    }
}

/// A file by the network's names. torchvision's ResNet calls `conv1.weight` what its segmentation
/// networks, and ours, call `backbone.conv1.weight`.
#[derive(Debug)]
struct Named<'a> {
    file: &'a StateDict<'a>,
    /// Whether the file is of a ResNet by itself.
    alone: bool,
}

impl<'a> Named<'a> {
    fn new(file: &'a StateDict<'_>) -> Self {
        let alone = file.entries().iter().all(|entry| !entry.name.starts_with(BACKBONE));
        Self { file, alone }
    }

    /// The file's name of a tensor of the network.
    fn name<'n>(&self, name: &'n str) -> &'n str {
        if self.alone { name.strip_prefix(BACKBONE).unwrap_or(name) } else { name }
    }

    /// What a tensor of the backbone takes.
    fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.file.entry(self.name(name))
    }

    /// Every tensor of the file that should be part of the backbone.
    fn backbone(&self) -> impl Iterator<Item = &'a Entry> {
        let alone = self.alone;
        let foreign = move |name: &str| {
            HEADS
                .iter()
                .any(|head| name.strip_prefix(head).is_some_and(|rest| rest.starts_with('.')))
                || alone && name.starts_with(IMAGENET_CLASSES)
        };
        self.file.entries().iter().filter(move |entry| !foreign(&entry.name))
    }
}

fn own<'a>(specs: &'a [ParameterSpec], prefix: &str) -> impl Iterator<Item = &'a ParameterSpec> {
    specs.iter().filter(move |spec| spec.name.starts_with(prefix))
}

/// What keeps the file's backbone from being `backbone`.
fn misfits(specs: &[ParameterSpec], backbone: Backbone, file: &Named<'_>) -> Vec<String> {
    let known: HashSet<&str> = own(specs, BACKBONE).map(|spec| file.name(&spec.name)).collect();
    let learned = own(specs, BACKBONE).filter(|spec| spec.role != Role::Counter);
    let wrong =
        learned.filter_map(|spec| check(spec, file.name(&spec.name), file.entry(&spec.name)).err());
    let unknown = file.backbone().filter(|entry| !known.contains(entry.name.as_str()));
    let name = backbone.name();
    let unknown = unknown.map(|entry| format!("tensor {} is not part of {name}", entry.name));
    wrong.chain(unknown).collect()
}

/// Whether a tensor of the file can become one of the network; `name` is the file's.
fn check<'a>(
    spec: &ParameterSpec,
    name: &str,
    entry: Option<&'a Entry>,
) -> Result<&'a Entry, String> {
    let Some(entry) = entry else { return Err(format!("tensor {name} is missing")) };
    let Entry { shape, dtype, .. } = entry;
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
fn wrong_backbone(
    (algorithm, backbone): (Algorithm, Backbone),
    misfits: Vec<String>,
    file: &Named<'_>,
) -> Error {
    let fits = |other: &Backbone| {
        let specs = graph(algorithm, *other, 2).parameters();
        self::misfits(&specs, *other, file).is_empty()
    };
    if let Some(other) = Backbone::ALL.into_iter().find(fits) {
        let (held, asked) = (other.name(), backbone.name());
        return Error::input(format!(
            "the weights are for backbone {held}, the job's backbone is {asked}; set backbone to \
             {held}, or give weights for {asked}"
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
