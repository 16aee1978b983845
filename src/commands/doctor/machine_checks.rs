//! Checks of the processor, the memory and the GPUs.

use std::path::Path;
use std::thread;

use super::finding::Finding;
use crate::commands::device::why_gpus_are_expected;
use crate::distributed::NcclHost;
use crate::machine;
use crate::sagemaker::cluster::Cluster;
use crate::torch::{self, DeviceChoice, DriverProblem, GpuStatus};

/// Memory below which training a network with images of usual sizes runs out of it, in bytes.
const LEAST_MEMORY: u64 = 4 << 30;

/// Returns the findings about processor and memory.
pub(super) fn check_processor_and_memory() -> Vec<Finding> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut findings = Vec::new();
    if std::arch::is_x86_feature_detected!("avx2") {
        let bf16 =
            if std::arch::is_x86_feature_detected!("avx512bf16") { "with" } else { "without" };
        findings.push(Finding::ok("processor", format!("{cores} cores, {bf16} bfloat16")));
    } else {
        findings.push(Finding::problem(
            "processor",
            "it has no AVX2, which libtorch's fast code needs: take a machine of 2013 or later",
        ));
    }
    match machine::memory_bytes() {
        Some(bytes) if bytes < LEAST_MEMORY => findings.push(Finding::warning(
            "memory",
            format!(
                "{} is little: training may run out of it; take a larger instance, or start the \
                 container with more (docker run --memory)",
                describe_bytes(bytes)
            ),
        )),
        Some(bytes) => findings.push(Finding::ok("memory", describe_bytes(bytes))),
        None => findings.push(Finding::warning("memory", "the system tells no size of it")),
    }
    findings.push(check_temporary_folder(&std::env::temp_dir()));
    findings
}

fn check_temporary_folder(folder: &Path) -> Finding {
    if let Err(cause) = tempfile::NamedTempFile::new_in(folder) {
        let folder = folder.display();
        let message = format!("no file can be made in {folder} ({cause}): set TMPDIR to a folder");
        return Finding::problem("temporary files", message);
    }
    let free = machine::free_bytes(folder).map_or("unknown space".to_owned(), describe_bytes);
    Finding::ok("temporary files", format!("{free} free in {}", folder.display()))
}

/// Returns the findings about GPUs, their driver, and the libraries that use them.
pub(super) fn check_gpus(cluster: Option<&Cluster>) -> Vec<Finding> {
    if torch::device_choice() == DeviceChoice::Cpu {
        return vec![Finding::ok("device", "the processor, by MASKMAKER_DEVICE or --device")];
    }
    let status = GpuStatus::inspect();
    let mut findings = vec![check_driver(&status), check_libraries(&status)];
    if let Some(reason) = &status.libraries_reason {
        findings.push(Finding::warning("driver", reason.clone()));
    }
    let instance_type = cluster.and_then(Cluster::instance_type_with_gpus);
    let reason = why_gpus_are_expected(&status, instance_type);
    findings.push(match (status.problem(), reason) {
        (Some(problem), Some(reason)) => Finding::problem(
            "device",
            format!(
                "{reason}, and libtorch cannot use it: {problem}; MASKMAKER_DEVICE=cpu (--device \
                 cpu) computes on the processor"
            ),
        ),
        (Some(_), None) if status.are_gpus_hidden() => {
            Finding::ok("device", "the processor, since CUDA_VISIBLE_DEVICES hides all GPUs")
        }
        (Some(_), None) => Finding::ok("device", "the processor, since this host has no GPU"),
        (None, _) => Finding::ok("device", describe_gpus(&status)),
    });
    let hosts = cluster.map_or(1, |cluster| cluster.hosts.len());
    if status.usable_gpus > 1 || status.usable_gpus > 0 && hosts > 1 {
        findings.push(check_exchange_library());
    }
    if status.usable_gpus > 1 {
        findings.push(check_shared_memory(status.usable_gpus));
    }
    findings
}

