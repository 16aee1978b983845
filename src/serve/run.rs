//! The server as a process: bind, load, answer, stop on a signal.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::input::ObjectFetcher;
use super::listen::serve_until;
use super::log::{Level, log_message};
use super::model::ModelLoader;
use super::server::Server;
use super::settings::ServeSettings;
use crate::error::{Error, Result};

/// How long the end of the compute thread is waited for, within SageMaker's 30 s.
const COMPUTE_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT, then answers what is in flight and returns.
///
/// Listens before it loads, so that `/ping` says from the first moment what is going on. `loader` makes networks of
/// folders: of [`Settings::model`] at once, and when that fails, its error ends the server; or of those that come by
/// `POST /models`. `fetch` gets images that requests name by `s3://` URIs; without, such requests are refused.
pub fn run_server(
    settings: &ServeSettings,
    loader: Arc<dyn ModelLoader>,
    fetcher: Option<Arc<dyn ObjectFetcher>>,
) -> Result<()> {
    settings.validate()?;
    // Two threads move bytes for more clients than the model can serve; the cores are for pixels.
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|cause| Error::internal(format!("cannot start the server's threads: {cause}")))?;
    let outcome = runtime.block_on(serve_until_stopped(settings, loader, fetcher));
    // A decoder that is still at work for a client that was cut off must not hold the end up.
    runtime.shutdown_background();
    outcome
}

async fn serve_until_stopped(
    settings: &ServeSettings,
    loader: Arc<dyn ModelLoader>,
    fetcher: Option<Arc<dyn ObjectFetcher>>,
) -> Result<()> {
    // Before anything that takes time, so that no signal is missed.
    let stop = stop_signal()?;
    let listener = bind_listener(settings).await?;
    let started = Instant::now();
    let server = Server::start(settings, loader, fetcher)?;
    let load_failure = async {
        if let Err(error) = server.ready().await {
            return error;
        }
        log_message(
            Level::Info,
            format_args!("ready after {:.2} s", started.elapsed().as_secs_f64()),
        );
        pending().await
    };
    tokio::select! {
        error = load_failure => return Err(error),
        () = serve_until(listener, server.router(), settings, stop) => {}
    }
    server.shutdown(COMPUTE_SHUTDOWN_TIMEOUT).await;
    Ok(())
}

async fn bind_listener(settings: &ServeSettings) -> Result<TcpListener> {
    let (host, port) = (settings.host, settings.port);
    let bind_error = |cause: std::io::Error| {
        Error::input(format!(
            "cannot listen on {host} port {port}: {cause}; choose another with --host and --port \
             (or SAGEMAKER_BIND_TO_PORT), or stop what listens there"
        ))
    };
    let listener = TcpListener::bind((host, port)).await.map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    log_message(Level::Info, format_args!("listening on http://{address}"));
    Ok(listener)
}

/// Completes at the first SIGTERM (SageMaker, docker stop) or SIGINT (Ctrl-C).
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let listen_for = |kind| {
        signal(kind).map_err(|cause| Error::internal(format!("cannot listen to signals: {cause}")))
    };
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
