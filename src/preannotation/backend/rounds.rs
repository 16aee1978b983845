//! The tasks that were asked for: each is computed once, and its prediction goes to Label Studio once,
//! either in the answer to a round or, if the round took too long, by the API.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::http::{Level, log_message};
use crate::label_studio::LabelStudio;
use crate::preannotation::control::ControlPlan;
use crate::preannotation::store::{StoredPrediction, store_once};
use crate::preannotation::task_prediction::TaskPredictor;
use crate::web_client::short_digest;

/// Time after which Label Studio has certainly given up a round that it sent before a prediction was stored:
/// its longest wait for an answer, 100 s, and a little more.
const STORED_GRACE: Duration = Duration::from_mins(2);

/// Predictions that are stored by the API at one time.
const PARALLEL_STORES: usize = 4;

/// Weight of the last task in the mean time of a task.
const NEW_SHARE: f64 = 0.2;

/// Prediction for a task, or the reason why there is none.
pub(super) type TaskOutcome = Result<Arc<StoredPrediction>, String>;

/// Who brings the prediction of a task to Label Studio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bringer {
    /// The answer to whichever round asks for the task.
    Rounds,
    /// The API, because a round took too long.
    Api,
    /// Nobody any more: the API has stored it at this time.
    Stored(Instant),
}

struct TaskEntry {
    outcome: watch::Receiver<Option<TaskOutcome>>,
    bringer: Bringer,
}

/// A task of a round.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    key: TaskKey,
    outcome: watch::Receiver<Option<TaskOutcome>>,
    /// True if the API brings the prediction, so that the round must not.
    is_stored_by_api: bool,
}

/// Identity of a prediction: a task of a project with its data, the version of the model, and the control.
type TaskKey = Arc<str>;

/// All tasks that are computed or kept.
pub(super) struct Rounds {
    predictor: TaskPredictor,
    label_studio: Arc<LabelStudio>,
    /// Most bytes of predictions that are kept for rounds to come.
    max_kept_bytes: usize,
    parallel_images: usize,
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    to_store: mpsc::UnboundedSender<(TaskKey, i64)>,
}

#[derive(Default)]
struct State {
    entries: HashMap<TaskKey, TaskEntry>,
    /// Tasks whose predictions are there, the oldest first, with the bytes of each.
    kept: VecDeque<(TaskKey, usize)>,
    kept_bytes: usize,
    /// Tasks that wait or are computed.
    running: usize,
    /// Mean time of a task, in seconds; none before the first one.
    mean_seconds: Option<f64>,
}

impl Rounds {
    /// Makes an empty table, and starts to store what will be handed over to it. Must be called on tokio.
    pub(super) fn start(
        predictor: TaskPredictor,
        parallel_images: usize,
        max_kept_bytes: usize,
    ) -> Arc<Self> {
        let (to_store, waiting) = mpsc::unbounded_channel();
        let rounds = Arc::new(Self {
            label_studio: Arc::clone(&predictor.images.label_studio),
            predictor,
            max_kept_bytes,
            parallel_images: parallel_images.max(1),
            permits: Arc::new(Semaphore::new(parallel_images.max(1))),
            state: Mutex::default(),
            to_store,
        });
        tokio::spawn(store_all(Arc::downgrade(&rounds), waiting));
        rounds
    }

    /// Returns the ticket of a task, which is computed unless it was already. `identity` names the project
    /// and its control; `task` is the JSON of the task with its data.
    pub(super) fn request(
        self: &Arc<Self>,
        identity: &str,
        task_id: i64,
        task: String,
        version: &str,
        plan: &Arc<ControlPlan>,
    ) -> Ticket {
        // The task may hold the image itself, so that its text would be a large key.
        let digest = short_digest(&format!("{identity} {version} {task}"));
        let key: TaskKey = format!("{task_id} {digest}").into();
        let mut state = self.lock();
        if let Some(entry) = state.entries.get_mut(&key) {
            if let Bringer::Stored(time) = entry.bringer
                && time.elapsed() > STORED_GRACE
            {
                // Label Studio asks again because the prediction was deleted there.
                entry.bringer = Bringer::Rounds;
            }
            // A failure is no prediction, and the next round tries again.
            let has_failed = matches!(&*entry.outcome.borrow(), Some(Err(_)));
            if !has_failed {
                let is_stored_by_api = entry.bringer != Bringer::Rounds;
                let outcome = entry.outcome.clone();
                return Ticket { key, outcome, is_stored_by_api };
            }
        }
        let (sender, outcome) = watch::channel(None);
        let entry = TaskEntry { outcome: outcome.clone(), bringer: Bringer::Rounds };
        state.entries.insert(Arc::clone(&key), entry);
        state.running += 1;
        drop(state);
        let (rounds, plan, task_key) = (Arc::clone(self), Arc::clone(plan), Arc::clone(&key));
        tokio::spawn(async move {
            let outcome = rounds.compute(task_id, &task, &plan).await;
            rounds.finish(&task_key, &outcome);
            // Receivers may all be gone.
            let _ = sender.send(Some(outcome));
        });
        Ticket { key, outcome, is_stored_by_api: false }
    }

