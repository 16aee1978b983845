//! `hyperparameters/metric-definitions.json` against the lines of real jobs.

use std::process::Command;

use regex::Regex;

use crate::job::{Job, Run, maskmaker};

/// Names and expressions as SageMaker takes them.
fn definitions() -> Vec<(String, Regex)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/hyperparameters/metric-definitions.json");
    let json: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    json.iter()
        .map(|definition| {
            assert_eq!(definition.len(), 2, "{definition:?}");
            let text = |key: &str| definition[key].as_str().unwrap();
            assert!((1..=500).contains(&text("Regex").len()), "SageMaker's limit");
            (text("Name").to_owned(), Regex::new(text("Regex")).unwrap())
        })
        .collect()
}

#[test]
fn the_program_looks_for_the_same_metrics() {
    let own: Vec<(String, String)> = maskmaker::train::METRIC_DEFINITIONS
        .iter()
        .map(|(name, expression)| ((*name).to_owned(), (*expression).to_owned()))
        .collect();
    let file: Vec<(String, String)> = definitions()
        .into_iter()
        .map(|(name, expression)| (name, expression.as_str().to_owned()))
        .collect();
    assert_eq!(own, file);
}

/// Every value that an expression captures is a number, one per epoch, and in its range.
fn check(log: &str, epochs: usize) {
    for (name, expression) in definitions() {
        let found: Vec<&str> = log
            .lines()
            .filter_map(|line| expression.captures(line))
            .map(|captured| captured.get(1).unwrap().as_str())
            .collect();
        assert_eq!(found.len(), epochs, "{name}: {found:?} in\n{log}");
        for text in found {
            let value: f64 = text.parse().unwrap_or_else(|_| panic!("{name}: {text:?}\n{log}"));
            let share = name == "validation:mIOU" || name == "validation:pixel_accuracy";
            assert!(value.is_finite() && value >= 0.0 && !(share && value > 1.0), "{name} {value}");
        }
    }
}

#[test]
fn the_definitions_have_the_built_ins_names() {
    let names: Vec<String> = definitions().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "train:loss",
            "train:throughput",
            "validation:mIOU",
            "validation:pixel_accuracy",
            "validation:throughput",
        ]
    );
}

#[test]
fn every_definition_captures_one_number_an_epoch_from_a_jobs_lines() {
    let Run { stdout, stderr, .. } = Job::new().with("epochs", "2").train();
    check(&(stdout + &stderr), 2);
}

/// What a terminal of endless width shows in the end: carriage returns go to the start of a line,
/// `ESC [2K` clears it, `ESC [1A` goes up. Other escape sequences of the bar only color.
fn screen(bytes: &str) -> String {
    let mut lines = vec![Vec::new()];
    let (mut row, mut column) = (0, 0);
    let mut rest = bytes.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' => {
                row += 1;
                if row == lines.len() {
                    lines.push(Vec::new());
                }
            }
            '\r' => column = 0,
            '\u{1b}' => {
                rest.next_if_eq(&'[');
                let mut sequence = String::new();
                for c in rest.by_ref() {
                    sequence.push(c);
                    if c.is_ascii_alphabetic() {
                        break;
                    }
                }
                match sequence.as_str() {
                    "2K" => lines[row].clear(),
                    up if up.ends_with('A') => {
                        row = row.saturating_sub(up[..up.len() - 1].parse().unwrap_or(1));
                    }
                    _ => {}
                }
            }
            c => {
                let line = &mut lines[row];
                while line.len() <= column {
                    line.push(' ');
                }
                line[column] = c;
                column += 1;
            }
        }
    }
    let lines = lines.into_iter().map(|line| line.into_iter().collect::<String>());
    lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[test]
fn under_a_terminals_progress_bar_they_still_do_and_no_line_is_glued_to_the_bar() {
    let job = Job::new().with("epochs", "2").with("syncbn", "True");
    // `script` gives the job a terminal; it is part of Debian's essential packages.
    let inner = maskmaker();
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--flush", "--command"]);
    let program = inner.get_program().to_str().unwrap();
    let root = job.path("");
    // Wide enough that the bar is one line, as `screen` reads it.
    command.arg(format!("stty cols 200; exec {program} --ml-root {} train", root.display()));
    command.arg("/dev/null").env("OMP_NUM_THREADS", "1").env("TERM", "xterm");
    job.configure();
    let output = command.output().unwrap();
    let log = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{log}");
    assert!(log.contains("epoch 1/2 training") && log.contains("img/s"), "a bar was drawn: {log}");
    check(&log, 2);

    // What a person sees afterwards: whole lines, no bar.
    let shown = screen(&log);
    check(&shown, 2);
    for line in shown.lines().filter(|line| line.contains("mIOU: ") || line.contains("loss: ")) {
        assert!(line.starts_with("epoch "), "{line:?}");
    }
    assert!(!shown.contains("img/s"), "{shown}");
}
