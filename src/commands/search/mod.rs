//! `maskmaker search` looks for good hyperparameters: each trial is a training job of this program on
//! the channels under the root, with values of its own.

mod trial_job;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::trial_job::{TrialJobs, job_root};
use crate::console::{print_stderr, print_stdout};
use crate::data::class_names::count_named_classes;
use crate::error::{Error, ErrorContext, Problems, Result, did_you_mean};
use crate::files::{read_file, remove_file_if_exists, visit_files, write_atomically, write_json};
use crate::render::to_svg;
use crate::sagemaker::{LabelMapChannel, MlRoot, StopSignal, raw};
use crate::search::{
    Assignment, BestHyperparameters, HalvingPlan, Objective, Outcome, ProgramRules, ReportLines,
    SamplerKind, SearchNews, SearchPlan, SearchSize, SearchSpace, Study, Trial, draw_importances,
    draw_trials, estimate_importances, find_value_problems, read_parameter_ranges, run_search,
};
use crate::status_table::{ShownState, Table};
use crate::torch::{DeviceChoice, gpu_count};
use crate::train::{EPOCH_PATTERN, Hyperparameters, METRIC_DEFINITIONS};

/// File with the values of the best trial, in the folder of a search.
const BEST_FILE: &str = "best-hyperparameters.json";

/// File with the importance of each hyperparameter.
const IMPORTANCE_FILE: &str = "importance.json";

/// Longest name of a trial in the table.
const LONGEST_NAME: &str = "trial 9998";

/// Pictures in the folder of a search.
const TRIALS_PICTURE: &str = "trials.svg";
const IMPORTANCE_PICTURE: &str = "importance.svg";

/// Settings of a search.
#[derive(Debug)]
pub struct SearchOptions {
    /// File with the ranges in the form of SageMaker's `ParameterRanges`.
    pub ranges: PathBuf,
    /// Folder of the search.
    pub output: PathBuf,
    /// Trials in all.
    pub trials: u64,
    /// Trials side by side; none for one on each GPU, or one on the processor.
    pub parallel: Option<usize>,
    pub sampler: SamplerKind,
    pub seed: u64,
    /// Name of the metric that is the score.
    pub metric: String,
    pub objective: Objective,
    /// Reduction factor and epochs of the first rung of early stopping; none without it.
    pub early_stopping: Option<(u64, u64)>,
    /// Device of the trials.
    pub device: DeviceChoice,
}

/// Searches, prints the best values, and writes them beside pictures of the trials.
///
/// # Errors
///
/// An error is a range that no job takes, a folder of another search, or a search whose trials failed.
pub fn search_hyperparameters(root: &MlRoot, options: &SearchOptions) -> Result<()> {
    let stop = StopSignal::listen()?;
    let metric_pattern = find_metric(&options.metric)?;
    let plan = make_plan(root, options)?;
    let space = read_parameter_ranges(&plan.parameter_ranges)?;
    check_values(&space, &plan.hyperparameters, root).error_context(options.ranges.display())?;
    let mut study = Study::open(&options.output, plan.clone())?;
    let gpus = if options.device == DeviceChoice::Cpu { 0 } else { gpu_count() };
    let parallel = options.parallel.unwrap_or_else(|| gpus.max(1));
    let jobs = TrialJobs {
        data: root,
        folder: &options.output,
        hyperparameters: &plan.hyperparameters,
        metric: &options.metric,
        report_lines: ReportLines::new(EPOCH_PATTERN, metric_pattern)?,
        parallel,
        gpus,
        device: options.device,
    };
    let table = Table::empty(LONGEST_NAME.len());
    let keeper = ModelKeeper::new(&options.output, &study, options.objective);
    for trial in study.trials() {
        show_end(&table, trial, study.reason(trial.number), &plan.metric);
    }
    let on_news = |news: SearchNews<'_>| match news {
        SearchNews::Begun(trial) => {
            let (name, text) = (name_trial(trial), describe_values(&trial.assignment));
            table.add(&name);
            table.set_state(&name, ShownState::Running, &text);
        }
        SearchNews::Report { trial, epoch, score } => {
            let values = describe_values(&trial.assignment);
            let text = format!("epoch {epoch}: {} {score}, {values}", plan.metric);
            table.show_text(&name_trial(trial), &text);
        }
        SearchNews::Ended { trial, reason } => {
            show_end(&table, trial, reason, &plan.metric);
            keeper.clean(trial);
        }
    };
    let size = SearchSize { trials: options.trials, parallel };
    let result =
        table.draw_while(|| run_search(&mut study, size, &jobs, &on_news, &|| stop.is_requested()));
    drop(table);
    write_results(&study, &plan, &options.output)?;
    result?;
    if stop.is_requested() {
        return Err(Error::internal(
            "the search was stopped; the same command goes on where it was",
        ));
    }
    let Some(best) = BestHyperparameters::find(study.trials(), plan.objective, &plan.metric) else {
        return Err(Error::input(format!(
            "no trial has a score; look at the logs below {}",
            options.output.display()
        )));
    };
    print_stdout(format_args!(
        "best: trial {}, {} {}",
        best.trial, plan.metric, best.objective.value
    ));
    for (name, value) in best.hyperparameters.iter() {
        print_stdout(format_args!("  {name} = {value}"));
    }
    print_stdout(format_args!("-> {}", options.output.join(BEST_FILE).display()));
    let model = job_root(&options.output, best.trial).model_folder();
    print_stdout(format_args!("-> {}", model.display()));
    Ok(())
}

