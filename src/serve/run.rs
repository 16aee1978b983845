//! The server as a process: bind, load, answer, stop on a signal.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::input::Fetch;
use super::listen::serve_until;
use super::log::{Level, say};
use super::model::Load;
use super::server::Server;
use super::settings::Settings;
use crate::error::{Error, Result};

/// How long the end of the compute thread is waited for, within SageMaker's 30 s.
const ENGINE_PATIENCE: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT, then answers what is in flight and returns.
///
/// Listens before it loads, so that `/ping` says from the first moment what is going on. `loader` makes networks of
/// folders: of [`Settings::model`] at once, and when that fails, its error ends the server; or of those that come by
/// `POST /models`. `fetch` gets images that requests name by `s3://` URIs; without, such requests are refused.
pub fn run(
    settings: &Settings,
    loader: Arc<dyn Load>,
    fetch: Option<Arc<dyn Fetch>>,
) -> Result<()> {
    settings.check()?;
    // Two threads move bytes for more clients than the model can serve; the cores are for pixels.
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|cause| Error::internal(format!("cannot start the server's threads: {cause}")))?;
    let outcome = runtime.block_on(serve(settings, loader, fetch));
    // A decoder that is still at work for a client that was cut off must not hold the end up.
    runtime.shutdown_background();
    outcome
}

async fn serve(
    settings: &Settings,
    loader: Arc<dyn Load>,
    fetch: Option<Arc<dyn Fetch>>,
) -> Result<()> {
    // Before anything that takes time, so that no signal is missed.
    let stop = stop_signal()?;
    let listener = bind(settings).await?;
    let begun = Instant::now();
    let server = Server::start(settings, loader, fetch)?;
    let cannot_load = async {
        if let Err(error) = server.ready().await {
            return error;
        }
        say(Level::Info, format_args!("ready after {:.2} s", begun.elapsed().as_secs_f64()));
        pending().await
    };
    tokio::select! {
        error = cannot_load => return Err(error),
        () = serve_until(listener, server.app(), settings, stop) => {}
    }
    server.ended(ENGINE_PATIENCE).await;
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
    say(Level::Info, format_args!("listening on http://{address}"));
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
        say(Level::Info, format_args!("{name}: answering what is in flight, then stopping"));
    })
}
