//! Decisions of early stopping against those of Optuna, which `tests/golden/make_halving.py` recorded.

use serde::Deserialize;

use crate::search::{Assignment, AsyncHalving, Decision, Objective, Outcome, Trial};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    eta: u64,
    min_epochs: u64,
    direction: String,
    trials: Vec<Curve>,
}

#[derive(Deserialize)]
struct Curve {
    scores: Vec<f64>,
    stopped_at: Option<u64>,
}

#[test]
fn decisions_are_optunas() {
    let golden: Golden =
        serde_json::from_str(include_str!("../../../tests/golden/halving.json")).unwrap();
    let mut stopped_count = 0;
    for case in golden.cases {
        let objective = match case.direction.as_str() {
            "maximize" => Objective::Maximize,
            _ => Objective::Minimize,
        };
        let rule = AsyncHalving::new(objective, case.eta, case.min_epochs, 100).unwrap();
        let mut trials = Vec::new();
        for (number, curve) in case.trials.into_iter().enumerate() {
            let mut trial = Trial::new(number as u64, Assignment::new());
            let mut stopped_at = None;
            for (epoch, score) in (1..).zip(curve.scores) {
                trial.reports.insert(epoch, score);
                if rule.decide(&trial, &trials) != Decision::Continue {
                    assert_eq!(stopped_at, None, "trial {number}");
                    stopped_at = Some(epoch);
                    trial.outcome = Outcome::Pruned;
                }
            }
            assert_eq!(stopped_at, curve.stopped_at, "trial {number}, eta {}", case.eta);
            stopped_count += usize::from(stopped_at.is_some());
            trials.push(trial);
        }
    }
    assert!((90..180).contains(&stopped_count), "{stopped_count}");
}
