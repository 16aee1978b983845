//! The server as a process: bind, load, answer, stop on a signal.

use std::future::pending;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::app::app;
use super::engine::EngineHandle;
use super::listen::serve_until;
use super::log::{logged, say};
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::inference::Segment;

/// How long the end of the engine's thread is waited for, within SageMaker's 30 s.
const ENGINE_PATIENCE: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT, then answers what is in flight and returns.
///
/// Listens before it loads, so that `/ping` says from the first moment what is going on. `load`
/// runs on the engine's thread; when it fails, that error ends the server.
pub fn run(
    settings: &Settings,
    load: impl FnOnce() -> Result<Box<dyn Segment>> + Send + 'static,
) -> Result<()> {
    settings.check()?;
    // Two threads move bytes for more clients than the model can serve; the cores are for pixels.
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|cause| Error::internal(format!("cannot start the server's threads: {cause}")))?;
    let outcome = runtime.block_on(serve(settings, load));
    // A decoder that is still at work for a client that was cut off must not hold the end up.
    runtime.shutdown_background();
    outcome
}

async fn serve(
    settings: &Settings,
    load: impl FnOnce() -> Result<Box<dyn Segment>> + Send + 'static,
) -> Result<()> {
    // Before anything that takes time, so that no signal is missed.
    let stop = stop_signal()?;
    let listener = bind(settings).await?;
    let begun = Instant::now();
    let engine = EngineHandle::spawn(load)?;
    let app = logged(app(engine.clone(), settings));
    let cannot_load = async {
        if let Err(error) = engine.ready().await {
            return error;
        }
        say(&format!("ready after {:.1} s", begun.elapsed().as_secs_f64()));
        pending().await
    };
    tokio::select! {
        error = cannot_load => return Err(error),
        () = serve_until(listener, app, settings, stop) => {}
    }
    engine.ended(ENGINE_PATIENCE).await;
    Ok(())
}

async fn bind(settings: &Settings) -> Result<TcpListener> {
    let (host, port) = (settings.host, settings.port);
    let cannot = |cause: std::io::Error| {
        Error::input(format!(
            "cannot listen on {host} port {port}: {cause}; choose another with --host and --port \
             (or SAGEMAKER_BIND_TO_PORT), or stop what listens there"
        ))
    };
    let listener = TcpListener::bind((host, port)).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    say(&format!("listening on http://{address}"));
    Ok(listener)
}

/// Completes at the first SIGTERM (SageMaker, docker stop) or SIGINT (Ctrl-C).
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let listen = |kind| {
        signal(kind).map_err(|cause| Error::internal(format!("cannot listen to signals: {cause}")))
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        say(&format!("{name}: answering what is in flight, then stopping"));
    })
}
