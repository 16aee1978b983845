//! The way of one image: decoder, model, encoder.
//!
//! Decoding and encoding keep a core busy for up to seconds; they run on tokio's blocking threads, beside those that
//! answer pings and beside the compute thread. An image goes from one to the next without coming back to the request
//! in between, whose only wait is for the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use image::RgbImage;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::accept::ResponseFormat;
use super::engine::{CompletedJob, Job, JobError, Responder, catch_panic};
use super::input::{self, ImageSource};
use super::model::Model;
use super::queue::{BodyPermit, Permit};
use super::reply::{ApiError, ErrorType};
use super::server::{AppState, thread_ended_error};
use super::timing::Timing;
use crate::error::Error;
use crate::imaging::DecodeLimits;
use crate::inference::SegmentOptions;

/// What a request wants of each of its images.
pub(super) struct InferenceParams {
    pub(super) model: Arc<Model>,
    pub(super) response_format: ResponseFormat,
    pub(super) options: SegmentOptions,
}

/// An image's answer.
#[derive(Debug)]
pub(super) struct EncodedResponse {
    pub(super) bytes: Vec<u8>,
    pub(super) timing: Timing,
}

type ResponseResult = Result<EncodedResponse, ApiError>;

/// What computing an image will cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct ComputeCost {
    /// Pixels that the network computes.
    pub(super) work_pixels: u64,
    pub(super) compute_time: Duration,
    /// Bytes of the decoded image.
    pub(super) image_bytes: u64,
}

impl AppState {
    /// The answer about a request's only image. `budget` counts the bytes of `source`, until they are gone.
    pub(super) async fn answer_image(
        self: &Arc<Self>,
        params: InferenceParams,
        source: ImageSource,
        mut body_permit: BodyPermit,
    ) -> ResponseResult {
        let mut permit = self.limiter.acquire(params.model.time_estimate.average())?;
        let source = self.fetch_reference(source, &mut body_permit).await?;
        let expected_image = params.model.expect_image();
        let queued_at = Instant::now();
        let decoder_permit = self.limiter.decoder_permit().await?;
        let mut timing = Timing { queue: queued_at.elapsed(), ..Timing::default() };
        let (result_sender, result_receiver) = oneshot::channel();
        let (state, runtime) = (Arc::clone(self), Handle::current());
        spawn_blocking(move || {
            if result_sender.is_closed() {
                return;
            }
            let admitted = state.decode(source, &mut timing).and_then(|image| {
                // The image may wait long now; what it was made of does not.
                drop((body_permit, decoder_permit));
                let cost = state.estimate_cost(&params, &image)?;
                permit.admit(cost.compute_time, cost.image_bytes)?;
                Ok((image, cost))
            });
            // Before the job is seen, or the model would wait for the image that it has.
            drop(expected_image);
            match admitted {
                Ok((image, cost)) => {
                    state.send_job(
                        Arc::new(params),
                        image,
                        cost,
                        permit,
                        timing,
                        result_sender,
                        runtime,
                    );
                }
                Err(refusal) => {
                    // What is told is over: its place is free for the next.
                    drop(permit);
                    // Nobody who listens: the client has left.
                    let _ = result_sender.send(Err(refusal));
                }
            }
        });
        result_receiver.await.unwrap_or_else(|_| Err(thread_ended_error()))
    }

    /// The bytes of an image that is named only; others as they are.
    pub(super) async fn fetch_reference(
        &self,
        source: ImageSource,
        body_permit: &mut BodyPermit,
    ) -> Result<ImageSource, ApiError> {
        let ImageSource::S3Uri(uri) = source else { return Ok(source) };
        let Some(fetcher) = &self.fetcher else {
            return Err(ApiError::new(
                ErrorType::ReferencesNotAllowed,
                format!(
                    "the image is named by {}, but this server fetches none; send the image itself, or allow \
                     references",
                    shorten_uri(&uri)
                ),
            ));
        };
        let max_bytes = self.settings.max_body_bytes;
        let bytes = fetcher.fetch(&uri, max_bytes).await.map_err(|reason| {
            ApiError::new(
                ErrorType::ReferenceFailed,
                format!("cannot fetch {}: {reason}", shorten_uri(&uri)),
            )
        })?;
        body_permit.grow(bytes.len())?;
        // What `numpy.save` begins its files with.
        let is_array = bytes.starts_with(b"\x93NUMPY");
        Ok(if is_array { ImageSource::Npy(bytes) } else { ImageSource::Bytes(bytes) })
    }

    /// Decodes on this thread.
    pub(super) fn decode(
        &self,
        source: ImageSource,
        timing: &mut Timing,
    ) -> Result<RgbImage, ApiError> {
        let started = Instant::now();
        let limits = DecodeLimits { max_pixels: self.settings.max_pixels };
        let decoded = catch_panic("the decoder", || Ok(input::decode_source(source, limits)));
        timing.decode = started.elapsed();
        // A decoder that panics does so because of these bytes.
        let to_api_error =
            |error: Error| ApiError::new(ErrorType::UndecodableImage, error.to_string());
        let image = decoded.map_err(to_api_error)??;
        timing.size = image.dimensions();
        timing.image_count = 1;
        Ok(image)
    }

