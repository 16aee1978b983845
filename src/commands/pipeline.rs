//! `maskmaker pipeline` checks, renders, shows and runs definitions of pipelines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::Value;

use crate::console::{print_stderr, print_stdout};
use crate::error::{Error, ErrorContext, Result, pluralize};
use crate::files::read_file;
use crate::pipeline::{
    ArgumentsCheck, Definition, Executor, Findings, Graph, LocalRunOptions, ParameterValues,
    PlaceMap, Severity, check_definition, check_names, describe_graph, draw_graph,
    find_parameter_values, read_given, render_requests, run_locally,
};
use crate::render::to_svg;
use crate::sagemaker::StopSignal;
use crate::search::BestHyperparameters;

/// Largest number of findings that are printed.
const MAX_PRINTED: usize = 500;

/// Definition of a pipeline and the values of a run.
#[derive(Debug)]
pub struct PipelineInput {
    /// File with the definition.
    pub file: PathBuf,
    /// Values of parameters, by name, as texts.
    pub parameters: Vec<(String, String)>,
    /// File with the values that a search found; those of `parameters` go before them.
    pub best_hyperparameters: Option<PathBuf>,
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
    /// Bytes of the file.
    bytes: Vec<u8>,
    definition: Definition,
    /// Values that a person gave to parameters.
    given: BTreeMap<String, Value>,
    values: ParameterValues,
    findings: Findings,
}

/// Prints everything that is wrong with a definition. Errors end the command with exit code 3,
/// warnings do not.
pub fn run_check(input: &PipelineInput, check_arguments: ArgumentsCheck<'_>) -> Result<()> {
    let ReadPipeline { definition, values, mut findings, .. } = read_pipeline(input)?;
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
    let ReadPipeline { definition, values, mut findings, .. } = read_pipeline(input)?;
    check_names(&definition, &mut findings);
    let file = input.file.display();
    findings.into_result().error_context(&file)?;
    let graph = read_graph(&definition).error_context(&file)?;
    let requests = render_requests(&definition, &graph, &values).error_context(&file)?;
    print_stdout(format_args!("{requests:#}"));
    Ok(())
}

/// Settings of a run on this machine.
#[derive(Debug)]
pub struct LocalRunSettings {
    /// Folder of local executions.
    pub root: PathBuf,
    /// Folders of places in S3.
    pub maps: Vec<PlaceMap>,
    /// Folder of the model registry; none for that in the root.
    pub registry: Option<PathBuf>,
    pub executor: Executor,
    /// False if a new execution begins, and every job is run.
    pub uses_cache: bool,
}

/// Runs a pipeline on this machine. A definition with errors is not begun. A Fail step ends the
/// command with exit code 4 and its message.
pub fn run_local(
    input: &PipelineInput,
    settings: LocalRunSettings,
    check_arguments: ArgumentsCheck<'_>,
) -> Result<()> {
    let pipeline = read_checked_pipeline(input, check_arguments)?;
    let CheckedPipeline { bytes, definition, values, .. } = pipeline;
    let graph = read_graph(&definition).error_context(input.file.display())?;
    let options = LocalRunOptions {
        pipeline_name: name_pipeline(&input.file),
        definition_bytes: bytes,
        root: settings.root,
        maps: settings.maps,
        registry: settings.registry,
        executor: settings.executor,
        uses_cache: settings.uses_cache,
    };
    let stop = StopSignal::listen()?;
    run_locally(&definition, &graph, &values, &options, &stop)
}

/// Definition without errors, and the values of a run.
#[derive(Debug)]
pub(super) struct CheckedPipeline {
    /// Bytes of the file.
    pub bytes: Vec<u8>,
    pub definition: Definition,
    /// Values that a person gave to parameters.
    pub given: BTreeMap<String, Value>,
    pub values: ParameterValues,
}

/// Reads and checks a definition. Errors in it are the error, warnings are printed.
pub(super) fn read_checked_pipeline(
    input: &PipelineInput,
    check_arguments: ArgumentsCheck<'_>,
) -> Result<CheckedPipeline> {
    let ReadPipeline { bytes, definition, given, values, mut findings } = read_pipeline(input)?;
    check_definition(&definition, &values, check_arguments, &mut findings);
    for finding in findings.as_slice() {
        if finding.severity == Severity::Warning {
            print_stderr(finding);
        }
    }
    findings.into_result().error_context(input.file.display())?;
    Ok(CheckedPipeline { bytes, definition, given, values })
}

/// Returns a pipeline's name in the service's form, made of its file's name.
pub fn name_pipeline(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let is_word = |c: char| c.is_ascii_alphanumeric();
    let name: String = stem.chars().map(|c| if is_word(c) { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "pipeline".to_owned() } else { name.to_owned() }
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
    let bytes = read_file(&input.file)?;
    let (definition, mut findings) =
        Definition::parse(&bytes).error_context(input.file.display())?;
    let mut parameters = input.parameters.clone();
    if let Some(file) = &input.best_hyperparameters {
        let best: BestHyperparameters = serde_json::from_slice(&read_file(file)?)
            .map_err(|cause| Error::input(format!("{}: {cause}", file.display())))?;
        let found = find_parameter_values(&definition, &best).error_context(file.display())?;
        for (name, value) in found {
            if !parameters.iter().any(|(given, _)| *given == name) {
                parameters.push((name, value));
            }
        }
    }
    let given = read_given(&definition, &parameters, &mut findings);
    let values = ParameterValues::choose(&definition, &given, &mut findings);
    Ok(ReadPipeline { bytes, definition, given, values, findings })
}

/// Orders the steps.
fn read_graph(definition: &Definition) -> Result<Graph> {
    Graph::new(definition).map_err(|cycle| {
        Error::input(format!("steps wait for each other: {} -> {}", cycle.join(" -> "), cycle[0]))
    })
}
