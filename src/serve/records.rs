//! A request of several images: each is answered in its place, and one that is bad spoils no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::input::{Record, RecordsStyle, Source};
use super::output::records::Answer;
use super::pipeline::{Done, Wanted, too_much_work};
use super::queue::{Budget, overloaded};
use super::reply::{ErrorType, Refusal};
use super::server::{Shared, gone};
use super::timing::Timing;

/// Why a record has no answer.
enum Trouble {
    /// Told in the record's place.
    Record(Refusal),
    /// Ends the request.
    Request(Refusal),
}

/// An answer or a refusal, and where it belongs.
type Placed = (usize, Result<Done, Trouble>);

impl Shared {
    /// The answers about all images of a request, in their order. `budget` counts the bytes of all.
    pub(super) async fn answer_records(
        self: &Arc<Self>,
        wanted: Wanted,
        records: Vec<Record>,
        style: RecordsStyle,
        budget: Budget,
    ) -> Result<Done, Refusal> {
        wanted.reply.check(style)?;
        if style == RecordsStyle::Lone {
            return self.answer_lone(wanted, records, budget).await;
        }
        let reply = wanted.reply.clone();
        let mut place = self.queue.enter(wanted.model.estimate.usual())?;
        // Each image is counted for itself.
        place.computed();
        let (wanted, promised) = (Arc::new(wanted), Arc::new(AtomicU64::new(0)));
        let mut answers = Answers::new(&records);
        let mut waiting = records.into_iter().map(|record| record.source).enumerate();
        // Aborts what is under way when it is dropped, which the client's leaving does.
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < self.settings.max_batch.max(self.settings.decoders) {
                let Some((at, source)) = waiting.next() else { break };
                match source {
                    Err(refusal) => answers.put(at, Err(refusal)),
                    Ok(source) => {
                        let (server, wanted) = (Arc::clone(self), Arc::clone(&wanted));
                        let promised = Arc::clone(&promised);
                        under_way.spawn(async move {
                            (at, server.answer_record(wanted, source, &promised).await)
                        });
                    }
                }
            }
            let Some(ended) = under_way.join_next().await else { break };
            let (at, answer): Placed = ended.map_err(|_| gone())?;
            match answer {
                Ok(done) => answers.put(at, Ok(done)),
                Err(Trouble::Record(refusal)) => answers.put(at, Err(refusal)),
                Err(Trouble::Request(refusal)) => return Err(refusal),
            }
            self.check_reply(answers.bytes as u64)?;
        }
        drop((budget, place));
        let bytes = reply.join(style, answers.slots)?;
        self.check_reply(bytes.len() as u64)?;
        Ok(Done { bytes, timing: answers.timing })
    }

    /// One image in JSON is answered as one that comes as it is: at once, or refused at once.
    async fn answer_lone(
        self: &Arc<Self>,
        wanted: Wanted,
        records: Vec<Record>,
        budget: Budget,
    ) -> Result<Done, Refusal> {
        let nothing = || Refusal::new(ErrorType::EmptyBody, "the body holds no record; send one");
        let Record { source, id } = records.into_iter().next().ok_or_else(nothing)?;
        let reply = wanted.reply.clone();
        let Done { bytes, timing } = self.answer_one(wanted, source?, budget).await?;
        let bytes = reply.join(RecordsStyle::Lone, vec![(id, Ok(bytes))])?;
        Ok(Done { bytes, timing })
    }

    /// `promised` is how long, in microseconds, the images before take together.
    async fn answer_record(
        self: &Arc<Self>,
        wanted: Arc<Wanted>,
        source: Source,
        promised: &AtomicU64,
    ) -> Result<Done, Trouble> {
        let mut budget = self.queue.budget();
        let source = self.fetched(source, &mut budget).await.map_err(Trouble::Record)?;
        let begun = Instant::now();
        // So that few images wait for room as pixels, whatever number of requests they are of.
        let patience = self.queue.patience().await.map_err(Trouble::Request)?;
        let on_its_way = wanted.model.expect_one();
        let turn = self.queue.decoder().await.map_err(Trouble::Request)?;
        let queue = begun.elapsed();
        let server = Arc::clone(self);
        let decoding = spawn_blocking(move || {
            let mut timing = Timing { queue, ..Timing::default() };
            let image = server.decode(source, &mut timing)?;
            drop((budget, turn, on_its_way));
            Ok((image, timing))
        });
        let decoded = decoding.await.map_err(|_| Trouble::Request(gone()))?;
        let (image, mut timing) = decoded.map_err(Trouble::Record)?;
        let cost = self.weigh(&wanted, &image).map_err(Trouble::Record)?;
        let micros = u64::try_from(cost.time.as_micros()).unwrap_or(u64::MAX);
        let all = promised.fetch_add(micros, Ordering::Relaxed).saturating_add(micros);
        let (all, most) = (Duration::from_micros(all), self.settings.max_compute);
        if all > most && wanted.model.estimate.is_sure() {
            return Err(Trouble::Request(too_much_work(all, most)));
        }
        let mut ticket = self.queue.enter_within();
        let begun = Instant::now();
        // Others may keep the queue full for ever; a request that cannot be done in its time is told so.
        let room = timeout(most, ticket.admit_patiently(cost.time, cost.pixels));
        let room = room.await.unwrap_or_else(|_| Err(overloaded("seconds of computing")));
        room.map_err(Trouble::Request)?;
        timing.queue += begun.elapsed();
        drop(patience);
        let (tell, told) = oneshot::channel();
        self.hand_over(wanted, image, cost, ticket, timing, tell, Handle::current());
        let answer = told.await.map_err(|_| Trouble::Request(gone()))?;
        answer.map_err(|refusal| match refusal.error_type() {
            ErrorType::ModelNotFound | ErrorType::InsufficientMemory => Trouble::Request(refusal),
            _ => Trouble::Record(refusal),
        })
    }
}

/// Answers in the places of their records.
struct Answers {
    slots: Vec<Answer>,
    timing: Timing,
    bytes: usize,
}

impl Answers {
    fn new(records: &[Record]) -> Self {
        let slot = |record: &Record| (record.id.clone(), Ok(Vec::new()));
        Self { slots: records.iter().map(slot).collect(), timing: Timing::default(), bytes: 0 }
    }

    fn put(&mut self, at: usize, answer: Result<Done, Refusal>) {
        self.slots[at].1 = answer.map(|done| {
            self.timing.add(&done.timing);
            self.bytes += done.bytes.len() + 1;
            done.bytes
        });
    }
}
