//! Predictions for the tasks of a project, stored by Label Studio's API: pre-annotation without a backend.
//!
//! Tasks are taken in batches. The predictions of a batch are computed first and kept in a file
//! ([`computed`]), and then stored in Label Studio in the order of their scores, the least certain first. A
//! run that is interrupted goes on: tasks that have a prediction of this version are not listed, and those
//! that were computed are not computed again.

mod computed;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;

use self::computed::{ComputedPredictions, ComputedTask};
use super::control::{ControlPlan, plan_control};
use super::store::{StoredPrediction, concerns_task_alone, store_once};
use super::task_prediction::{StageTimes, TaskError, TaskPredictor};
use crate::annotations::label_config::parse_label_config;
use crate::error::{Error, Result, pluralize};
use crate::label_studio::Project;
use crate::progress::Progress;

/// Tasks that get predictions, and how many at a time.
#[derive(Debug, Clone)]
pub struct PushOptions {
    pub project_id: i64,
    /// True if tasks that somebody annotated already get predictions, too.
    pub all_tasks: bool,
    /// Name of the control tag that gets the predictions; without it the best one is chosen.
    pub control: Option<String>,
    /// Tasks that are computed before the first of them is stored.
    pub batch_tasks: usize,
    /// Images that are read and computed at one time.
    pub parallel_images: usize,
}

/// Numbers of a push, and reasons of tasks that got no prediction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushSummary {
    /// Predictions that were stored, and how many of them have no region.
    pub stored: usize,
    pub empty: usize,
    /// Regions that were left out, because they are too small or too many.
    pub dropped_regions: usize,
    /// Reasons of tasks without a prediction.
    pub failed: Vec<String>,
    pub times: StageTimes,
}

/// Pre-annotates a project.
#[derive(Debug)]
pub struct Pusher<'a> {
    pub predictor: &'a TaskPredictor,
    pub options: &'a PushOptions,
    /// Folder for predictions that are computed and not stored yet.
    pub state: &'a Path,
    /// Function that tells the user a sentence.
    pub tell: fn(&str),
}