/// Puts together everything on which the trials depend.
fn make_plan(root: &MlRoot, options: &SearchOptions) -> Result<SearchPlan> {
    let parameter_ranges = read_ranges(&options.ranges)?;
    let hyperparameters = match raw::read_json_object(&root.hyperparameters_file())? {
        Some(object) => raw::stringify_values(object),
        None => BTreeMap::new(),
    };
    let space = read_parameter_ranges(&parameter_ranges).error_context(options.ranges.display())?;
    let early_stopping = options.early_stopping.map(|(reduction_factor, min_epochs)| {
        HalvingPlan::for_search(
            &space,
            &hyperparameters,
            Hyperparameters::default_epochs(),
            reduction_factor,
            min_epochs,
        )
    });
    Ok(SearchPlan {
        parameter_ranges,
        sampler: options.sampler,
        seed: options.seed,
        objective: options.objective,
        metric: options.metric.clone(),
        early_stopping,
        hyperparameters,
        data: digest_data(root)?,
    })
}

/// Reads ranges. They may be the whole file, or its `ParameterRanges`.
fn read_ranges(path: &Path) -> Result<Value> {
    let document: Value = serde_json::from_slice(&read_file(path)?)
        .map_err(|cause| Error::input(format!("{}: {cause}", path.display())))?;
    Ok(document.get("ParameterRanges").cloned().unwrap_or(document))
}

/// Checks that a job takes the ends of each range, with the settings that all trials share.
fn check_values(
    space: &SearchSpace,
    shared: &BTreeMap<String, String>,
    root: &MlRoot,
) -> Result<()> {
    let mut shared = shared.clone();
    if !shared.contains_key("num_classes") {
        let classes = match LabelMapChannel::find_labels(root) {
            Some(labels) => count_named_classes(&labels)?,
            None => 2,
        };
        shared.insert("num_classes".to_owned(), classes.to_string());
    }
    let mut problems = Problems::new();
    let rules = ProgramRules {
        find_problems: &Hyperparameters::find_problems,
        is_whole_number: &Hyperparameters::is_whole_number,
    };
    let found = find_value_problems(space, &shared, rules);
    for problem in found.of_shared.into_iter().chain(found.of_ranges) {
        problems.push(problem);
    }
    problems.into_result()
}

/// Returns the regular expression of a metric.
fn find_metric(name: &str) -> Result<&'static str> {
    for (known, pattern) in METRIC_DEFINITIONS {
        if known == name {
            return Ok(pattern);
        }
    }
    let names = METRIC_DEFINITIONS.map(|(known, _)| known);
    let hint = did_you_mean(name, names);
    Err(Error::input(format!("no metric {name}{hint}; allowed: {}", names.join(", "))))
}

