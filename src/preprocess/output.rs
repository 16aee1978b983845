//! The folders that preprocess writes, and how one tells a whole set of them from one that was interrupted.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::annotations::split::{DatasetSplit, SplitConfig};
use crate::error::{Error, Problems, Result};
use crate::files::{self, UNFINISHED_MARKER};

/// The channel of the classes' names.
pub(super) const LABEL_MAP_CHANNEL: &str = "label_map";

/// The contact sheet's name and extension.
const CONTACT_SHEET: (&str, &str) = ("contact-sheet", "png");

/// The file in it.
pub(super) const LABELS_FILE: &str = "labels.json";

/// What a report's name starts with; several instances write one each.
const REPORT_PREFIX: &str = "report";

/// The folders of one run.
#[derive(Debug)]
pub(super) struct OutputFolder {
    root: PathBuf,
    channels: Vec<&'static str>,
    /// Whether images are copied even where a hard link would do.
    copy: bool,
    /// The instance, if there are several.
    host: Option<String>,
}

impl OutputFolder {
    /// Makes the folders and marks them as unfinished. What an earlier run left in them is removed; files that no
    /// run wrote are problems, and so is a folder that lies in one of `inputs` or the other way round.
    pub(super) fn create(
        root: &Path,
        split: &SplitConfig,
        inputs: [&Path; 2],
        (copy, host): (bool, Option<&str>),
    ) -> Result<Self> {
        let mut problems = Problems::new();
        for input in inputs {
            check_apart(root, input, &mut problems);
        }
        let channels: Vec<&'static str> =
            [DatasetSplit::Train, DatasetSplit::Validation, DatasetSplit::Test]
                .into_iter()
                .flat_map(|side| [side.channel(), side.annotation_channel()])
                .chain([LABEL_MAP_CHANNEL])
                .collect();
        let is_earlier_output = is_earlier_output_folder(root, &channels);
        let earlier_files = files_of_earlier_runs(root);
        for channel in &channels {
            let foreign_count = count_foreign_files(root, channel, &earlier_files);
            if foreign_count > 0 {
                problems.push(format!(
                    "{} holds {foreign_count} files or folders that no run of preprocess left; give an empty folder with \
                     --output, or empty this one",
                    root.join(channel).display()
                ));
            }
        }
        let host = host.map(str::to_owned);
        let mut output = Self { root: root.to_owned(), channels: Vec::new(), copy, host };
        for path in [output.report_path(), output.contact_sheet_path()] {
            if path.exists() && !is_earlier_output {
                problems.push(format!(
                    "{} is there, and no run of preprocess left it; move it away, or choose another --output",
                    path.display()
                ));
            }
        }
        problems.into_result()?;
        let unused;
        (output.channels, unused) = channels
            .into_iter()
            .partition(|channel| split.test_percent > 0.0 || !channel.starts_with("test"));
        output.mark_and_clear(&unused)?;
        Ok(output)
    }

