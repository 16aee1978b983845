//! A request of several images: each has its answer or its error, and errors do not affect others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use image::RgbImage;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::{
    AdmittedImage, ComputeCost, EncodedResponse, InferenceParams, Pipeline, ResponseResult,
};
use crate::http::BodyPermit;
use crate::serve::admission::limiter::Permit;
use crate::serve::api_error::{
    ApiError, ErrorType, overloaded_error, thread_ended_error, too_much_work_error,
};
use crate::serve::request::{ImageSource, InputRecord, RecordsStyle};
use crate::serve::response::records::RecordAnswer;
use crate::serve::timing::Timing;

/// Computes the answers to all images of a request, in their order. `body_permit` counts the bytes
/// of the whole body.
pub(super) async fn answer_records(
    pipeline: &Arc<Pipeline>,
    params: InferenceParams,
    records: Vec<InputRecord>,
    style: RecordsStyle,
    body_permit: BodyPermit,
) -> ResponseResult {
    params.response_format.check_records_style(style)?;
    if style == RecordsStyle::Single {
        return answer_single_record(pipeline, params, records, body_permit).await;
    }
    let response_format = params.response_format.clone();
    let mut permit = pipeline.limiter.acquire(params.model.time_estimate.average())?;
    // Each image takes its own compute time.
    permit.release_compute_time();
    let batch = Arc::new(RecordBatch {
        pipeline: Arc::clone(pipeline),
        params: Arc::new(params),
        total_micros: AtomicU64::new(0),
    });
    let answers = batch.answer_all(records).await?;
    drop((body_permit, permit));
    let bytes = response_format.join_records(style, answers.entries)?;
    pipeline.check_response_size(bytes.len() as u64)?;
    Ok(EncodedResponse { bytes, timing: answers.timing })
}

/// Answers one record as an image that is the whole body: at once, or refused at once.
async fn answer_single_record(
    pipeline: &Arc<Pipeline>,
    params: InferenceParams,
    records: Vec<InputRecord>,
    body_permit: BodyPermit,
) -> ResponseResult {
    let Some(InputRecord { source, id }) = records.into_iter().next() else {
        return Err(ApiError::new(ErrorType::EmptyBody, "the body holds no record; send one"));
    };
    let response_format = params.response_format.clone();
    let EncodedResponse { bytes, timing } =
        pipeline.answer_image(params, source?, body_permit).await?;
    let bytes = response_format.join_records(RecordsStyle::Single, vec![(id, Ok(bytes))])?;
    Ok(EncodedResponse { bytes, timing })
}

/// The images of one request that are answered together.
struct RecordBatch {
    pipeline: Arc<Pipeline>,
    params: Arc<InferenceParams>,
    /// Predicted time of the images so far, in microseconds.
    total_micros: AtomicU64,
}

/// The reason why a record has no answer.
enum RecordError {
    /// An error of the record, which stands in its place.
    Record(ApiError),
    /// An error that ends the request.
    Request(ApiError),
}

/// The result of one record, and its place among the records.
struct IndexedResult {
    index: usize,
    result: Result<EncodedResponse, RecordError>,
}

/// A decoded image, and the time of its decoding.
struct DecodedImage {
    image: RgbImage,
    timing: Timing,
}

impl RecordBatch {
    /// Answers all records, a few at a time.
    async fn answer_all(
        self: &Arc<Self>,
        records: Vec<InputRecord>,
    ) -> Result<RecordAnswers, ApiError> {
        let settings = &self.pipeline.settings;
        let max_tasks = settings.max_batch.max(settings.decoders);
        let mut answers = RecordAnswers::new(&records);
        let mut sources = records.into_iter().map(|record| record.source).enumerate();
        // Dropping the set, as the client's leaving does, aborts the tasks.
        let mut tasks = JoinSet::new();
        loop {
            while tasks.len() < max_tasks {
                let Some((index, source)) = sources.next() else { break };
                match source {
                    Err(refusal) => answers.put(index, Err(refusal)),
                    Ok(source) => {
                        let batch = Arc::clone(self);
                        tasks.spawn(async move {
                            let result = batch.answer_record(source).await;
                            IndexedResult { index, result }
                        });
                    }
                }
            }
            let Some(ended) = tasks.join_next().await else { break };
            let Ok(IndexedResult { index, result }) = ended else {
                return Err(thread_ended_error());
            };
            match result {
                Ok(done) => answers.put(index, Ok(done)),
                Err(RecordError::Record(refusal)) => answers.put(index, Err(refusal)),
                Err(RecordError::Request(refusal)) => return Err(refusal),
            }
            self.pipeline.check_response_size(answers.total_bytes as u64)?;
        }
        Ok(answers)
    }

