//! Commands check here that the GPUs of their host, or those that the user asks for, can be used.
//! Training ends where they cannot, because it would be slow in silence; the other commands say it
//! and go on.

use crate::console::print_stderr;
use crate::error::{Error, Result};
use crate::sagemaker::cluster::Cluster;
use crate::torch::{self, DeviceChoice, GpuStatus};

/// How to train without GPUs all the same.
const CPU_ADVICE: &str = "set MASKMAKER_DEVICE=cpu (--device cpu) to compute on the processor";

/// Checks that training uses the GPUs of its host, unless the user wants the processor.
///
/// # Errors
///
/// The host has GPUs (by its instance type or its devices) or the user asks for them, and libtorch
/// cannot use them.
pub(super) fn check_training_device(cluster: &Cluster) -> Result<()> {
    if torch::device_choice() == DeviceChoice::Cpu {
        return Ok(());
    }
    let status = GpuStatus::inspect();
    let reason = why_gpus_are_expected(&status, cluster.instance_type_with_gpus());
    match (reason, status.problem()) {
        (Some(reason), Some(problem)) => Err(Error::input(format!(
            "{reason}, and training cannot use it: {problem}; {CPU_ADVICE}"
        ))),
        _ => Ok(()),
    }
}

/// Checks that the GPU that the user asks for can be used. Warns where there is one that libtorch
/// does not find, and the user did not ask for it.
///
/// # Errors
///
/// The user asks for a GPU that cannot be used, or libtorch finds one that it has no kernels for.
pub(super) fn check_inference_device() -> Result<()> {
    let choice = torch::device_choice();
    if choice == DeviceChoice::Cpu {
        return Ok(());
    }
    let status = GpuStatus::inspect();
    let Some(reason) = why_gpus_are_expected(&status, None) else { return Ok(()) };
    let Some(problem) = status.problem() else { return Ok(()) };
    if choice != DeviceChoice::Auto || status.usable_gpus > 0 {
        return Err(Error::input(format!("{reason}, and cannot be used: {problem}; {CPU_ADVICE}")));
    }
    print_stderr(format_args!(
        "warning: {reason}, and the network is computed on the processor, which is slow: {problem}; \
         MASKMAKER_DEVICE=cpu (--device cpu) says that this is meant"
    ));
    Ok(())
}

/// Returns why GPUs should be used, if they should.
pub(super) fn why_gpus_are_expected(
    status: &GpuStatus,
    instance_type: Option<&str>,
) -> Option<String> {
    let choice = torch::device_choice();
    if choice != DeviceChoice::Auto {
        return Some(format!("a GPU is asked for (MASKMAKER_DEVICE or --device {choice})"));
    }
    if status.are_gpus_hidden() {
        return None;
    }
    if let Some(instance_type) = instance_type {
        return Some(format!("the instance type {instance_type} has a GPU"));
    }
    let file = status.device_files.first()?;
    Some(format!("this host has a GPU ({file})"))
}
