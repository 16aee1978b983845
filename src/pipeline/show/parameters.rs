//! The parameters of a pipeline as a table for people.

use std::fmt::Write;

use crate::pipeline::Definition;

/// Returns a text that stays within one cell of a table.
fn escape_cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Returns the parameters as a Markdown table with a final newline.
pub fn parameters_markdown(definition: &Definition) -> String {
    let mut table = "| parameter | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    for parameter in &definition.parameters {
        let default = match &parameter.default {
            Some(default) => format!("`{default}`"),
            None => "each run gives it".to_owned(),
        };
        let mut meaning = parameter.description.clone().unwrap_or_default();
        if !parameter.allowed.is_empty() {
            let allowed: Vec<String> =
                parameter.allowed.iter().map(|value| format!("`{value}`")).collect();
            let _ = write!(meaning, " Allowed: {}.", allowed.join(", "));
        }
        let (meaning, default) = (escape_cell(&meaning), escape_cell(&default));
        let (name, kind) = (&parameter.name, parameter.kind.name());
        let _ = writeln!(table, "| `{name}` | {kind} | {default} | {meaning} |");
    }
    table
}