    async fn answer_record(&self, source: ImageSource) -> Result<EncodedResponse, RecordError> {
        let pipeline = &self.pipeline;
        let mut body_permit = pipeline.bodies.permit();
        let source = pipeline
            .fetch_reference(source, &mut body_permit)
            .await
            .map_err(RecordError::Record)?;
        let started = Instant::now();
        // The permit bounds the decoded images that wait for room, over all requests.
        let wait_permit = pipeline.limiter.wait_permit().await.map_err(RecordError::Request)?;
        let DecodedImage { image, mut timing } = self.decode(source, body_permit, started).await?;
        let cost = pipeline.estimate_cost(&self.params, &image).map_err(RecordError::Record)?;
        self.add_compute_time(cost.compute_time)?;
        let started = Instant::now();
        let permit = self.wait_for_room(cost).await.map_err(RecordError::Request)?;
        timing.queue += started.elapsed();
        drop(wait_permit);
        let (result_sender, result_receiver) = oneshot::channel();
        let admitted = AdmittedImage { image, cost, permit, timing };
        pipeline.send_job(Arc::clone(&self.params), admitted, result_sender);
        let Ok(answer) = result_receiver.await else {
            return Err(RecordError::Request(thread_ended_error()));
        };
        answer.map_err(|refusal| match refusal.error_type() {
            ErrorType::ModelNotFound | ErrorType::InsufficientMemory => {
                RecordError::Request(refusal)
            }
            _ => RecordError::Record(refusal),
        })
    }

    /// Waits for a decoder, and decodes the image. `started` is when the record began to wait.
    async fn decode(
        &self,
        source: ImageSource,
        body_permit: BodyPermit,
        started: Instant,
    ) -> Result<DecodedImage, RecordError> {
        let expected_image = self.params.model.expect_image();
        let limiter = &self.pipeline.limiter;
        let decoder_permit = limiter.decoder_permit().await.map_err(RecordError::Request)?;
        let queue = started.elapsed();
        let pipeline = Arc::clone(&self.pipeline);
        let decoding = spawn_blocking(move || {
            let mut timing = Timing { queue, ..Timing::default() };
            let image = pipeline.decode(source, &mut timing)?;
            drop((body_permit, decoder_permit, expected_image));
            Ok(DecodedImage { image, timing })
        });
        match decoding.await {
            Ok(decoded) => decoded.map_err(RecordError::Record),
            Err(_) => Err(RecordError::Request(thread_ended_error())),
        }
    }

    /// Adds the time of another image to that of the request, which may not exceed the bound.
    fn add_compute_time(&self, added: Duration) -> Result<(), RecordError> {
        let added_micros = u64::try_from(added.as_micros()).unwrap_or(u64::MAX);
        let earlier_micros = self.total_micros.fetch_add(added_micros, Ordering::Relaxed);
        let total = Duration::from_micros(earlier_micros.saturating_add(added_micros));
        let max_compute = self.pipeline.settings.max_compute;
        if total > max_compute && self.params.model.time_estimate.is_from_requests() {
            return Err(RecordError::Request(too_much_work_error(total, max_compute)));
        }
        Ok(())
    }

    /// Waits for room for an image. Other requests may keep the queue full, so the wait ends with
    /// an error after the longest time that a request may be computed.
    async fn wait_for_room(&self, cost: ComputeCost) -> Result<Permit, ApiError> {
        let mut permit = self.pipeline.limiter.acquire_for_record();
        let admission = permit.wait_and_admit(cost.compute_time, cost.image_bytes);
        match timeout(self.pipeline.settings.max_compute, admission).await {
            Ok(admitted) => admitted?,
            Err(_) => return Err(overloaded_error("seconds of computing")),
        }
        Ok(permit)
    }
}

/// The answers in the order of their records.
struct RecordAnswers {
    entries: Vec<RecordAnswer>,
    timing: Timing,
    total_bytes: usize,
}

impl RecordAnswers {
    fn new(records: &[InputRecord]) -> Self {
        let mut entries: Vec<RecordAnswer> = Vec::with_capacity(records.len());
        for record in records {
            entries.push((record.id.clone(), Ok(Vec::new())));
        }
        Self { entries, timing: Timing::default(), total_bytes: 0 }
    }

    fn put(&mut self, index: usize, answer: Result<EncodedResponse, ApiError>) {
        self.entries[index].1 = match answer {
            Ok(EncodedResponse { bytes, timing }) => {
                self.timing.add(&timing);
                self.total_bytes += bytes.len() + 1;
                Ok(bytes)
            }
            Err(refusal) => Err(refusal),
        };
    }
}
