//! `maskmaker fetch`: data that lie elsewhere into the folders that `preprocess` reads.

use std::path::{Path, PathBuf};

use super::label_studio::connection::{LabelStudioConnection, connect_label_studio};
use super::remote_pipeline::connect_s3;
use crate::aws::{S3Client, S3Uri};
use crate::console::{print_stderr, print_stdout};
use crate::error::{Error, Problems, Result, pluralize};
use crate::fetch::{
    Claims, Downloader, FetchSummary, ProjectOptions, fetch_archive, fetch_manifest, fetch_prefix,
    fetch_project, remove_partials_below,
};
use crate::files::check_writable;
use crate::http::build_runtime;
use crate::sagemaker::StopSignal;
use crate::web_client::{AddressRule, Url, WebClient, WebClientSettings};

/// Largest number of missing files that are told one by one.
const MAX_TOLD: usize = 20;

/// Sources of a fetch, its folder and its limits.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    pub project: Option<ProjectSource>,
    /// Archives on the web, prefixes of S3 and manifests of Ground Truth.
    pub sources: Vec<FetchSource>,
    pub output: PathBuf,
    /// Folder below the output for archives and prefixes.
    pub into: PathBuf,
    /// Files at one time.
    pub parallel_files: usize,
    /// Largest file, in bytes.
    pub max_file_bytes: u64,
    pub allow_private: bool,
    /// True if missing files are an error.
    pub strict: bool,
}

/// Project of Label Studio.
#[derive(Debug, Clone)]
pub struct ProjectSource {
    pub connection: LabelStudioConnection,
    pub options: ProjectOptions,
}

/// Source of files that is no project.
#[derive(Debug, Clone)]
pub enum FetchSource {
    Archive(Url),
    Prefix(S3Uri),
    Manifest(S3Uri),
}

/// Clients, made when they are needed first.
struct Clients<'a> {
    stop: &'a StopSignal,
    s3: Option<S3Client>,
}

impl Clients<'_> {
    fn s3(&mut self) -> Result<&S3Client> {
        if self.s3.is_none() {
            self.s3 = Some(connect_s3(self.stop)?);
        }
        self.s3.as_ref().ok_or_else(|| Error::internal("there is no connection to S3"))
    }
}

/// Runs the command.
pub fn run_fetch(options: &FetchOptions) -> Result<()> {
    check_writable(&options.output)?;
    remove_partials_below(&options.output);
    let stop = StopSignal::listen()?;
    let runtime = build_runtime()?;
    let web = WebClient::new(WebClientSettings {
        addresses: AddressRule { allow_private: options.allow_private, ..Default::default() },
        ..Default::default()
    })?;
    let claims = Claims::default();
    let mut clients = Clients { stop: &stop, s3: None };
    let mut total = FetchSummary::default();
    let base = Downloader {
        output: &options.output,
        parallel: options.parallel_files,
        max_bytes: options.max_file_bytes,
        web: &web,
        label_studio: None,
        objects: None,
        runtime: runtime.handle(),
        claims: &claims,
        should_stop: &|| stop.is_requested(),
    };
    if let Some(project) = &options.project {
        let label_studio = connect_label_studio(&project.connection, &stop)?;
        let downloader = Downloader { label_studio: Some(&label_studio), ..base };
        let (tasks, summary) = fetch_project(&label_studio, project.options, &downloader)?;
        print_stderr(format_args!(
            "project {}: {}",
            project.options.project_id,
            pluralize(tasks, "task")
        ));
        total.add(summary);
    }
    for source in &options.sources {
        total.add(match source {
            FetchSource::Archive(url) => fetch_archive(url, &options.into, &base)?,
            FetchSource::Prefix(uri) => {
                let s3 = clients.s3()?;
                fetch_prefix(s3, uri, &options.into, &Downloader { objects: Some(s3), ..base })?
            }
            FetchSource::Manifest(uri) => {
                let s3 = clients.s3()?;
                fetch_manifest(s3, uri, &Downloader { objects: Some(s3), ..base })?
            }
        });
    }
    report(&total, &options.output, options.strict)
}

/// Tells what was fetched, and fails if files could not be fetched.
fn report(summary: &FetchSummary, output: &Path, strict: bool) -> Result<()> {
    for reason in summary.missing.iter().take(MAX_TOLD) {
        print_stderr(format_args!("missing: {reason}"));
    }
    if summary.missing.len() > MAX_TOLD {
        print_stderr(format_args!("missing: and {} more", summary.missing.len() - MAX_TOLD));
    }
    let FetchSummary { fetched, bytes, kept, .. } = summary;
    print_stdout(format_args!(
        "{} fetched ({:.1} MB), {kept} there already, {} missing: {}",
        pluralize(*fetched, "file"),
        *bytes as f64 / 1e6,
        summary.missing.len(),
        output.display()
    ));
    let mut problems = Problems::new();
    for reason in summary.failed.iter().take(MAX_TOLD) {
        problems.push(reason.clone());
    }
    if !summary.failed.is_empty() {
        problems.push(format!(
            "{} could not be fetched now; the same command goes on with them",
            pluralize(summary.failed.len(), "file")
        ));
    }
    if strict && !summary.missing.is_empty() {
        problems.push(format!(
            "{} missing, and --strict is given",
            pluralize(summary.missing.len(), "file")
        ));
    }
    problems.into_result()
}
