//! Label Studio: its API, its tokens, and the images of its tasks.
//!
//! The room knows how the server is asked and what it answers; formats of annotations are those of
//! [`crate::annotations`]. Written against Label Studio 1.23: <https://api.labelstud.io>.

mod api;
mod image_source;
mod token;

pub use self::api::{LabelStudio, LabelStudioSettings, Project, Task};
pub use self::image_source::ImageSource;
pub use self::token::Token;
