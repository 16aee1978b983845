//! Which models are there: loaded on threads of their own, within a budget of memory, and handed to the compute thread.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use super::engine::{ComputeThread, catch_panic};
use super::memory;
use super::model::{Model, ModelLoader};
use super::reply::{ApiError, ErrorType};
use super::settings::ServeSettings;
use crate::error::{Error, Result};

/// Models that are being loaded at a time; more would only share the disk.
const MAX_CONCURRENT_LOADS: usize = 2;

/// The models of a server.
pub(super) struct ModelRegistry {
    loader: Arc<dyn ModelLoader>,
    compute_thread: Arc<ComputeThread>,
    budget_bytes: u64,
    state: Mutex<RegistryState>,
    load_permits: Semaphore,
}

/// Models by name, and the bytes that they hold or will.
#[derive(Default)]
struct RegistryState {
    models: BTreeMap<String, ModelState>,
    reserved_bytes: u64,
}

#[derive(Clone)]
enum ModelState {
    Loading,
    Ready(Arc<Model>),
    Unloading,
}

/// A page of the list, and the name that the next one follows if there is one.
pub(super) type ModelPage = (Vec<Arc<Model>>, Option<String>);

impl ModelRegistry {
    pub(super) fn new(
        settings: &ServeSettings,
        loader: Arc<dyn ModelLoader>,
        compute_thread: Arc<ComputeThread>,
    ) -> Self {
        Self {
            loader,
            compute_thread,
            budget_bytes: settings.models_bytes.unwrap_or_else(memory::default_models_bytes),
            state: Mutex::default(),
            load_permits: Semaphore::new(MAX_CONCURRENT_LOADS),
        }
    }

    /// Loads a model. Goes on when its client leaves, so that what it asked for is done; answers of other models do not
    /// wait for it.
    pub(super) async fn load(
        self: &Arc<Self>,
        name: &str,
        url: &str,
    ) -> Result<Arc<Model>, ApiError> {
        let reservation = self.reserve_name(name)?;
        let (models, url) = (Arc::clone(self), url.to_owned());
        let task = tokio::spawn(async move {
            // Fails only on a closed semaphore, and nobody closes it.
            let _permit = models.load_permits.acquire().await;
            let (result_sender, result_receiver) = oneshot::channel();
            let run_load = move || {
                // Nobody who listens: the server is ending.
                let _ = result_sender.send(reservation.load_within_budget(&url));
            };
            let thread = std::thread::Builder::new().name("load".into()).spawn(run_load);
            thread
                .map_err(|cause| unavailable_error(&format!("cannot start a thread: {cause}")))?;
            result_receiver
                .await
                .unwrap_or_else(|_| Err(unavailable_error("the thread that loads it ended")))
        });
        task.await.unwrap_or_else(|_| Err(unavailable_error("the server is ending")))
    }

    /// Loads a model on this thread, which must not be one of the HTTP runtime.
    pub(super) fn load_blocking(self: &Arc<Self>, name: &str, folder: &Path) -> Result<Arc<Model>> {
        let url = folder.display().to_string();
        let reservation = self.reserve_name(name).map_err(|_| Error::internal("loaded twice"))?;
        reservation.load(&url, folder, u64::MAX).map_err(|load_error| match load_error {
            LoadError::Loader(error) => error,
            LoadError::BudgetExceeded { .. } => {
                Error::internal("a budget that has no end was spent")
            }
        })
    }

    /// The model of this name, once it is loaded.
    pub(super) fn get(&self, name: &str) -> Result<Arc<Model>, ApiError> {
        match self.lock_state().models.get(name) {
            Some(ModelState::Ready(model)) => Ok(Arc::clone(model)),
            Some(ModelState::Loading) => Err(model_not_found_error(name, "is still being loaded")),
            Some(ModelState::Unloading) => Err(model_not_found_error(name, "is being unloaded")),
            None => Err(model_not_found_error(name, "is not loaded; load it with POST /models")),
        }
    }

    /// Lets a model go; completes when its memory is free. Images that were accepted for it are answered first.
    pub(super) async fn unload(self: &Arc<Self>, name: &str) -> Result<Arc<Model>, ApiError> {
        let model = self.get(name)?;
        if !self.mark_unloading(&model) {
            return Err(model_not_found_error(name, "is being unloaded"));
        }
        let (models, removed) = (Arc::clone(self), Arc::clone(&model));
        // On its own, so that it is done also when the client leaves.
        let task = tokio::spawn(async move {
            models.compute_thread.remove_model(removed.id).await;
            models.release(&removed.name, removed.memory_bytes);
        });
        task.await.map_err(|_| unavailable_error("the server is ending"))?;
        Ok(model)
    }

    /// Up to `most` loaded models in the order of their names, from the first one after `after` on.
    pub(super) fn list(&self, after: Option<&str>, max_count: usize) -> ModelPage {
        let state = self.lock_state();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut ready_models = state.models.range::<str, _>((from, Bound::Unbounded)).filter_map(
            |(_, model_state)| {
                if let ModelState::Ready(model) = model_state {
                    Some(Arc::clone(model))
                } else {
                    None
                }
            },
        );
        let page: Vec<_> = ready_models.by_ref().take(max_count).collect();
        let next = ready_models.next().and(page.last()).map(|model| model.name.clone());
        (page, next)
    }

