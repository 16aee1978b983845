//! `maskmaker fetch` with the real program, against servers on loopback.

mod archives;
pub(crate) mod fake_label_studio;
mod moto;
mod projects;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::fake_label_studio::{FakeLabelStudio, LEGACY_TOKEN};
use crate::job::{Run, maskmaker};

/// A folder to fetch into.
struct Output(tempfile::TempDir);

impl Output {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join("out").join(below)
    }

    /// The program with `fetch`, this output, and these arguments.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = maskmaker();
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "LABEL_STUDIO_URL"] {
            command.env_remove(name);
        }
        command.args(["fetch", "--output"]).arg(self.path("")).args(arguments);
        command.env("LABEL_STUDIO_API_KEY", LEGACY_TOKEN);
        command
    }

    fn fetch(&self, arguments: &[&str]) -> Run {
        Run::new(&self.command(arguments).output().unwrap())
    }

    /// Fetches project 1 of a server.
    fn fetch_project(&self, server: &FakeLabelStudio, arguments: &[&str]) -> Run {
        self.fetch(&[&["--label-studio", &server.url(), "--project", "1"], arguments].concat())
    }

    /// The files below a folder of the output but those that `fetch` keeps for itself, as paths below it,
    /// sorted.
    fn files(&self, below: &str) -> Vec<String> {
        let mut files = Vec::new();
        list_files(&self.path(below), &mut files);
        let root = self.path(below);
        let mut names: Vec<String> = files
            .iter()
            .map(|file| file.strip_prefix(&root).unwrap().display().to_string())
            .collect();
        names.retain(|name| !name.starts_with(".maskmaker-fetch/"));
        names.sort();
        names
    }

    /// The list of what was fetched.
    fn ledger(&self) -> PathBuf {
        self.path(".maskmaker-fetch/fetched.jsonl")
    }
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list_files(&path, files);
        } else {
            files.push(path);
        }
    }
}
