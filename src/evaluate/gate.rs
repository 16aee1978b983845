//! The decision if a model may go live.

use serde::Serialize;

use super::comparison::Comparison;

/// Rules that a model must keep; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GateRules {
    /// Least mIoU, 0 to 1.
    pub min_miou: Option<f64>,
    /// Most that the mIoU may be below that of the other model, 0 to 1.
    pub max_drop: Option<f64>,
    /// Least probability that the model is better than the other one, 0 to 1.
    pub must_improve: Option<f64>,
}

/// The decision, with its reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gate {
    pub passed: bool,
    /// Reason of the decision, in a sentence or more.
    pub reason: String,
    /// The decision of each rule.
    pub rules: Vec<RuleDecision>,
}

/// The decision of one rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleDecision {
    /// Name of the rule: `min_miou`, `max_drop` or `must_improve`.
    pub rule: &'static str,
    /// Limit that the rule was given, 0 to 1.
    pub limit: f64,
    pub passed: bool,
    pub reason: String,
}

impl Gate {
    /// Decides by the mIoU of the model, and by its comparison with another one, if there is one.
    /// Rules about another model pass where there is none.
    pub(super) fn decide(
        rules: &GateRules,
        miou: Option<f64>,
        comparison: Option<&Comparison>,
    ) -> Self {
        let mut decisions = Vec::new();
        if let Some(limit) = rules.min_miou {
            let passed = miou.is_some_and(|miou| miou >= limit);
            let is = if passed { "at least" } else { "below" };
            let reason = format!("mIoU {} is {is} {limit}", format_score(miou));
            decisions.push(RuleDecision { rule: "min_miou", limit, passed, reason });
        }
        if let Some(limit) = rules.max_drop {
            decisions.push(decide_drop(limit, comparison));
        }
        if let Some(limit) = rules.must_improve {
            decisions.push(decide_improvement(limit, comparison));
        }
        let passed = decisions.iter().all(|decision| decision.passed);
        // Where rules fail, those that pass do not matter.
        let mut reasons = Vec::new();
        for decision in &decisions {
            if decision.passed == passed {
                reasons.push(decision.reason.as_str());
            }
        }
        let reason =
            if reasons.is_empty() { "no rule was given".to_owned() } else { reasons.join("; ") };
        Self { passed, reason, rules: decisions }
    }

    /// Returns the decision as a line for people.
    pub fn summary(&self) -> String {
        let decision = if self.passed { "passed" } else { "failed" };
        format!("gate {decision}: {}", self.reason)
    }
}

const NO_OTHER_MODEL: &str = "there is no other model yet";

fn decide_drop(limit: f64, comparison: Option<&Comparison>) -> RuleDecision {
    let (passed, reason) = match comparison {
        None => (true, NO_OTHER_MODEL.to_owned()),
        Some(comparison) => {
            let difference = comparison.miou.difference.value;
            let passed = difference.is_some_and(|difference| -difference <= limit);
            let verdict = if passed { "allowed is" } else { "and allowed is only" };
            (passed, format!("{}; {verdict} a drop of {limit}", describe_difference(comparison)))
        }
    };
    RuleDecision { rule: "max_drop", limit, passed, reason }
}

fn decide_improvement(limit: f64, comparison: Option<&Comparison>) -> RuleDecision {
    let (passed, reason) = match comparison {
        None => (true, NO_OTHER_MODEL.to_owned()),
        Some(comparison) => {
            let is_higher = comparison.miou.difference.value.is_some_and(|value| value > 0.0);
            let probability = comparison.miou.probability_better;
            let passed = is_higher && probability.is_some_and(|value| value >= limit);
            let difference = describe_difference(comparison);
            let reason = if is_higher {
                let verdict = if passed { "at least" } else { "below" };
                let probability = format_score(probability);
                format!(
                    "{difference}; the probability that it is better is {probability}, {verdict} {limit}"
                )
            } else {
                format!("{difference}, and it must be higher")
            };
            (passed, reason)
        }
    };
    RuleDecision { rule: "must_improve", limit, passed, reason }
}

/// Describes the difference, such as `mIoU is 0.0100 higher than the 0.7000 of old.tar.gz`.
fn describe_difference(comparison: &Comparison) -> String {
    let other =
        format!("{} of {}", format_score(comparison.other_miou.value), comparison.other_model);
    match comparison.miou.difference.value {
        None => format!("mIoU cannot be compared with the {other}"),
        Some(difference) if difference > 0.0 => {
            format!("mIoU is {difference:.4} higher than the {other}")
        }
        Some(difference) if difference < 0.0 => {
            format!("mIoU is {:.4} lower than the {other}", -difference)
        }
        Some(_) => format!("mIoU equals the {other}"),
    }
}

fn format_score(score: Option<f64>) -> String {
    match score {
        Some(score) => format!("{score:.4}"),
        None => "that is not defined".to_owned(),
    }
}
