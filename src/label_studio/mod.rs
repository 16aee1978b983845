//! Label Studio: its API, its tokens, and the images of its tasks.
//!
//! The room knows how the server is asked and what it answers; formats of annotations are those of
//! [`crate::annotations`]. Written against Label Studio 1.23: <https://api.labelstud.io>.

mod api;
mod image_source;
mod predictions;
mod tasks;
mod token;

pub use self::api::{LabelStudio, LabelStudioSettings, Project};
pub use self::image_source::ImageSource;
pub use self::predictions::NewPrediction;
pub use self::tasks::Task;
pub use self::token::Token;
