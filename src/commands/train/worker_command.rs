//! The command by which a parent starts a worker, with an environment that divides the host.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::distributed::NcclEnvironment;
use crate::error::{Error, Result};
use crate::machine::divide_cores;
use crate::torch::{VISIBLE_GPUS, visible_gpu};

/// Returns the command of one of `workers` workers: this program with the same arguments, and the
/// file with the worker's place. Workers of a host share its cores.
pub(super) fn worker_command(spec_file: &Path, workers: usize) -> Result<Command> {
    let program: PathBuf = env::current_exe()
        .map_err(|cause| Error::internal(format!("the program's own path: {cause}")))?;
    let mut command = Command::new(program);
    let mut arguments = env::args_os();
    if let Some(name) = arguments.next() {
        // The name may be the subcommand: the image has a link `train`.
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    command.args(arguments).arg("--worker").arg(spec_file).stdin(Stdio::null());
    command.envs(divide_cores(workers));
    Ok(command)
}

/// Gives a worker a GPU of its own, by its position among those of this host. Each worker sees no
/// other, so that nothing can use the first one by mistake; NCCL reaches GPUs that the process does
/// not see.
pub(super) fn give_gpu(command: &mut Command, position: usize, nccl: &NcclEnvironment) {
    command.env(VISIBLE_GPUS, visible_gpu(position).unwrap_or_default());
    for (name, value) in &nccl.variables {
        command.env(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_worker_has_its_part_of_the_cores_and_its_own_gpu() {
        let mut command = worker_command(Path::new("/tmp/worker-1.json"), 1024).unwrap();
        let variables = vec![("NCCL_SHM_DISABLE", "1".to_owned())];
        give_gpu(&mut command, 7, &NcclEnvironment { variables, warning: None });
        let value = |name: &str| {
            let found = command.get_envs().find(|(key, _)| *key == OsStr::new(name));
            found.and_then(|(_, value)| value).map(|value| value.to_string_lossy().into_owned())
        };
        assert_eq!(value("NCCL_SHM_DISABLE").as_deref(), Some("1"));
        assert!(value(VISIBLE_GPUS).is_some());
        for name in ["OMP_NUM_THREADS", "RAYON_NUM_THREADS"] {
            assert_eq!(value(name).is_none(), env::var_os(name).is_some());
        }
        let arguments: Vec<_> = command.get_args().collect();
        assert!(arguments.ends_with(&["--worker".as_ref(), "/tmp/worker-1.json".as_ref()]));
    }
}
