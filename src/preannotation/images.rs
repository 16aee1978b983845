//! The images of tasks, into memory.

use std::fmt;
use std::sync::Arc;

use crate::annotations::label_config::ImageTag;
use crate::annotations::label_studio::read_task_summary;
use crate::label_studio::{ImageSource, LabelStudio};
use crate::web_client::{
    DataAnswer, WebClient, WebError, WebErrorKind, WebRequest, name_reference,
};

/// Reads images of tasks from where their data say that they are.
#[derive(Debug, Clone)]
pub struct TaskImages {
    pub label_studio: Arc<LabelStudio>,
    /// Client for other servers, which get no token of Label Studio.
    pub web: WebClient,
    /// Largest image, in bytes.
    pub max_bytes: u64,
}

/// Failure to read an image, with a text for people that names the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageError {
    pub message: String,
    /// True if all other images fail too: Label Studio is away or refuses the token.
    pub concerns_all: bool,
    /// True if the same image may be there a moment later.
    pub is_passing: bool,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ImageError {
    fn lasting(message: String) -> Self {
        Self { message, concerns_all: false, is_passing: false }
    }
}

impl TaskImages {
    /// Reads the image that a tag shows of a task. `task` is the JSON of the task with its `data`.
    pub async fn read(&self, task: &[u8], tag: &ImageTag) -> Result<Vec<u8>, ImageError> {
        let (task_id, reference) = find_reference(task, tag)?;
        let source = ImageSource::find(&reference, self.label_studio.server(), task_id);
        let name = name_reference(&reference);
        let source = source.map_err(|reason| ImageError::lasting(format!("{name} {reason}")))?;
        let max_bytes = self.max_bytes;
        let mut reader = DataAnswer { max_bytes };
        let bytes = match source {
            ImageSource::Data(bytes) => bytes,
            ImageSource::LabelStudio(url) => {
                let sent = self.label_studio.read_file(&url, &mut reader).await;
                sent.map_err(|error| describe(&error, true))?
            }
            ImageSource::Web(url) => {
                let request = WebRequest::get(&url);
                let sent = self.web.attempt(&request, &mut reader).await;
                sent.map_err(|error| describe(&error, false))?
            }
        };
        if bytes.is_empty() {
            return Err(ImageError::lasting(format!("{name} is empty")));
        }
        if bytes.len() as u64 > max_bytes {
            return Err(ImageError::lasting(format!(
                "{name} has {} bytes, and {max_bytes} are allowed",
                bytes.len()
            )));
        }
        Ok(bytes)
    }
}

/// Returns the id of a task and the reference to the image that a tag shows of it.
fn find_reference(task: &[u8], tag: &ImageTag) -> Result<(i64, String), ImageError> {
    let summary = read_task_summary(task)
        .map_err(|cause| ImageError::lasting(format!("the task {cause}")))?;
    let images = tag.find_images(&summary.data, &summary.nested_data);
    let Some(image) = images.into_iter().next() else {
        let mut keys = Vec::new();
        for key in summary.data.keys() {
            keys.push(key.as_str());
        }
        return Err(ImageError::lasting(format!(
            "the task's data have no image at {}; their texts are {}",
            tag.value,
            if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
        )));
    };
    Ok((summary.task_id.unwrap_or_default(), image.reference))
}

/// Says whom a failure concerns. Label Studio's own refusals meet every image; those of a storage that it
/// leads to do not.
fn describe(error: &WebError, is_label_studio: bool) -> ImageError {
    let is_own = is_label_studio && !error.was_redirected;
    let concerns_all = match error.kind {
        WebErrorKind::Authorization => true,
        WebErrorKind::Status(401) | WebErrorKind::Unreachable => is_own,
        _ => false,
    };
    ImageError { message: error.to_string(), concerns_all, is_passing: error.is_passing() }
}
