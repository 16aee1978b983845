//! The end of the pipeline: from the engine's answer to bytes.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{EncodedResponse, InferenceParams, Pipeline, ResponseResult};
use crate::serve::api_error::{ApiError, ErrorType};
use crate::serve::timing::Timing;
use crate::serve::worker::job::{CompletedJob, JobError, Responder};
use crate::serve::worker::panic::catch_panic;

/// Encodes the answer to an image on a blocking thread, and sends it to the request.
pub(super) struct ResponseEncoder {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) params: Arc<InferenceParams>,
    pub(super) timing: Timing,
    pub(super) result_sender: oneshot::Sender<ResponseResult>,
    /// Runtime with the blocking threads.
    pub(super) runtime: Handle,
}

impl Responder for ResponseEncoder {
    fn is_disconnected(&self) -> bool {
        self.result_sender.is_closed()
    }

    fn respond(self: Box<Self>, completed: CompletedJob) {
        let runtime = self.runtime.clone();
        runtime.spawn_blocking(move || {
            if self.is_disconnected() {
                return;
            }
            let result = self.encode(completed);
            // Sending fails only if the client has left meanwhile.
            let _ = self.result_sender.send(result);
        });
    }
}

impl ResponseEncoder {
    fn encode(&self, completed: CompletedJob) -> ResponseResult {
        let CompletedJob { image, permit, outcome, queue_time, batch_time, batch_size } = completed;
        let segmentation = match outcome {
            Ok(segmentation) => segmentation,
            Err(error) => {
                let is_multi_model = self.pipeline.settings.multi_model;
                return Err(job_error(&error, image.dimensions(), is_multi_model));
            }
        };
        let mut timing = self.timing;
        timing.queue += queue_time;
        (timing.model, timing.batch_size) = (batch_time, batch_size);
        let started = Instant::now();
        let InferenceParams { model, response_format, .. } = &*self.params;
        let encoded = catch_panic("the encoder", || {
            Ok(response_format.encode(&image, &segmentation, &model.info))
        });
        let bytes = match encoded {
            Ok(outcome) => outcome?,
            Err(error) => {
                return Err(ApiError::new(ErrorType::InferenceFailed, error.to_string()));
            }
        };
        drop((image, permit));
        self.pipeline.check_response_size(bytes.len() as u64)?;
        timing.encode = started.elapsed();
        Ok(EncodedResponse { bytes, timing })
    }
}

/// Words the failure of a job for the client, whose image had this width and height.
pub(super) fn job_error(
    error: &JobError,
    (width, height): (u32, u32),
    is_multi_model: bool,
) -> ApiError {
    match error {
        JobError::Unloaded => {
            ApiError::new(ErrorType::ModelNotFound, "the model was unloaded meanwhile")
        }
        // On this error SageMaker unloads another model, and asks again.
        JobError::Inference(error) if is_multi_model && error.is_out_of_memory() => {
            ApiError::new(ErrorType::InsufficientMemory, error.to_string())
        }
        JobError::Inference(error) => ApiError::new(
            ErrorType::InferenceFailed,
            format!("the model failed on this image of {width}x{height} pixels: {error}"),
        ),
    }
}
