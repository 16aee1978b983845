//! Requests to stop: SIGTERM from SageMaker (`StopTrainingJob`, spot interruptions, the time limit)
//! and from `docker stop`, SIGINT from a terminal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Result};

/// A request to stop this process. SageMaker kills the process 120 s after the request.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// Starts to listen to signals. Without a listener, the first process of a container ignores
    /// SIGTERM. A second Ctrl-C ends the process at once.
    pub fn listen() -> Result<Self> {
        let stop = Self::default();
        match stop.register_handlers() {
            Ok(()) => Ok(stop),
            Err(cause) => Err(Error::internal(format!("cannot listen to signals: {cause}"))),
        }
    }

    fn register_handlers(&self) -> io::Result<()> {
        flag::register_conditional_shutdown(SIGINT, 130, self.0.clone())?;
        flag::register(SIGINT, self.0.clone())?;
        flag::register(SIGTERM, self.0.clone())?;
        Ok(())
    }

    /// Requests a stop from within the process.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns true if a stop was requested.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
