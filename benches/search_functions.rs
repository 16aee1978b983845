//! Searches three functions whose best values are known, and prints the best value that each sampler
//! found in 60 trials, as one JSON line per function, sampler and seed.
//!   `search_functions STARTUP.json [SEEDS]`
//!
//! The file gets the values of the random trials that the samplers begin with, so that
//! `search_functions.py` can begin with the same ones; `search_compare.py` compares the lines.
//! There are 31 seeds unless another number is given.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use maskmaker::error::{Error, Result};
use maskmaker::search::{
    Assignment, BestHyperparameters, Objective, RandomSampler, SearchSpace, TpeSampler,
    TpeSettings, Trial, read_parameter_ranges,
};
use serde_json::{Map, Value, json};

const TRIALS: u64 = 60;

const DEFAULT_SEEDS: u64 = 31;

/// Function that is searched for its smallest value, which is 0.
struct Function {
    name: &'static str,
    ranges: Value,
    value: fn(&Assignment) -> Option<f64>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || Error::input("usage: search_functions STARTUP.json [SEEDS]");
    let startup_file = PathBuf::from(arguments.next().ok_or_else(usage)?);
    let seeds = match arguments.next() {
        Some(text) => text.parse().map_err(|_| usage())?,
        None => DEFAULT_SEEDS,
    };
    let mut startup = Map::new();
    for function in functions() {
        let space = read_parameter_ranges(&function.ranges)?;
        let mut of_seeds = Vec::new();
        for seed in 0..seeds {
            of_seeds.push(compare_samplers(&function, &space, seed)?);
        }
        startup.insert(function.name.to_owned(), Value::Array(of_seeds));
    }
    let text = Value::Object(startup).to_string();
    std::fs::write(&startup_file, text).map_err(|cause| Error::io("write", &startup_file, &cause))
}

/// Searches a function with each sampler, prints the best values, and returns the random trials that
/// the estimators begin with.
fn compare_samplers(function: &Function, space: &SearchSpace, seed: u64) -> Result<Value> {
    let random = RandomSampler::new(seed);
    search(function, seed, "random", |_, number| random.draw_assignment(space, number))?;
    let settings = TpeSettings::default();
    for (name, is_joint) in [("tpe", true), ("tpe_separate", false)] {
        let tpe = TpeSampler::new(seed, Objective::Minimize, TpeSettings { is_joint, ..settings });
        search(function, seed, name, |trials, number| tpe.draw_assignment(space, trials, number))?;
    }
    let mut startup = Vec::new();
    for number in 0..settings.startup_trials as u64 {
        startup.push(json!(random.draw_assignment(space, number)));
    }
    Ok(Value::Array(startup))
}

/// Makes the trials of one search, one after the other, and prints the best value.
fn search(
    function: &Function,
    seed: u64,
    sampler: &str,
    draw: impl Fn(&[Trial], u64) -> Assignment,
) -> Result<()> {
    let mut trials = Vec::new();
    for number in 0..TRIALS {
        let assignment = draw(&trials, number);
        let value = (function.value)(&assignment).ok_or_else(|| {
            Error::internal(format!("{} has no value at {assignment:?}", function.name))
        })?;
        trials.push(Trial::new(number, assignment).complete(value));
    }
    if let Some(best) = BestHyperparameters::find(&trials, Objective::Minimize, "value") {
        let value = best.objective.value;
        println!(
            "{}",
            json!({"function": function.name, "sampler": sampler, "seed": seed, "best": value})
        );
    }
    Ok(())
}

/// Returns the three functions.
fn functions() -> [Function; 3] {
    [
        Function {
            name: "log_continuous",
            ranges: json!({"ContinuousParameterRanges": [
                {"Name": "learning_rate", "MinValue": "1e-5", "MaxValue": "1"},
                {"Name": "weight_decay", "MinValue": "1e-7", "MaxValue": "0.1"},
            ]}),
            value: log_continuous,
        },
        Function {
            name: "mixed",
            ranges: json!({
                "IntegerParameterRanges": [
                    {"Name": "batch_size", "MinValue": "1", "MaxValue": "64"},
                ],
                "ContinuousParameterRanges": [
                    {"Name": "momentum", "MinValue": "0", "MaxValue": "1"},
                ],
                "CategoricalParameterRanges": [
                    {"Name": "optimizer", "Values": ["sgd", "nag", "adam", "rmsprop"]},
                ],
            }),
            value: mixed,
        },
        Function {
            name: "conditional",
            ranges: json!({
                "ContinuousParameterRanges": [
                    {"Name": "learning_rate", "MinValue": "1e-5", "MaxValue": "1"},
                    {"Name": "momentum", "MinValue": "0", "MaxValue": "0.99",
                     "Condition": {"Name": "optimizer", "Values": ["sgd"]}},
                    {"Name": "epsilon", "MinValue": "1e-9", "MaxValue": "0.1",
                     "Condition": {"Name": "optimizer", "Values": ["adam"]}},
                ],
                "CategoricalParameterRanges": [{"Name": "optimizer", "Values": ["sgd", "adam"]}],
            }),
            value: conditional,
        },
    ]
}

fn number(assignment: &Assignment, name: &str) -> Option<f64> {
    assignment.get(name)?.parse().ok()
}

/// Two numbers on logarithmic scales that depend on each other a little.
fn log_continuous(assignment: &Assignment) -> Option<f64> {
    let rate = number(assignment, "learning_rate")?.log10() + 2.5;
    let decay = number(assignment, "weight_decay")?.log10() + 4.0;
    Some(rate * rate + 0.5 * decay * decay + 0.5 * rate * decay)
}

/// A whole number, a number and a word.
fn mixed(assignment: &Assignment) -> Option<f64> {
    let size = (number(assignment, "batch_size")? - 40.0) / 20.0;
    let momentum = number(assignment, "momentum")? - 0.3;
    let penalty = match assignment.get("optimizer")? {
        "sgd" => 0.3,
        "nag" => 0.0,
        "adam" => 0.6,
        _ => 0.9,
    };
    Some(size * size + 4.0 * momentum * momentum + penalty)
}

/// A word that says which of two further numbers there is.
fn conditional(assignment: &Assignment) -> Option<f64> {
    let rate = number(assignment, "learning_rate")?.log10() + 2.0;
    let rest = match assignment.get("optimizer")? {
        "sgd" => 4.0 * (number(assignment, "momentum")? - 0.9).powi(2),
        _ => 0.2 + 0.1 * (number(assignment, "epsilon")?.log10() + 4.0).powi(2),
    };
    Some(0.3 * rate * rate + rest)
}
