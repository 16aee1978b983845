//! Which models are there: loaded on threads of their own, within a budget of memory, and handed to the compute thread.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use super::engine::{Compute, contained};
use super::memory;
use super::model::{Load, Model};
use super::reply::{ErrorType, Refusal};
use super::settings::Settings;
use crate::error::{Error, Result};

/// Models that are being loaded at a time; more would only share the disk.
const LOADS: usize = 2;

/// The models of a server.
pub(super) struct Models {
    loader: Arc<dyn Load>,
    compute: Arc<Compute>,
    budget: u64,
    held: Mutex<Held>,
    loads: Semaphore,
}

/// Models by name, and the bytes that they hold or will.
#[derive(Default)]
struct Held {
    models: BTreeMap<String, Slot>,
    bytes: u64,
}

#[derive(Clone)]
enum Slot {
    Loading,
    Ready(Arc<Model>),
    Unloading,
}

/// A page of the list, and the name that the next one follows if there is one.
pub(super) type Page = (Vec<Arc<Model>>, Option<String>);

impl Models {
    pub(super) fn new(settings: &Settings, loader: Arc<dyn Load>, compute: Arc<Compute>) -> Self {
        Self {
            loader,
            compute,
            budget: settings.models_bytes.unwrap_or_else(memory::for_models),
            held: Mutex::default(),
            loads: Semaphore::new(LOADS),
        }
    }

    /// Loads a model. Goes on when its client leaves, so that what it asked for is done; answers of other models do not
    /// wait for it.
    pub(super) async fn load(
        self: &Arc<Self>,
        name: &str,
        url: &str,
    ) -> Result<Arc<Model>, Refusal> {
        let claim = self.claim(name)?;
        let (models, url) = (Arc::clone(self), url.to_owned());
        let loading = tokio::spawn(async move {
            // Fails only on a closed semaphore, and nobody closes it.
            let _turn = models.loads.acquire().await;
            let (tell, told) = oneshot::channel();
            let work = move || {
                // Nobody who listens: the server is ending.
                let _ = tell.send(claim.fulfil(&url));
            };
            let thread = std::thread::Builder::new().name("load".into()).spawn(work);
            thread.map_err(|cause| failed(&format!("cannot start a thread: {cause}")))?;
            told.await.unwrap_or_else(|_| Err(failed("the thread that loads it ended")))
        });
        loading.await.unwrap_or_else(|_| Err(failed("the server is ending")))
    }

    /// Loads a model on this thread, which must not be one of the HTTP runtime.
    pub(super) fn load_here(self: &Arc<Self>, name: &str, folder: &Path) -> Result<Arc<Model>> {
        let text = folder.display().to_string();
        let claim = self.claim(name).map_err(|_| Error::internal("loaded twice"))?;
        claim.load(&text, folder, u64::MAX).map_err(|problem| match problem {
            Problem::Loader(error) => error,
            Problem::NoRoom { .. } => Error::internal("a budget that has no end was spent"),
        })
    }

    /// The model of this name, once it is loaded.
    pub(super) fn get(&self, name: &str) -> Result<Arc<Model>, Refusal> {
        match self.held().models.get(name) {
            Some(Slot::Ready(model)) => Ok(Arc::clone(model)),
            Some(Slot::Loading) => Err(not_found(name, "is still being loaded")),
            Some(Slot::Unloading) => Err(not_found(name, "is being unloaded")),
            None => Err(not_found(name, "is not loaded; load it with POST /models")),
        }
    }

    /// Lets a model go; completes when its memory is free. Images that were accepted for it are answered first.
    pub(super) async fn unload(self: &Arc<Self>, name: &str) -> Result<Arc<Model>, Refusal> {
        let model = self.get(name)?;
        if !self.mark_unloading(&model) {
            return Err(not_found(name, "is being unloaded"));
        }
        let (models, gone) = (Arc::clone(self), Arc::clone(&model));
        // On its own, so that it is done also when the client leaves.
        let unloading = tokio::spawn(async move {
            models.compute.retire(gone.id).await;
            models.release(&gone.name, gone.bytes);
        });
        unloading.await.map_err(|_| failed("the server is ending"))?;
        Ok(model)
    }

    /// Up to `most` loaded models in the order of their names, from the first one after `after` on.
    pub(super) fn list(&self, after: Option<&str>, most: usize) -> Page {
        let held = self.held();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut ready =
            held.models.range::<str, _>((from, Bound::Unbounded)).filter_map(|(_, slot)| {
                if let Slot::Ready(model) = slot { Some(Arc::clone(model)) } else { None }
            });
        let page: Vec<_> = ready.by_ref().take(most).collect();
        let next = ready.next().and(page.last()).map(|model| model.name.clone());
        (page, next)
    }

