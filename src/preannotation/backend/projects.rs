//! The projects that asked for predictions, and which version of predictions each shows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::http::{Level, log_message};
use crate::label_studio::LabelStudio;
use crate::web_client::WebError;

/// Pauses between looks for the first prediction of a version: Label Studio stores those of a round after it
/// has the answer.
const PAUSES_S: [u64; 8] = [0, 1, 2, 4, 8, 15, 30, 60];

/// Projects by number. Label Studio's community edition chooses the next task by uncertainty among the
/// predictions of the project's version alone, so that it must be the model's. It is set once there are
/// predictions of it: until then annotators see those of the version before.
#[derive(Debug)]
pub(super) struct Projects {
    label_studio: Arc<LabelStudio>,
    states: Mutex<HashMap<i64, ProjectState>>,
}

#[derive(Debug, Default)]
struct ProjectState {
    /// Version that was set. A user who chooses another one after that keeps it.
    announced: Option<String>,
    is_watched: bool,
}

impl Projects {
    pub(super) fn new(label_studio: Arc<LabelStudio>) -> Arc<Self> {
        Arc::new(Self { label_studio, states: Mutex::default() })
    }

    /// Makes a version that of a project, once the project has a prediction of it. Returns at once; must be
    /// called on tokio. A failure is logged, and tried again with the next request of the project.
    pub(super) fn announce(self: &Arc<Self>, project_id: i64, version: &str) {
        {
            let mut states = self.lock();
            let state = states.entry(project_id).or_default();
            if state.is_watched || state.announced.as_deref() == Some(version) {
                return;
            }
            state.is_watched = true;
        }
        let (projects, version) = (Arc::clone(self), version.to_owned());
        tokio::spawn(async move {
            let outcome = projects.wait_and_set(project_id, &version).await;
            let mut states = projects.lock();
            let state = states.entry(project_id).or_default();
            state.is_watched = false;
            match outcome {
                Ok(true) => state.announced = Some(version),
                Ok(false) => {}
                Err(error) => {
                    drop(states);
                    log_message(
                        Level::Warning,
                        format_args!(
                            "project {project_id} still shows other predictions than those of {version}: {error}"
                        ),
                    );
                }
            }
        });
    }

    /// Waits for a prediction of a version and sets the project to it. Returns false if none came.
    async fn wait_and_set(&self, project_id: i64, version: &str) -> Result<bool, WebError> {
        for pause_s in PAUSES_S {
            tokio::time::sleep(Duration::from_secs(pause_s)).await;
            if self.label_studio.count_predictions(project_id, version).await? > 0 {
                self.label_studio.set_model_version(project_id, version).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, ProjectState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
