//! Why libtorch can use this host's GPUs, or cannot.

use std::path::Path;

use tch::utils::{has_cudart, version_cudart};

use super::cuda::{CudaDriver, Gpu};
use super::device::{LIBTORCH_CUDA, VISIBLE_GPUS, gpu_count};
use super::dynamic_library::DynamicLibrary;
use super::forward_compatibility::{unused_reason, used_libraries};

/// File in which the driver's kernel module says its version.
pub(super) const DRIVER_VERSION_FILE: &str = "/proc/driver/nvidia/version";

/// Major version of CUDA whose runtime libtorch 2.10 has. Drivers of the same version run it.
const CUDA_MAJOR: i32 = 12;

/// What this process finds of NVIDIA's driver and of libtorch's GPU part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuStatus {
    /// Version of the driver, such as `550.163.01`.
    pub driver_version: Option<String>,
    /// Version of newer driver libraries that are used with it (forward compatibility).
    pub driver_libraries: Option<String>,
    /// Why such libraries would be needed, and are not used.
    pub libraries_reason: Option<String>,
    /// Names of the devices of GPUs, such as `/dev/nvidia0`.
    pub device_files: Vec<String>,
    /// Why the driver's library cannot be opened, or the driver does not start.
    pub driver_problem: Option<DriverProblem>,
    /// Latest version of CUDA that the driver runs.
    pub driver_cuda: Option<(i32, i32)>,
    /// GPUs that the driver shows to this process.
    pub gpus: Vec<Gpu>,
    /// Why libtorch's GPU part cannot be opened.
    pub library_problem: Option<String>,
    /// Version of CUDA that libtorch was built for.
    pub libtorch_cuda: Option<(i32, i32)>,
    /// Value of `CUDA_VISIBLE_DEVICES`.
    pub visible_gpus: Option<String>,
    /// Number of GPUs that libtorch can use.
    pub usable_gpus: usize,
}

/// What keeps the driver from answering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverProblem {
    /// The library is not there.
    NoLibrary(String),
    /// The library does not start.
    NoStart(String),
}

impl GpuStatus {
    /// Looks at this host. [`choose_device`](super::choose_device) comes before.
    pub fn inspect() -> Self {
        let usable_gpus = gpu_count();
        let mut status = Self {
            driver_version: std::fs::read_to_string(DRIVER_VERSION_FILE)
                .ok()
                .and_then(|text| parse_driver_version(&text)),
            driver_libraries: used_libraries(),
            libraries_reason: unused_reason(),
            device_files: list_device_files(Path::new("/dev")),
            library_problem: DynamicLibrary::open_for_others(LIBTORCH_CUDA).err(),
            visible_gpus: std::env::var(VISIBLE_GPUS).ok(),
            usable_gpus,
            ..Self::default()
        };
        if has_cudart() {
            let version = version_cudart() as i32;
            status.libtorch_cuda = Some((version / 1000, version % 1000 / 10));
        }
        match CudaDriver::open() {
            Ok(driver) => {
                status.driver_cuda = driver.cuda_version();
                match driver.start() {
                    Ok(()) => status.gpus = driver.gpus(),
                    Err(cause) => status.driver_problem = Some(DriverProblem::NoStart(cause)),
                }
            }
            Err(cause) => status.driver_problem = Some(DriverProblem::NoLibrary(cause)),
        }
        status
    }

    /// Returns true if the user hides all GPUs of the host.
    pub fn are_gpus_hidden(&self) -> bool {
        self.visible_gpus.as_deref().is_some_and(|list| ["", "-1"].contains(&list.trim()))
    }

    /// Returns why libtorch cannot compute on GPUs here, and what to do, or nothing if it can.
    pub fn problem(&self) -> Option<String> {
        let mut reasons = Vec::new();
        if self.usable_gpus == 0 {
            reasons.extend(self.library_reason());
            if self.are_gpus_hidden() {
                reasons.push(format!("{VISIBLE_GPUS} hides all GPUs: unset it"));
            } else {
                reasons.extend(self.libraries_reason.clone());
                reasons.extend(self.driver_reason());
            }
            if reasons.is_empty() {
                reasons.push(format!("libtorch finds no GPU ({self:?})"));
            }
        } else if let Some(gpu) =
            self.gpus.iter().find(|gpu| gpu.capability < self.least_capability())
        {
            let (major, minor) = gpu.capability;
            let (least_major, least_minor) = self.least_capability();
            reasons.push(format!(
                "{} has compute capability {major}.{minor}, and libtorch's kernels begin at \
                 {least_major}.{least_minor}: take an instance with newer GPUs (ml.p3, ml.g4dn or \
                 later), or name another GPU of this host (--device cuda:N)",
                gpu.name
            ));
        }
        if reasons.is_empty() { None } else { Some(reasons.join("; ")) }
    }

