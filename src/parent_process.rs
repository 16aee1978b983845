//! A process that ends with the one that started it.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::error::{Error, Result};

/// Makes the system kill this process when the thread that started it ends, even if that is killed
/// itself. `parent` is the number of that thread's process; if it is gone already, this process ends
/// by an error.
pub fn end_with_parent(parent: i32) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|cause| Error::internal(format!("the system cannot watch the parent: {cause}")))?;
    if getppid().map(Pid::as_raw_pid) == Some(parent) {
        Ok(())
    } else {
        Err(Error::internal(format!("the process {parent}, which started this one, is gone")))
    }
}
