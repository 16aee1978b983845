//! Being asked to stop: SIGTERM from SageMaker (`StopTrainingJob`, spot interruptions, the time
//! limit) and `docker stop`, SIGINT from a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Result};

/// Whether someone asked this process to stop. SageMaker kills 120 s after it asked.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// Listens from now on. As the first process of a container, one without a listener would not
    /// even notice SIGTERM. A second Ctrl-C ends the process at once.
    pub fn listen() -> Result<Self> {
        let stop = Self::default();
        let register_handlers = || {
            flag::register_conditional_shutdown(SIGINT, 130, stop.0.clone())?;
            flag::register(SIGINT, stop.0.clone())?;
            flag::register(SIGTERM, stop.0.clone())
        };
        register_handlers().map_err(|cause: std::io::Error| {
            Error::internal(format!("cannot listen to signals: {cause}"))
        })?;
        Ok(stop)
    }

    /// Asks for it from within.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
