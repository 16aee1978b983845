//! NVIDIA's forward compatibility: where the host's driver is too old for libtorch's CUDA, the
//! program runs again with the newer driver libraries that lie beside it
//! (<https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html>). A driver is a
//! kernel module, which is the host's, and libraries, which need not be of the same version.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::cuda::CudaDriver;
use super::gpu_status::{DRIVER_VERSION_FILE, list_device_files, parse_driver_version};

/// Folder of the newer libraries, beside that of the program.
const LIBRARIES_FOLDER: &str = "compat";

/// Name by which libtorch opens the driver's library.
const LIBRARY_NAME: &str = "libcuda.so.1";

/// Variable that marks a process that was started again, so that it does not do so without end. It
/// holds the version of the libraries.
const RESTARTED_VARIABLE: &str = "_MASKMAKER_RESTARTED_WITH_LIBCUDA";

/// Variable of the dynamic linker: folders in which it looks first.
const LIBRARY_PATH_VARIABLE: &str = "LD_LIBRARY_PATH";

/// Version of CUDA that libtorch 2.10 needs of a driver.
const NEEDED_CUDA: (i32, i32) = (12, 0);

/// Branches of kernel modules that are too old for CUDA 12, and with which NVIDIA supports the
/// libraries of branch 535 (package `cuda-compat-12-2`). SageMaker's endpoints have 470.
const SUPPORTED_BRANCHES: [&str; 1] = ["470"];

/// Why newer libraries would be needed, and are not used.
static UNUSED_REASON: OnceLock<String> = OnceLock::new();

/// GPUs of the host, and the versions of their driver.
#[derive(Debug)]
struct Host {
    /// True if this process may see a GPU.
    has_devices: bool,
    /// Latest version of CUDA that the libraries which the linker finds run.
    driver_cuda: Option<(i32, i32)>,
    /// Text in which the kernel module tells its version; none if there is no module.
    kernel_module: Option<String>,
}

/// Decision about the host's driver.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// The host's driver is right, or there is none.
    KeepDriver,
    /// The program runs again with the newer libraries.
    UseLibraries,
    /// The host's driver is too old and stays, for this reason.
    CannotHelp(String),
}

/// Runs the program again with newer driver libraries if only that lets it use the host's GPUs.
/// Returns if not. It comes before anything else that the process does.
pub fn use_newer_driver_libraries() {
    if env::var_os(RESTARTED_VARIABLE).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let Some((folder, version)) = libraries_beside(&program) else { return };
    let reason = match choose_libraries(&Host::inspect(), &version) {
        Choice::KeepDriver => return,
        Choice::CannotHelp(reason) => reason,
        Choice::UseLibraries => {
            // The name by which the program is called may be a command, such as `train`.
            let mut arguments = env::args_os();
            let library_path = prepend_folder(&folder, env::var_os(LIBRARY_PATH_VARIABLE));
            let mut command = Command::new(program);
            command
                .arg0(arguments.next().unwrap_or_default())
                .args(arguments)
                .env(RESTARTED_VARIABLE, &version)
                .env(LIBRARY_PATH_VARIABLE, library_path);
            // This returns only if the program cannot be started.
            let cause = command.exec();
            format!(
                "running again with the driver libraries in {} failed: {cause}",
                folder.display()
            )
        }
    };
    let _ = UNUSED_REASON.set(reason);
}

/// Returns the version of the newer driver libraries that this process runs with, if it does.
pub(super) fn used_libraries() -> Option<String> {
    env::var(RESTARTED_VARIABLE).ok()
}

/// Returns why newer driver libraries would be needed and are not used, if so.
pub(super) fn unused_reason() -> Option<String> {
    UNUSED_REASON.get().cloned()
}

impl Host {
    fn inspect() -> Self {
        Self {
            has_devices: !list_device_files(Path::new("/dev")).is_empty(),
            driver_cuda: CudaDriver::open().ok().and_then(CudaDriver::cuda_version),
            kernel_module: fs::read_to_string(DRIVER_VERSION_FILE).ok(),
        }
    }
}

/// Returns the folder of newer libraries beside that of the program, and their version, if they are
/// there.
fn libraries_beside(program: &Path) -> Option<(PathBuf, String)> {
    let folder = program.parent()?.parent()?.join(LIBRARIES_FOLDER);
    // The name is that of a link to `libcuda.so.VERSION`.
    let library = fs::canonicalize(folder.join(LIBRARY_NAME)).ok()?;
    let version = library.file_name()?.to_str()?.strip_prefix("libcuda.so.")?.to_owned();
    Some((folder, version))
}

/// Puts a folder before those of a library path.
fn prepend_folder(folder: &Path, library_path: Option<OsString>) -> OsString {
    let mut folders = folder.as_os_str().to_owned();
    if let Some(others) = library_path.filter(|others| !others.is_empty()) {
        folders.push(":");
        folders.push(others);
    }
    folders
}

