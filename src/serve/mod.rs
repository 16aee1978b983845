//! The HTTP server: router, queue, request and response formats.
//!
//! A request walks [`app`] -> checks of its head (media types, declared size) -> its body, under
//! limits -> a place in the queue -> the decoder -> the engine's thread -> the encoder. Everything
//! that is refused gets a JSON body `{"error": "...", "error_type": "..."}` with a name of
//! [`ErrorType`]; except that a head which hyper cannot parse or finds too long never reaches the
//! router: hyper itself answers 400 or 431, with an empty body. How much is taken on at once, and
//! what that costs, is in [`Settings`].

mod app;
mod body;
mod engine;
mod invocations;
mod listen;
mod log;
mod media;
mod queue;
mod reply;
mod run;
mod settings;

pub use app::app;
pub use engine::{EngineHandle, Status};
pub use listen::serve_until;
pub use reply::ErrorType;
pub use run::run;
pub use settings::Settings;