    /// Returns the major version of CUDA that libtorch was built for.
    fn cuda_major(&self) -> i32 {
        self.libtorch_cuda.map_or(CUDA_MAJOR, |(major, _)| major)
    }

    /// Returns the least compute capability that libtorch's kernels are compiled for: the V100's for
    /// CUDA 12, the T4's for CUDA 13.
    fn least_capability(&self) -> (i32, i32) {
        if self.cuda_major() > CUDA_MAJOR { (7, 5) } else { (7, 0) }
    }

    fn library_reason(&self) -> Option<String> {
        let cause = self.library_problem.as_ref()?;
        Some(format!(
            "libtorch's GPU part cannot be opened ({cause}), which the image maskmaker:cpu does not \
             have: use maskmaker:gpu; without images `scripts/libtorch.sh 2.10.0 FOLDER cuda` \
             fetches it, and LD_LIBRARY_PATH=FOLDER/lib lets it be found"
        ))
    }

    /// Returns the driver's version, and that of newer libraries that are used with it.
    pub fn describe_driver(&self) -> String {
        let version = self.driver_version.as_deref().unwrap_or("of unknown version");
        match &self.driver_libraries {
            Some(libraries) => format!("{version} with the libraries of {libraries}"),
            None => version.to_owned(),
        }
    }

    fn driver_reason(&self) -> Option<String> {
        let version = self.describe_driver();
        match &self.driver_problem {
            Some(DriverProblem::NoLibrary(cause)) => {
                return Some(format!(
                    "NVIDIA's driver is not there ({cause}): start the container with --gpus all, \
                     by NVIDIA's container toolkit, on a host with GPUs"
                ));
            }
            Some(DriverProblem::NoStart(cause)) if self.driver_libraries.is_some() => {
                return Some(format!(
                    "NVIDIA's driver {version} does not start ({cause}): NVIDIA supports this with \
                     data-center GPUs alone; take a host with driver 525 or later (on an endpoint set \
                     InferenceAmiVersion to al2-ami-sagemaker-inference-gpu-2 or later)"
                ));
            }
            Some(DriverProblem::NoStart(cause)) if self.visible_gpus.is_some() => {
                return Some(format!(
                    "NVIDIA's driver {version} shows no GPU ({cause}): {VISIBLE_GPUS} is {:?}, which \
                     names none of this host's (nvidia-smi -L lists them)",
                    self.visible_gpus.as_deref().unwrap_or_default()
                ));
            }
            Some(DriverProblem::NoStart(cause)) => {
                return Some(format!(
                    "NVIDIA's driver {version} does not start ({cause}): look at nvidia-smi on the \
                     host"
                ));
            }
            None => {}
        }
        let needed_major = self.cuda_major();
        let (major, minor) = self.driver_cuda?;
        if major < needed_major {
            return Some(format!(
                "NVIDIA's driver {version} runs CUDA up to {major}.{minor}, and libtorch needs \
                 {needed_major}.0: take a host with a newer driver (at least 525 for CUDA 12, 580 for \
                 CUDA 13)"
            ));
        }
        if self.gpus.is_empty() {
            return Some(format!(
                "NVIDIA's driver {version} shows no GPU to this process: start the container with \
                 --gpus all"
            ));
        }
        None
    }
}

