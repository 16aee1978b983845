//! Registries of models: groups of versions, each with an approval status. One lies in a folder, the
//! other in the account.

mod folder;
mod sagemaker;

use std::path::PathBuf;

pub(super) use self::folder::NewPackage;
pub use self::folder::{ModelPackage, Registry};
pub use self::sagemaker::{ApprovedModel, RegisteredModel, SageMakerRegistry};
use crate::named_enum::named_enum;

/// Variable that names the registry.
pub const REGISTRY_VARIABLE: &str = "MASKMAKER_REGISTRY";

/// Name of the account's registry in place of a folder.
const SAGEMAKER_NAME: &str = "sagemaker";

named_enum! {
    /// Decision of a person whether a model may be used. The names are the service's.
    ApprovalStatus {
        PendingManualApproval = "PendingManualApproval",
        Approved = "Approved",
        Rejected = "Rejected",
    }
}

/// Registry that a person names: a folder, or the account's by the word `sagemaker`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryPlace {
    Folder(PathBuf),
    SageMaker,
}

impl RegistryPlace {
    /// Takes a folder, or the word.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        if path.as_os_str() == SAGEMAKER_NAME { Self::SageMaker } else { Self::Folder(path) }
    }
}
