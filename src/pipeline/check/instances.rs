//! Instance types that the API takes and that cannot run a step.

use serde_json::Value;

use super::StepWithValues;
use super::images::find_job_image;
use super::jobs::find_program;
use crate::pipeline::definition::StepKind;
use crate::pipeline::findings::Findings;

/// Repositories of Amazon's built-in algorithm, which trains on GPUs only.
const BUILT_IN_REPOSITORY: &str = "semantic-segmentation";

/// Checks the instance types of a step.
pub(super) fn check_instances(step: &StepWithValues<'_>, findings: &mut Findings) {
    let mut types: Vec<(String, &str)> = Vec::new();
    for path in [
        &["ProcessingResources", "ClusterConfig", "InstanceType"][..],
        &["ResourceConfig", "InstanceType"],
        &["HyperParameterTuningResourceConfig", "InstanceType"],
        &["TransformResources", "InstanceType"],
    ] {
        types.extend(step.text(path).map(|name| (path.join("."), name)));
    }
    for key in ["SupportedRealtimeInferenceInstanceTypes", "SupportedTransformInstanceTypes"] {
        for (index, name) in step.list(&["InferenceSpecification", key]).iter().enumerate() {
            let field = format!("InferenceSpecification.{key}[{index}]");
            types.extend(name.as_str().map(|name| (field, name)));
        }
    }
    // Other images may be built for other processors.
    if find_program(step).is_none() {
        return;
    }
    for (field, name) in types {
        let Some(processor) = find_processor(name) else { continue };
        let place = step.place(&field);
        if processor == Processor::Arm {
            findings.error(
                place,
                format!(
                    "is {name:?}, whose processor is an ARM; the image is built for x86-64; take \
                     such as ml.m5.xlarge, ml.c5.2xlarge or ml.g5.xlarge"
                ),
            );
        } else if processor == Processor::Accelerator {
            findings.error(
                place,
                format!(
                    "is {name:?}, whose accelerators libtorch cannot use; take such as ml.g5.xlarge"
                ),
            );
        } else {
            check_gpu(step, processor == Processor::Gpu, name, &field, findings);
        }
    }
}

/// Checks that a GPU is there where the image needs one, and used where there is one.
fn check_gpu(
    step: &StepWithValues<'_>,
    has_gpu: bool,
    name: &str,
    field: &str,
    findings: &mut Findings,
) {
    let Some(image) = find_job_image(step) else { return };
    let is_training = step.kind == StepKind::Training;
    if is_training && image.repository == BUILT_IN_REPOSITORY && !has_gpu {
        findings.error(
            step.place(field),
            format!(
                "is {name:?}, which has no GPU; Amazon's {BUILT_IN_REPOSITORY} trains on GPUs only; \
                 take such as ml.p3.2xlarge, or this project's image, which trains on processors too"
            ),
        );
    }
    let is_cpu_image = image.tag.is_some_and(|tag| tag == "cpu" || tag.ends_with("-cpu"));
    if has_gpu && is_cpu_image {
        findings.warning(
            step.place(field),
            format!("is {name:?}, whose GPUs the CPU image does not use; take the GPU image"),
        );
    }
    if has_gpu && calls_preprocess(step) {
        findings.warning(
            step.place(field),
            format!("is {name:?}, whose GPUs preprocess does not use; take such as ml.m5.xlarge"),
        );
    }
}

fn calls_preprocess(step: &StepWithValues<'_>) -> bool {
    let arguments = step.list(&["AppSpecification", "ContainerArguments"]);
    arguments.first().and_then(Value::as_str) == Some("preprocess")
}

/// Processor or accelerator by which an instance computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Processor {
    /// x86-64 alone.
    X86,
    /// x86-64 with GPUs of NVIDIA.
    Gpu,
    /// AWS' Graviton, or NVIDIA's Grace.
    Arm,
    /// AWS' own accelerators, or those of Habana.
    Accelerator,
}

/// Returns what an instance type computes with, by AWS' naming: letters of the family, the
/// generation, and further letters, of which a g comes first where the processor is Graviton.
fn find_processor(name: &str) -> Option<Processor> {
    let family = name.strip_prefix("ml.")?.split('.').next()?;
    let generation = family.find(|c: char| c.is_ascii_digit())?;
    let (letters, rest) = family.split_at(generation);
    let attributes = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    if attributes.starts_with('g') || attributes.contains("-gb") || letters == "a" {
        return Some(Processor::Arm);
    }
    Some(match letters {
        "inf" | "trn" | "dl" => Processor::Accelerator,
        "p" | "g" | "gr" => Processor::Gpu,
        _ => Processor::X86,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_instance_types_say_what_they_compute_with() {
        for (name, expected) in [
            ("ml.m5.xlarge", Processor::X86),
            ("ml.c6i.2xlarge", Processor::X86),
            ("ml.r8g.large", Processor::Arm),
            ("ml.c6gn.large", Processor::Arm),
            ("ml.g5g.xlarge", Processor::Arm),
            ("ml.p6e-gb200.36xlarge", Processor::Arm),
            ("ml.p3dn.24xlarge", Processor::Gpu),
            ("ml.g4dn.xlarge", Processor::Gpu),
            ("ml.p6-b300.48xlarge", Processor::Gpu),
            ("ml.trn1n.32xlarge", Processor::Accelerator),
            ("ml.dl1.24xlarge", Processor::Accelerator),
        ] {
            assert_eq!(find_processor(name), Some(expected), "{name}");
        }
        assert_eq!(find_processor("local"), None);
    }
}