    /// Marks the folders, and then removes what an earlier run left in them: whatever happens in between, what is left
    /// is not taken for whole.
    fn mark_and_clear(&self, unused: &[&str]) -> Result<()> {
        let unused: Vec<PathBuf> = unused.iter().map(|channel| self.root.join(channel)).collect();
        let unused: Vec<PathBuf> = unused.into_iter().filter(|folder| folder.exists()).collect();
        for folder in self.folders().chain(unused.iter().cloned()) {
            files::create_folder(&folder)?;
            files::write_atomically(&folder.join(UNFINISHED_MARKER), b"")?;
        }
        for folder in self.folders().chain(unused.iter().cloned()) {
            // The folder itself may be a mount.
            clear_folder(&folder)?;
        }
        remove_reports(&self.root)?;
        files::remove_file_if_exists(&self.contact_sheet_path())?;
        for folder in unused {
            files::remove_file_if_exists(&folder.join(UNFINISHED_MARKER))?;
            // A mount stays.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    /// The folder of everything.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.channels.iter().map(|channel| self.root.join(channel))
    }

    /// A file at the top, which several instances of a job write each under a name of its own: their outputs
    /// become one folder of S3.
    pub(super) fn instance_file(&self, stem: &str, extension: &str) -> PathBuf {
        let host = self.host.as_ref().map_or(String::new(), |host| format!("-{host}"));
        self.root.join(format!("{stem}{host}.{extension}"))
    }

    /// The path of the contact sheet.
    pub(super) fn contact_sheet_path(&self) -> PathBuf {
        self.instance_file(CONTACT_SHEET.0, CONTACT_SHEET.1)
    }

    /// The path of the report.
    pub(super) fn report_path(&self) -> PathBuf {
        self.instance_file(REPORT_PREFIX, "json")
    }

    /// Puts the image `from`, whose content is `bytes`, at `to`: as a hard link where both are on one disk, as a
    /// copy of the bytes elsewhere. Never as a symbolic link, which SageMaker would not upload.
    pub(super) fn link_or_copy_image(
        &self,
        source: &Path,
        bytes: &[u8],
        destination: &Path,
    ) -> Result<()> {
        files::create_folder(destination.parent().unwrap_or(&self.root))?;
        if !self.copy {
            // The link of a link would be a link.
            let resolved = fs::canonicalize(source).unwrap_or_else(|_| source.to_owned());
            if fs::hard_link(resolved, destination).is_ok() {
                return Ok(());
            }
        }
        files::write_without_sync(destination, bytes)
    }

    /// Says that everything is there: on disk first, then the marks go.
    pub(super) fn finish(self) -> Result<()> {
        files::sync_filesystem(&self.root)?;
        self.folders()
            .try_for_each(|folder| files::remove_file_if_exists(&folder.join(UNFINISHED_MARKER)))
    }
}

/// Whether an earlier run wrote what is there: its report, or the mark of one that was interrupted.
fn is_earlier_output_folder(root: &Path, channels: &[&str]) -> bool {
    let is_marked =
        channels.iter().any(|channel| root.join(channel).join(UNFINISHED_MARKER).exists());
    is_marked || list_reports(root).next().is_some()
}

fn list_reports(root: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_report_name = name.starts_with(REPORT_PREFIX) && name.ends_with(".json");
        is_report_name && fs::read(path).is_ok_and(|bytes| super::report::is_report(&bytes))
    })
}

/// What earlier runs say they wrote, below the root.
fn files_of_earlier_runs(root: &Path) -> HashSet<PathBuf> {
    let mut earlier_files = HashSet::from([Path::new(LABEL_MAP_CHANNEL).join(LABELS_FILE)]);
    for path in list_reports(root) {
        earlier_files.extend(
            fs::read(path).iter().flat_map(|bytes| super::report::list_report_files(bytes)),
        );
    }
    earlier_files
}

/// How many files of a channel no run wrote. One that is marked was looked at when its run began.
fn count_foreign_files(root: &Path, channel: &str, earlier_files: &HashSet<PathBuf>) -> usize {
    let folder = root.join(channel);
    if !folder.exists() || folder.join(UNFINISHED_MARKER).exists() {
        return 0;
    }
    let mut foreign_count = 0;
    let mut problems = Problems::new();
    files::visit_files(&folder, &mut problems, &mut |path, _| {
        foreign_count +=
            usize::from(!path.strip_prefix(root).is_ok_and(|path| earlier_files.contains(path)));
    });
    // What cannot be read, and what is no file, nobody of ours wrote.
    foreign_count + problems.into_result().map_or_else(|error| error.problems().len(), |()| 0)
}

fn remove_reports(root: &Path) -> Result<()> {
    list_reports(root)
        .collect::<Vec<_>>()
        .iter()
        .try_for_each(|path| files::remove_file_if_exists(path))
}

/// Removes what is in a folder and leaves the folder.
fn clear_folder(folder: &Path) -> Result<()> {
    let remove_error = |path: &Path, cause: &io::Error| Error::io("remove", path, cause);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // A run that stops here is still unfinished.
        if path.file_name().is_some_and(|name| name == UNFINISHED_MARKER) {
            continue;
        }
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|cause| remove_error(&path, &cause))?;
    }
    Ok(())
}

/// What is written must not be read as input, in this run or the next.
fn check_apart(output: &Path, input: &Path, problems: &mut Problems) {
    let (resolved_output, resolved_input) = (resolve_path(output), resolve_path(input));
    if resolved_output.starts_with(&resolved_input) || resolved_input.starts_with(&resolved_output)
    {
        problems.push(format!(
            "the output folder {} and the input folder {} lie in one another; what is written would be read \
             again: choose another --output",
            output.display(),
            input.display()
        ));
    }
}

