//! `maskmaker registry` lists and shows models in a local registry, and takes a person's decisions
//! on them.

use serde_json::Value;

use crate::console::print_stdout;
use crate::error::{Error, Result};
use crate::pipeline::{ApprovalStatus, ModelPackage, Registry};

/// Prints a line per version: group, version, approval status, time, and the model's mIoU if the
/// pipeline gave it.
pub fn list_packages(registry: &Registry, group: Option<&str>) -> Result<()> {
    let groups = match group {
        Some(group) => vec![group.to_owned()],
        None => registry.groups()?,
    };
    let mut rows = Vec::new();
    for group in &groups {
        rows.extend(registry.packages(group)?);
    }
    if rows.is_empty() {
        // A group that is not there is most likely misspelled.
        if let Some(group) = group {
            registry.read(group, 1)?;
        }
        let folder = registry.folder().display();
        print_stdout(format_args!("{folder}: the registry has no models"));
    }
    for package in rows {
        print_stdout(describe(&package));
    }
    Ok(())
}

fn describe(package: &ModelPackage) -> String {
    let metadata = package.description.get("CustomerMetadataProperties");
    let miou = metadata.and_then(|metadata| metadata.get("mIoU")).and_then(Value::as_str);
    let miou = miou.map_or(String::new(), |miou| format!("  mIoU {miou}"));
    format!(
        "{}  {}  {:<21}  {}{miou}",
        package.model_package_group_name,
        package.model_package_version,
        package.model_approval_status.name(),
        package.creation_time
    )
}

/// Prints the description of a version as JSON.
pub fn show_package(registry: &Registry, group: &str, version: u32) -> Result<()> {
    let package = registry.read(group, version)?;
    let text = serde_json::to_string_pretty(&package)
        .map_err(|cause| Error::internal(cause.to_string()))?;
    print_stdout(text);
    Ok(())
}

/// Approves or rejects a version.
pub fn decide(
    registry: &Registry,
    group: &str,
    version: u32,
    status: ApprovalStatus,
    description: Option<&str>,
) -> Result<()> {
    let package = registry.set_status(group, version, status, description)?;
    print_stdout(describe(&package));
    Ok(())
}