/// Returns a digest by which a search notices that it would go on with other data: the names and sizes
/// of the files in the channels, how the channels are read, and where pretrained weights lie.
fn digest_data(root: &MlRoot) -> Result<String> {
    let folder = &root.data_folder();
    let mut problems = Problems::new();
    let mut files = Vec::new();
    let config = root.input_data_config_file();
    if config.is_file() {
        files.push(String::from_utf8_lossy(&read_file(&config)?).into_owned());
    }
    files.extend(std::env::var("MASKMAKER_PRETRAINED").ok());
    visit_files(folder, &mut problems, &mut |path, size| {
        let name = path.strip_prefix(folder).unwrap_or(&path).to_path_buf();
        files.push(format!("{} {size}", name.display()));
    });
    problems.into_result()?;
    files.sort();
    let digest = Sha256::digest(files.join("\n"));
    let mut text = String::new();
    for byte in &digest[..16] {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

fn name_trial(trial: &Trial) -> String {
    format!("trial {}", trial.number)
}

fn describe_values(assignment: &Assignment) -> String {
    let values: Vec<String> =
        assignment.iter().map(|(name, value)| format!("{name} {value}")).collect();
    values.join(", ")
}

/// Shows how a trial ended.
fn show_end(table: &Table, trial: &Trial, reason: Option<&str>, metric: &str) {
    let values = describe_values(&trial.assignment);
    let (state, text) = match trial.outcome {
        Outcome::Running => return,
        Outcome::Complete(score) => (ShownState::Succeeded, format!("{metric} {score}, {values}")),
        Outcome::Pruned => {
            (ShownState::Stopped, format!("{}, {values}", reason.unwrap_or("stopped early")))
        }
        Outcome::Failed => {
            (ShownState::Failed, format!("{}, {values}", reason.unwrap_or("no reason is given")))
        }
    };
    let name = name_trial(trial);
    // One that an earlier process ran has no line.
    table.add(&name);
    table.conclude(&name, state, &text);
}

/// Keeper of the models of trials that ended. It removes what no one needs of them: checkpoints, and all models but the best one.
struct ModelKeeper<'a> {
    folder: &'a Path,
    objective: Objective,
    /// Best trial so far: its loss, and its number, which decides among equals.
    best: Mutex<Option<(f64, u64)>>,
}

impl<'a> ModelKeeper<'a> {
    fn new(folder: &'a Path, study: &Study, objective: Objective) -> Self {
        let keeper = Self { folder, objective, best: Mutex::new(None) };
        for trial in study.trials() {
            keeper.clean(trial);
        }
        keeper
    }

    /// Removes files of a trial that ended, and the model of the best one before if this is better.
    fn clean(&self, trial: &Trial) {
        if trial.outcome == Outcome::Running {
            return;
        }
        remove_folder(&job_root(self.folder, trial.number).checkpoints_folder());
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        let own = trial.score().map(|score| (self.objective.loss(score), trial.number));
        let worse = match (own, *best) {
            (Some(own), None) => {
                *best = Some(own);
                return;
            }
            (Some(own), Some(other)) if own < other => {
                *best = Some(own);
                other.1
            }
            _ => trial.number,
        };
        remove_folder(&job_root(self.folder, worse).model_folder());
    }
}

/// Removes a folder. One that cannot be removed is told and stays.
fn remove_folder(folder: &Path) {
    if let Err(cause) = fs::remove_dir_all(folder)
        && cause.kind() != std::io::ErrorKind::NotFound
    {
        print_stderr(format_args!("note: {} stays: {cause}", folder.display()));
    }
}

/// Writes the best values, the importance of each hyperparameter, and pictures.
fn write_results(study: &Study, plan: &SearchPlan, folder: &Path) -> Result<()> {
    let trials = study.trials();
    let best = folder.join(BEST_FILE);
    match BestHyperparameters::find(trials, plan.objective, &plan.metric) {
        Some(values) => write_json(&best, &values)?,
        None => remove_file_if_exists(&best)?,
    }
    let importances = estimate_importances(study.space(), trials, plan.objective);
    write_json(&folder.join(IMPORTANCE_FILE), &json!({"hyperparameters": importances}))?;
    let scene = draw_trials(study.space(), trials, plan.objective, &plan.metric);
    write_atomically(&folder.join(TRIALS_PICTURE), to_svg(&scene).as_bytes())?;
    let scene = draw_importances(&importances);
    write_atomically(&folder.join(IMPORTANCE_PICTURE), to_svg(&scene).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equally_good_models_that_of_the_first_trial_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let model = |number: u64| job_root(folder.path(), number).model_folder();
        let keeper =
            |objective| ModelKeeper { folder: folder.path(), objective, best: Mutex::default() };
        for objective in Objective::ALL {
            for order in [[5, 3, 4], [3, 4, 5], [4, 5, 3]] {
                let keeper = keeper(objective);
                for number in 3..6 {
                    fs::create_dir_all(model(number)).unwrap();
                }
                for number in order {
                    keeper.clean(&Trial::new(number, Assignment::new()).complete(0.4));
                }
                let kept: Vec<u64> = (3..6).filter(|&number| model(number).exists()).collect();
                assert_eq!(kept, [3], "{order:?}");
            }
        }
    }
}
