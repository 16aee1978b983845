//! The registry of models: loads them on threads of their own, within a bound on memory, and hands
//! them to the compute thread.

pub(in crate::serve) mod model;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::error::{Error, Result};
use crate::serve::admission::memory;
use crate::serve::api_error::{ApiError, ErrorType};
use crate::serve::registry::model::{Model, ModelLoader};
use crate::serve::settings::ServeSettings;
use crate::serve::worker::ComputeThread;
use crate::serve::worker::panic::catch_panic;

/// Most models that are loaded at a time; more would only share the disk.
const MAX_CONCURRENT_LOADS: usize = 2;

/// The models of a server by name.
pub(in crate::serve) struct ModelRegistry {
    loader: Arc<dyn ModelLoader>,
    compute_thread: Arc<ComputeThread>,
    budget_bytes: u64,
    state: Mutex<RegistryState>,
    load_permits: Semaphore,
}

/// The models by name, and the bytes that they hold or reserve.
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

impl ModelState {
    fn is_ready(&self, id: u64) -> bool {
        matches!(self, Self::Ready(model) if model.id == id)
    }
}

/// A page of the list of loaded models.
pub(in crate::serve) struct ModelPage {
    pub(in crate::serve) models: Vec<Arc<Model>>,
    /// Name after which the next page begins; none on the last page.
    pub(in crate::serve) next_after: Option<String>,
}

impl ModelRegistry {
    pub(in crate::serve) fn new(
        settings: &ServeSettings,
        loader: Arc<dyn ModelLoader>,
        compute_thread: Arc<ComputeThread>,
    ) -> Self {
        let budget_bytes = match settings.models_bytes {
            Some(bytes) => bytes,
            None => memory::default_models_bytes(loader.gpu_memory_bytes()),
        };
        Self {
            loader,
            compute_thread,
            budget_bytes,
            state: Mutex::default(),
            load_permits: Semaphore::new(MAX_CONCURRENT_LOADS),
        }
    }

    /// Loads a model. The load goes on if the client leaves, and requests to other models do not
    /// wait for it.
    pub(in crate::serve) async fn load(
        self: &Arc<Self>,
        name: &str,
        url: &str,
    ) -> Result<Arc<Model>, ApiError> {
        let reservation = self.reserve_name(name)?;
        let (models, url) = (Arc::clone(self), url.to_owned());
        let task = tokio::spawn(async move {
            // Acquiring fails only on a closed semaphore, and this one is never closed.
            let _permit = models.load_permits.acquire().await;
            let (result_sender, result_receiver) = oneshot::channel();
            let thread = std::thread::Builder::new().name("load".into()).spawn(move || {
                // Sending fails only while the server ends.
                let _ = result_sender.send(reservation.load_within_budget(&url));
            });
            if let Err(cause) = thread {
                return Err(unavailable_error(&format!("cannot start a thread: {cause}")));
            }
            match result_receiver.await {
                Ok(outcome) => outcome,
                Err(_) => Err(unavailable_error("the thread that loads it ended")),
            }
        });
        match task.await {
            Ok(outcome) => outcome,
            Err(_) => Err(unavailable_error("the server is ending")),
        }
    }

    /// Loads a model on this thread, which must not belong to the HTTP runtime. No bound on memory
    /// applies.
    pub(in crate::serve) fn load_blocking(
        self: &Arc<Self>,
        name: &str,
        folder: &Path,
    ) -> Result<Arc<Model>> {
        let url = folder.display().to_string();
        let reservation = self.reserve_name(name).map_err(|_| Error::internal("loaded twice"))?;
        match reservation.load(&url, folder, u64::MAX) {
            Ok(model) => Ok(model),
            Err(LoadError::Loader(error)) => Err(error),
            Err(LoadError::BudgetExceeded { .. }) => {
                Err(Error::internal("a budget that has no end was spent"))
            }
        }
    }

    /// Returns the model of this name if it is loaded.
    pub(in crate::serve) fn get(&self, name: &str) -> Result<Arc<Model>, ApiError> {
        match self.lock_state().models.get(name) {
            Some(ModelState::Ready(model)) => Ok(Arc::clone(model)),
            Some(ModelState::Loading) => Err(model_not_found_error(name, "is still being loaded")),
            Some(ModelState::Unloading) => Err(model_not_found_error(name, "is being unloaded")),
            None => Err(model_not_found_error(name, "is not loaded; load it with POST /models")),
        }
    }

