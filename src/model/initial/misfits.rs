//! The differences between a file's backbone and the job's, told as few sentences.

use std::collections::HashSet;

use super::backbone_file::{BACKBONE_PREFIX, BackboneFile, check_tensor, specs_with_prefix};
use crate::error::{Error, Problems};
use crate::model::graph::{ParameterRole, ParameterSpec};
use crate::model::network::build_graph;
use crate::model::{Architecture, Backbone};

/// Largest number of differences that are told one by one.
const MAX_LISTED: usize = 8;

/// Number of examples in a sentence about more differences.
const MAX_EXAMPLES: usize = 3;

/// Tensors that do not fit.
#[derive(Debug, Default)]
pub(super) struct Misfits {
    /// Names that the file does not have.
    missing: Vec<String>,
    /// Sentences about tensors of another shape or type.
    unlike: Vec<String>,
    /// Names of the file that the backbone does not have.
    extra: Vec<String>,
}

impl Misfits {
    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    fn count(&self) -> usize {
        self.missing.len() + self.unlike.len() + self.extra.len()
    }

    /// Returns the problems: each difference if there are few, else one sentence.
    fn into_problems(self, backbone: Backbone, file: &BackboneFile) -> Vec<String> {
        let name = backbone.name();
        let count = self.count();
        let Self { missing, unlike, extra } = self;
        if count <= MAX_LISTED {
            let mut problems = unlike;
            problems.extend(missing.iter().map(|tensor| format!("tensor {tensor} is missing")));
            problems.extend(
                extra.iter().map(|tensor| format!("tensor {tensor} is not part of {name}")),
            );
            return problems;
        }
        let mut parts = Vec::new();
        if !missing.is_empty() {
            parts.push(format!("{} are missing ({})", missing.len(), list_names(&missing)));
        }
        if !extra.is_empty() {
            parts.push(format!("{} are not part of it ({})", extra.len(), list_names(&extra)));
        }
        if !unlike.is_empty() {
            parts.push(format!("{} do not fit ({})", unlike.len(), list_names(&unlike)));
        }
        let prefix = match &file.prefix[..] {
            "" => String::new(),
            prefix => format!(" behind the prefix {prefix}"),
        };
        vec![format!(
            "the tensors{prefix} are not those of {name}: {}; names must be torchvision's, such as \
             layer1.0.conv1.weight, behind any one prefix",
            parts.join(", ")
        )]
    }
}

fn list_names(names: &[String]) -> String {
    let shown = names.iter().take(MAX_EXAMPLES).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_EXAMPLES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Lists the differences between the file's backbone and the one of `specs`.
pub(super) fn find_misfits(specs: &[ParameterSpec], file: &BackboneFile) -> Misfits {
    let mut expected_names = HashSet::new();
    let mut misfits = Misfits::default();
    for spec in specs_with_prefix(specs, BACKBONE_PREFIX) {
        let name = file.stored_name(&spec.name);
        expected_names.insert(name);
        if spec.role == ParameterRole::BatchCounter {
            continue;
        }
        let shown_name = format!("{}{name}", file.prefix);
        let entry = file.entry(&spec.name);
        match check_tensor(spec, &shown_name, entry) {
            Ok(_) => {}
            Err(_) if entry.is_none() => misfits.missing.push(shown_name),
            Err(problem) => misfits.unlike.push(problem),
        }
    }
    for entry in file.backbone_entries() {
        if !expected_names.contains(&entry.name[..]) {
            misfits.extra.push(format!("{}{}", file.prefix, entry.name));
        }
    }
    misfits
}

/// Returns the error about a backbone that does not fit. If the file fits another backbone, one
/// sentence says so in place of a list of all differences.
pub(super) fn wrong_backbone_error(
    architecture: Architecture,
    misfits: Misfits,
    file: &BackboneFile,
) -> Error {
    let expected_name = architecture.backbone.name();
    for other in Backbone::ALL {
        let specs = build_graph(Architecture { backbone: other, ..architecture }, 2).parameters();
        if find_misfits(&specs, file).is_empty() {
            let found_name = other.name();
            return Error::input(format!(
                "the weights are for backbone {found_name}, the job's backbone is {expected_name}; \
                 set backbone to {found_name}, or give weights for {expected_name}"
            ));
        }
    }
    let mut problems = Problems::new();
    for problem in misfits.into_problems(architecture.backbone, file) {
        problems.push(problem);
    }
    match problems.into_result() {
        Err(error) => error,
        Ok(()) => Error::internal("weights that fit were refused"),
    }
}
