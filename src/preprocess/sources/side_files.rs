//! Files that lie among annotations without being any: texts for people, files that another flag
//! names, and the working files of Ground Truth's labeling jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::SkippedEntry;

/// Extensions of texts and tables that are kept beside annotations.
const SIDE_EXTENSIONS: [&str; 12] =
    ["txt", "csv", "tsv", "md", "rst", "log", "pdf", "html", "yaml", "yml", "ini", "toml"];

/// Names, without extension, of texts that are kept beside annotations.
const SIDE_NAMES: [&str; 8] =
    ["readme", "license", "licence", "copying", "notice", "changelog", "authors", "citation"];

/// Returns true for the name of a text or a table that may lie among annotations.
pub(super) fn is_side_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, ""));
    SIDE_EXTENSIONS.contains(&extension)
        || SIDE_NAMES.iter().any(|side_name| stem == *side_name || name == *side_name)
        || stem.starts_with("readme")
        || stem.starts_with("license")
}

/// Files below a folder that other flags name, such as the labeling configuration.
#[derive(Debug, Default)]
pub(super) struct NamedFiles {
    paths: BTreeSet<PathBuf>,
}

impl NamedFiles {
    /// Finds the paths that the files have below `folder`. A file may be reached by a link, so the
    /// path as it is written counts, and the one to which it leads.
    pub(super) fn find(folder: &Path, files: &[&Path]) -> Self {
        let mut paths = BTreeSet::new();
        let Ok(root) = fs::canonicalize(folder) else { return Self { paths } };
        for file in files {
            let mut places = Vec::new();
            places.extend(fs::canonicalize(file));
            let parent = match file.parent() {
                Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                Some(parent) => parent,
                None => continue,
            };
            if let (Ok(parent), Some(name)) = (fs::canonicalize(parent), file.file_name()) {
                places.push(parent.join(name));
            }
            for place in places {
                if let Ok(relative) = place.strip_prefix(&root) {
                    paths.insert(folder.join(relative));
                }
            }
        }
        Self { paths }
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        self.paths.contains(path)
    }
}

/// Folders in which a labeling job of Ground Truth keeps what it needs between its steps, below the
/// job's own folder.
const WORKING_FOLDERS: [&str; 7] = [
    "annotation-tool",
    "annotations/worker-response",
    "annotations/intermediate",
    "annotations/consolidated-annotation/consolidation-request",
    "annotations/consolidated-annotation/consolidation-response",
    "inference",
    "training",
];

/// Folder of the manifests with all results of a job, below the job's own folder.
const OUTPUT_MANIFESTS: &str = "manifests/output";

/// Folder of the manifests that a job writes on the way; the output manifest repeats their lines.
const INTERMEDIATE_MANIFESTS: &str = "manifests/intermediate";

/// Output folders of labeling jobs, as they lie in S3, and the files of each that are no results.
#[derive(Debug, Default)]
pub(super) struct LabelingJobs {
    /// Folder of each job, with true if its output manifest is there.
    jobs: BTreeMap<PathBuf, bool>,
    /// Number of files by working folder.
    working_files: BTreeMap<PathBuf, usize>,
}

impl LabelingJobs {
    /// Finds the jobs among the files below a folder, which may be one job's folder or hold those
    /// of several.
    pub(super) fn find(files: &[PathBuf]) -> Self {
        let mut jobs: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for path in files {
            if path.extension().is_none_or(|extension| extension != "manifest") {
                continue;
            }
            if let Some(job) = job_folder(path, OUTPUT_MANIFESTS) {
                jobs.insert(job, true);
            } else if let Some(job) = job_folder(path, INTERMEDIATE_MANIFESTS) {
                jobs.entry(job).or_default();
            }
        }
        Self { jobs, working_files: BTreeMap::new() }
    }

    /// Returns true for a working file of a job, and counts it.
    pub(super) fn take_working_file(&mut self, path: &Path) -> bool {
        for ancestor in path.ancestors() {
            let Some(has_output) = self.jobs.get(ancestor) else { continue };
            let mut folders = WORKING_FOLDERS.to_vec();
            if *has_output {
                folders.push(INTERMEDIATE_MANIFESTS);
            }
            for folder in folders {
                let folder = ancestor.join(folder);
                if path.starts_with(&folder) {
                    *self.working_files.entry(folder).or_default() += 1;
                    return true;
                }
            }
            // Files of a job are its own, also where it lies in the working folder of another.
            return false;
        }
        false
    }

    /// Returns an entry for each folder of working files.
    pub(super) fn into_skipped(self) -> Vec<SkippedEntry> {
        let mut skipped = Vec::new();
        for (folder, count) in self.working_files {
            let reason = format!(
                "{count} files that a labeling job of Ground Truth keeps between its steps; its \
                 results are in {OUTPUT_MANIFESTS}"
            );
            skipped.push(SkippedEntry::expected(folder.display().to_string(), reason));
        }
        skipped
    }
}