    /// Unloads a model; completes when its memory is free. Images that have come to the compute
    /// thread are computed first. Those that are still being fetched or decoded get 404 if they
    /// come after the network is gone.
    pub(in crate::serve) async fn unload(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<Arc<Model>, ApiError> {
        let model = self.get(name)?;
        if !self.mark_unloading(&model) {
            return Err(model_not_found_error(name, "is being unloaded"));
        }
        let (models, removed) = (Arc::clone(self), Arc::clone(&model));
        // A task of its own completes even if the client leaves.
        let task = tokio::spawn(async move {
            models.compute_thread.remove_model(removed.id).await;
            models.release(&removed.name, removed.memory_bytes);
        });
        task.await.map_err(|_| unavailable_error("the server is ending"))?;
        Ok(model)
    }

    /// Returns up to `max_count` loaded models by name, beginning after the name `after`.
    pub(in crate::serve) fn list(&self, after: Option<&str>, max_count: usize) -> ModelPage {
        let state = self.lock_state();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut models: Vec<Arc<Model>> = Vec::new();
        for (_, model_state) in state.models.range::<str, _>((from, Bound::Unbounded)) {
            let ModelState::Ready(model) = model_state else { continue };
            if models.len() == max_count {
                let next_after = models.last().map(|last| last.name.clone());
                return ModelPage { models, next_after };
            }
            models.push(Arc::clone(model));
        }
        ModelPage { models, next_after: None }
    }

    /// Returns the number of loaded models, and the bytes of all models, including those that are
    /// being loaded or unloaded.
    pub(in crate::serve) fn totals(&self) -> (usize, u64) {
        let state = self.lock_state();
        let ready = state
            .models
            .values()
            .filter(|model_state| matches!(model_state, ModelState::Ready(_)))
            .count();
        (ready, state.reserved_bytes)
    }

    /// Reserves a name, so that no other request loads a model under it.
    fn reserve_name(self: &Arc<Self>, name: &str) -> Result<Reservation, ApiError> {
        match self.lock_state().models.entry(name.to_owned()) {
            Entry::Vacant(entry) => entry.insert(ModelState::Loading),
            Entry::Occupied(entry) => {
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

    /// Marks a model as being unloaded; returns false if the model is not loaded any more.
    fn mark_unloading(&self, model: &Model) -> bool {
        let mut state = self.lock_state();
        match state.models.get_mut(&model.name) {
            Some(model_state) if model_state.is_ready(model.id) => {
                *model_state = ModelState::Unloading;
                true
            }
            _ => false,
        }
    }

    fn release(&self, name: &str, bytes: u64) {
        let mut state = self.lock_state();
        state.models.remove(name);
        state.reserved_bytes = state.reserved_bytes.saturating_sub(bytes);
    }

    fn lock_state(&self) -> MutexGuard<'_, RegistryState> {
        // Every change under this lock is complete before the lock is released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reserved name, and the memory that its model will hold. Dropping the reservation gives both
/// back unless the model was loaded.
struct Reservation {
    models: Arc<ModelRegistry>,
    name: String,
    bytes: u64,
    is_loaded: bool,
}

/// The reason why a model was not loaded.
enum LoadError {
    Loader(Error),
    BudgetExceeded { needs: u64, free: u64, budget: u64 },
}

impl From<Error> for LoadError {
    fn from(error: Error) -> Self {
        Self::Loader(error)
    }
}

impl Reservation {
    /// Loads the model within the bound on memory, and turns a failure into an error for the
    /// client.
    fn load_within_budget(self, url: &str) -> Result<Arc<Model>, ApiError> {
        let budget = self.models.budget_bytes;
        let name = self.name.clone();
        let load_error = match self.load(url, Path::new(url), budget) {
            Ok(model) => return Ok(model),
            Err(load_error) => load_error,
        };
        Err(match load_error {
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
                    "the model {name:?} needs {needs} bytes, and {free} of the {budget} bytes for \
                     models are left; unload others, or give models more memory (models_bytes)"
                ),
            ),
        })
    }

    /// Loads the model and hands it to the compute thread. The loader's estimate is reserved while
    /// the model loads, and its measured size afterwards. `budget` is the bound on all models, in
    /// bytes.
    fn load(mut self, url: &str, folder: &Path, budget: u64) -> Result<Arc<Model>, LoadError> {
        let loader = Arc::clone(&self.models.loader);
        let estimated_bytes = catch_panic("looking at the model", || loader.estimate_bytes(folder));
        self.reserve(estimated_bytes?, budget)?;
        let loaded = catch_panic("loading the model", || loader.load(folder))?;
        self.reserve(loaded.memory_bytes, budget)?;
        let model = Model::new(&self.name, url, &loaded);
        self.models.compute_thread.add_model(&model, loaded.engine)?;
        self.is_loaded = true;
        self.models
            .lock_state()
            .models
            .insert(self.name.clone(), ModelState::Ready(Arc::clone(&model)));
        Ok(model)
    }

    /// Changes the reserved memory to `bytes`.
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