    /// What computing the image will cost, if that and the answer's size are allowed.
    pub(super) fn estimate_cost(
        &self,
        params: &InferenceParams,
        image: &RgbImage,
    ) -> Result<ComputeCost, ApiError> {
        let InferenceParams { model, response_format, options } = params;
        let size = image.dimensions();
        if let Some(reply_bytes) = response_format.exact_bytes(size, model.info.class_names.len()) {
            self.check_response_size(reply_bytes)?;
        }
        let work_pixels = model.info.network_pixels(size, options);
        let max_compute = self.settings.max_compute;
        if let Some(predicted) = model.time_estimate.predict_if_over(work_pixels, max_compute) {
            return Err(too_much_work_error(predicted, max_compute));
        }
        let compute_time = model.time_estimate.predict(work_pixels);
        Ok(ComputeCost { work_pixels, compute_time, image_bytes: image.as_raw().len() as u64 })
    }

    /// Hands a decoded image over to the compute thread; the answer goes to `tell`.
    #[allow(clippy::too_many_arguments, reason = "each is handed on")]
    pub(super) fn send_job(
        self: &Arc<Self>,
        params: Arc<InferenceParams>,
        image: RgbImage,
        cost: ComputeCost,
        permit: Permit,
        timing: Timing,
        result_sender: oneshot::Sender<ResponseResult>,
        runtime: Handle,
    ) {
        let (model, options) = (Arc::clone(&params.model), params.options.clone());
        let encoder =
            ResponseEncoder { state: Arc::clone(self), params, timing, result_sender, runtime };
        let (work_pixels, sent_at) = (cost.work_pixels, Instant::now());
        let responder = Box::new(encoder);
        self.compute_thread.send(Job {
            model,
            image,
            options,
            work_pixels,
            permit,
            sent_at,
            responder,
        });
    }

    /// Refuses an answer of so many bytes if the endpoint does not carry it.
    pub(super) fn check_response_size(&self, bytes: u64) -> Result<(), ApiError> {
        let max_bytes = self.settings.max_reply_bytes;
        if bytes <= max_bytes as u64 {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorType::ReplyTooLarge,
            format!(
                "the answer has {bytes} bytes, and at most {max_bytes} are allowed (max_reply_bytes); send a smaller image, \
                 or ask for another media type"
            ),
        ))
    }
}

pub(super) fn too_much_work_error(predicted: Duration, max_time: Duration) -> ApiError {
    let (predicted_seconds, max_seconds) = (predicted.as_secs_f64(), max_time.as_secs_f64());
    ApiError::new(
        ErrorType::TooMuchWork,
        format!(
            "computing this would take about {predicted_seconds:.0} s, and at most {max_seconds:.0} s are allowed (max_compute); send \
             fewer pixels, or ask without flip, scales or tile"
        ),
    )
}

/// Makes the answer of what was computed.
struct ResponseEncoder {
    state: Arc<AppState>,
    params: Arc<InferenceParams>,
    timing: Timing,
    result_sender: oneshot::Sender<ResponseResult>,
    runtime: Handle,
}

impl Responder for ResponseEncoder {
    fn is_disconnected(&self) -> bool {
        self.result_sender.is_closed()
    }

    fn respond(self: Box<Self>, completed: CompletedJob) {
        let runtime = self.runtime.clone();
        runtime.spawn_blocking(move || {
            let Self { state, params, timing, result_sender, .. } = *self;
            if !result_sender.is_closed() {
                // It may leave until the end; nobody needs the answer then.
                let _ = result_sender.send(state.encode_response(&params, completed, timing));
            }
        });
    }
}

impl AppState {
    fn encode_response(
        &self,
        params: &InferenceParams,
        completed: CompletedJob,
        mut timing: Timing,
    ) -> ResponseResult {
        let CompletedJob { image, permit, outcome, queue_time, batch_time, batch_size } = completed;
        let segmentation =
            outcome.map_err(|job_error| self.map_job_error(&job_error, image.dimensions()))?;
        timing.queue += queue_time;
        (timing.model, timing.batch_size) = (batch_time, batch_size);
        let started = Instant::now();
        let info = &params.model.info;
        let encoded = catch_panic("the encoder", || {
            Ok(params.response_format.encode(&image, &segmentation, info))
        });
        let to_api_error =
            |error: Error| ApiError::new(ErrorType::InferenceFailed, error.to_string());
        let bytes = encoded.map_err(to_api_error)??;
        drop((image, permit));
        self.check_response_size(bytes.len() as u64)?;
        timing.encode = started.elapsed();
        Ok(EncodedResponse { bytes, timing })
    }

    fn map_job_error(&self, job_error: &JobError, (width, height): (u32, u32)) -> ApiError {
        match job_error {
            JobError::Unloaded => {
                ApiError::new(ErrorType::ModelNotFound, "the model was unloaded meanwhile")
            }
            // SageMaker unloads another model then, and asks again.
            JobError::Inference(error) if self.settings.multi_model && error.is_out_of_memory() => {
                ApiError::new(ErrorType::InsufficientMemory, error.to_string())
            }
            JobError::Inference(error) => ApiError::new(
                ErrorType::InferenceFailed,
                format!("the model failed on this image of {width}x{height} pixels: {error}"),
            ),
        }
    }
}

/// What the client sent, short enough for a message.
fn shorten_uri(uri: &str) -> String {
    let short: String = uri.chars().take(200).collect();
    format!("{short:?}")
}
