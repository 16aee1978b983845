//! The ML backend: Label Studio asks for predictions of tasks, and this server answers.
//!
//! - `routes` has the paths that Label Studio knows (`/health`, `/setup`, `/predict`, `/versions`,
//!   `/webhook`), and `requests` what it sends there.
//! - `rounds` holds the tasks of all rounds: each is computed once. A round that takes longer than Label
//!   Studio waits is answered 503, and its predictions are stored by the API.
//! - `interactive` answers the prompt of an annotator.
//! - `projects` sets each project that asked to the version of the model.
//!
//! Sockets, bodies, the log, the metrics and the form of errors come from [`crate::http`], as for `serve`.

mod api_error;
mod auth;
mod interactive;
mod metrics;
mod projects;
mod requests;
mod rounds;
mod routes;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;

pub use self::auth::BasicAuth;
use self::metrics::Metrics;
use self::projects::Projects;
use self::rounds::Rounds;
use super::task_prediction::TaskPredictor;
use crate::error::{Error, Result};
use crate::http::{self, BodyBudget, Timeouts, bind_listener};
use crate::web_client::{Url, WebClient};

/// Longest time for a request's head to arrive, and for a connection to be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Longest time without a byte read by the client of an answer.
const REPLY_TIMEOUT: Duration = Duration::from_mins(1);

/// Most bytes of bodies and answers together, in bodies of the largest size.
const BODIES_IN_MEMORY: usize = 2;

/// Address and limits of the backend.
#[derive(Debug, Clone)]
pub struct BackendSettings {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; with 0 the system chooses one.
    pub port: u16,
    /// Name and password that requests must have, but those to `/webhook`; none lets everybody ask.
    pub auth: Option<BasicAuth>,
    /// Name of the control tag that gets the predictions; without it the best one is chosen.
    pub control: Option<String>,
    /// Longest time for a round. Label Studio gives up after 100 s, proxies earlier.
    pub max_round: Duration,
    /// Images that are read and computed at one time.
    pub parallel_images: usize,
    /// Largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Most bytes of predictions that are kept, so that no task is computed twice.
    pub max_kept_bytes: usize,
    /// Longest time for requests in progress after SIGTERM.
    pub drain_timeout: Duration,
    /// Address to which a request to train is handed on.
    pub retrain_url: Option<Url>,
    /// True if the server logs a line for each request.
    pub log_requests: bool,
}

/// The backend without a socket.
pub struct Backend {
    settings: BackendSettings,
    predictor: TaskPredictor,
    rounds: Arc<Rounds>,
    projects: Arc<Projects>,
    bodies: BodyBudget,
    metrics: Metrics,
    /// Client for the request to train.
    web: WebClient,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Backend {
    /// Makes a backend. Must be called on tokio.
    pub fn new(settings: BackendSettings, predictor: TaskPredictor, web: WebClient) -> Arc<Self> {
        let rounds =
            Rounds::start(predictor.clone(), settings.parallel_images, settings.max_kept_bytes);
        Arc::new(Self {
            bodies: BodyBudget::new(BODIES_IN_MEMORY * settings.max_body_bytes),
            projects: Projects::new(Arc::clone(&predictor.images.label_studio)),
            metrics: Metrics::default(),
            settings,
            predictor,
            rounds,
            web,
        })
    }

    /// Returns the routes, which need no socket but run on tokio.
    pub fn router(self: &Arc<Self>) -> Router {
        routes::build_router(self)
    }
}

/// Serves until `stop` completes, answers the requests in flight, and returns.
pub async fn run_backend(backend: &Arc<Backend>, stop: impl Future<Output = ()>) -> Result<()> {
    let settings = &backend.settings;
    let bound = bind_listener(settings.host, settings.port).await;
    let listener: TcpListener = bound.map_err(|cause| bind_error(settings, &cause))?;
    let timeouts =
        Timeouts { head: HEAD_TIMEOUT, reply: REPLY_TIMEOUT, drain: settings.drain_timeout };
    http::serve_until(listener, backend.router(), timeouts, stop).await;
    let left = backend.rounds.running();
    if left > 0 {
        http::log_message(
            http::Level::Warning,
            format_args!("{left} tasks were not computed; Label Studio asks for them again"),
        );
    }
    Ok(())
}

fn bind_error(settings: &BackendSettings, cause: &io::Error) -> Error {
    let (host, port) = (settings.host, settings.port);
    Error::input(format!(
        "cannot listen on {host} port {port}: {cause}; choose another with --host and --port, or stop what \
         listens there"
    ))
}