    /// How many models are loaded, and the bytes that all hold, those that are being loaded or unloaded included.
    pub(super) fn totals(&self) -> (usize, u64) {
        let state = self.lock_state();
        let ready = state
            .models
            .values()
            .filter(|model_state| matches!(model_state, ModelState::Ready(_)))
            .count();
        (ready, state.reserved_bytes)
    }

    /// Takes a name, so that nobody else loads a model under it.
    fn reserve_name(self: &Arc<Self>, name: &str) -> Result<Reservation, ApiError> {
        match self.lock_state().models.entry(name.to_owned()) {
            Place::Vacant(entry) => entry.insert(ModelState::Loading),
            Place::Occupied(entry) => {
                let description = match entry.get() {
                    ModelState::Loading => "is being loaded already",
                    ModelState::Ready(_) => "is loaded already",
                    ModelState::Unloading => "is still being unloaded",
                };
                return Err(ApiError::new(
                    ErrorType::ModelExists,
                    format!(
                        "the model {name:?} {description}; use another name, or DELETE it first"
                    ),
                ));
            }
        };
        Ok(Reservation {
            models: Arc::clone(self),
            name: name.to_owned(),
            bytes: 0,
            is_loaded: false,
        })
    }

    /// Whether it was there to be unloaded.
    fn mark_unloading(&self, model: &Model) -> bool {
        let mut state = self.lock_state();
        let model_state = state.models.get_mut(&model.name);
        let found = model_state.filter(
            |model_state| matches!(model_state, ModelState::Ready(loaded) if loaded.id == model.id),
        );
        found.is_some_and(|model_state| {
            *model_state = ModelState::Unloading;
            true
        })
    }

    fn release(&self, name: &str, bytes: u64) {
        let mut state = self.lock_state();
        state.models.remove(name);
        state.reserved_bytes = state.reserved_bytes.saturating_sub(bytes);
    }

    fn lock_state(&self) -> MutexGuard<'_, RegistryState> {
        // Every change under this lock is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name, and the memory that the model of this name will hold. Given back unless a model comes of it.
struct Reservation {
    models: Arc<ModelRegistry>,
    name: String,
    bytes: u64,
    is_loaded: bool,
}

/// Why no model came of it.
enum LoadError {
    Loader(Error),
    BudgetExceeded { needs: u64, free: u64, budget: u64 },
}

impl Reservation {
    /// As [`Self::load`], within the budget, with the refusal that tells why not.
    fn load_within_budget(self, url: &str) -> Result<Arc<Model>, ApiError> {
        let budget = self.models.budget_bytes;
        let name = self.name.clone();
        self.load(url, Path::new(url), budget).map_err(|load_error| match load_error {
            LoadError::Loader(error) if error.is_out_of_memory() => {
                ApiError::new(ErrorType::InsufficientMemory, error.to_string())
            }
            LoadError::Loader(error) => ApiError::new(
                ErrorType::InvalidModel,
                format!("the model {name:?} cannot be loaded from {url:?}: {error}"),
            ),
            LoadError::BudgetExceeded { needs, free, budget } => ApiError::new(
                ErrorType::InsufficientMemory,
                format!(
                    "the model {name:?} needs {needs} bytes, and {free} of the {budget} bytes for models are left; \
                     unload others, or give models more memory (models_bytes)"
                ),
            ),
        })
    }

    /// Loads and hands over. What the loader told before is reserved while it loads, and what it tells afterwards is
    /// held.
    fn load(mut self, url: &str, folder: &Path, budget: u64) -> Result<Arc<Model>, LoadError> {
        let loader = Arc::clone(&self.models.loader);
        let estimated_bytes = catch_panic("looking at the model", || loader.estimate_bytes(folder));
        self.reserve(estimated_bytes.map_err(LoadError::Loader)?, budget)?;
        let loaded = catch_panic("loading the model", || loader.load(folder));
        let loaded = loaded.map_err(LoadError::Loader)?;
        self.reserve(loaded.memory_bytes, budget)?;
        let model = Model::new(&self.name, url, &loaded);
        self.models.compute_thread.add_model(&model, loaded.engine).map_err(LoadError::Loader)?;
        self.is_loaded = true;
        self.models
            .lock_state()
            .models
            .insert(self.name.clone(), ModelState::Ready(Arc::clone(&model)));
        Ok(model)
    }

    /// Changes what is reserved to `bytes`.
    fn reserve(&mut self, bytes: u64, budget: u64) -> Result<(), LoadError> {
        let mut state = self.models.lock_state();
        let other_bytes = state.reserved_bytes.saturating_sub(self.bytes);
        let total_bytes = other_bytes.saturating_add(bytes);
        if total_bytes > budget {
            let free = budget.saturating_sub(other_bytes);
            return Err(LoadError::BudgetExceeded { needs: bytes, free, budget });
        }
        state.reserved_bytes = total_bytes;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_loaded {
            self.models.release(&self.name, self.bytes);
        }
    }
}

fn model_not_found_error(name: &str, state: &str) -> ApiError {
    ApiError::new(ErrorType::ModelNotFound, format!("the model {name:?} {state}"))
}

fn unavailable_error(reason: &str) -> ApiError {
    ApiError::new(ErrorType::ModelUnavailable, reason)
}
