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

use super::accept::Reply;
use super::engine::{Client, Computed, Failure, Job, contained};
use super::input::{self, Source};
use super::model::Model;
use super::queue::{Budget, Ticket};
use super::reply::{ErrorType, Refusal};
use super::server::{Shared, gone};
use super::timing::Timing;
use crate::error::Error;
use crate::imaging::Limits;
use crate::inference::Ask;

/// What a request wants of each of its images.
pub(super) struct Wanted {
    pub(super) model: Arc<Model>,
    pub(super) reply: Reply,
    pub(super) ask: Ask,
}

/// An image's answer.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) bytes: Vec<u8>,
    pub(super) timing: Timing,
}

type Outcome = Result<Done, Refusal>;

/// What computing an image will cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// Pixels that the network computes.
    pub(super) work: u64,
    pub(super) time: Duration,
    /// Bytes of the decoded image.
    pub(super) pixels: u64,
}

impl Shared {
    /// The answer about a request's only image. `budget` counts the bytes of `source`, until they are gone.
    pub(super) async fn answer_one(
        self: &Arc<Self>,
        wanted: Wanted,
        source: Source,
        mut budget: Budget,
    ) -> Outcome {
        let mut ticket = self.queue.enter(wanted.model.estimate.usual())?;
        let source = self.fetched(source, &mut budget).await?;
        let on_its_way = wanted.model.expect_one();
        let asked = Instant::now();
        let turn = self.queue.decoder().await?;
        let mut timing = Timing { queue: asked.elapsed(), ..Timing::default() };
        let (tell, told) = oneshot::channel();
        let (server, runtime) = (Arc::clone(self), Handle::current());
        spawn_blocking(move || {
            if tell.is_closed() {
                return;
            }
            let admitted = server.decode(source, &mut timing).and_then(|image| {
                // The image may wait long now; what it was made of does not.
                drop((budget, turn));
                let cost = server.weigh(&wanted, &image)?;
                ticket.admit(cost.time, cost.pixels)?;
                Ok((image, cost))
            });
            // Before the job is seen, or the model would wait for the image that it has.
            drop(on_its_way);
            match admitted {
                Ok((image, cost)) => {
                    server.hand_over(Arc::new(wanted), image, cost, ticket, timing, tell, runtime);
                }
                Err(refusal) => {
                    // What is told is over: its place is free for the next.
                    drop(ticket);
                    // Nobody who listens: the client has left.
                    let _ = tell.send(Err(refusal));
                }
            }
        });
        told.await.unwrap_or_else(|_| Err(gone()))
    }

    /// The bytes of an image that is named only; others as they are.
    pub(super) async fn fetched(
        &self,
        source: Source,
        budget: &mut Budget,
    ) -> Result<Source, Refusal> {
        let Source::Reference(uri) = source else { return Ok(source) };
        let Some(fetch) = &self.fetch else {
            return Err(Refusal::new(
                ErrorType::ReferencesNotAllowed,
                format!(
                    "the image is named by {}, but this server fetches none; send the image itself, or allow \
                     references",
                    shortened(&uri)
                ),
            ));
        };
        let most = self.settings.max_body_bytes;
        let bytes = fetch.fetch(&uri, most).await.map_err(|reason| {
            Refusal::new(
                ErrorType::ReferenceFailed,
                format!("cannot fetch {}: {reason}", shortened(&uri)),
            )
        })?;
        budget.grow(bytes.len())?;
        // What `numpy.save` begins its files with.
        let is_array = bytes.starts_with(b"\x93NUMPY");
        Ok(if is_array { Source::Array(bytes) } else { Source::Bytes(bytes) })
    }

    /// Decodes on this thread.
    pub(super) fn decode(&self, source: Source, timing: &mut Timing) -> Result<RgbImage, Refusal> {
        let begun = Instant::now();
        let limits = Limits { max_pixels: self.settings.max_pixels };
        let decoded = contained("the decoder", || Ok(input::decode(source, limits)));
        timing.decode = begun.elapsed();
        // A decoder that panics does so because of these bytes.
        let gave_up = |error: Error| Refusal::new(ErrorType::UndecodableImage, error.to_string());
        let image = decoded.map_err(gave_up)??;
        timing.size = image.dimensions();
        timing.images = 1;
        Ok(image)
    }