fn check_driver(status: &GpuStatus) -> Finding {
    let version = status.describe_driver();
    match (&status.driver_problem, status.driver_cuda) {
        (Some(DriverProblem::NoLibrary(cause)), _) => {
            Finding::ok("driver", format!("NVIDIA's driver is not there ({cause})"))
        }
        (Some(DriverProblem::NoStart(_)), _) if status.are_gpus_hidden() => {
            Finding::ok("driver", format!("NVIDIA's {version}, of which no GPU is to be seen"))
        }
        (Some(DriverProblem::NoStart(cause)), _) => {
            Finding::problem("driver", format!("NVIDIA's driver {version} does not start: {cause}"))
        }
        (None, Some((major, minor))) => {
            Finding::ok("driver", format!("NVIDIA's {version}, for CUDA up to {major}.{minor}"))
        }
        (None, None) => Finding::ok("driver", format!("NVIDIA's {version}")),
    }
}

fn check_libraries(status: &GpuStatus) -> Finding {
    match (&status.library_problem, status.libtorch_cuda) {
        (Some(cause), _) => {
            Finding::ok("libtorch", format!("the part for processors alone ({cause})"))
        }
        (None, Some((major, minor))) => {
            Finding::ok("libtorch", format!("with its GPU part, for CUDA {major}.{minor}"))
        }
        (None, None) => Finding::problem(
            "libtorch",
            "its GPU part can be opened, but libtorch does not see it; please report this",
        ),
    }
}

fn describe_gpus(status: &GpuStatus) -> String {
    let mut gpus = Vec::new();
    for (number, gpu) in status.gpus.iter().enumerate() {
        let (major, minor) = gpu.capability;
        let memory = describe_bytes(gpu.memory_bytes);
        let name = &gpu.name;
        gpus.push(format!("GPU {number}: {name} ({memory}, compute capability {major}.{minor})"));
    }
    gpus.join(", ")
}

fn check_exchange_library() -> Finding {
    match torch::open_nccl_library() {
        Ok(()) => Finding::ok("NCCL", "GPUs can exchange gradients (libmaskmaker_nccl.so)"),
        Err(error) => Finding::problem("NCCL", error.to_string()),
    }
}

fn check_shared_memory(gpus: usize) -> Finding {
    let host = NcclHost::inspect(gpus, None);
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let warning = host.environment(&is_set, Path::new("")).warning;
    match warning {
        Some(warning) => Finding::warning("/dev/shm", warning),
        None => Finding::ok("/dev/shm", format!("enough for {gpus} GPUs")),
    }
}

/// Describes a size, such as `23.4 GiB`.
fn describe_bytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn this_machine_can_be_looked_at() {
        let findings = check_processor_and_memory();
        let checks: Vec<&str> = findings.iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["processor", "memory", "temporary files"]);
        assert!(check_gpus(None).iter().any(|finding| finding.check == "device"));
    }

    #[test]
    fn a_driver_that_does_not_start_is_a_problem_and_none_is_not() {
        let mut status = GpuStatus {
            driver_version: Some("550.1".to_owned()),
            driver_cuda: Some((12, 4)),
            ..GpuStatus::default()
        };
        assert_eq!(check_driver(&status).message, "NVIDIA's 550.1, for CUDA up to 12.4");
        status.driver_problem = Some(DriverProblem::NoStart("error 803".to_owned()));
        assert_eq!(check_driver(&status).level, Level::Problem);
        status.visible_gpus = Some("-1".to_owned());
        assert_eq!(check_driver(&status).level, Level::Ok);
        status.driver_problem = Some(DriverProblem::NoLibrary("no file".to_owned()));
        assert_eq!(check_driver(&status).level, Level::Ok);
    }

    #[test]
    fn a_temporary_folder_that_cannot_be_used_is_a_problem() {
        let finding = check_temporary_folder(Path::new("/no/such/folder"));
        assert_eq!(finding.level, Level::Problem);
        assert!(finding.message.contains("TMPDIR"), "{}", finding.message);
    }

    #[test]
    fn libraries_are_told_apart() {
        let mut status =
            GpuStatus { library_problem: Some("x".to_owned()), ..GpuStatus::default() };
        assert_eq!(check_libraries(&status).level, Level::Ok);
        status.library_problem = None;
        assert_eq!(check_libraries(&status).level, Level::Problem);
        status.libtorch_cuda = Some((12, 8));
        assert_eq!(check_libraries(&status).message, "with its GPU part, for CUDA 12.8");
    }
}