/// Decides if the libraries of a version are needed on a host, and supported.
fn choose_libraries(host: &Host, libraries: &str) -> Choice {
    // The module is to be seen in containers that have no GPU, too.
    let Some(module) = host.kernel_module.as_ref().filter(|_| host.has_devices) else {
        return Choice::KeepDriver;
    };
    // Other newer libraries may be there already.
    if host.driver_cuda.is_some_and(|version| version >= NEEDED_CUDA) {
        return Choice::KeepDriver;
    }
    let Some(driver) = parse_driver_version(module) else {
        return Choice::CannotHelp(format!(
            "the version of NVIDIA's driver cannot be read in {DRIVER_VERSION_FILE} ({:?}), so the \
             libraries {libraries} for older drivers are not used",
            module.lines().next().unwrap_or_default()
        ));
    };
    let branch = driver.split('.').next().unwrap_or_default();
    if SUPPORTED_BRANCHES.contains(&branch) {
        return Choice::UseLibraries;
    }
    // Without the driver's library, only the branch tells if it runs CUDA 12.
    if host.driver_cuda.is_none() && branch.parse::<u32>().is_ok_and(|branch| branch >= 525) {
        return Choice::KeepDriver;
    }
    Choice::CannotHelp(format!(
        "NVIDIA's driver {driver} is too old for CUDA 12, and NVIDIA supports the libraries \
         {libraries} with branch 470 alone: take a host with driver 525 or later"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARIES: &str = "535.261.03";

    /// Returns a host with a GPU, whose container has no library of the driver.
    fn host(version: &str) -> Host {
        let module =
            format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Thu May  2\n");
        Host { has_devices: true, driver_cuda: None, kernel_module: Some(module) }
    }

    #[test]
    fn an_older_driver_of_a_supported_branch_gets_the_newer_libraries() {
        let old = host("470.256.02");
        assert_eq!(choose_libraries(&old, LIBRARIES), Choice::UseLibraries);
        let old = Host { driver_cuda: Some((11, 4)), ..old };
        assert_eq!(choose_libraries(&old, LIBRARIES), Choice::UseLibraries);
    }

    #[test]
    fn a_driver_that_runs_cuda_12_and_a_host_without_gpus_stay_as_they_are() {
        let old = || host("470.256.02");
        for host in [
            host("525.60.13"),
            host("550.163.01"),
            Host { driver_cuda: Some((13, 0)), ..host("580.95.05") },
            // A host that mounts newer libraries itself.
            Host { driver_cuda: Some((12, 2)), ..old() },
            Host { has_devices: false, ..old() },
            Host { kernel_module: None, ..old() },
        ] {
            assert_eq!(choose_libraries(&host, LIBRARIES), Choice::KeepDriver, "{host:?}");
        }
    }

    #[test]
    fn what_cannot_be_helped_is_said_with_the_reason() {
        let unreadable = |text: &str| Host { kernel_module: Some(text.to_owned()), ..host("1.0") };
        for (host, said) in [
            (unreadable("something else"), "something else"),
            (unreadable(""), "cannot be read"),
            (host("418.226.00"), "418.226.00 is too old"),
            (host("495.46"), "driver 525 or later"),
            (Host { driver_cuda: Some((11, 5)), ..host("530.1") }, "530.1 is too old"),
        ] {
            match choose_libraries(&host, LIBRARIES) {
                Choice::CannotHelp(reason) => assert!(reason.contains(said), "{reason}"),
                other => panic!("{host:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn libraries_lie_beside_the_programs_folder_or_are_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("bin/maskmaker");
        assert_eq!(libraries_beside(&program), None);
        let compat = folder.path().join("compat");
        fs::create_dir(&compat).unwrap();
        assert_eq!(libraries_beside(&program), None, "an image that was built without them");
        fs::write(compat.join("libcuda.so.535.261.03"), "").unwrap();
        assert_eq!(libraries_beside(&program), None, "the name that libtorch asks for is missing");
        std::os::unix::fs::symlink("libcuda.so.535.261.03", compat.join(LIBRARY_NAME)).unwrap();
        assert_eq!(libraries_beside(&program), Some((compat, LIBRARIES.to_owned())));
        assert_eq!(libraries_beside(Path::new("maskmaker")), None);
    }

    #[test]
    fn the_folder_comes_first_in_the_library_path() {
        let folder = Path::new("/opt/maskmaker/compat");
        let path = |others: Option<&str>| prepend_folder(folder, others.map(OsString::from));
        assert_eq!(path(None), "/opt/maskmaker/compat");
        assert_eq!(path(Some("")), "/opt/maskmaker/compat");
        assert_eq!(path(Some("/a:/b")), "/opt/maskmaker/compat:/a:/b");
    }
}
