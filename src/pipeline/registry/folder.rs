//! A registry of models in a folder, in the terms of SageMaker's: groups of packages with versions
//! and an approval status.
//!
//! ```text
//! REGISTRY/GROUP/VERSION/package.json    description and approval status
//! REGISTRY/GROUP/VERSION/model/          the model, as `serve`, `predict` and `evaluate` read it
//! REGISTRY/GROUP/VERSION/metrics/        the files of its metrics
//! ```
//!
//! A version is whole or absent. `maskmaker --ml-root REGISTRY/GROUP/VERSION serve` serves it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::ApprovalStatus;
use crate::error::{Error, ErrorContext, Result, did_you_mean};
use crate::files::{
    PathContext, create_folder, create_partial_folder, read_file, remove_partials, sync_filesystem,
    write_json,
};
use crate::pipeline::digest::{digest_file, to_hex};

/// File of a version.
const PACKAGE_FILE: &str = "package.json";

/// Folder of the model in a version.
const MODEL_FOLDER: &str = "model";

/// Folder of the files of metrics in a version.
const METRICS_FOLDER: &str = "metrics";

/// Largest size of an unpacked model, in bytes.
const MAX_MODEL_BYTES: u64 = 64 << 30;

/// Description of a version, in the service's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ModelPackage {
    pub model_package_group_name: String,
    pub model_package_version: u32,
    pub model_approval_status: ApprovalStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_description: Option<String>,
    /// Time at which the version was added, as RFC 3339.
    pub creation_time: String,
    /// Execution and step that added the version, which add it once only.
    pub pipeline_execution_id: String,
    pub step_name: String,
    /// Digest of model, metrics and description.
    #[serde(default)]
    pub content_digest: String,
    /// What the step asked the service for, without the keys above: `InferenceSpecification`,
    /// `ModelMetrics`, `CustomerMetadataProperties` and others. Places of metrics are file names in
    /// `metrics`.
    #[serde(flatten)]
    pub description: Map<String, Value>,
}

/// What a new version is made of.
#[derive(Debug)]
pub struct NewPackage<'a> {
    pub group: &'a str,
    pub status: ApprovalStatus,
    pub creation_time: &'a str,
    pub execution_id: &'a str,
    pub step: &'a str,
    /// Description without the places of its metrics.
    pub description: Map<String, Value>,
    /// Archive of the model.
    pub model: Option<PathBuf>,
    /// Files of metrics, and the paths of their places in the description, such as
    /// `["ModelMetrics", "ModelQuality", "Statistics"]`.
    pub metrics: Vec<(Vec<String>, PathBuf)>,
}

impl NewPackage<'_> {
    fn digest(&self) -> Result<String> {
        let mut digest = Sha256::new();
        digest.update(self.group);
        digest.update(Value::Object(self.description.clone()).to_string());
        let files = self.model.iter().chain(self.metrics.iter().map(|(_, file)| file));
        for path in files {
            digest.update(digest_file(path)?);
        }
        Ok(to_hex(&digest.finalize()))
    }
}

/// Registry in a folder, which need not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry(PathBuf);

impl Registry {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Returns the names of the groups.
    pub fn groups(&self) -> Result<Vec<String>> {
        list_folders(&self.0)
    }

    /// Returns the versions of a group, the first one first. A group that is not there has none.
    pub fn packages(&self, group: &str) -> Result<Vec<ModelPackage>> {
        let mut packages = Vec::new();
        for version in self.versions(group)? {
            packages.push(self.read(group, version)?);
        }
        Ok(packages)
    }

    fn versions(&self, group: &str) -> Result<Vec<u32>> {
        check_name(group)?;
        let mut versions = Vec::new();
        for name in list_folders(&self.0.join(group))? {
            versions.extend(name.parse::<u32>().ok().filter(|version| version.to_string() == name));
        }
        versions.sort_unstable();
        Ok(versions)
    }

