//! The pipeline: from a request's body to its answer, by way of decoder, model and encoder.
//!
//! Decoding and encoding keep a core busy for up to seconds. They run on tokio's blocking threads,
//! beside the threads that answer pings and beside the compute thread. An image goes from one stage
//! to the next without returning to the request, which only waits for the end.

mod encoder;
mod records;
mod segmented;

use std::sync::Arc;
use std::time::{Duration, Instant};

use image::RgbImage;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use self::encoder::ResponseEncoder;
pub use self::segmented::SegmentedImage;
use crate::http::{BodyBudget, BodyPermit, ReceivedBody};
use crate::imaging::DecodeLimits;
use crate::inference::SegmentOptions;
use crate::serve::admission::limiter::{Limiter, Permit};
use crate::serve::api_error::{
    ApiError, ErrorType, body_error, thread_ended_error, too_much_work_error,
};
use crate::serve::registry::model::Model;
use crate::serve::request::{self, BodyKind, ImageSource, ObjectFetcher, RequestBody};
use crate::serve::response::format::ResponseFormat;
use crate::serve::settings::ServeSettings;
use crate::serve::timing::Timing;
use crate::serve::worker::ComputeThread;
use crate::serve::worker::job::Job;
use crate::serve::worker::panic::catch_panic;

/// Longest URI of a client in a message, in characters.
const MAX_URI_CHARS: usize = 200;

/// The parts that compute answers, within the server's bounds.
pub(in crate::serve) struct Pipeline {
    settings: ServeSettings,
    /// Bound on the bytes of all bodies and answers.
    pub(in crate::serve) bodies: BodyBudget,
    pub(in crate::serve) limiter: Arc<Limiter>,
    pub(in crate::serve) compute_thread: Arc<ComputeThread>,
    /// Fetcher of images that requests name; none if the server fetches none.
    fetcher: Option<Arc<dyn ObjectFetcher>>,
}

/// The options of a request for each of its images.
pub(in crate::serve) struct InferenceParams {
    pub(in crate::serve) model: Arc<Model>,
    pub(in crate::serve) response_format: ResponseFormat,
    pub(in crate::serve) options: SegmentOptions,
}

/// The encoded answer to an image or a whole request.
#[derive(Debug)]
pub(in crate::serve) struct EncodedResponse {
    pub(in crate::serve) bytes: Vec<u8>,
    pub(in crate::serve) timing: Timing,
}

type ResponseResult = Result<EncodedResponse, ApiError>;

/// The predicted cost of computing an image.
#[derive(Debug, Clone, Copy)]
struct ComputeCost {
    /// Pixels that the network computes, over all its passes.
    work_pixels: u64,
    compute_time: Duration,
    /// Bytes of the decoded image.
    image_bytes: u64,
}

/// A decoded image that has its room, on its way to the compute thread.
struct AdmittedImage {
    image: RgbImage,
    cost: ComputeCost,
    permit: Permit,
    timing: Timing,
}

impl Pipeline {
    pub(in crate::serve) fn new(
        settings: &ServeSettings,
        compute_thread: Arc<ComputeThread>,
        fetcher: Option<Arc<dyn ObjectFetcher>>,
    ) -> Self {
        Self {
            settings: settings.clone(),
            bodies: BodyBudget::new(settings.bodies_bytes),
            limiter: Limiter::new(settings),
            compute_thread,
            fetcher,
        }
    }

    /// Computes the answer to a whole body.
    pub(in crate::serve) async fn answer(
        self: &Arc<Self>,
        body_kind: BodyKind,
        params: InferenceParams,
        received: ReceivedBody,
    ) -> ResponseResult {
        let ReceivedBody { bytes, permit } = received;
        let parsed = match body_kind {
            // These kinds are not read before the image is decoded.
            BodyKind::Image | BodyKind::Npy => request::parse_body(body_kind, bytes),
            BodyKind::Json | BodyKind::JsonLines => {
                let parsing = spawn_blocking(move || request::parse_body(body_kind, bytes));
                parsing.await.unwrap_or_else(|_| {
                    Err(ApiError::new(ErrorType::InvalidJson, "the body cannot be read as JSON"))
                })
            }
        };
        match parsed? {
            RequestBody::Image(source) => self.answer_image(params, source, permit).await,
            RequestBody::Records(records, style) => {
                records::answer_records(self, params, records, style, permit).await
            }
        }
    }