    /// What computing the image will cost, if that and the answer's size are allowed.
    pub(super) fn weigh(&self, wanted: &Wanted, image: &RgbImage) -> Result<Cost, Refusal> {
        let Wanted { model, reply, ask } = wanted;
        let size = image.dimensions();
        if let Some(bytes) = reply.exact_bytes(size, model.about.class_names.len()) {
            self.check_reply(bytes)?;
        }
        let work = model.about.work(size, &ask.view);
        let most = self.settings.max_compute;
        if let Some(predicted) = model.estimate.surely_over(work, most) {
            return Err(too_much_work(predicted, most));
        }
        let time = model.estimate.predict(work);
        Ok(Cost { work, time, pixels: image.as_raw().len() as u64 })
    }

    /// Hands a decoded image over to the compute thread; the answer goes to `tell`.
    #[allow(clippy::too_many_arguments, reason = "each is handed on")]
    pub(super) fn hand_over(
        self: &Arc<Self>,
        wanted: Arc<Wanted>,
        image: RgbImage,
        cost: Cost,
        ticket: Ticket,
        timing: Timing,
        tell: oneshot::Sender<Outcome>,
        runtime: Handle,
    ) {
        let (model, ask) = (Arc::clone(&wanted.model), wanted.ask.clone());
        let client = Encoder { server: Arc::clone(self), wanted, timing, tell, runtime };
        let (work, sent) = (cost.work, Instant::now());
        let client = Box::new(client);
        self.compute.send(Job { model, image, ask, work, ticket, sent, client });
    }

    /// Refuses an answer of so many bytes if the endpoint does not carry it.
    pub(super) fn check_reply(&self, bytes: u64) -> Result<(), Refusal> {
        let most = self.settings.max_reply_bytes;
        if bytes <= most as u64 {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorType::ReplyTooLarge,
            format!(
                "the answer has {bytes} bytes, and at most {most} are allowed (max_reply_bytes); send a smaller image, \
                 or ask for another media type"
            ),
        ))
    }
}

pub(super) fn too_much_work(predicted: Duration, most: Duration) -> Refusal {
    let (predicted, most) = (predicted.as_secs_f64(), most.as_secs_f64());
    Refusal::new(
        ErrorType::TooMuchWork,
        format!(
            "computing this would take about {predicted:.0} s, and at most {most:.0} s are allowed (max_compute); send \
             fewer pixels, or ask without flip, scales or tile"
        ),
    )
}

/// Makes the answer of what was computed.
struct Encoder {
    server: Arc<Shared>,
    wanted: Arc<Wanted>,
    timing: Timing,
    tell: oneshot::Sender<Outcome>,
    runtime: Handle,
}

impl Client for Encoder {
    fn has_left(&self) -> bool {
        self.tell.is_closed()
    }

    fn answer(self: Box<Self>, computed: Computed) {
        let runtime = self.runtime.clone();
        runtime.spawn_blocking(move || {
            let Self { server, wanted, timing, tell, .. } = *self;
            if !tell.is_closed() {
                // It may leave until the end; nobody needs the answer then.
                let _ = tell.send(server.encode(&wanted, computed, timing));
            }
        });
    }
}

impl Shared {
    fn encode(&self, wanted: &Wanted, computed: Computed, mut timing: Timing) -> Outcome {
        let Computed { image, ticket, outcome, queued, took, batch } = computed;
        let answer = outcome.map_err(|failure| self.refuse(&failure, image.dimensions()))?;
        timing.queue += queued;
        (timing.model, timing.batch) = (took, batch);
        let begun = Instant::now();
        let about = &wanted.model.about;
        let encoded = contained("the encoder", || Ok(wanted.reply.encode(&image, &answer, about)));
        let failed = |error: Error| Refusal::new(ErrorType::InferenceFailed, error.to_string());
        let bytes = encoded.map_err(failed)??;
        drop((image, ticket));
        self.check_reply(bytes.len() as u64)?;
        timing.encode = begun.elapsed();
        Ok(Done { bytes, timing })
    }

    fn refuse(&self, failure: &Failure, (width, height): (u32, u32)) -> Refusal {
        match failure {
            Failure::Unloaded => {
                Refusal::new(ErrorType::ModelNotFound, "the model was unloaded meanwhile")
            }
            // SageMaker unloads another model then, and asks again.
            Failure::Failed(error) if self.settings.multi_model && error.is_out_of_memory() => {
                Refusal::new(ErrorType::InsufficientMemory, error.to_string())
            }
            Failure::Failed(error) => Refusal::new(
                ErrorType::InferenceFailed,
                format!("the model failed on this image of {width}x{height} pixels: {error}"),
            ),
        }
    }
}

/// What the client sent, short enough for a message.
fn shortened(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    format!("{short:?}")
}