    /// Reads a version. The error names those that are there.
    pub fn read(&self, group: &str, version: u32) -> Result<ModelPackage> {
        let path = self.version_folder(group, version).join(PACKAGE_FILE);
        if !path.exists() {
            return Err(self.missing(group, version));
        }
        let package: ModelPackage = serde_json::from_slice(&read_file(&path)?)
            .map_err(|cause| Error::input(format!("{}: {cause}", path.display())))?;
        Ok(package)
    }

    fn missing(&self, group: &str, version: u32) -> Error {
        let versions = self.versions(group).unwrap_or_default();
        let folder = self.0.display();
        if versions.is_empty() {
            let groups = self.groups().unwrap_or_default();
            let hint = did_you_mean(group, groups.iter().map(String::as_str));
            return Error::input(format!("{folder}: the registry has no group {group}{hint}"));
        }
        let known: Vec<String> = versions.iter().map(u32::to_string).collect();
        Error::input(format!(
            "{folder}: {group} has no version {version}; it has {}",
            known.join(", ")
        ))
    }

    /// Returns the folder of the registry.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Returns the folder of a version.
    pub fn version_folder(&self, group: &str, version: u32) -> PathBuf {
        self.0.join(group).join(version.to_string())
    }

    /// Returns the folder of a version's model.
    pub fn model_folder(&self, package: &ModelPackage) -> PathBuf {
        let group = &package.model_package_group_name;
        self.version_folder(group, package.model_package_version).join(MODEL_FOLDER)
    }

    /// Returns the last approved version of a group.
    pub fn last_approved(&self, group: &str) -> Result<Option<ModelPackage>> {
        let mut packages = self.packages(group)?;
        packages.retain(|package| package.model_approval_status == ApprovalStatus::Approved);
        Ok(packages.pop())
    }

    /// Returns the last approved version of a group that another execution added.
    pub fn last_approved_before(
        &self,
        group: &str,
        execution_id: &str,
    ) -> Result<Option<ModelPackage>> {
        let mut packages = self.packages(group)?;
        packages.retain(|package| {
            package.model_approval_status == ApprovalStatus::Approved
                && package.pipeline_execution_id != execution_id
        });
        Ok(packages.pop())
    }

    /// Adds a version, and returns it. If the same step of the same execution added the same model
    /// before, as in a run that was killed just after, that version is returned.
    pub fn add(&self, new: NewPackage<'_>) -> Result<ModelPackage> {
        check_name(new.group)?;
        let _lock = self.lock()?;
        let group_folder = self.0.join(new.group);
        let packages = self.packages(new.group)?;
        let content_digest = new.digest()?;
        let earlier = packages.iter().find(|package| {
            package.pipeline_execution_id == new.execution_id
                && package.step_name == new.step
                && package.content_digest == content_digest
        });
        if let Some(earlier) = earlier {
            return Ok(earlier.clone());
        }
        create_folder(&group_folder)?;
        remove_partials(&group_folder);
        let partial = create_partial_folder(&group_folder).with_path("write", &group_folder)?;
        let mut description = new.description;
        if let Some(archive) = &new.model {
            unpack(archive, &partial.path().join(MODEL_FOLDER)).error_context(archive.display())?;
        }
        for (path, file) in &new.metrics {
            let name = copy_metric(path, file, &partial.path().join(METRICS_FOLDER))?;
            let mut place = Some(&mut description).and_then(|keys| keys.get_mut(&path[0]));
            for key in &path[1..] {
                place = place.and_then(|value| value.get_mut(key));
            }
            if let Some(place) = place {
                place["S3Uri"] = Value::String(name);
            }
        }
        let version = packages.last().map_or(1, |package| package.model_package_version + 1);
        let package = ModelPackage {
            model_package_group_name: new.group.to_owned(),
            model_package_version: version,
            model_approval_status: new.status,
            approval_description: None,
            creation_time: new.creation_time.to_owned(),
            pipeline_execution_id: new.execution_id.to_owned(),
            step_name: new.step.to_owned(),
            content_digest,
            description,
        };
        write_json(&partial.path().join(PACKAGE_FILE), &package)?;
        set_readable(partial.path())?;
        sync_filesystem(partial.path())?;
        let target = self.version_folder(new.group, version);
        fs::rename(partial.path(), &target).with_path("write", &target)?;
        // Its folder has another name now.
        let _ = partial.keep();
        Ok(package)
    }

