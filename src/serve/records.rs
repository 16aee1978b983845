//! A request of several images: each is answered in its place, and one that is bad spoils no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::input::{ImageSource, InputRecord, RecordsStyle};
use super::output::records::RecordAnswer;
use super::pipeline::{EncodedResponse, InferenceParams, too_much_work_error};
use super::queue::{BodyPermit, overloaded_error};
use super::reply::{ApiError, ErrorType};
use super::server::{AppState, thread_ended_error};
use super::timing::Timing;

/// Why a record has no answer.
enum RecordError {
    /// Told in the record's place.
    Record(ApiError),
    /// Ends the request.
    Request(ApiError),
}

/// An answer or a refusal, and where it belongs.
type IndexedResult = (usize, Result<EncodedResponse, RecordError>);

impl AppState {
    /// The answers about all images of a request, in their order. `budget` counts the bytes of all.
    pub(super) async fn answer_records(
        self: &Arc<Self>,
        params: InferenceParams,
        records: Vec<InputRecord>,
        style: RecordsStyle,
        body_permit: BodyPermit,
    ) -> Result<EncodedResponse, ApiError> {
        params.response_format.check_records_style(style)?;
        if style == RecordsStyle::Single {
            return self.answer_single_record(params, records, body_permit).await;
        }
        let response_format = params.response_format.clone();
        let mut permit = self.limiter.acquire(params.model.time_estimate.average())?;
        // Each image is counted for itself.
        permit.release_compute_time();
        let (params, promised_micros) = (Arc::new(params), Arc::new(AtomicU64::new(0)));
        let mut answers = RecordAnswers::new(&records);
        let mut sources = records.into_iter().map(|record| record.source).enumerate();
        // Aborts what is under way when it is dropped, which the client's leaving does.
        let mut tasks = JoinSet::new();
        loop {
            while tasks.len() < self.settings.max_batch.max(self.settings.decoders) {
                let Some((index, source)) = sources.next() else { break };
                match source {
                    Err(refusal) => answers.put(index, Err(refusal)),
                    Ok(source) => {
                        let (state, params) = (Arc::clone(self), Arc::clone(&params));
                        let promised_micros = Arc::clone(&promised_micros);
                        tasks.spawn(async move {
                            (index, state.answer_record(params, source, &promised_micros).await)
                        });
                    }
                }
            }
            let Some(ended) = tasks.join_next().await else { break };
            let (index, answer): IndexedResult = ended.map_err(|_| thread_ended_error())?;
            match answer {
                Ok(done) => answers.put(index, Ok(done)),
                Err(RecordError::Record(refusal)) => answers.put(index, Err(refusal)),
                Err(RecordError::Request(refusal)) => return Err(refusal),
            }
            self.check_response_size(answers.total_bytes as u64)?;
        }
        drop((body_permit, permit));
        let bytes = response_format.join_records(style, answers.entries)?;
        self.check_response_size(bytes.len() as u64)?;
        Ok(EncodedResponse { bytes, timing: answers.timing })
    }

    /// One image in JSON is answered as one that comes as it is: at once, or refused at once.
    async fn answer_single_record(
        self: &Arc<Self>,
        params: InferenceParams,
        records: Vec<InputRecord>,
        body_permit: BodyPermit,
    ) -> Result<EncodedResponse, ApiError> {
        let no_record_error =
            || ApiError::new(ErrorType::EmptyBody, "the body holds no record; send one");
        let InputRecord { source, id } = records.into_iter().next().ok_or_else(no_record_error)?;
        let response_format = params.response_format.clone();
        let EncodedResponse { bytes, timing } =
            self.answer_image(params, source?, body_permit).await?;
        let bytes = response_format.join_records(RecordsStyle::Single, vec![(id, Ok(bytes))])?;
        Ok(EncodedResponse { bytes, timing })
    }

    /// `promised` is how long, in microseconds, the images before take together.
    async fn answer_record(
        self: &Arc<Self>,
        params: Arc<InferenceParams>,
        source: ImageSource,
        promised_micros: &AtomicU64,
    ) -> Result<EncodedResponse, RecordError> {
        let mut body_permit = self.limiter.body_permit();
        let source =
            self.fetch_reference(source, &mut body_permit).await.map_err(RecordError::Record)?;
        let started = Instant::now();
        // So that few images wait for room as pixels, whatever number of requests they are of.
        let wait_permit = self.limiter.wait_permit().await.map_err(RecordError::Request)?;
        let expected_image = params.model.expect_image();
        let decoder_permit = self.limiter.decoder_permit().await.map_err(RecordError::Request)?;
        let queue = started.elapsed();
        let state = Arc::clone(self);
        let decoding = spawn_blocking(move || {
            let mut timing = Timing { queue, ..Timing::default() };
            let image = state.decode(source, &mut timing)?;
            drop((body_permit, decoder_permit, expected_image));
            Ok((image, timing))
        });
        let decoded = decoding.await.map_err(|_| RecordError::Request(thread_ended_error()))?;
        let (image, mut timing) = decoded.map_err(RecordError::Record)?;
        let cost = self.estimate_cost(&params, &image).map_err(RecordError::Record)?;
        let cost_micros = u64::try_from(cost.compute_time.as_micros()).unwrap_or(u64::MAX);
        let total_micros =
            promised_micros.fetch_add(cost_micros, Ordering::Relaxed).saturating_add(cost_micros);
        let (total, max_compute) = (Duration::from_micros(total_micros), self.settings.max_compute);
        if total > max_compute && params.model.time_estimate.is_from_requests() {
            return Err(RecordError::Request(too_much_work_error(total, max_compute)));
        }
        let mut permit = self.limiter.acquire_for_record();
        let started = Instant::now();
        // Others may keep the queue full for ever; a request that cannot be done in its time is told so.
        let admission =
            timeout(max_compute, permit.wait_and_admit(cost.compute_time, cost.image_bytes));
        let admission =
            admission.await.unwrap_or_else(|_| Err(overloaded_error("seconds of computing")));
        admission.map_err(RecordError::Request)?;
        timing.queue += started.elapsed();
        drop(wait_permit);
        let (result_sender, result_receiver) = oneshot::channel();
        self.send_job(params, image, cost, permit, timing, result_sender, Handle::current());
        let answer =
            result_receiver.await.map_err(|_| RecordError::Request(thread_ended_error()))?;
        answer.map_err(|refusal| match refusal.error_type() {
            ErrorType::ModelNotFound | ErrorType::InsufficientMemory => {
                RecordError::Request(refusal)
            }
            _ => RecordError::Record(refusal),
        })
    }
}

/// Answers in the places of their records.
struct RecordAnswers {
    entries: Vec<RecordAnswer>,
    timing: Timing,
    total_bytes: usize,
}

impl RecordAnswers {
    fn new(records: &[InputRecord]) -> Self {
        let empty_answer = |record: &InputRecord| (record.id.clone(), Ok(Vec::new()));
        Self {
            entries: records.iter().map(empty_answer).collect(),
            timing: Timing::default(),
            total_bytes: 0,
        }
    }

    fn put(&mut self, index: usize, answer: Result<EncodedResponse, ApiError>) {
        self.entries[index].1 = answer.map(|done| {
            self.timing.add(&done.timing);
            self.total_bytes += done.bytes.len() + 1;
            done.bytes
        });
    }
}
