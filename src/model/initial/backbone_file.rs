//! The backbone in a file of weights, under whatever prefix it lies there.
//!
//! torchvision's ResNet calls a tensor `conv1.weight` that its segmentation networks, and ours, call
//! `backbone.conv1.weight`. Training programs put names of their own before all of them: `module.`,
//! `_orig_mod.` (of `torch.compile`), `model.`, `encoder.`, and several of them in a row. Any prefix
//! will do behind which every name of a ResNet is found.

use std::collections::{BTreeSet, HashMap, HashSet};

use safetensors::Dtype;

use crate::error::{Error, Result};
use crate::model::graph::{ParameterRole, ParameterSpec};
use crate::model::network::build_graph;
use crate::model::state_dict::{StateDict, StateDictEntry};
use crate::model::{Algorithm, Architecture, Backbone};

pub(super) const BACKBONE_PREFIX: &str = "backbone.";
pub(super) const HEAD_NAMES: [&str; 2] = ["classifier", "aux_classifier"];
/// Prefix of torchvision's last layer for ImageNet's classes, which a segmentation network has no
/// use for.
const IMAGENET_LAYER_PREFIX: &str = "fc.";

/// A tensor that every ResNet has.
const FIRST_TENSOR: &str = "conv1.weight";

/// Words in the prefix of averaged copies of the weights.
const AVERAGE_WORDS: [&str; 2] = ["ema", "teacher"];

/// Largest number of places in whose names a message looks for those of a backbone.
const MAX_COUNTED_PLACES: usize = 200;

/// Number of names that messages show.
const MAX_SHOWN_NAMES: usize = 5;

/// The tensors of a file by the network's names.
#[derive(Debug)]
pub(super) struct BackboneFile {
    /// Text before the names, which is left out in the entries.
    pub(super) prefix: String,
    /// True if the file holds a ResNet alone, whose names have no `backbone.` before them.
    is_bare_resnet: bool,
    /// Tensors behind the prefix.
    entries: Vec<StateDictEntry>,
    index_by_name: HashMap<String, usize>,
    /// Number of tensors in the file that have another prefix.
    other_count: usize,
}

/// A place in a file where a ResNet begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    prefix: String,
    is_bare_resnet: bool,
}

impl Place {
    /// Returns true if the prefix says that this is an averaged copy of the weights.
    fn is_average(&self) -> bool {
        self.prefix.to_lowercase().split(['.', '_']).any(|word| AVERAGE_WORDS.contains(&word))
    }

    /// Returns true if the file has a tensor of the backbone here.
    fn has(&self, name: &str, file_names: &HashSet<&str>) -> bool {
        let own = if self.is_bare_resnet { "" } else { BACKBONE_PREFIX };
        file_names.contains(&format!("{}{own}{name}", self.prefix)[..])
    }

    /// Counts the tensors of a backbone that the file has here.
    fn count_found(&self, backbone_names: &[String], file_names: &HashSet<&str>) -> usize {
        backbone_names.iter().filter(|name| self.has(name, file_names)).count()
    }
}

impl BackboneFile {
    /// Finds the prefix behind which the file has all tensors of `backbone`, or of another backbone,
    /// or else most of them. Several such prefixes are an error, unless one is of an average.
    pub(super) fn find(file: &StateDict<'_>, backbone: Backbone) -> Result<Self> {
        let file_names: HashSet<&str> =
            file.entries().iter().map(|entry| &entry.name[..]).collect();
        let places = list_places(file);
        let mut backbones = vec![backbone];
        // The one with the most tensors first: the names of a ResNet-101 include a ResNet-50's.
        backbones.extend(Backbone::ALL.into_iter().rev().filter(|other| *other != backbone));
        for backbone in backbones {
            let names = list_backbone_names(backbone);
            let mut complete = Vec::new();
            for place in &places {
                if names.iter().all(|name| place.has(name, &file_names)) {
                    complete.push(place);
                }
            }
            if let Some(place) = choose_place(&complete)? {
                return Ok(Self::new(file, place));
            }
        }
        let names = list_backbone_names(backbone);
        let best = places
            .iter()
            .take(MAX_COUNTED_PLACES)
            .max_by_key(|place| place.count_found(&names, &file_names));
        match best {
            Some(place) if 2 * place.count_found(&names, &file_names) > names.len() => {
                Ok(Self::new(file, place))
            }
            _ => Ok(Self::new(file, &Place { prefix: String::new(), is_bare_resnet: true })),
        }
    }

    fn new(file: &StateDict<'_>, place: &Place) -> Self {
        let Place { prefix, is_bare_resnet } = place.clone();
        let (mut entries, mut index_by_name) = (Vec::new(), HashMap::new());
        for entry in file.entries() {
            if let Some(entry) = entry.without_prefix(&prefix) {
                index_by_name.insert(entry.name.clone(), entries.len());
                entries.push(entry);
            }
        }
        let other_count = file.entries().len() - entries.len();
        Self { prefix, is_bare_resnet, entries, index_by_name, other_count }
    }

    /// Returns the tensors behind the prefix, in the order of the file.
    pub(super) fn entries(&self) -> &[StateDictEntry] {
        &self.entries
    }

    /// Returns the tensor of this name behind the prefix.
    pub(super) fn named_entry(&self, name: &str) -> Option<&StateDictEntry> {
        self.entries.get(*self.index_by_name.get(name)?)
    }

