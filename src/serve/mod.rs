//! The HTTP server: router, queue, request and response formats, models that come and go.
//!
//! A request walks `app` -> the checks of its head (options, media types, declared size, model) -> its body, under
//! limits -> a place in the queue -> the decoder -> room by measured work -> the compute thread, together with others of
//! its kind -> the encoder. Everything that is refused gets a JSON body `{"error": "...", "error_type": "..."}` with a
//! name of [`ErrorType`]; except that a head which hyper cannot parse or finds too long never reaches the router: hyper
//! itself answers 400 or 431, with an empty body. How much is taken on at once, and what that costs, is in [`Settings`].

mod accept;
mod app;
mod body;
mod endpoint;
mod engine;
mod estimate;
mod execution_parameters;
mod input;
mod invocations;
mod listen;
mod log;
mod memory;
mod metrics;
mod model;
mod models;
mod multi_model;
mod observe;
mod openapi;
mod options;
mod output;
mod page;
mod pipeline;
mod queue;
mod records;
mod reply;
mod run;
mod server;
mod settings;
mod timing;

pub use endpoint::{BatchStrategy, EndpointKind, EndpointLimits};
pub use input::{BoxFuture, ObjectFetcher};
pub use listen::serve_until;
pub use model::{LoadedModel, ModelLoader};
pub use reply::ErrorType;
pub use run::run_server;
pub use server::{Server, ServerStatus};
pub use settings::ServeSettings;
