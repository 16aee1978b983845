//! Which step waits for which: by `DependsOn`, by the properties that its arguments take from other
//! steps, and by the condition that decides if it runs.

use std::collections::BTreeMap;

use super::definition::Definition;
use super::expression::{Expression, JsonFile, Reference, visit_expressions};
use super::findings::Place;

/// The steps of a definition in an order in which each comes after those that it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// Indices of the steps in the definition.
    order: Vec<usize>,
    /// Indices of the steps that each step waits for, by its index, in ascending order.
    dependencies: Vec<Vec<usize>>,
    /// For each step, by its index, whether it comes after each other one: it waits for that, or for
    /// one that does.
    comes_after: Vec<Vec<bool>>,
}

impl Graph {
    /// Orders the steps. References to steps that are not there are passed over. The error is a
    /// list of steps each of which waits for the next, and the last for the first.
    pub fn new(definition: &Definition) -> Result<Self, Vec<String>> {
        let mut indices = BTreeMap::new();
        for (index, step) in definition.steps.iter().enumerate() {
            indices.entry(step.name.as_str()).or_insert(index);
        }
        let mut dependencies = Vec::with_capacity(definition.steps.len());
        for step in &definition.steps {
            let mut names: Vec<String> = step.depends_on.clone();
            names.extend(step.branch.as_ref().map(|branch| branch.condition.clone()));
            visit_expressions(&step.arguments, &Place::default(), &mut |_, expression| {
                names.extend(expression.ok().and_then(|expression| referenced_step(&expression)));
            });
            let mut waits_for: Vec<usize> =
                names.iter().filter_map(|name| indices.get(name.as_str()).copied()).collect();
            waits_for.sort_unstable();
            waits_for.dedup();
            dependencies.push(waits_for);
        }
        let order = order_steps(&dependencies).map_err(|cycle| {
            cycle.into_iter().map(|index| definition.steps[index].name.clone()).collect::<Vec<_>>()
        })?;
        let mut comes_after = vec![vec![false; dependencies.len()]; dependencies.len()];
        for &step in &order {
            for &other in &dependencies[step] {
                let mut reached = comes_after[other].clone();
                reached[other] = true;
                for (known, new) in comes_after[step].iter_mut().zip(reached) {
                    *known |= new;
                }
            }
        }
        Ok(Self { order, dependencies, comes_after })
    }

    /// Returns true if a step waits for another one, or for one that does.
    pub fn waits_for(&self, step: usize, other: usize) -> bool {
        self.comes_after[step][other]
    }

    /// Returns the indices of the steps, each after those that it waits for.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Returns the indices of the steps that a step waits for.
    pub fn dependencies(&self, step: usize) -> &[usize] {
        &self.dependencies[step]
    }
}

/// Returns the step whose result an expression needs.
pub(super) fn referenced_step(expression: &Expression<'_>) -> Option<String> {
    match expression {
        Expression::Get(
            Reference::Property { step, .. } | Reference::PropertyFile { step, .. },
        )
        | Expression::JsonGet { file: JsonFile::PropertyFile { step, .. }, .. } => {
            Some(step.clone())
        }
        _ => None,
    }
}

/// Orders steps by what they wait for, those of lower indices first. The error is a cycle.
fn order_steps(dependencies: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut order = Vec::with_capacity(dependencies.len());
    let mut is_ordered = vec![false; dependencies.len()];
    while order.len() < dependencies.len() {
        let next = (0..dependencies.len()).find(|&step| {
            !is_ordered[step] && dependencies[step].iter().all(|&other| is_ordered[other])
        });
        let Some(step) = next else { return Err(find_cycle(dependencies, &is_ordered)) };
        is_ordered[step] = true;
        order.push(step);
    }
    Ok(order)
}

/// Returns a cycle among the steps that are not ordered. Each of them waits for another one of them.
fn find_cycle(dependencies: &[Vec<usize>], is_ordered: &[bool]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut step = is_ordered.iter().position(|is_ordered| !is_ordered);
    while let Some(current) = step {
        if let Some(start) = path.iter().position(|&other| other == current) {
            return path.split_off(start);
        }
        path.push(current);
        step = dependencies[current].iter().copied().find(|&other| !is_ordered[other]);
    }
    path
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn graph_of(steps: &[(&str, &[&str], serde_json::Value)]) -> Result<Vec<String>, Vec<String>> {
        let mut list = Vec::new();
        for (name, depends_on, arguments) in steps {
            list.push(json!({
                "Name": name, "Type": "Fail", "DependsOn": depends_on, "Arguments": arguments
            }));
        }
        let text = json!({"Version": "2020-12-01", "Steps": list}).to_string();
        let (definition, findings) = Definition::parse(text.as_bytes()).unwrap();
        assert!(!findings.has_errors(), "{findings:?}");
        let graph = Graph::new(&definition)?;
        Ok(graph.order().iter().map(|&index| definition.steps[index].name.clone()).collect())
    }

    #[test]
    fn steps_come_after_those_whose_results_they_take() {
        let uses = |step: &str| json!({"ErrorMessage": {"Get": format!("Steps.{step}.A.B")}});
        let order =
            graph_of(&[("C", &[], uses("B")), ("B", &["A"], json!({})), ("A", &[], json!({}))]);
        assert_eq!(order.unwrap(), ["A", "B", "C"]);
        let file = json!({"Get": "Steps.Z.PropertyFiles.Report"});
        let reads = json!({"ErrorMessage": {"Std:Join": {"Values": [
            {"Std:JsonGet": {"PropertyFile": file, "Path": "a"}}
        ]}}});
        assert_eq!(graph_of(&[("A", &[], reads), ("Z", &[], json!({}))]).unwrap(), ["Z", "A"]);
    }

    #[test]
    fn a_cycle_is_told_without_the_steps_that_lead_to_it() {
        let cycle = graph_of(&[
            ("A", &["B"], json!({})),
            ("B", &["C"], json!({})),
            ("C", &["B"], json!({})),
        ]);
        assert_eq!(cycle.unwrap_err(), ["B", "C"]);
        assert_eq!(graph_of(&[("A", &["A"], json!({}))]).unwrap_err(), ["A"]);
    }
}