    /// Waits until no other process adds or changes a version.
    fn lock(&self) -> Result<File> {
        create_folder(&self.0)?;
        let path = self.0.join(".lock");
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.with_path("write", &path)?;
        file.lock().with_path("lock", &path)?;
        Ok(file)
    }

    /// Approves or rejects a version. This deploys nothing.
    pub fn set_status(
        &self,
        group: &str,
        version: u32,
        status: ApprovalStatus,
        description: Option<&str>,
    ) -> Result<ModelPackage> {
        check_name(group)?;
        // A group that is not there gets no folder.
        self.read(group, version)?;
        let _lock = self.lock()?;
        let mut package = self.read(group, version)?;
        package.model_approval_status = status;
        package.approval_description = description.map(str::to_owned);
        write_json(&self.version_folder(group, version).join(PACKAGE_FILE), &package)?;
        Ok(package)
    }
}

/// Checks the name of a group, which becomes a folder, by the service's rule.
fn check_name(group: &str) -> Result<()> {
    let is_right = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if group.is_empty()
        || group.len() > 63
        || group.starts_with('-')
        || !group.chars().all(is_right)
    {
        return Err(Error::input(format!(
            "the model package group is {group:?}; allowed: 1 to 63 letters, digits and -"
        )));
    }
    Ok(())
}

