//! Images of callers within this process, who take the network's answer as it is.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::encoder::job_error;
use super::{AdmittedImage, Pipeline};
use crate::inference::{SegmentOptions, Segmentation};
use crate::serve::admission::limiter::Permit;
use crate::serve::api_error::{ApiError, body_error};
use crate::serve::registry::model::Model;
use crate::serve::request::ImageSource;
use crate::serve::worker::job::{CompletedJob, Job, Responder};

/// Segmentation of an image, which holds its place among the server's images until it is dropped.
pub struct SegmentedImage {
    pub segmentation: Segmentation,
    /// Time to decode the image, and time of the network for the batch with it.
    pub decode_time: Duration,
    pub model_time: Duration,
    _permit: Permit,
}

impl fmt::Debug for SegmentedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentedImage")
            .field("size", &self.segmentation.ids.dimensions())
            .finish_non_exhaustive()
    }
}

impl Pipeline {
    /// Segments an image of a caller within this process, within the same bounds as those of clients.
    pub(in crate::serve) async fn segment(
        self: &Arc<Self>,
        model: Arc<Model>,
        bytes: Vec<u8>,
        options: SegmentOptions,
    ) -> Result<SegmentedImage, ApiError> {
        let mut body_permit = self.bodies.permit();
        body_permit.grow(bytes.len()).map_err(|error| body_error(error.into()))?;
        let (priced, priced_options) = (Arc::clone(&model), options.clone());
        let job_model = Arc::clone(&model);
        self.compute_image(
            &model,
            ImageSource::Bytes(bytes),
            body_permit,
            move |pipeline, image| pipeline.estimate_compute_cost(&priced, &priced_options, image),
            move |pipeline, admitted, sender| {
                let AdmittedImage { image, cost, permit, timing } = admitted;
                let is_multi_model = pipeline.settings.multi_model;
                pipeline.compute_thread.send(Job {
                    model: job_model,
                    image,
                    options,
                    work_pixels: cost.work_pixels,
                    permit,
                    sent_at: Instant::now(),
                    responder: Box::new(SegmentationSender {
                        sender,
                        decode_time: timing.decode,
                        is_multi_model,
                    }),
                });
            },
        )
        .await
    }
}

/// Sends the segmentation of an image to its caller.
struct SegmentationSender {
    sender: oneshot::Sender<Result<SegmentedImage, ApiError>>,
    decode_time: Duration,
    is_multi_model: bool,
}

impl Responder for SegmentationSender {
    fn is_disconnected(&self) -> bool {
        self.sender.is_closed()
    }

    fn respond(self: Box<Self>, completed: CompletedJob) {
        let CompletedJob { image, permit, outcome, batch_time, .. } = completed;
        let result = match outcome {
            Ok(segmentation) => Ok(SegmentedImage {
                segmentation,
                decode_time: self.decode_time,
                model_time: batch_time,
                _permit: permit,
            }),
            Err(error) => Err(job_error(&error, image.dimensions(), self.is_multi_model)),
        };
        // Sending fails only if the caller has left.
        let _ = self.sender.send(result);
    }
}
