//! `maskmaker label-studio`: a model's predictions for annotators.

mod backend;
pub(super) mod connection;
mod local_model;
mod push;

pub use self::backend::{BackendCommand, run_label_studio_backend};
pub use self::connection::LabelStudioConnection;
pub use self::push::{PushCommand, run_push};
