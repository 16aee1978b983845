//! `maskmaker pipeline` checks, renders and shows definitions of pipelines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::Value;

use crate::console::{print_stderr, print_stdout};
use crate::error::{Error, ErrorContext, Result, pluralize};
use crate::pipeline::{
    ArgumentsCheck, Definition, Findings, Graph, ParameterValues, Place, Severity,
    check_definition, check_names, describe_graph, draw_graph, render_requests,
};
use crate::render::to_svg;

/// Largest number of findings that are printed.
const MAX_PRINTED: usize = 500;

/// Definition of a pipeline and the values of a run.
#[derive(Debug)]
pub struct PipelineInput {
    /// File with the definition.
    pub file: PathBuf,
    /// Values of parameters, by name, as texts.
    pub parameters: Vec<(String, String)>,
}

/// Form in which a graph is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum GraphFormat {
    /// Lines for a terminal
    #[default]
    Text,
    /// A picture
    Svg,
}

/// Definition that was read, with what is wrong with it so far.
struct ReadPipeline {
    definition: Definition,
    values: ParameterValues,
    findings: Findings,
}

/// Prints everything that is wrong with a definition. Errors end the command with exit code 3,
/// warnings do not.
pub fn run_check(input: &PipelineInput, check_arguments: ArgumentsCheck<'_>) -> Result<()> {
    let ReadPipeline { definition, values, mut findings } = read_pipeline(input)?;
    check_definition(&definition, &values, check_arguments, &mut findings);
    for finding in findings.as_slice().iter().take(MAX_PRINTED) {
        print_stdout(finding);
    }
    let more = findings.as_slice().len().saturating_sub(MAX_PRINTED);
    if more > 0 {
        print_stdout(format_args!("and {more} more"));
    }
    let errors = findings.count(Severity::Error);
    let summary = format!(
        "{}, {}",
        pluralize(errors, "error"),
        pluralize(findings.count(Severity::Warning), "warning")
    );
    let file = input.file.display();
    if errors > 0 {
        return Err(Error::input(format!("{file}: {summary}; they are listed above")));
    }
    print_stdout(format_args!(
        "{file}: {summary}; {} and {}",
        pluralize(definition.steps.len(), "step"),
        pluralize(definition.parameters.len(), "parameter")
    ));
    Ok(())
}

/// Prints the requests of a run as JSON.
pub fn run_render(input: &PipelineInput) -> Result<()> {
    let ReadPipeline { definition, values, mut findings } = read_pipeline(input)?;
    check_names(&definition, &mut findings);
    let file = input.file.display();
    findings.into_result().error_context(&file)?;
    let graph = read_graph(&definition).error_context(&file)?;
    let requests = render_requests(&definition, &graph, &values).error_context(&file)?;
    print_stdout(format_args!("{requests:#}"));
    Ok(())
}

/// Prints the graph of the steps.
pub fn run_show(file: &Path, format: GraphFormat) -> Result<()> {
    let (definition, findings) = Definition::read(file)?;
    for finding in findings.as_slice() {
        print_stderr(finding);
    }
    let graph = read_graph(&definition).error_context(file.display())?;
    let text = match format {
        GraphFormat::Text => describe_graph(&definition, &graph),
        GraphFormat::Svg => to_svg(&draw_graph(&definition, &graph)),
    };
    print_stdout(text.trim_end());
    Ok(())
}

/// Reads a definition and the values of its parameters.
fn read_pipeline(input: &PipelineInput) -> Result<ReadPipeline> {
    let (definition, mut findings) = Definition::read(&input.file)?;
    let mut given: BTreeMap<String, Value> = BTreeMap::new();
    for (name, text) in &input.parameters {
        let value = match definition.parameter(name) {
            // The check of the values tells a text that cannot be read.
            Some(parameter) => parameter.read_value(text),
            None => Value::String(text.clone()),
        };
        if given.insert(name.clone(), value).is_some() {
            let place = Place::definition(format!("--parameter {name}"));
            findings.error(place, "is given twice");
        }
    }
    let values = ParameterValues::choose(&definition, &given, &mut findings);
    Ok(ReadPipeline { definition, values, findings })
}

/// Orders the steps.
fn read_graph(definition: &Definition) -> Result<Graph> {
    Graph::new(definition).map_err(|cycle| {
        Error::input(format!("steps wait for each other: {} -> {}", cycle.join(" -> "), cycle[0]))
    })
}
