//! The flags of `fetch`.

// clap prints the comments on flags as help texts, so they hold no Markdown.
#![allow(clippy::doc_markdown)]

use std::path::{Component, Path, PathBuf};

use clap::Args;

use super::{integer_parser, megabytes_to_bytes};
use crate::commands::fetch::{FetchOptions, FetchSource, ProjectSource, run_fetch};
use crate::commands::label_studio::LabelStudioConnection;
use crate::error::{Error, Result};
use crate::fetch::ProjectOptions;
use crate::sagemaker::MlRoot;
use crate::settings;
use crate::web_client::Url;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct FetchArgs {
    /// Sources beside or instead of a project: s3://BUCKET/PREFIX/, a manifest of Ground Truth
    /// (s3://BUCKET/KEY.manifest), or the address of a zip, tar or tar.gz
    #[arg(value_name = "SOURCE", value_parser = parse_source)]
    sources: Vec<FetchSource>,
    /// Address of Label Studio; the token is in LABEL_STUDIO_API_KEY or in --token-secret
    #[arg(long, env = "LABEL_STUDIO_URL", value_name = "URL")]
    label_studio: Option<Url>,
    /// Number of the project whose annotations and images to fetch
    #[arg(long, value_name = "ID", requires = "label_studio")]
    project: Option<i64>,
    /// Fetch the images of tasks that nobody has annotated, too
    #[arg(long, requires = "project")]
    all_tasks: bool,
    /// Name or ARN of the secret in AWS Secrets Manager that holds the token for Label Studio
    #[arg(long, env = "MASKMAKER_TOKEN_SECRET", value_name = "NAME")]
    token_secret: Option<String>,
    /// Folder that gets annotations, images and label_config [default: processing/output below the root]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Folder below the output for prefixes and archives, such as images
    #[arg(long, default_value = "", hide_default_value = true, value_name = "FOLDER", value_parser = parse_folder)]
    into: PathBuf,
    /// Files at one time
    #[arg(long, default_value_t = settings::DEFAULT_PARALLEL_FILES, value_name = settings::PARALLEL_FILES.unit,
          value_parser = integer_parser::<usize>(settings::PARALLEL_FILES))]
    parallel_files: usize,
    /// Largest file that is fetched
    #[arg(long, default_value_t = settings::DEFAULT_MAX_FILE_MB, value_name = settings::MAX_FILE_MB.unit,
          value_parser = integer_parser::<u64>(settings::MAX_FILE_MB))]
    max_file_mb: u64,
    /// Ask servers with private addresses for images and archives, too; Label Studio itself may always
    /// have one
    #[arg(long, env = "MASKMAKER_ALLOW_PRIVATE_ADDRESSES")]
    allow_private_addresses: bool,
    /// Fail if an image is missing, instead of reporting it
    #[arg(long)]
    strict: bool,
}

impl FetchArgs {
    /// Runs the command.
    pub(super) fn run(self, root: &MlRoot) -> Result<()> {
        let project = match (self.label_studio, self.project) {
            (Some(server), Some(project_id)) => Some(ProjectSource {
                connection: LabelStudioConnection {
                    server,
                    token_secret: self.token_secret,
                    allow_private: self.allow_private_addresses,
                },
                options: ProjectOptions { project_id, all_tasks: self.all_tasks },
            }),
            _ => None,
        };
        if project.is_none() && self.sources.is_empty() {
            return Err(Error::input(
                "there is nothing to fetch; give --label-studio URL --project ID, or an address in S3 or on the web",
            ));
        }
        run_fetch(&FetchOptions {
            project,
            sources: self.sources,
            output: self.output.unwrap_or_else(|| root.processing_output_folder()),
            into: self.into,
            parallel_files: self.parallel_files,
            max_file_bytes: megabytes_to_bytes(self.max_file_mb),
            allow_private: self.allow_private_addresses,
            strict: self.strict,
        })
    }
}

fn parse_source(text: &str) -> Result<FetchSource, String> {
    if text.starts_with("s3://") {
        let uri = text.parse()?;
        let is_manifest = [".manifest", ".jsonl"].iter().any(|end| text.ends_with(end));
        return Ok(if is_manifest { FetchSource::Manifest(uri) } else { FetchSource::Prefix(uri) });
    }
    match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(FetchSource::Archive(url)),
        _ => Err("give s3://BUCKET/PREFIX/, s3://BUCKET/KEY.manifest, or the http(s) address of an archive".to_owned()),
    }
}

fn parse_folder(text: &str) -> Result<PathBuf, String> {
    let folder = Path::new(text);
    if folder.components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(folder.to_owned());
    }
    Err("give the name of a folder below the output, without .. and a slash in front".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_known_by_their_addresses() {
        assert!(matches!(parse_source("s3://bucket/data/"), Ok(FetchSource::Prefix(_))));
        assert!(matches!(
            parse_source("s3://bucket/job/output.manifest"),
            Ok(FetchSource::Manifest(_))
        ));
        assert!(matches!(parse_source("https://host/a.zip?x=1"), Ok(FetchSource::Archive(_))));
        for text in ["", "data", "ftp://host/a.zip", "s3:///key", "file:///etc"] {
            assert!(parse_source(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_folder_for_files_lies_below_the_output() {
        for (text, is_allowed) in [
            ("", true),
            ("images", true),
            ("a/b", true),
            ("..", false),
            ("/a", false),
            ("a/../b", false),
        ] {
            assert_eq!(parse_folder(text).is_ok(), is_allowed, "{text}");
        }
    }
}
