//! The process of a server: its threads, and the signals that stop it.

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::log::{Level, log_message};
use crate::error::{Error, Result};

/// Number of threads that move bytes. Two serve more clients than any model can; the other cores
/// are for pixels.
const WORKER_THREADS: usize = 2;

/// Starts the threads that serve connections.
pub fn build_runtime() -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|cause| Error::internal(format!("cannot start the server's threads: {cause}")))
}

/// Returns a future that completes at the first SIGTERM (SageMaker, docker stop) or SIGINT
/// (Ctrl-C).
///
/// From this call on the signals do not end the process by themselves.
pub fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        log_message(
            Level::Info,
            format_args!("{name}: answering what is in flight, then stopping"),
        );
    })
}

fn listen_for(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|cause| Error::internal(format!("cannot listen to signals: {cause}")))
}