/// Returns the version in the first line of the driver's file, such as
/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Tue Apr  8 12:41:17 UTC 2025`.
pub(super) fn parse_driver_version(text: &str) -> Option<String> {
    let line = text.lines().next()?;
    let mut words = line.split_whitespace();
    let is_version = |word: &&str| {
        let has_digits = word.chars().all(|c| c.is_ascii_digit() || c == '.');
        has_digits && word.contains('.')
    };
    words.find(is_version).map(str::to_owned)
}

/// Lists the devices of GPUs in `/dev`: those named `nvidia` with a number.
pub(super) fn list_device_files(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix("nvidia").unwrap_or_default();
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            files.push(folder.join(name).display().to_string());
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(capability: (i32, i32)) -> Gpu {
        Gpu { name: "Tesla V100".to_owned(), capability, memory_bytes: 16 << 30 }
    }

    /// Returns the status of a host on which a GPU can be used.
    fn usable() -> GpuStatus {
        GpuStatus {
            driver_version: Some("550.163.01".to_owned()),
            device_files: vec!["/dev/nvidia0".to_owned()],
            driver_cuda: Some((12, 4)),
            gpus: vec![gpu((7, 0))],
            libtorch_cuda: Some((12, 8)),
            usable_gpus: 1,
            ..GpuStatus::default()
        }
    }

    #[test]
    fn a_gpu_that_can_be_used_is_no_problem() {
        assert_eq!(usable().problem(), None);
    }

    #[test]
    fn what_is_missing_is_named_with_the_fix() {
        let unusable = GpuStatus { usable_gpus: 0, ..usable() };
        let without_library =
            GpuStatus { library_problem: Some("no such file".to_owned()), ..unusable.clone() };
        let without_driver = GpuStatus {
            driver_problem: Some(DriverProblem::NoLibrary("no libcuda".to_owned())),
            ..unusable.clone()
        };
        let failed_libraries = GpuStatus {
            driver_libraries: Some("535.261.03".to_owned()),
            driver_problem: Some(DriverProblem::NoStart("error 804, not supported".to_owned())),
            ..unusable.clone()
        };
        let unused_libraries = GpuStatus {
            libraries_reason: Some("branch 470 alone".to_owned()),
            driver_cuda: Some((11, 2)),
            ..unusable.clone()
        };
        let broken_driver = GpuStatus {
            driver_problem: Some(DriverProblem::NoStart("error 803, mismatch".to_owned())),
            ..unusable.clone()
        };
        let old_driver = GpuStatus { driver_cuda: Some((11, 4)), ..unusable.clone() };
        // The driver then shows no device, and does not start.
        let no_device = Some(DriverProblem::NoStart("error 100, no device".to_owned()));
        let hidden = GpuStatus {
            visible_gpus: Some(String::new()),
            driver_problem: no_device.clone(),
            ..unusable.clone()
        };
        let misnamed = GpuStatus {
            visible_gpus: Some("7".to_owned()),
            driver_problem: no_device,
            ..unusable.clone()
        };
        let without_gpu = GpuStatus { gpus: Vec::new(), ..unusable.clone() };
        let old_gpu = GpuStatus { gpus: vec![gpu((3, 7))], ..usable() };
        for (status, said) in [
            (&without_library, ["no such file", "scripts/libtorch.sh 2.10.0 FOLDER cuda"]),
            (&without_driver, ["no libcuda", "--gpus all"]),
            (&failed_libraries, ["with the libraries of 535.261.03 does not start", "data-center"]),
            (&unused_libraries, ["branch 470 alone", "CUDA up to 11.2"]),
            (&broken_driver, ["550.163.01 does not start (error 803", "nvidia-smi"]),
            (&old_driver, ["CUDA up to 11.4", "needs 12.0"]),
            (&hidden, ["CUDA_VISIBLE_DEVICES", "unset it"]),
            (&misnamed, ["CUDA_VISIBLE_DEVICES is \"7\"", "names none"]),
            (&without_gpu, ["shows no GPU", "--gpus all"]),
            (&old_gpu, ["compute capability 3.7", "begin at 7.0"]),
            (&unusable, ["libtorch finds no GPU", "550.163.01"]),
        ] {
            let problem = status.problem().unwrap();
            assert!(said.iter().all(|part| problem.contains(part)), "{problem}");
        }
    }

    #[test]
    fn libtorch_for_cuda_13_has_no_kernels_for_a_v100() {
        let status = GpuStatus { libtorch_cuda: Some((13, 0)), ..usable() };
        assert!(status.problem().unwrap().contains("begin at 7.5"));
    }

    #[test]
    fn all_reasons_are_told_at_once() {
        let status = GpuStatus {
            library_problem: Some("no such file".to_owned()),
            driver_problem: Some(DriverProblem::NoLibrary("no libcuda".to_owned())),
            ..GpuStatus::default()
        };
        let problem = status.problem().unwrap();
        assert!(
            problem.contains("scripts/libtorch.sh") && problem.contains("--gpus all"),
            "{problem}"
        );
    }

    #[test]
    fn the_version_of_the_driver_is_read() {
        let module = "NVIDIA UNIX x86_64 Kernel Module  470.256.02  Thu May  2 14:37:44 UTC 2024";
        let open = "NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (x@y)";
        for (text, expected) in [
            (format!("NVRM version: {module}\nGCC version:  gcc 12.2.0"), Some("470.256.02")),
            (format!("NVRM version: {open}\n"), Some("570.86.15")),
            ("nothing of it\n1.2".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(parse_driver_version(&text).as_deref(), expected);
        }
    }

    #[test]
    fn devices_of_gpus_are_those_with_a_number() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["nvidia1", "nvidia0", "nvidiactl", "nvidia-uvm", "null"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let files = list_device_files(folder.path());
        assert_eq!(files.len(), 2);
        assert!(files[0].ends_with("/nvidia0") && files[1].ends_with("/nvidia1"));
        assert!(list_device_files(&folder.path().join("missing")).is_empty());
    }

    #[test]
    fn this_host_can_be_looked_at() {
        let status = GpuStatus::inspect();
        assert_eq!(status.problem().is_none(), status.usable_gpus > 0, "{status:?}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_of_a_driver_is_read(text in "\\PC{0,80}") {
            let _ = parse_driver_version(&text);
        }
    }
}
