//! URIs of container images: the form that Amazon's registry has, tags that move, and regions.

use super::StepWithValues;
use crate::pipeline::definition::StepKind;
use crate::pipeline::expression::Expression;
use crate::pipeline::findings::Findings;

/// Parts of the URI of an image in ECR: `ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ImageUri<'a> {
    pub(super) region: &'a str,
    pub(super) repository: &'a str,
    /// Tag, or digest with its `sha256:`; none if the URI has neither.
    pub(super) tag: Option<&'a str>,
}

/// Domains of ECR: the public regions, those of China, and the isolated ones.
const DOMAINS: [&str; 4] = [".amazonaws.com", ".amazonaws.com.cn", ".c2s.ic.gov", ".sc2s.sgov.gov"];

impl<'a> ImageUri<'a> {
    /// Parses a URI; returns nothing for one that is not in ECR.
    pub(super) fn parse(uri: &'a str) -> Option<Self> {
        let (host, path) = uri.split_once('/')?;
        let (account, rest) =
            host.split_once(".dkr.ecr.").or_else(|| host.split_once(".dkr.ecr-fips."))?;
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let region = DOMAINS.iter().find_map(|domain| rest.strip_suffix(domain))?;
        let (repository, tag) = match path.split_once('@') {
            Some((repository, digest)) => (repository, Some(digest)),
            None => match path.rsplit_once(':') {
                Some((repository, tag)) => (repository, Some(tag)),
                None => (path, None),
            },
        };
        let is_region = !region.is_empty()
            && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        // ECR takes lower case only.
        let is_name = |c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.' | '/')
        };
        let is_repository = !repository.is_empty() && repository.chars().all(is_name);
        (is_account && is_region && is_repository && tag != Some("")).then_some(Self {
            region,
            repository,
            tag,
        })
    }
}

/// Returns the fields of a step's arguments that hold image URIs, and the URIs.
fn list_images<'a>(step: &'a StepWithValues<'_>) -> Vec<(String, &'a str)> {
    let mut images = Vec::new();
    for path in [
        &["AppSpecification", "ImageUri"][..],
        &["AlgorithmSpecification", "TrainingImage"],
        &["PrimaryContainer", "Image"],
    ] {
        images.extend(step.text(path).map(|uri| (path.join("."), uri)));
    }
    let containers = ["InferenceSpecification", "Containers"];
    for (index, container) in step.list(&containers).iter().enumerate() {
        let uri = container.get("Image").and_then(serde_json::Value::as_str);
        let field = format!("{}[{index}].Image", containers.join("."));
        images.extend(uri.map(|uri| (field, uri)));
    }
    images
}

/// Returns the image of a step's job or model, if it is known.
pub(super) fn find_job_image<'a>(step: &'a StepWithValues<'_>) -> Option<ImageUri<'a>> {
    let uri = match step.kind {
        StepKind::Processing => step.text(&["AppSpecification", "ImageUri"]),
        StepKind::Training => step.text(&["AlgorithmSpecification", "TrainingImage"]),
        StepKind::Model => step.text(&["PrimaryContainer", "Image"]),
        StepKind::RegisterModel => {
            let containers = step.list(&["InferenceSpecification", "Containers"]);
            containers.first().and_then(|container| container.get("Image")?.as_str())
        }
        _ => None,
    };
    uri.and_then(ImageUri::parse)
}

/// Checks the form of the image URIs of a step.
pub(super) fn check_image(step: &StepWithValues<'_>, findings: &mut Findings) {
    check_containers_have_images(step, findings);
    for (field, uri) in list_images(step) {
        let place = step.place(&field);
        match ImageUri::parse(uri) {
            None if reads_private_registry(step) => {}
            None => findings.error(
                place,
                format!(
                    "is {uri:?}; allowed: an image in Amazon's registry, \
                     ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG, as `scripts/image.sh push` \
                     prints it"
                ),
            ),
            Some(ImageUri { tag: None, .. }) => findings.warning(
                place,
                format!("is {uri:?} without a tag, which means latest; name the version"),
            ),
            Some(ImageUri { tag: Some("latest"), .. }) => findings.warning(
                place,
                format!("is {uri:?}, which is another image after each push; name the version"),
            ),
            Some(_) => {}
        }
    }
}

