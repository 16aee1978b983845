//! The registry of models in the account: model package groups and their versions.

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::ApprovalStatus;
use crate::aws::sagemaker_api::{
    DescribeModelPackage, ListModelPackageGroups, ListModelPackages, ModelPackageSummary,
    UpdateModelPackage,
};
use crate::aws::{JsonClient, S3Uri, ServiceErrorKind};
use crate::error::{Error, Result, did_you_mean};

/// Most entries of one answer of the service.
const MAX_ENTRIES_PER_ANSWER: u32 = 100;

/// Registry of an account in one region.
#[derive(Debug)]
pub struct SageMakerRegistry<'a>(pub &'a JsonClient);

/// Version of a group, as far as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredModel {
    pub group: String,
    pub version: u32,
    pub arn: String,
    pub approval_status: String,
    /// Time at which the version was added, as RFC 3339.
    pub creation_time: String,
    /// Mean IoU that the pipeline gave, as it wrote it.
    pub miou: Option<String>,
}

/// Approved version and its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedModel {
    pub arn: String,
    /// Archive of the model.
    pub model_data: S3Uri,
}

impl SageMakerRegistry<'_> {
    /// Returns the names of the groups.
    pub fn groups(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut next_token = None;
        loop {
            let max_results = MAX_ENTRIES_PER_ANSWER;
            let listed = self.0.send(&ListModelPackageGroups { next_token, max_results })?;
            for group in listed.model_package_group_summary_list {
                names.push(group.model_package_group_name);
            }
            next_token = listed.next_token;
            if next_token.is_none() {
                names.sort();
                return Ok(names);
            }
        }
    }

    /// Returns the versions of a group, the first one first. A group that is not there is an error.
    pub fn models(&self, group: &str) -> Result<Vec<RegisteredModel>> {
        let mut models = Vec::new();
        for summary in self.list(group, None)? {
            let description = self.describe(&summary.model_package_arn)?;
            let metadata = description.get("CustomerMetadataProperties");
            let miou = metadata.and_then(|metadata| metadata.get("mIoU")).and_then(Value::as_str);
            models.push(RegisteredModel {
                group: group.to_owned(),
                version: summary.model_package_version.unwrap_or_default(),
                arn: summary.model_package_arn,
                approval_status: summary.model_approval_status.unwrap_or_default(),
                creation_time: write_time(summary.creation_time),
                miou: miou.map(str::to_owned),
            });
        }
        Ok(models)
    }

    /// Returns the description of a version in the service's words.
    pub fn read(&self, group: &str, version: u32) -> Result<Map<String, Value>> {
        let arn = self.find(group, version)?;
        self.describe(&arn)
    }

    /// Approves or rejects a version. What listens to the account's events may deploy it then.
    pub fn set_status(
        &self,
        group: &str,
        version: u32,
        status: ApprovalStatus,
        description: Option<&str>,
    ) -> Result<()> {
        let arn = self.find(group, version)?;
        self.0.send(&UpdateModelPackage {
            model_package_arn: arn,
            model_approval_status: status.name(),
            approval_description: description.map(str::to_owned),
        })?;
        Ok(())
    }

    /// Returns the approved version of a group that was added last. Returns nothing if there is none,
    /// or no such group.
    pub fn last_approved(&self, group: &str) -> Result<Option<ApprovedModel>> {
        let mut approved = self.list_if_there(group, Some(ApprovalStatus::Approved))?;
        let Some(last) = approved.pop() else { return Ok(None) };
        let description = self.describe(&last.model_package_arn)?;
        let path = "/InferenceSpecification/Containers/0/ModelDataUrl";
        let arn = last.model_package_arn;
        let description = Value::Object(description);
        let Some(url) = description.pointer(path).and_then(Value::as_str) else {
            return Err(Error::input(format!(
                "{arn} has no model in InferenceSpecification.Containers[0].ModelDataUrl; reject \
                 it, or register it with its model.tar.gz"
            )));
        };
        let model_data = url.parse().map_err(|problem| {
            Error::input(format!("{arn}: its ModelDataUrl is {url}, which {problem}"))
        })?;
        Ok(Some(ApprovedModel { arn, model_data }))
    }

    fn describe(&self, arn: &str) -> Result<Map<String, Value>> {
        Ok(self.0.send(&DescribeModelPackage { model_package_name: arn.to_owned() })?)
    }

    /// Returns the ARN of a version. The error names the versions that are there.
    fn find(&self, group: &str, version: u32) -> Result<String> {
        let summaries = self.list(group, None)?;
        let mut known = Vec::new();
        for summary in summaries {
            let found = summary.model_package_version.unwrap_or_default();
            if found == version {
                return Ok(summary.model_package_arn);
            }
            known.push(found.to_string());
        }
        Err(Error::input(format!(
            "the account's registry has no version {version} of {group}; it has {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        )))
    }

    /// Lists the versions of a group, the first one first. A group that is not there is an error, which
    /// names one with a similar name.
    fn list(
        &self,
        group: &str,
        status: Option<ApprovalStatus>,
    ) -> Result<Vec<ModelPackageSummary>> {
        let summaries = self.list_if_there(group, status)?;
        if summaries.is_empty() {
            let groups = self.groups()?;
            if !groups.iter().any(|known| known == group) {
                let hint = did_you_mean(group, groups.iter().map(String::as_str));
                return Err(Error::input(format!(
                    "the account's registry in {} has no group {group}{hint}",
                    self.0.region()
                )));
            }
        }
        Ok(summaries)
    }

    fn list_if_there(
        &self,
        group: &str,
        status: Option<ApprovalStatus>,
    ) -> Result<Vec<ModelPackageSummary>> {
        let mut summaries = Vec::new();
        let mut next_token = None;
        loop {
            let answer = self.0.send(&ListModelPackages {
                model_package_group_name: group.to_owned(),
                model_approval_status: status.map(ApprovalStatus::name),
                sort_by: "CreationTime",
                sort_order: "Ascending",
                next_token,
                max_results: MAX_ENTRIES_PER_ANSWER,
            });
            let listed = match answer {
                Ok(listed) => listed,
                Err(error) if error.kind == ServiceErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            summaries.extend(listed.model_package_summary_list);
            next_token = listed.next_token;
            if next_token.is_none() {
                return Ok(summaries);
            }
        }
    }
}

/// Returns a time in seconds since 1970 as RFC 3339.
fn write_time(seconds: f64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds as i64);
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, hour) = (time.date(), time.hour());
    format!("{date}T{hour:02}:{:02}:{:02}Z", time.minute(), time.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(write_time(1_764_547_505.25), "2025-12-01T00:05:05Z");
        assert_eq!(write_time(f64::NAN), "1970-01-01T00:00:00Z");
    }
}