/// The path without links, also of a folder that is still to be made.
fn resolve_path(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing =
        path.ancestors().find_map(|ancestor| Some((ancestor, fs::canonicalize(ancestor).ok()?)));
    let Some((ancestor, resolved)) = existing else { return path };
    // Nothing is joined to a folder that is there: a slash at the end would be.
    match path.strip_prefix(ancestor) {
        Ok(relative) if relative.as_os_str().is_empty() => resolved,
        Ok(relative) => resolved.join(relative),
        Err(_) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPLIT: SplitConfig = SplitConfig { validation_percent: 20.0, test_percent: 0.0, seed: 0 };

    fn create_output(folder: &Path) -> Result<OutputFolder> {
        let inputs = [&folder.join("annotations"), &folder.join("images")];
        for input in inputs {
            fs::create_dir_all(input).unwrap();
        }
        OutputFolder::create(
            &folder.join("out"),
            &SPLIT,
            inputs.map(PathBuf::as_path),
            (false, None),
        )
    }

    fn sample_paths(output: &OutputFolder, channel: &str, name: &str) -> (PathBuf, PathBuf) {
        let root = output.root();
        let image = root.join(format!("{channel}/{name}.jpg"));
        (image, root.join(format!("{channel}_annotation/{name}.png")))
    }

    fn file_names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn folders_are_marked_until_everything_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let output = create_output(folder.path()).unwrap();
        let train = folder.path().join("out/train");
        assert_eq!(file_names(&train), [UNFINISHED_MARKER]);
        let original = folder.path().join("images/a.jpg");
        fs::write(&original, b"bytes").unwrap();
        let (image, mask) = sample_paths(&output, "train", "sub/a");
        output.link_or_copy_image(&original, b"bytes", &image).unwrap();
        files::create_folder(mask.parent().unwrap()).unwrap();
        files::write_without_sync(&mask, b"mask").unwrap();
        output.finish().unwrap();
        assert_eq!(file_names(&train), ["sub"]);
        assert_eq!(fs::read(train.join("sub/a.jpg")).unwrap(), b"bytes");
        assert_eq!(
            fs::read(folder.path().join("out/train_annotation/sub/a.png")).unwrap(),
            b"mask"
        );
        assert!(!folder.path().join("out/test").exists());
    }

    #[test]
    fn an_interrupted_run_is_replaced_and_strange_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let output = create_output(folder.path()).unwrap();
        let (_, mask) = sample_paths(&output, "train", "stale");
        files::write_without_sync(&mask, b"mask").unwrap();
        // Interrupted here.
        create_output(folder.path()).unwrap().finish().unwrap();
        assert!(!mask.exists());
        fs::write(folder.path().join("out/train/mine.jpg"), b"").unwrap();
        let error = create_output(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("out/train holds 1 files or folders that no run of preprocess left"),
            "{error}"
        );
        assert!(folder.path().join("out/train/mine.jpg").exists());
    }

    #[test]
    fn instances_write_reports_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = [folder.path().join("a"), folder.path().join("b")];
        let inputs = [inputs[0].as_path(), inputs[1].as_path()];
        let out = folder.path().join("out");
        let output = OutputFolder::create(&out, &SPLIT, inputs, (true, Some("algo-2"))).unwrap();
        assert_eq!(output.report_path(), out.join("report-algo-2.json"));
        let output = OutputFolder::create(&out, &SPLIT, inputs, (true, None)).unwrap();
        assert_eq!(output.report_path(), out.join("report.json"));
    }

    #[test]
    fn input_and_output_must_be_apart() {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path().join("images");
        fs::create_dir_all(&images).unwrap();
        let within =
            OutputFolder::create(&images.join("out"), &SPLIT, [&images, &images], (false, None));
        assert!(within.unwrap_err().to_string().contains("lie in one another"));
        let around = OutputFolder::create(folder.path(), &SPLIT, [&images, &images], (false, None));
        assert!(around.unwrap_err().to_string().contains("lie in one another"));
        assert!(!images.join("out").exists());
    }

    #[test]
    fn a_linked_image_is_put_as_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let output = create_output(folder.path()).unwrap();
        let original = folder.path().join("images/a.jpg");
        fs::write(&original, b"bytes").unwrap();
        let link = folder.path().join("images/link.jpg");
        std::os::unix::fs::symlink("a.jpg", &link).unwrap();
        let (image, _) = sample_paths(&output, "validation", "link");
        output.link_or_copy_image(&link, b"bytes", &image).unwrap();
        assert!(fs::symlink_metadata(&image).unwrap().is_file());
    }
}