/// Finds containers of models that name no image. The service's request allows it, and no endpoint
/// can be made of such a model.
fn check_containers_have_images(step: &StepWithValues<'_>, findings: &mut Findings) {
    let mut containers = Vec::new();
    for (index, container) in
        step.list(&["InferenceSpecification", "Containers"]).iter().enumerate()
    {
        containers.push((format!("InferenceSpecification.Containers[{index}]"), container));
    }
    for (index, container) in step.list(&["Containers"]).iter().enumerate() {
        containers.push((format!("Containers[{index}]"), container));
    }
    if let Some(container) = step.argument(&["PrimaryContainer"]) {
        containers.push(("PrimaryContainer".to_owned(), container));
    }
    for (field, container) in containers {
        let has_image =
            ["Image", "ModelPackageName"].iter().any(|key| container.get(key).is_some());
        if container.is_object() && Expression::read(container).is_none() && !has_image {
            findings.error(
                step.place(&format!("{field}.Image")),
                "is missing; give the image that serves the model",
            );
        }
    }
}

/// Returns true for a training job whose image lies in a registry of the user's own network.
fn reads_private_registry(step: &StepWithValues<'_>) -> bool {
    let mode = ["AlgorithmSpecification", "TrainingImageConfig", "TrainingRepositoryAccessMode"];
    step.text(&mode) == Some("Vpc")
}

/// Finds images of several regions: jobs fetch images of their own region only.
pub(super) fn check_regions(steps: &[StepWithValues<'_>], findings: &mut Findings) {
    let mut first: Option<(&str, &str)> = None;
    for step in steps {
        let mut images = list_images(step);
        for list in ["ProfilerRuleConfigurations", "DebugRuleConfigurations"] {
            for (index, rule) in step.list(&[list]).iter().enumerate() {
                let uri = rule.get("RuleEvaluatorImage").and_then(serde_json::Value::as_str);
                let field = format!("{list}[{index}].RuleEvaluatorImage");
                images.extend(uri.map(|uri| (field, uri)));
            }
        }
        for (field, uri) in images {
            let Some(image) = ImageUri::parse(uri) else { continue };
            let (region, other) = *first.get_or_insert((image.region, &step.step.name));
            if region != image.region {
                findings.error(
                    step.place(&field),
                    format!(
                        "is an image in {}, and that of step {other} is in {region}; a pipeline runs in \
                         one region",
                        image.region
                    ),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_ecr_are_taken_apart() {
        let uri = "111122223333.dkr.ecr.us-east-2.amazonaws.com/team/maskmaker:0.1.0";
        let image = ImageUri::parse(uri).unwrap();
        assert_eq!((image.region, image.repository), ("us-east-2", "team/maskmaker"));
        assert_eq!(image.tag, Some("0.1.0"));
        let digest = "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/m@sha256:00ff";
        assert_eq!(ImageUri::parse(digest).unwrap().tag, Some("sha256:00ff"));
        for wrong in [
            "maskmaker:cpu",
            "docker.io/library/python:3",
            "11112222333.dkr.ecr.us-east-2.amazonaws.com/m:1",
            "111122223333.dkr.ecr.us-east-2.amazon.com/m:1",
            "111122223333.dkr.ecr.us-east-2.amazonaws.com/M:1",
            "111122223333.dkr.ecr.us-east-2.amazonaws.com/m:",
            "s3://bucket/image",
        ] {
            assert_eq!(ImageUri::parse(wrong), None, "{wrong}");
        }
    }
}
