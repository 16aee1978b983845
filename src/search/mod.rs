//! Search for good hyperparameters: ranges, samplers that choose the values of the next trial, early
//! stopping of poor trials, and how much each hyperparameter matters.
//!
//! A trial is one training job with one value per hyperparameter. A sampler sees the trials so far
//! and proposes values for the next one, which is arithmetic on those records; `study` alone has
//! files and `schedule` alone has threads. How a job runs is a [`TrialRunner`]'s matter.
//!
//! | file | task |
//! |---|---|
//! | `parameter_ranges` | reads ranges in the form of SageMaker's `ParameterRanges` |
//! | [`space`], [`number_range`] | the validated ranges, their scales and conditions |
//! | `value_check` | ranges whose values the trained program refuses |
//! | [`assignment`], [`trial`] | the values of one trial; its outcome and its scores by epoch |
//! | [`random`], [`tpe`] | the samplers; `parzen` and `normal` are the densities of the second |
//! | [`halving`] | asynchronous successive halving, which stops poor trials early |
//! | [`importance`] | share of the scores' spread that each hyperparameter explains |
//! | [`best`] | the best trial as a JSON document |
//! | `report_lines` | lines in which a job reports its score |
//! | `pictures` | trials on parallel coordinates, importances as bars |
//! | [`study`] | the search in a folder, with a record of each trial |
//! | [`schedule`] | trials side by side, from the first to the last |
//!
//! Draws are counted (`docs/architecture.md#counted-randomness`): those of trial `n` depend on the
//! seed, on `n`, and for the Parzen estimator on the trials that it is shown, never on which process
//! draws or on what was drawn before.

pub mod assignment;
pub mod best;
pub mod halving;
pub mod importance;
mod normal;
pub mod number_range;
mod parameter_ranges;
mod parzen;
mod pictures;
pub mod random;
mod report_lines;
pub mod schedule;
pub mod space;
pub mod study;
pub mod tpe;
pub mod trial;
mod value_check;

#[cfg(test)]
mod tests;

pub use assignment::Assignment;
pub use best::BestHyperparameters;
pub use halving::{AsyncHalving, Decision};
pub use importance::{Importance, estimate_importances};
pub use parameter_ranges::read_parameter_ranges;
pub use pictures::{draw_importances, draw_trials};
pub use random::RandomSampler;
pub use report_lines::ReportLines;
pub use schedule::{SearchNews, SearchSize, TrialRunner, run_search};
pub use space::{Domain, SearchSpace};
pub use study::{HalvingPlan, RestartReason, SamplerKind, SearchPlan, Study, TrialEnd};
pub use tpe::{TpeSampler, TpeSettings};
pub use trial::{Objective, Outcome, Trial};
pub use value_check::{ProgramRules, ValueProblems, find_value_problems};