    /// How many models are loaded, and the bytes that all hold, those that are being loaded or unloaded included.
    pub(super) fn totals(&self) -> (usize, u64) {
        let held = self.held();
        let ready = held.models.values().filter(|slot| matches!(slot, Slot::Ready(_))).count();
        (ready, held.bytes)
    }

    /// Takes a name, so that nobody else loads a model under it.
    fn claim(self: &Arc<Self>, name: &str) -> Result<Claim, Refusal> {
        match self.held().models.entry(name.to_owned()) {
            Place::Vacant(place) => place.insert(Slot::Loading),
            Place::Occupied(place) => {
                let state = match place.get() {
                    Slot::Loading => "is being loaded already",
                    Slot::Ready(_) => "is loaded already",
                    Slot::Unloading => "is still being unloaded",
                };
                return Err(Refusal::new(
                    ErrorType::ModelExists,
                    format!("the model {name:?} {state}; use another name, or DELETE it first"),
                ));
            }
        };
        Ok(Claim { models: Arc::clone(self), name: name.to_owned(), bytes: 0, done: false })
    }

    /// Whether it was there to be unloaded.
    fn mark_unloading(&self, model: &Model) -> bool {
        let mut held = self.held();
        let slot = held.models.get_mut(&model.name);
        let found = slot.filter(|slot| matches!(slot, Slot::Ready(there) if there.id == model.id));
        found.is_some_and(|slot| {
            *slot = Slot::Unloading;
            true
        })
    }

    fn release(&self, name: &str, bytes: u64) {
        let mut held = self.held();
        held.models.remove(name);
        held.bytes = held.bytes.saturating_sub(bytes);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Every change under this lock is whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name, and the memory that the model of this name will hold. Given back unless a model comes of it.
struct Claim {
    models: Arc<Models>,
    name: String,
    bytes: u64,
    done: bool,
}

/// Why no model came of it.
enum Problem {
    Loader(Error),
    NoRoom { needs: u64, free: u64, budget: u64 },
}

impl Claim {
    /// As [`Self::load`], within the budget, with the refusal that tells why not.
    fn fulfil(self, url: &str) -> Result<Arc<Model>, Refusal> {
        let budget = self.models.budget;
        let name = self.name.clone();
        self.load(url, Path::new(url), budget).map_err(|problem| match problem {
            Problem::Loader(error) if error.is_out_of_memory() => {
                Refusal::new(ErrorType::InsufficientMemory, error.to_string())
            }
            Problem::Loader(error) => Refusal::new(
                ErrorType::InvalidModel,
                format!("the model {name:?} cannot be loaded from {url:?}: {error}"),
            ),
            Problem::NoRoom { needs, free, budget } => Refusal::new(
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
    fn load(mut self, url: &str, folder: &Path, budget: u64) -> Result<Arc<Model>, Problem> {
        let loader = Arc::clone(&self.models.loader);
        let bytes = contained("looking at the model", || loader.bytes(folder));
        self.reserve(bytes.map_err(Problem::Loader)?, budget)?;
        let loaded = contained("loading the model", || loader.load(folder));
        let loaded = loaded.map_err(Problem::Loader)?;
        self.reserve(loaded.bytes, budget)?;
        let model = Model::new(&self.name, url, &loaded);
        self.models.compute.adopt(&model, loaded.engine).map_err(Problem::Loader)?;
        self.done = true;
        self.models.held().models.insert(self.name.clone(), Slot::Ready(Arc::clone(&model)));
        Ok(model)
    }

    /// Changes what is reserved to `bytes`.
    fn reserve(&mut self, bytes: u64, budget: u64) -> Result<(), Problem> {
        let mut held = self.models.held();
        let others = held.bytes.saturating_sub(self.bytes);
        let all = others.saturating_add(bytes);
        if all > budget {
            let free = budget.saturating_sub(others);
            return Err(Problem::NoRoom { needs: bytes, free, budget });
        }
        held.bytes = all;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.done {
            self.models.release(&self.name, self.bytes);
        }
    }
}

fn not_found(name: &str, state: &str) -> Refusal {
    Refusal::new(ErrorType::ModelNotFound, format!("the model {name:?} {state}"))
}

fn failed(why: &str) -> Refusal {
    Refusal::new(ErrorType::ModelUnavailable, why)
}