    /// Computes the answer to the only image of a request. `body_permit` counts the bytes of
    /// `source` until they are dropped.
    async fn answer_image(
        self: &Arc<Self>,
        params: InferenceParams,
        source: ImageSource,
        body_permit: BodyPermit,
    ) -> ResponseResult {
        let params = Arc::new(params);
        let model = Arc::clone(&params.model);
        let priced = Arc::clone(&params);
        self.compute_image(
            &model,
            source,
            body_permit,
            move |pipeline, image| pipeline.estimate_cost(&priced, image),
            move |pipeline, admitted, sender| pipeline.send_job(params, admitted, sender),
        )
        .await
    }

    /// Decodes an image, takes room for it at the cost that `estimate` predicts, and sends it to the
    /// compute thread by `send`, whose responder tells the result.
    async fn compute_image<A: Send + 'static>(
        self: &Arc<Self>,
        model: &Arc<Model>,
        source: ImageSource,
        mut body_permit: BodyPermit,
        estimate: impl FnOnce(&Self, &RgbImage) -> Result<ComputeCost, ApiError> + Send + 'static,
        send: impl FnOnce(&Arc<Self>, AdmittedImage, oneshot::Sender<Result<A, ApiError>>)
        + Send
        + 'static,
    ) -> Result<A, ApiError> {
        let mut permit = self.limiter.acquire(model.time_estimate.average())?;
        let source = self.fetch_reference(source, &mut body_permit).await?;
        let expected_image = model.expect_image();
        let queued_at = Instant::now();
        let decoder_permit = self.limiter.decoder_permit().await?;
        let mut timing = Timing { queue: queued_at.elapsed(), ..Timing::default() };
        let (result_sender, result_receiver) = oneshot::channel();
        let pipeline = Arc::clone(self);
        spawn_blocking(move || {
            if result_sender.is_closed() {
                return;
            }
            let admitted = pipeline.decode(source, &mut timing).and_then(|image| {
                // The image may wait long now, but not with the bytes that it was decoded from.
                drop((body_permit, decoder_permit));
                let cost = estimate(&pipeline, &image)?;
                permit.admit(cost.compute_time, cost.image_bytes)?;
                Ok((image, cost))
            });
            // The image stops being expected before its job is seen, or a batch would wait for it.
            drop(expected_image);
            match admitted {
                Ok((image, cost)) => {
                    let admitted = AdmittedImage { image, cost, permit, timing };
                    send(&pipeline, admitted, result_sender);
                }
                Err(refusal) => {
                    // The place is free before the client can ask again.
                    drop(permit);
                    // Sending fails only if the client has left.
                    let _ = result_sender.send(Err(refusal));
                }
            }
        });
        result_receiver.await.unwrap_or_else(|_| Err(thread_ended_error()))
    }

    /// Fetches an image that is given by its URI; returns others as they are. `body_permit` counts
    /// the fetched bytes.
    async fn fetch_reference(
        &self,
        source: ImageSource,
        body_permit: &mut BodyPermit,
    ) -> Result<ImageSource, ApiError> {
        let ImageSource::S3Uri(uri) = source else { return Ok(source) };
        let Some(fetcher) = &self.fetcher else {
            return Err(ApiError::new(
                ErrorType::ReferencesNotAllowed,
                format!(
                    "the image is named by {}, but this server fetches none; send the image \
                     itself, \
                     or allow references",
                    shorten_uri(&uri)
                ),
            ));
        };
        let bytes = match fetcher.fetch(&uri, self.settings.max_body_bytes).await {
            Ok(bytes) => bytes,
            Err(reason) => {
                return Err(ApiError::new(
                    ErrorType::ReferenceFailed,
                    format!("cannot fetch {}: {reason}", shorten_uri(&uri)),
                ));
            }
        };
        body_permit.grow(bytes.len()).map_err(|error| body_error(error.into()))?;
        // Files of `numpy.save` begin with these bytes.
        let is_array = bytes.starts_with(b"\x93NUMPY");
        Ok(if is_array { ImageSource::Npy(bytes) } else { ImageSource::Bytes(bytes) })
    }

    /// Decodes an image on this thread, and notes its time and size.
    fn decode(&self, source: ImageSource, timing: &mut Timing) -> Result<RgbImage, ApiError> {
        let started = Instant::now();
        let limits = DecodeLimits { max_pixels: self.settings.max_pixels };
        let decoded = catch_panic("the decoder", || Ok(request::decode_source(source, limits)));
        timing.decode = started.elapsed();
        let image = match decoded {
            Ok(outcome) => outcome?,
            // A decoder that panics does so because of these bytes.
            Err(error) => {
                return Err(ApiError::new(ErrorType::UndecodableImage, error.to_string()));
            }
        };
        timing.size = image.dimensions();
        timing.image_count = 1;
        Ok(image)
    }

    /// Predicts the cost of one image: its compute time, the pixels that the network will see of it
    /// (all tiles together), and the bytes of the decoded image. Refuses with
    /// 413 an image whose answer is known to be too large (`ReplyTooLarge`), or whose compute time
    /// exceeds `max_compute` (`TooMuchWork`).
    fn estimate_cost(
        &self,
        params: &InferenceParams,
        image: &RgbImage,
    ) -> Result<ComputeCost, ApiError> {
        let InferenceParams { model, response_format, options } = params;
        let (size, classes) = (image.dimensions(), model.info.class_names.len());
        if let Some(reply_bytes) = response_format.exact_bytes(size, classes) {
            self.check_response_size(reply_bytes)?;
        }
        self.estimate_compute_cost(model, options, image)
    }

    /// Predicts the cost of one image as [`Self::estimate_cost`] does, if there is no answer to be sent.
    fn estimate_compute_cost(
        &self,
        model: &Model,
        options: &SegmentOptions,
        image: &RgbImage,
    ) -> Result<ComputeCost, ApiError> {
        let size = image.dimensions();
        let work_pixels = model.info.network_pixels(size, options);
        let max_compute = self.settings.max_compute;
        if let Some(predicted) = model.time_estimate.predict_if_over(work_pixels, max_compute) {
            return Err(too_much_work_error(predicted, max_compute));
        }
        let compute_time = model.time_estimate.predict(work_pixels);
        Ok(ComputeCost { work_pixels, compute_time, image_bytes: image.as_raw().len() as u64 })
    }

    /// Hands an image to the compute thread; its answer goes to `result_sender`. Must be called on
    /// a thread of tokio's runtime.
    fn send_job(
        self: &Arc<Self>,
        params: Arc<InferenceParams>,
        admitted: AdmittedImage,
        result_sender: oneshot::Sender<ResponseResult>,
    ) {
        let AdmittedImage { image, cost, permit, timing } = admitted;
        let (model, options) = (Arc::clone(&params.model), params.options.clone());
        let encoder = ResponseEncoder {
            pipeline: Arc::clone(self),
            params,
            timing,
            result_sender,
            runtime: Handle::current(),
        };
        self.compute_thread.send(Job {
            model,
            image,
            options,
            work_pixels: cost.work_pixels,
            permit,
            sent_at: Instant::now(),
            responder: Box::new(encoder),
        });
    }

    /// Refuses an answer of more bytes than the endpoint carries.
    fn check_response_size(&self, bytes: u64) -> Result<(), ApiError> {
        let max_bytes = self.settings.max_reply_bytes;
        if bytes <= max_bytes as u64 {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorType::ReplyTooLarge,
            format!(
                "the answer has {bytes} bytes, and at most {max_bytes} are allowed \
                 (max_reply_bytes); send a smaller image, or ask for another media type"
            ),
        ))
    }
}

/// Quotes a URI of the client, cut to a length that fits into a message.
fn shorten_uri(uri: &str) -> String {
    let short: String = uri.chars().take(MAX_URI_CHARS).collect();
    format!("{short:?}")
}