fn list_folders(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    if !folder.is_dir() {
        return Ok(names);
    }
    for entry in fs::read_dir(folder).with_path("read the folder", folder)? {
        let entry = entry.with_path("read the folder", folder)?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
            && entry.path().is_dir()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Gives a folder, which was made for this user alone, the permissions of other folders.
fn set_readable(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).with_path("write", folder)
}

/// Copies a file of metrics, and returns its name in the version. Two places of one name are kept
/// apart by their keys.
fn copy_metric(path: &[String], file: &Path, folder: &Path) -> Result<String> {
    create_folder(folder)?;
    let base = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut name = base.clone();
    if folder.join(&name).exists() {
        name = format!("{}-{base}", path[1..].join("-"));
    }
    fs::copy(file, folder.join(&name)).with_path("copy", file)?;
    Ok(format!("{METRICS_FOLDER}/{name}"))
}

/// Unpacks the files of an archive. Links, devices and paths that lead out of the folder are
/// errors.
fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    create_folder(folder)?;
    let file = File::open(archive).with_path("read", archive)?;
    let mut reader = tar::Archive::new(MultiGzDecoder::new(std::io::BufReader::new(file)));
    let mut left = MAX_MODEL_BYTES;
    let damaged = |cause: std::io::Error| Error::input(format!("is no readable .tar.gz: {cause}"));
    for entry in reader.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.display().to_string();
        let kind = entry.header().entry_type();
        if !kind.is_file() && !kind.is_dir() {
            return Err(Error::input(format!("{name} is neither a file nor a folder")));
        }
        left = left.checked_sub(entry.size()).ok_or_else(|| {
            Error::input(format!("holds more than {} GiB", MAX_MODEL_BYTES >> 30))
        })?;
        if !entry.unpack_in(folder).map_err(damaged)? {
            return Err(Error::input(format!("{name} leads out of the archive's folder")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;

    use super::*;

    fn archive(folder: &Path, entries: &[(&str, &str)]) -> PathBuf {
        let path = folder.join("model.tar.gz");
        let mut builder =
            tar::Builder::new(GzEncoder::new(File::create(&path).unwrap(), Compression::fast()));
        for (name, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            // Names as they are, also those that lead elsewhere.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
        path
    }

    fn new_package<'a>(execution_id: &'a str, model: &Path, metrics: &Path) -> NewPackage<'a> {
        let description = json!({
            "ModelMetrics": {"ModelQuality": {"Statistics": {"S3Uri": "s3://b/statistics.json"}}},
            "CustomerMetadataProperties": {"mIoU": "0.9"},
        });
        let Value::Object(description) = description else { unreachable!() };
        let path = ["ModelMetrics", "ModelQuality", "Statistics"].map(str::to_owned).to_vec();
        NewPackage {
            group: "scenes",
            status: ApprovalStatus::PendingManualApproval,
            creation_time: "2026-01-01T00:00:00Z",
            execution_id,
            step: "RegisterModel",
            description,
            model: Some(model.to_owned()),
            metrics: vec![(path, metrics.to_owned())],
        }
    }

    #[test]
    fn versions_count_up_once_per_step_of_an_execution_and_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new(folder.path().join("registry"));
        let model = archive(folder.path(), &[("config.json", "{}"), ("parts/a", "x")]);
        let metrics = folder.path().join("statistics.json");
        fs::write(&metrics, "{}").unwrap();
        assert_eq!(registry.last_approved("scenes").unwrap(), None);
        let first = registry.add(new_package("e1", &model, &metrics)).unwrap();
        assert_eq!(registry.add(new_package("e1", &model, &metrics)).unwrap(), first);
        let second = registry.add(new_package("e2", &model, &metrics)).unwrap();
        let before = registry.last_approved_before("scenes", "e2").unwrap();
        assert_eq!(before, None, "none is approved");
        assert_eq!((first.model_package_version, second.model_package_version), (1, 2));
        fs::write(&metrics, "changed").unwrap();
        let version = registry.version_folder("scenes", 1);
        let statistics = &first.description["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"];
        let kept = fs::read_to_string(version.join(statistics.as_str().unwrap())).unwrap();
        assert_eq!(kept, "{}");
        assert_eq!(fs::read_to_string(version.join("model/parts/a")).unwrap(), "x");

        assert_eq!(registry.last_approved("scenes").unwrap(), None);
        registry.set_status("scenes", 1, ApprovalStatus::Approved, Some("looks right")).unwrap();
        let approved = registry.last_approved("scenes").unwrap().unwrap();
        assert_eq!(approved.model_package_version, 1);
        assert_eq!(approved.approval_description.as_deref(), Some("looks right"));
        assert_eq!(registry.last_approved_before("scenes", "e1").unwrap(), None);
        assert!(registry.last_approved_before("scenes", "e2").unwrap().is_some());
        assert_eq!(registry.groups().unwrap(), ["scenes"]);
        // Other data in the same execution make another model.
        let changed = registry.add(new_package("e1", &model, &metrics)).unwrap();
        assert_eq!(changed.model_package_version, 3);
        let names = list_folders(&folder.path().join("registry/scenes")).unwrap();
        assert_eq!(names, ["1", "2", "3"], "nothing temporary is left");
    }

    #[test]
    fn what_is_not_there_and_names_that_are_no_folders_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new(folder.path());
        fs::create_dir_all(folder.path().join("scenes/3")).unwrap();
        let error = |group: &str, version| registry.read(group, version).unwrap_err().to_string();
        assert!(error("scene", 1).contains("did you mean \"scenes\"?"), "{}", error("scene", 1));
        assert!(error("scenes", 1).contains("it has 3"), "{}", error("scenes", 1));
        for name in ["..", "a/b", "", "-x", "a_b"] {
            assert!(registry.packages(name).is_err(), "{name}");
        }
    }

    #[test]
    fn archives_that_lead_out_of_their_folder_leave_no_version() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new(folder.path().join("registry"));
        let metrics = folder.path().join("statistics.json");
        fs::write(&metrics, "{}").unwrap();
        let model = archive(folder.path(), &[("../../escaped", "x")]);
        let error = registry.add(new_package("e", &model, &metrics)).unwrap_err().to_string();
        assert!(error.contains("../../escaped"), "{error}");
        fs::write(&model, "no archive").unwrap();
        assert!(registry.add(new_package("e", &model, &metrics)).is_err());
        assert!(registry.packages("scenes").unwrap().is_empty());
        assert!(!folder.path().join("registry/escaped").exists());
    }
}
