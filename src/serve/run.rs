//! The server as a process: binds the socket, loads the model, answers, and stops on a signal.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use tokio::net::TcpListener;

use super::registry::model::ModelLoader;
use super::request::ObjectFetcher;
use super::server::Server;
use super::settings::ServeSettings;
use crate::error::{Error, Result};
use crate::http::{self, Level, Timeouts, bind_listener, log_message};

/// Longest wait for the compute thread to end, within the 30 s that SageMaker gives a container.
const COMPUTE_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT, then answers the requests in flight and returns.
///
/// The server listens before it loads the model, so that `/ping` can report the state of the model
/// from the start. `loader` makes a network of a model folder: of [`ServeSettings::model_dir`] at
/// once, or of the folders in `POST /models`. An error of the first load ends the server. `fetcher`
/// gets images that requests name by `s3://` URIs; without a fetcher such requests are refused.
pub fn run_server(
    settings: &ServeSettings,
    loader: Arc<dyn ModelLoader>,
    fetcher: Option<Arc<dyn ObjectFetcher>>,
) -> Result<()> {
    settings.validate()?;
    let runtime = http::build_runtime()?;
    let outcome = runtime.block_on(serve_until_stopped(settings, loader, fetcher));
    // A decoder may still work for a client that was cut off; the process does not wait for it.
    runtime.shutdown_background();
    outcome
}

/// Serves `app` until `stop` completes, with the timeouts of the settings. Then accepts no more
/// connections, soon closes idle ones, answers requests in flight, and cuts off what is left after
/// [`ServeSettings::drain_timeout`].
pub async fn serve_until(
    listener: TcpListener,
    app: Router,
    settings: &ServeSettings,
    stop: impl Future<Output = ()>,
) {
    let timeouts = Timeouts {
        head: settings.head_timeout,
        reply: settings.reply_timeout,
        drain: settings.drain_timeout,
    };
    http::serve_until(listener, app, timeouts, stop).await;
}

async fn serve_until_stopped(
    settings: &ServeSettings,
    loader: Arc<dyn ModelLoader>,
    fetcher: Option<Arc<dyn ObjectFetcher>>,
) -> Result<()> {
    // The handlers are installed before anything that takes time, so that no signal is missed.
    let stop = http::stop_signal()?;
    let bound = bind_listener(settings.host, settings.port).await;
    let listener = bound.map_err(|cause| bind_error(settings, &cause))?;
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

fn bind_error(settings: &ServeSettings, cause: &io::Error) -> Error {
    let (host, port) = (settings.host, settings.port);
    Error::input(format!(
        "cannot listen on {host} port {port}: {cause}; choose another with --host and --port \
         (or SAGEMAKER_BIND_TO_PORT), or stop what listens there"
    ))
}
