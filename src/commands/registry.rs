//! `maskmaker registry` lists and shows the models of a registry, and takes a person's decisions on
//! them. The registry is a folder, or that of the account in SageMaker.

use serde::Serialize;
use serde_json::Value;

use super::remote_pipeline::connect;
use crate::aws::SAGEMAKER;
use crate::console::print_stdout;
use crate::error::{Error, Result};
use crate::pipeline::{
    ApprovalStatus, ModelPackage, RegisteredModel, Registry, RegistryPlace, SageMakerRegistry,
};
use crate::sagemaker::StopSignal;

/// Prints a line per version: group, version, approval status, time, and the model's mIoU if the
/// pipeline gave it.
pub fn list_packages(place: RegistryPlace, group: Option<&str>) -> Result<()> {
    let (lines, name) = match place {
        RegistryPlace::Folder(folder) => {
            let name = folder.display().to_string();
            (list_in_folder(&Registry::new(folder), group)?, name)
        }
        RegistryPlace::SageMaker => {
            let client = connect(&SAGEMAKER, &StopSignal::listen()?)?;
            (list_in_account(&SageMakerRegistry(&client), group)?, "SageMaker".to_owned())
        }
    };
    if lines.is_empty() {
        print_stdout(format_args!("{name}: the registry has no models"));
    }
    for line in lines {
        print_stdout(line);
    }
    Ok(())
}

fn list_in_folder(registry: &Registry, group: Option<&str>) -> Result<Vec<String>> {
    let groups = match group {
        Some(group) => vec![group.to_owned()],
        None => registry.groups()?,
    };
    let mut lines = Vec::new();
    for group in &groups {
        for package in registry.packages(group)? {
            lines.push(describe(&package));
        }
    }
    // A group that is not there is most likely misspelled.
    if let Some(group) = group
        && lines.is_empty()
    {
        registry.read(group, 1)?;
    }
    Ok(lines)
}

fn list_in_account(registry: &SageMakerRegistry<'_>, group: Option<&str>) -> Result<Vec<String>> {
    let groups = match group {
        Some(group) => vec![group.to_owned()],
        None => registry.groups()?,
    };
    let mut lines = Vec::new();
    for group in &groups {
        for model in registry.models(group)? {
            let RegisteredModel { group, version, approval_status, creation_time, miou, .. } =
                model;
            lines.push(write_line(
                &group,
                version,
                &approval_status,
                &creation_time,
                miou.as_deref(),
            ));
        }
    }
    Ok(lines)
}

fn describe(package: &ModelPackage) -> String {
    let metadata = package.description.get("CustomerMetadataProperties");
    let miou = metadata.and_then(|metadata| metadata.get("mIoU")).and_then(Value::as_str);
    write_line(
        &package.model_package_group_name,
        package.model_package_version,
        package.model_approval_status.name(),
        &package.creation_time,
        miou,
    )
}

fn write_line(group: &str, version: u32, status: &str, time: &str, miou: Option<&str>) -> String {
    let miou = miou.map_or(String::new(), |miou| format!("  mIoU {miou}"));
    format!("{group}  {version}  {status:<21}  {time}{miou}")
}

/// Prints the description of a version as JSON.
pub fn show_package(place: RegistryPlace, group: &str, version: u32) -> Result<()> {
    match place {
        RegistryPlace::Folder(folder) => print_json(&Registry::new(folder).read(group, version)?),
        RegistryPlace::SageMaker => {
            let client = connect(&SAGEMAKER, &StopSignal::listen()?)?;
            print_json(&SageMakerRegistry(&client).read(group, version)?)
        }
    }
}

fn print_json(description: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(description)
        .map_err(|cause| Error::internal(cause.to_string()))?;
    print_stdout(text);
    Ok(())
}

/// Approves or rejects a version.
pub fn decide(
    place: RegistryPlace,
    group: &str,
    version: u32,
    status: ApprovalStatus,
    description: Option<&str>,
) -> Result<()> {
    let line = match place {
        RegistryPlace::Folder(folder) => {
            let registry = Registry::new(folder);
            describe(&registry.set_status(group, version, status, description)?)
        }
        RegistryPlace::SageMaker => {
            let client = connect(&SAGEMAKER, &StopSignal::listen()?)?;
            let registry = SageMakerRegistry(&client);
            registry.set_status(group, version, status, description)?;
            format!("{group}  {version}  {}", status.name())
        }
    };
    print_stdout(line);
    Ok(())
}