/// Returns the folder of the job that has `path` in its folder `below`, such as `manifests/output`.
pub(super) fn job_folder(path: &Path, below: &str) -> Option<PathBuf> {
    for ancestor in path.ancestors().skip(1) {
        if !ancestor.ends_with(below) {
            continue;
        }
        let depth = below.split('/').count();
        let mut components: Vec<Component<'_>> = ancestor.components().collect();
        components.truncate(components.len().saturating_sub(depth));
        return Some(components.into_iter().collect());
    }
    None
}

/// Returns the folder of the job that wrote an output manifest or an intermediate one.
pub(super) fn manifest_job_folder(manifest: &Path) -> Option<PathBuf> {
    job_folder(manifest, OUTPUT_MANIFESTS).or_else(|| job_folder(manifest, INTERMEDIATE_MANIFESTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_for_people_are_known_by_their_names() {
        for name in [
            "a/README",
            "readme.md",
            "notes.txt",
            "result.CSV",
            "LICENSE-2.0",
            "COPYING",
            "data.yaml",
        ] {
            assert!(is_side_file(Path::new(name)), "{name}");
        }
        for name in ["a.json", "1", "output.manifest", "mask.png", "read.me.json", "config.xml"] {
            assert!(!is_side_file(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn working_files_of_jobs_are_those_of_a_folder_with_manifests() {
        let list = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let mut jobs = LabelingJobs::find(&list(&[
            "x/job-a/manifests/output/output.manifest",
            "x/job-b/manifests/intermediate/1/output.manifest",
        ]));
        for (path, is_working_file) in [
            ("x/job-a/manifests/intermediate/1/output.manifest", true),
            ("x/job-a/annotations/worker-response/iteration-1/0/2026.json", true),
            ("x/job-a/annotation-tool/data.json", true),
            ("x/job-a/annotations/consolidated-annotation/output/0_2026.png", false),
            ("x/job-a/manifests/output/output.manifest", false),
            ("x/job-a/export.json", false),
            // Without an output manifest the intermediate ones are all there is.
            ("x/job-b/manifests/intermediate/1/output.manifest", false),
            ("x/job-b/annotation-tool/template.liquid", true),
            ("x/annotation-tool/data.json", false),
            ("annotations/worker-response/a.json", false),
        ] {
            assert_eq!(jobs.take_working_file(Path::new(path)), is_working_file, "{path}");
        }
        let skipped = jobs.into_skipped();
        assert_eq!(skipped.len(), 4);
        assert!(skipped.iter().all(|entry| !entry.is_fault));
        let mut jobs = LabelingJobs::find(&list(&["manifests/output/output.manifest"]));
        assert!(jobs.take_working_file(Path::new("annotation-tool/data.json")));
        assert_eq!(manifest_job_folder(Path::new("a/output.manifest")), None);
    }

    #[test]
    fn a_job_in_the_working_folder_of_another_is_no_working_file() {
        let list = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let mut jobs = LabelingJobs::find(&list(&[
            "manifests/output/output.manifest",
            "training/job-a/manifests/output/output.manifest",
            "inference/manifests/intermediate/1/output.manifest",
        ]));
        for (path, is_working_file) in [
            ("training/job-a/manifests/output/output.manifest", false),
            ("training/job-a/annotations/consolidated-annotation/output/0.png", false),
            ("training/job-a/annotation-tool/data.json", true),
            ("inference/manifests/intermediate/1/output.manifest", false),
            ("training/model.json", true),
        ] {
            assert_eq!(jobs.take_working_file(Path::new(path)), is_working_file, "{path}");
        }
    }

    #[test]
    fn files_of_other_flags_are_found_by_path_and_by_link() {
        let folder = tempfile::tempdir().unwrap();
        let annotations = folder.path().join("annotations");
        fs::create_dir(&annotations).unwrap();
        fs::write(annotations.join("config.xml"), "x").unwrap();
        fs::write(folder.path().join("other.xml"), "x").unwrap();
        std::os::unix::fs::symlink(folder.path().join("other.xml"), annotations.join("link.xml"))
            .unwrap();
        let given = [annotations.join("../annotations/config.xml"), annotations.join("link.xml")];
        let given: Vec<&Path> = given.iter().map(PathBuf::as_path).collect();
        let named = NamedFiles::find(&annotations, &given);
        assert!(named.contains(&annotations.join("config.xml")));
        assert!(named.contains(&annotations.join("link.xml")));
        assert!(!named.contains(&annotations.join("export.json")));
        assert!(!NamedFiles::find(&annotations, &[]).contains(&annotations.join("config.xml")));
    }
}
