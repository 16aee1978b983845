//! The HTTP server of models. A request passes these folders:
//!
//! 1. `routes` checks its head (options, media types, declared size, model), refuses it if
//!    `admission` has no place left, and reads its body.
//! 2. `request` finds the images in the body. `admission` takes a place for the request, or
//!    refuses it.
//! 3. `request` decodes each image. `admission` takes room for it by predicted compute time and by
//!    bytes, or refuses it.
//! 4. `pipeline` leads each image through these steps, and several images of one body together.
//! 5. `worker` computes images on the compute thread, in batches of one kind.
//! 6. `response` chooses the format of the answer, and encodes it.
//!
//! `registry` holds the models that the server has loaded. [`ServeSettings`] bounds how much work
//! is accepted at once, and what it takes of memory. Sockets, bodies, the log and the form of
//! errors come from [`crate::http`].
//!
//! A refused request gets the JSON body `{"error": "...", "error_type": "..."}` with a name of
//! [`ErrorType`], except for a head that hyper cannot parse or finds too long: this never reaches
//! the router, and hyper itself answers 400 or 431 with an empty body.

mod admission;
mod api_error;
mod endpoint;
mod metrics;
mod pipeline;
mod registry;
mod request;
mod response;
mod routes;
mod run;
mod server;
mod settings;
mod state;
mod timing;
mod worker;

pub use api_error::{ApiError, ErrorType};
pub use endpoint::{BatchStrategy, EndpointKind, EndpointLimits};
pub use pipeline::SegmentedImage;
pub use registry::model::{LoadedModel, ModelLoader};
pub use request::{BoxFuture, ObjectFetcher};
pub use run::{run_server, serve_until};
pub use server::Server;
pub use settings::ServeSettings;
pub use state::ServerStatus;