    /// Returns the name behind the prefix of a tensor of the network.
    pub(super) fn stored_name<'n>(&self, name: &'n str) -> &'n str {
        if self.is_bare_resnet { name.strip_prefix(BACKBONE_PREFIX).unwrap_or(name) } else { name }
    }

    /// Returns the file's tensor for a tensor of the backbone.
    pub(super) fn entry(&self, name: &str) -> Option<&StateDictEntry> {
        self.named_entry(self.stored_name(name))
    }

    /// Lists the file's tensors that should be part of the backbone.
    pub(super) fn backbone_entries(&self) -> Vec<&StateDictEntry> {
        let mut entries = Vec::new();
        for entry in &self.entries {
            let is_part = if self.is_bare_resnet {
                !entry.name.starts_with(IMAGENET_LAYER_PREFIX) && !is_head_tensor(&entry.name)
            } else {
                entry.name.starts_with(BACKBONE_PREFIX)
                    && !entry.name[BACKBONE_PREFIX.len()..].starts_with(IMAGENET_LAYER_PREFIX)
            };
            if is_part {
                entries.push(entry);
            }
        }
        entries
    }

    /// Returns what was left out of the file to find the network, to be added to a sentence.
    pub(super) fn describe(&self, file: &StateDict<'_>) -> String {
        let mut note = String::new();
        if !file.origin().is_empty() {
            note = format!("{note}; from {} in the file", file.origin());
        }
        let prefix = format!("{}{}", file.prefix(), self.prefix);
        if !prefix.is_empty() {
            note = format!("{note}; the prefix {prefix} of their names is left out");
        }
        let mut unused_count = self.other_count;
        if !self.is_bare_resnet {
            for entry in &self.entries {
                let is_known =
                    entry.name.starts_with(BACKBONE_PREFIX) || is_head_tensor(&entry.name);
                unused_count += usize::from(!is_known);
            }
        }
        if unused_count > 0 {
            note = format!("{note}; {unused_count} tensors with other names are not used");
        }
        note
    }
}

/// Lists the prefixes behind which a ResNet may begin.
fn list_places(file: &StateDict<'_>) -> BTreeSet<Place> {
    let mut places = BTreeSet::new();
    for entry in file.entries() {
        let Some(before) = entry.name.strip_suffix(FIRST_TENSOR) else { continue };
        if !before.is_empty() && !before.ends_with('.') {
            continue;
        }
        places.insert(Place { prefix: before.to_owned(), is_bare_resnet: true });
        if let Some(prefix) = before.strip_suffix(BACKBONE_PREFIX)
            && (prefix.is_empty() || prefix.ends_with('.'))
        {
            places.insert(Place { prefix: prefix.to_owned(), is_bare_resnet: false });
        }
    }
    places
}

/// Chooses among places that all have a whole backbone.
fn choose_place<'p>(complete: &[&'p Place]) -> Result<Option<&'p Place>> {
    // The same tensors, seen as a network with heads.
    let mut seen_with_heads = HashSet::new();
    for place in complete {
        if !place.is_bare_resnet {
            seen_with_heads.insert(format!("{}{BACKBONE_PREFIX}", place.prefix));
        }
    }
    let (mut candidates, mut averages) = (Vec::new(), Vec::new());
    for &place in complete {
        if place.is_bare_resnet && seen_with_heads.contains(&place.prefix) {
            continue;
        }
        candidates.push(place);
        if place.is_average() {
            averages.push(place);
        }
    }
    match (&candidates[..], &averages[..]) {
        ([], _) => Ok(None),
        ([only], _) | (_, [only]) => Ok(Some(*only)),
        (several, _) => {
            let mut prefixes = Vec::new();
            for place in several.iter().take(MAX_SHOWN_NAMES) {
                let own = if place.is_bare_resnet { "" } else { BACKBONE_PREFIX };
                prefixes.push(format!("{}{own}{FIRST_TENSOR}", place.prefix));
            }
            Err(Error::input(format!(
                "the file holds {} networks, which begin with {}, and which one is meant cannot be \
                 known; save the tensors of one of them alone",
                several.len(),
                prefixes.join(", ")
            )))
        }
    }
}

/// Lists the names of a backbone's tensors, as torchvision's ResNet has them.
fn list_backbone_names(backbone: Backbone) -> Vec<String> {
    let graph = build_graph(Architecture { algorithm: Algorithm::Fcn, backbone }, 2);
    let mut names = Vec::new();
    for spec in graph.parameters() {
        if spec.role != ParameterRole::BatchCounter
            && let Some(name) = spec.name.strip_prefix(BACKBONE_PREFIX)
        {
            names.push(name.to_owned());
        }
    }
    names
}

fn is_head_tensor(name: &str) -> bool {
    match name.split_once('.') {
        Some((head, _)) => HEAD_NAMES.contains(&head),
        None => false,
    }
}

pub(super) fn specs_with_prefix<'a>(
    specs: &'a [ParameterSpec],
    prefix: &str,
) -> impl Iterator<Item = &'a ParameterSpec> {
    specs.iter().filter(move |spec| spec.name.starts_with(prefix))
}

/// Checks that a tensor of the file can become one of the network. `name` is the file's.
pub(super) fn check_tensor<'a>(
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
