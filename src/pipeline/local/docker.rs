//! Docker's client: images, and the containers of jobs.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::container::Container;
use crate::error::{Error, Result};
use crate::pipeline::registry::REGISTRY_VARIABLE;
use crate::settings::DEFAULT_ML_ROOT;

/// Label of containers with the folder of local executions that they belong to.
const ROOT_LABEL: &str = "maskmaker-local-root";

/// Device that a machine with Nvidia's driver has.
const NVIDIA_DEVICE: &str = "/dev/nvidiactl";

pub(super) fn docker_error(cause: &io::Error) -> Error {
    Error::input(format!(
        "docker cannot be started: {cause}; install it, or leave --docker out to run the steps as \
         processes of this program"
    ))
}

/// Returns the identifier of an image on this machine; nothing if it is not here.
pub(super) fn find_image(image: &str) -> Result<Option<String>> {
    let output = Command::new("docker")
        .args(["image", "inspect", "--format", "{{.Id}}", image])
        .process_group(0)
        .output()
        .map_err(|cause| docker_error(&cause))?;
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    }
    let message = String::from_utf8_lossy(&output.stderr);
    // "No such image" of Docker, "no such image" of Podman.
    if message.to_lowercase().contains("no such image") {
        return Ok(None);
    }
    Err(Error::input(format!("docker cannot tell of images: {}", message.trim())))
}

pub(super) fn pull_image(image: &str) -> Result<String> {
    let status = Command::new("docker")
        .args(["pull", image])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .status()
        .map_err(|cause| docker_error(&cause))?;
    let id = if status.success() { find_image(image)? } else { None };
    id.ok_or_else(|| {
        Error::input(format!(
            "the image {image} is not here, and docker cannot pull it (its message is above); build \
             it, log in, or name another one by --image"
        ))
    })
}

/// Removes the containers of earlier runs in a folder. They outlive a run that is killed.
pub(super) fn remove_containers(root: &Path) -> Result<()> {
    let filter = format!("label={ROOT_LABEL}={}", root.display());
    let output = Command::new("docker")
        .args(["ps", "--all", "--quiet", "--filter", &filter])
        .process_group(0)
        .output()
        .map_err(|cause| docker_error(&cause))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(Error::input(format!("docker cannot tell of containers: {}", message.trim())));
    }
    for id in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        remove_container(id);
    }
    Ok(())
}

/// Returns the command of docker's client for a job. The container belongs to the user who runs
/// this, so that its files do, and has the GPUs of the machine.
pub(super) fn docker_command(container: &Container<'_>, image: &str) -> Command {
    let job = container.job;
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--init", "--name", &container.name]);
    command.arg("--label").arg(format!("{ROOT_LABEL}={}", container.root.display()));
    let user =
        format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    command.args(["--user", &user]);
    command.arg("--mount").arg(mount(&container.ml, DEFAULT_ML_ROOT));
    let needs_registry = job.arguments.iter().any(|argument| argument.contains("registry:"));
    if needs_registry && container.registry.is_dir() {
        let target = "/var/lib/maskmaker-registry";
        let mut registry = mount(&container.registry, target);
        registry.push(",readonly");
        command.arg("--mount").arg(registry);
        command.arg("--env").arg(format!("{REGISTRY_VARIABLE}={target}"));
    }
    if Path::new(NVIDIA_DEVICE).exists() {
        command.args(["--gpus", "all"]);
    }
    for (name, value) in &job.environment {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    let mut arguments = job.arguments.clone();
    if let Some((program, first)) = job.entrypoint.split_first() {
        command.arg("--entrypoint").arg(program);
        arguments = [first, &arguments].concat();
    }
    command.arg(image).args(arguments);
    command
}

fn mount(folder: &Path, target: &str) -> OsString {
    let mut mount = OsString::from("type=bind,source=");
    mount.push(folder);
    mount.push(",target=");
    mount.push(target);
    mount
}

pub(super) fn remove_container(name: &str) {
    let mut command = Command::new("docker");
    command.args(["rm", "--force", name]).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.status();
}