impl Pusher<'_> {
    /// Pre-annotates all tasks that have no prediction of the model's version, and makes that version the
    /// project's.
    ///
    /// # Errors
    ///
    /// Label Studio or the model is away, or the project has no control tag for the model's classes. What
    /// was stored stays.
    pub async fn push(&self) -> Result<PushSummary> {
        let label_studio = &self.predictor.images.label_studio;
        let model = self.predictor.segmenter.current_model().await;
        let model = model.map_err(|error| Error::input(error.message))?;
        let project = label_studio.read_project(self.options.project_id).await?;
        let plan = self.plan(&project, &model.class_names)?;
        let mut tasks = BTreeMap::new();
        let all_tasks = self.options.all_tasks;
        label_studio
            .for_each_task(project.id, Some(&model.name), |task| {
                if all_tasks || !task.is_annotated() {
                    let json = json!({ "id": task.id, "data": task.data, "annotations": [] });
                    tasks.insert(task.id, json.to_string());
                }
            })
            .await?;
        (self.tell)(&format!(
            "{}: {} without a prediction of model {}",
            project.describe(),
            pluralize(tasks.len(), "task"),
            model.name
        ));
        let tasks: Vec<(i64, String)> = tasks.into_iter().collect();
        let mut summary = PushSummary::default();
        let mut is_announced = false;
        let name = format!("{}-{}", project.id, model.name);
        let mut computed = ComputedPredictions::open(self.state, &name)?;
        for batch in tasks.chunks(self.options.batch_tasks.max(1)) {
            self.compute_batch(batch, &plan, &model.name, &mut computed, &mut summary).await?;
            self.store_batch(batch, &model.name, &computed, &mut is_announced, &mut summary)
                .await?;
            computed.clear()?;
        }
        if !is_announced {
            self.announce(&project, &model.name).await?;
        }
        computed.remove()?;
        Ok(summary)
    }

    /// Chooses the control tag of the project, and tells the user what to know of it.
    fn plan(&self, project: &Project, class_names: &[String]) -> Result<Arc<ControlPlan>> {
        let xml = project.label_config.as_deref().unwrap_or_default();
        let config = parse_label_config(xml.as_bytes()).map_err(|cause| {
            Error::input(format!("the labeling configuration of {} {cause}", project.describe()))
        })?;
        let planned = plan_control(&config, class_names, self.options.control.as_deref())
            .map_err(|error| error.with_context(project.describe()))?;
        for note in &planned.notes {
            (self.tell)(note);
        }
        Ok(Arc::new(planned.plan))
    }

    /// Computes the tasks of a batch that are not computed yet, several at a time.
    async fn compute_batch(
        &self,
        batch: &[(i64, String)],
        plan: &Arc<ControlPlan>,
        version: &str,
        computed: &mut ComputedPredictions,
        summary: &mut PushSummary,
    ) -> Result<()> {
        let mut waiting = batch.iter().filter(|(id, _)| !computed.contains(*id)).peekable();
        if waiting.peek().is_none() {
            return Ok(());
        }
        let mut progress = Progress::new("predicting", batch.len());
        let mut running = JoinSet::new();
        let ids: Vec<&(i64, String)> = waiting.collect();
        let mut waiting = ids.into_iter();
        loop {
            while running.len() < self.options.parallel_images.max(1) {
                let Some((id, task)) = waiting.next() else { break };
                let (id, task) = (*id, task.clone());
                let (predictor, plan) = (self.predictor.clone(), Arc::clone(plan));
                running.spawn(async move { (id, predictor.predict(task.as_bytes(), &plan).await) });
            }
            let Some(ended) = running.join_next().await else { break };
            let (id, outcome) =
                ended.map_err(|cause| Error::internal(format!("a task ended early: {cause}")))?;
            progress.advance(1, || None);
            match outcome {
                Ok(predicted) if predicted.model.name != version => {
                    return Err(Error::input(format!(
                        "the model is {} now, and was {version} when the push began; the same command goes on \
                         with the new one",
                        predicted.model.name
                    )));
                }
                Ok(predicted) => {
                    summary.times.add(predicted.times);
                    computed.add(id, &predicted.prediction)?;
                }
                Err(TaskError { message, concerns_all: true }) => {
                    return Err(Error::input(format!("task {id}: {message}")));
                }
                Err(TaskError { message, .. }) => {
                    summary.failed.push(format!("task {id}: {message}"));
                }
            }
        }
        progress.finish();
        Ok(())
    }

    /// Stores the predictions of a batch, the least certain first.
    async fn store_batch(
        &self,
        batch: &[(i64, String)],
        version: &str,
        computed: &ComputedPredictions,
        is_announced: &mut bool,
        summary: &mut PushSummary,
    ) -> Result<()> {
        let mut order = computed.scores(batch.iter().map(|(id, _)| *id));
        // A prediction without a score comes last.
        order.sort_by(|(_, first), (_, second)| {
            first.unwrap_or(f64::INFINITY).total_cmp(&second.unwrap_or(f64::INFINITY))
        });
        let mut progress = Progress::new("storing", order.len());
        for (id, _) in order {
            let ComputedTask { result, score, dropped_regions, .. } = computed.read(id)?;
            let prediction = StoredPrediction { result, score, model_version: version.to_owned() };
            match store_once(&self.predictor.images.label_studio, id, &prediction).await {
                Ok(()) => {
                    summary.stored += 1;
                    summary.empty += usize::from(prediction.result.get() == "[]");
                    summary.dropped_regions += dropped_regions;
                }
                Err(error) if concerns_task_alone(&error) => {
                    summary.failed.push(format!("task {id}: {error}"));
                }
                Err(error) => return Err(error.into()),
            }
            if !*is_announced && summary.stored > 0 {
                // Now, so that annotators see the predictions while the others are computed.
                let project_id = self.options.project_id;
                self.predictor.images.label_studio.set_model_version(project_id, version).await?;
                *is_announced = true;
            }
            progress.advance(1, || None);
        }
        progress.finish();
        Ok(())
    }

    /// Makes the version the project's, if it has predictions and nothing was stored in this run.
    async fn announce(&self, project: &Project, version: &str) -> Result<()> {
        if project.model_version.as_deref() == Some(version) {
            return Ok(());
        }
        let label_studio = &self.predictor.images.label_studio;
        Ok(label_studio.set_model_version(project.id, version).await?)
    }
}