    async fn compute(&self, task_id: i64, task: &str, plan: &Arc<ControlPlan>) -> TaskOutcome {
        let _permit = self.permits.acquire().await;
        let started = Instant::now();
        let predicted = self.predictor.predict(task.as_bytes(), plan).await;
        let seconds = started.elapsed().as_secs_f64();
        {
            let mut state = self.lock();
            let mean = state.mean_seconds.unwrap_or(seconds);
            state.mean_seconds = Some(mean + NEW_SHARE * (seconds - mean));
        }
        let predicted = match predicted {
            Ok(predicted) => predicted,
            Err(error) => {
                log_message(Level::Warning, format_args!("task {task_id}: {error}"));
                return Err(error.message);
            }
        };
        if predicted.prediction.dropped_regions > 0 {
            log_message(
                Level::Info,
                format_args!(
                    "task {task_id}: {} regions are left out, which are too small or too many",
                    predicted.prediction.dropped_regions
                ),
            );
        }
        let result = to_raw_value(&predicted.prediction.result)
            .map_err(|cause| format!("the regions cannot be written: {cause}"))?;
        Ok(Arc::new(StoredPrediction {
            result,
            score: predicted.prediction.score,
            model_version: predicted.model.name.clone(),
        }))
    }

    /// Counts the end of a task, and forgets the oldest predictions beyond the bound.
    fn finish(&self, key: &TaskKey, outcome: &TaskOutcome) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.running -= 1;
        let bytes = outcome.as_ref().map_or(0, |stored| stored.result.get().len());
        state.kept.push_back((Arc::clone(key), bytes + key.len()));
        state.kept_bytes += bytes + key.len();
        for _ in 0..state.kept.len() {
            if state.kept_bytes <= self.max_kept_bytes {
                break;
            }
            let Some((oldest, bytes)) = state.kept.pop_front() else { break };
            let is_needed =
                state.entries.get(&oldest).is_some_and(|entry| entry.bringer == Bringer::Api);
            if is_needed {
                state.kept.push_back((oldest, bytes));
            } else {
                state.entries.remove(&oldest);
                state.kept_bytes -= bytes;
            }
        }
    }

    /// Predicts the time until so many tasks more are computed, with all that wait before them; none if
    /// nothing is known yet.
    pub(super) fn estimate_wait(&self) -> Option<Duration> {
        let state = self.lock();
        let turns = state.running.div_ceil(self.parallel_images);
        state.mean_seconds.map(|seconds| Duration::from_secs_f64(seconds * turns as f64))
    }

    /// Returns the number of tasks that wait or are computed.
    pub(super) fn running(&self) -> usize {
        self.lock().running
    }

    /// Lets the API bring the predictions of tasks, once they are computed.
    pub(super) fn hand_over(&self, tickets: &[(i64, Ticket)]) {
        for (task_id, ticket) in tickets {
            let mut state = self.lock();
            let Some(entry) = state.entries.get_mut(&ticket.key) else { continue };
            if entry.bringer == Bringer::Rounds {
                entry.bringer = Bringer::Api;
                drop(state);
                // The receiver lives as long as the table.
                let _ = self.to_store.send((Arc::clone(&ticket.key), *task_id));
            }
        }
    }

    /// Waits for a task and stores its prediction by the API.
    async fn store(&self, key: &TaskKey, task_id: i64) {
        let outcome = self.lock().entries.get(key).map(|entry| entry.outcome.clone());
        let Some(mut outcome) = outcome else { return };
        let Ok(prediction) = wait_for_outcome(&mut outcome).await else {
            // Its failure is logged, and the next round tries again.
            return;
        };
        let version = &prediction.model_version;
        let stored = match self.label_studio.has_prediction(task_id, version).await {
            Ok(true) => Ok(()),
            Ok(false) => store_once(&self.label_studio, task_id, &prediction).await,
            Err(error) => Err(error),
        };
        let mut state = self.lock();
        let entry = state.entries.get_mut(key);
        match stored {
            Ok(()) => {
                if let Some(entry) = entry {
                    entry.bringer = Bringer::Stored(Instant::now());
                }
            }
            Err(error) => {
                if let Some(entry) = entry {
                    entry.bringer = Bringer::Rounds;
                }
                drop(state);
                log_message(
                    Level::Warning,
                    format_args!("the prediction of task {task_id} could not be stored: {error}"),
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Waits for the prediction, and returns its JSON as Label Studio expects it in an answer. An object
    /// without `result` stores nothing, and its text stands in Label Studio's log.
    pub(super) async fn answer(&mut self) -> Box<RawValue> {
        if self.is_stored_by_api {
            return error_answer(
                "the prediction is stored by the API, because an earlier round took too long",
            );
        }
        match wait_for_outcome(&mut self.outcome).await {
            Ok(stored) => {
                let StoredPrediction { result, score, model_version } = &*stored;
                let answer = serde_json::json!({
                    "score": score,
                    "model_version": model_version,
                });
                let mut text = answer.to_string();
                text.pop();
                text.push_str(",\"result\":");
                text.push_str(result.get());
                text.push('}');
                RawValue::from_string(text)
                    .unwrap_or_else(|_| error_answer("the prediction cannot be written"))
            }
            Err(reason) => error_answer(&reason),
        }
    }
}

fn error_answer(reason: &str) -> Box<RawValue> {
    to_raw_value(&serde_json::json!({ "error": reason })).unwrap_or_else(|_| Box::default())
}

async fn wait_for_outcome(outcome: &mut watch::Receiver<Option<TaskOutcome>>) -> TaskOutcome {
    match outcome.wait_for(Option::is_some).await {
        Ok(known) => known.clone().unwrap_or_else(|| Err("nothing was computed".to_owned())),
        Err(_) => Err("computing the task ended early".to_owned()),
    }
}

/// Stores what is handed over, a few predictions at a time, until the table is dropped.
async fn store_all(
    rounds: std::sync::Weak<Rounds>,
    mut waiting: mpsc::UnboundedReceiver<(TaskKey, i64)>,
) {
    let permits = Arc::new(Semaphore::new(PARALLEL_STORES));
    while let Some((key, task_id)) = waiting.recv().await {
        let Some(rounds) = rounds.upgrade() else { return };
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        tokio::spawn(async move {
            rounds.store(&key, task_id).await;
            drop(permit);
        });
    }
}
