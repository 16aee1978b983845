//! The steps of a pipeline as lines of text.

use crate::pipeline::{Definition, Graph};

/// Returns a line for each step in the order in which steps can run: name, type, and what it waits
/// for.
pub fn describe_graph(definition: &Definition, graph: &Graph) -> String {
    let mut name_width = 0;
    let mut kind_width = 0;
    for step in &definition.steps {
        name_width = name_width.max(step.name.chars().count());
        kind_width = kind_width.max(step.kind.name().len());
    }
    let mut lines = String::new();
    for &index in graph.order() {
        let step = &definition.steps[index];
        let mut reasons = Vec::new();
        let mut names = Vec::new();
        for &other in graph.dependencies(index) {
            names.push(definition.steps[other].name.as_str());
        }
        if let Some(branch) = &step.branch {
            let not = if branch.is_if { "" } else { "not " };
            reasons.push(format!("if {not}{}", branch.condition));
            names.retain(|name| *name != branch.condition);
        }
        if !names.is_empty() {
            reasons.push(format!("after {}", names.join(", ")));
        }
        let line = format!(
            "{:name_width$}  {:kind_width$}  {}",
            step.name,
            step.kind.name(),
            reasons.join(", ")
        );
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines
}
