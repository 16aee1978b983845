//! Tuning steps: a search for hyperparameters on this machine, whose trials are training jobs.
//!
//! The search lies in the folder of the step. Its records are on disk before anything follows from
//! them, so an execution that goes on repeats no training job that has ended.

mod description;
mod request;
mod trial_job;

use std::collections::BTreeMap;

use self::description::{TrialResult, describe_tuning};
pub(super) use self::request::TuningRequest;
use self::trial_job::TrialJobs;
use super::job::Job;
use super::job_run::ReadyJob;
use super::outputs::WrittenPlace;
use super::results::{StepResult, describe_job, job_name};
use super::root::{now_text, read_json};
use super::step::{ReadyStep, Run, StepEnd};
use crate::error::{Error, Result};
use crate::files::{create_folder, write_json};
use crate::pipeline::definition::StepKind;
use crate::search::{
    Assignment, BestHyperparameters, Outcome, RestartReason, SearchNews, SearchSize, Study,
    run_search,
};
use crate::status_table::StepNews;
use crate::torch::gpu_count;

/// Folder of the search in that of the step.
const SEARCH_FOLDER: &str = "search";

impl Run<'_> {
    /// Runs the training jobs of a tuning step, or finds the result of an earlier one.
    pub(super) fn run_tuning(
        &self,
        ready: &ReadyStep,
        on_news: &(dyn Fn(StepNews) + Sync),
    ) -> Result<StepEnd> {
        let start_time = now_text();
        let step = &ready.step;
        let name = job_name(self.execution, step);
        let request = TuningRequest::read(&ready.arguments)?;
        for note in &request.notes {
            on_news(StepNews::Note(note.clone()));
        }
        let folder = self.step_folder(&step.name);
        let key = self.tuning_key(ready, &request, on_news)?;
        create_folder(&folder)?;
        if self.uses_cache
            && let Some(result) = self.find_cached(&key)
        {
            write_json(&folder.join("result.json"), &result)?;
            return Ok(StepEnd { result, is_cached: true });
        }
        let search_folder = folder.join(SEARCH_FOLDER);
        let (mut study, restart) =
            Study::open_or_restart(&search_folder, request.plan(key.clone()))?;
        if let Some(reason) = restart {
            let reason = match reason {
                RestartReason::OtherPlan => "the data or settings changed",
                RestartReason::AllFailed => "all training jobs failed before",
            };
            on_news(StepNews::Note(format!("{reason}: the search begins anew")));
        }
        let gpus = gpu_count();
        let parallel = request.max_parallel_jobs.clamp(1, gpus.max(1));
        if parallel < request.max_parallel_jobs {
            on_news(StepNews::Note(format!(
                "MaxParallelTrainingJobs {}: {parallel} at one time here, as this machine has {gpus} \
                 GPUs",
                request.max_parallel_jobs
            )));
        }
        let jobs = TrialJobs {
            run: self,
            ready,
            request: &request,
            tuning_job_name: &name,
            folder: &search_folder,
            parallel,
            gpus,
            report_lines: request.report_lines()?,
            metric: request.metric_regex()?,
            on_news,
        };
        self.check_results(&mut study, &jobs)?;
        on_news(StepNews::Note(format!(
            "{} training jobs, trials 0 to {}; their logs: {}",
            request.max_jobs,
            request.max_jobs - 1,
            search_folder.join("trials").display()
        )));
        let size = SearchSize { trials: request.max_jobs, parallel };
        let show = |news: SearchNews<'_>| on_news(describe_news(&news, &request.metric));
        run_search(&mut study, size, &jobs, &show, &|| self.stop.is_requested())?;
        if self.stop.is_requested() {
            return Err(Error::internal("was stopped; the same command goes on here"));
        }
        // Each training job reads the data as they are when it begins.
        if self.tuning_key(ready, &request, &|_| {})? != key {
            return Err(Error::input(
                "its data changed while it ran, so the scores of its training jobs cannot be \
                 compared; the same command begins the search anew",
            ));
        }
        let result = self.conclude_tuning(ready, &request, &study, &jobs, start_time)?;
        write_json(&folder.join("result.json"), &result)?;
        write_json(&self.root.cache_file(&key), &result)?;
        Ok(StepEnd { result, is_cached: false })
    }

    /// Returns a digest of everything on which the result of a tuning step depends.
    fn tuning_key(
        &self,
        ready: &ReadyStep,
        request: &TuningRequest,
        on_news: &dyn Fn(StepNews),
    ) -> Result<String> {
        let job = Job::read(StepKind::Training, request.training_job(), "")?;
        let program = self.executor.identity(&job, self.program_digest)?;
        let inputs = self.list_inputs(&job, on_news)?;
        let whole = ReadyJob {
            kind: StepKind::Tuning,
            step_name: ready.step.name.clone(),
            name: String::new(),
            folder: self.step_folder(&ready.step.name),
            arguments: ready.arguments.clone(),
            comparable: ready.comparable.clone(),
            environment: Vec::new(),
            is_trial: false,
        };
        Ok(self.job_keys(&whole, &program, &inputs)?.whole)
    }

    /// Lets trials run again whose models are no longer as they left them.
    fn check_results(&self, study: &mut Study, jobs: &TrialJobs<'_>) -> Result<()> {
        let mut changed = Vec::new();
        for trial in study.trials() {
            if !matches!(trial.outcome, Outcome::Complete(_)) {
                continue;
            }
            let result =
                read_json::<StepResult>(&jobs.job_folder(trial.number).join("result.json"));
            let is_as_written = result.is_ok_and(|result| {
                result.outputs.iter().all(|output| output.is_as_written(self.places))
            });
            if !is_as_written {
                changed.push(trial.number);
            }
        }
        for number in changed {
            (jobs.on_news)(StepNews::Note(format!(
                "trial {number}: its model is gone or was changed: it runs again"
            )));
            study.run_again(number)?;
        }
        Ok(())
    }

    /// Makes the result of a tuning step whose training jobs have all ended.
    fn conclude_tuning(
        &self,
        ready: &ReadyStep,
        request: &TuningRequest,
        study: &Study,
        jobs: &TrialJobs<'_>,
        start_time: String,
    ) -> Result<StepResult> {
        let Some(best) =
            BestHyperparameters::find(study.trials(), request.objective, &request.metric)
        else {
            return Err(Error::input(format!(
                "no training job has a score; look at the logs below {}",
                jobs.folder.display()
            )));
        };
        let mut results = Vec::new();
        let mut outputs: Vec<WrittenPlace> = Vec::new();
        for trial in study.trials() {
            let mut result: Option<StepResult> = None;
            if matches!(trial.outcome, Outcome::Complete(_)) {
                let own: StepResult =
                    read_json(&jobs.job_folder(trial.number).join("result.json"))?;
                outputs.extend(own.outputs.iter().cloned());
                result = Some(own);
            }
            results.push(TrialResult { trial, job_name: jobs.job_name(trial.number), result });
        }
        let description = describe_tuning(request, study, &results);
        Ok(StepResult {
            pipeline_execution_id: self.execution.pipeline_execution_id.clone(),
            step_name: ready.step.name.clone(),
            properties: describe_job(
                StepKind::Tuning,
                &ready.arguments,
                jobs.tuning_job_name,
                description,
            ),
            outputs,
            metrics: BTreeMap::from([(request.metric.clone(), best.objective.value)]),
            start_time,
            end_time: now_text(),
        })
    }
}

/// Describes news of the search for people.
fn describe_news(news: &SearchNews<'_>, metric: &str) -> StepNews {
    match news {
        SearchNews::Begun(trial) => {
            let values = describe_values(&trial.assignment);
            StepNews::Progress(format!("trial {}: {values}", trial.number))
        }
        SearchNews::Report { trial, epoch, score } => {
            StepNews::Progress(format!("trial {}: epoch {epoch}: {metric} {score}", trial.number))
        }
        SearchNews::Ended { trial, reason } => {
            let end = match trial.outcome {
                Outcome::Complete(score) => format!("{metric} {score}"),
                Outcome::Pruned => {
                    format!("stopped early, {}", reason.unwrap_or("others are better"))
                }
                Outcome::Failed => format!("failed: {}", reason.unwrap_or("no reason is given")),
                Outcome::Running => "goes on later".to_owned(),
            };
            let values = describe_values(&trial.assignment);
            StepNews::Note(format!("trial {}: {end}, {values}", trial.number))
        }
    }
}

fn describe_values(values: &Assignment) -> String {
    let mut texts = Vec::new();
    for (name, value) in values.iter() {
        texts.push(format!("{name} {value}"));
    }
    texts.join(", ")
}
