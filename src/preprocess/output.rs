//! Folders that preprocess writes, and the marks by which `train` recognizes an interrupted run.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::report;
use crate::annotations::split::DatasetSplit;
use crate::error::{Error, Problems, Result};
use crate::files::{self, UNFINISHED_MARKER};

/// Channel of the class names.
pub(super) const LABEL_MAP_CHANNEL: &str = "label_map";

/// Start of the contact sheet's file name; each instance appends its own name.
const CONTACT_SHEET_PREFIX: &str = "contact-sheet";

/// File of the class names in `LABEL_MAP_CHANNEL`.
pub(super) const LABELS_FILE: &str = "labels.json";

/// Start of a report's file name; each instance appends its own name.
const REPORT_PREFIX: &str = "report";

/// Settings of an output folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutputOptions<'a> {
    pub root: &'a Path,
    /// Folders that the run reads.
    pub inputs: [&'a Path; 2],
    /// True if the split keeps images for a test, so that the channels of the test are written.
    pub has_test_images: bool,
    /// Copies images even where a hard link is possible.
    pub copy: bool,
    /// Name of this instance if the job has several.
    pub host: Option<&'a str>,
}

/// Output folder of one run with its channels.
#[derive(Debug)]
pub(super) struct OutputFolder {
    root: PathBuf,
    channels: Vec<&'static str>,
    /// Copies images even where a hard link is possible.
    copy: bool,
    /// Name of this instance if the job has several.
    host: Option<String>,
}

impl OutputFolder {
    /// Makes the channels' folders and marks them as unfinished. Files of earlier runs are removed;
    /// files that no run wrote are problems, and so is a folder that lies in one of the inputs or
    /// contains it.
    pub(super) fn create(options: &OutputOptions<'_>) -> Result<Self> {
        let (mut used_channels, mut unused_channels) = (Vec::new(), Vec::new());
        for channel in all_channels() {
            if options.has_test_images || !channel.starts_with("test") {
                used_channels.push(channel);
            } else {
                unused_channels.push(channel);
            }
        }
        let output = Self {
            root: options.root.to_owned(),
            channels: used_channels,
            copy: options.copy,
            host: options.host.map(str::to_owned),
        };
        let mut problems = Problems::new();
        for input in options.inputs {
            check_apart(options.root, input, &mut problems);
        }
        output.check_foreign_files(&mut problems);
        problems.into_result()?;
        output.mark_and_clear(&unused_channels)?;
        Ok(output)
    }

    /// Records a problem for each channel with files that no run wrote, and for each file at the
    /// root that this run would replace though no run wrote it.
    fn check_foreign_files(&self, problems: &mut Problems) {
        let earlier_files = files_of_earlier_runs(&self.root);
        for channel in all_channels() {
            let foreign_count = count_foreign_files(&self.root, channel, &earlier_files);
            if foreign_count > 0 {
                problems.push(format!(
                    "{} holds {foreign_count} files or folders that no run of preprocess left; \
                     give an empty folder with --output, or empty this one",
                    self.root.join(channel).display()
                ));
            }
        }
        if is_earlier_output_folder(&self.root) {
            return;
        }
        for path in [self.report_path(), self.contact_sheet_path()] {
            if path.exists() {
                problems.push(format!(
                    "{} is there, and no run of preprocess left it; move it away, or choose \
                     another --output",
                    path.display()
                ));
            }
        }
    }

    /// Marks the folders before it removes the files of an earlier run: a crash in between leaves a
    /// folder that `train` refuses.
    fn mark_and_clear(&self, unused_channels: &[&str]) -> Result<()> {
        let mut folders = self.folders();
        let mut unused_folders = Vec::new();
        for channel in unused_channels {
            let folder = self.root.join(channel);
            if folder.exists() {
                folders.push(folder.clone());
                unused_folders.push(folder);
            }
        }
        for folder in &folders {
            files::create_folder(folder)?;
            files::write_atomically(&folder.join(UNFINISHED_MARKER), b"")?;
        }
        for folder in &folders {
            // The folder itself stays, because it may be a mount point.
            clear_folder(folder)?;
        }
        for report in list_reports(&self.root) {
            files::remove_file_if_exists(&report)?;
        }
        files::remove_file_if_exists(&self.contact_sheet_path())?;
        for folder in unused_folders {
            files::remove_file_if_exists(&folder.join(UNFINISHED_MARKER))?;
            // Fails for a mount point, which stays.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn folders(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for channel in &self.channels {
            folders.push(self.root.join(channel));
        }
        folders
    }

    /// Returns the path of a file at the root. It contains the instance's name, because the outputs
    /// of several instances become one folder of S3.
    fn instance_file(&self, stem: &str, extension: &str) -> PathBuf {
        match &self.host {
            Some(host) => self.root.join(format!("{stem}-{host}.{extension}")),
            None => self.root.join(format!("{stem}.{extension}")),
        }
    }

    pub(super) fn contact_sheet_path(&self) -> PathBuf {
        self.instance_file(CONTACT_SHEET_PREFIX, "png")
    }

    pub(super) fn report_path(&self) -> PathBuf {
        self.instance_file(REPORT_PREFIX, "json")
    }

    /// Writes the image `source`, whose content is `bytes`, to `destination`: as a hard link if
    /// both are on one file system, else as a copy. A symbolic link would not do, because SageMaker
    /// does not upload it.
    pub(super) fn link_or_copy_image(
        &self,
        source: &Path,
        bytes: &[u8],
        destination: &Path,
    ) -> Result<()> {
        files::create_folder(destination.parent().unwrap_or(&self.root))?;
        if !self.copy {
            // A hard link to a symbolic link would be a symbolic link.
            let resolved = fs::canonicalize(source).unwrap_or_else(|_| source.to_owned());
            if fs::hard_link(resolved, destination).is_ok() {
                return Ok(());
            }
        }
        files::write_without_sync(destination, bytes)
    }

    /// Brings all files to disk and then removes the marks.
    pub(super) fn finish(self) -> Result<()> {
        files::sync_filesystem(&self.root)?;
        for folder in self.folders() {
            files::remove_file_if_exists(&folder.join(UNFINISHED_MARKER))?;
        }
        Ok(())
    }
}

/// Returns every channel that a run may write.
fn all_channels() -> [&'static str; 7] {
    let [train, validation, test] = DatasetSplit::ALL;
    [
        train.channel(),
        train.annotation_channel(),
        validation.channel(),
        validation.annotation_channel(),
        test.channel(),
        test.annotation_channel(),
        LABEL_MAP_CHANNEL,
    ]
}

/// Returns true if an earlier run wrote to the folder: it holds a report, or a channel with the
/// mark of an interrupted run.
fn is_earlier_output_folder(root: &Path) -> bool {
    all_channels().iter().any(|channel| root.join(channel).join(UNFINISHED_MARKER).exists())
        || !list_reports(root).is_empty()
}

/// Returns the paths of the reports that earlier runs wrote.
fn list_reports(root: &Path) -> Vec<PathBuf> {
    let mut reports = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(REPORT_PREFIX)
            && name.ends_with(".json")
            && fs::read(&path).is_ok_and(|bytes| report::is_report(&bytes))
        {
            reports.push(path);
        }
    }
    reports
}

/// Returns the paths below the root that the reports of earlier runs list.
fn files_of_earlier_runs(root: &Path) -> HashSet<PathBuf> {
    let mut earlier_files = HashSet::from([Path::new(LABEL_MAP_CHANNEL).join(LABELS_FILE)]);
    for path in list_reports(root) {
        if let Ok(bytes) = fs::read(path) {
            earlier_files.extend(report::list_report_files(&bytes));
        }
    }
    earlier_files
}

/// Counts the files of a channel that no run wrote. A marked channel is not searched, because its
/// run searched it at the start.
fn count_foreign_files(root: &Path, channel: &str, earlier_files: &HashSet<PathBuf>) -> usize {
    let folder = root.join(channel);
    if !folder.exists() || folder.join(UNFINISHED_MARKER).exists() {
        return 0;
    }
    let mut foreign_count = 0;
    let mut problems = Problems::new();
    files::visit_files(&folder, &mut problems, &mut |path, _| match path.strip_prefix(root) {
        Ok(relative) if earlier_files.contains(relative) => {}
        _ => foreign_count += 1,
    });
    // No run wrote entries that are unreadable or no regular files.
    if let Err(error) = problems.into_result() {
        foreign_count += error.problems().len();
    }
    foreign_count
}

/// Removes the content of a folder except its mark, and keeps the folder.
fn clear_folder(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // A run that stops here is still unfinished.
        if entry.file_name() == UNFINISHED_MARKER {
            continue;
        }
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        if let Err(cause) = removed {
            return Err(Error::io("remove", &path, &cause));
        }
    }
    Ok(())
}

/// Records a problem if one folder lies in the other: this run or the next would read its own
/// output as input.
fn check_apart(output: &Path, input: &Path, problems: &mut Problems) {
    let (resolved_output, resolved_input) = (resolve_path(output), resolve_path(input));
    if resolved_output.starts_with(&resolved_input) || resolved_input.starts_with(&resolved_output)
    {
        problems.push(format!(
            "the output folder {} and the input folder {} lie in one another; what is written \
             would be read again: choose another --output",
            output.display(),
            input.display()
        ));
    }
}

/// Returns the path without symbolic links; folders at its end need not exist.
fn resolve_path(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for ancestor in path.ancestors() {
        let Ok(resolved) = fs::canonicalize(ancestor) else { continue };
        // Joining an empty path would append a slash.
        return match path.strip_prefix(ancestor) {
            Ok(relative) if relative.as_os_str().is_empty() => resolved,
            Ok(relative) => resolved.join(relative),
            Err(_) => path,
        };
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options<'a>(root: &'a Path, inputs: [&'a Path; 2]) -> OutputOptions<'a> {
        OutputOptions { root, inputs, has_test_images: false, copy: false, host: None }
    }

    fn create_output(folder: &Path) -> Result<OutputFolder> {
        let inputs = [&folder.join("annotations"), &folder.join("images")];
        for input in inputs {
            fs::create_dir_all(input).unwrap();
        }
        OutputFolder::create(&options(&folder.join("out"), inputs.map(PathBuf::as_path)))
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
        // The run ends here without `finish`.
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
        let options = OutputOptions { copy: true, ..options(&out, inputs) };
        let of_instance = OutputOptions { host: Some("algo-2"), ..options };
        let output = OutputFolder::create(&of_instance).unwrap();
        assert_eq!(output.report_path(), out.join("report-algo-2.json"));
        let output = OutputFolder::create(&options).unwrap();
        assert_eq!(output.report_path(), out.join("report.json"));
    }

    #[test]
    fn input_and_output_must_be_apart() {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path().join("images");
        fs::create_dir_all(&images).unwrap();
        let within = OutputFolder::create(&options(&images.join("out"), [&images, &images]));
        assert!(within.unwrap_err().to_string().contains("lie in one another"));
        let around = OutputFolder::create(&options(folder.path(), [&images, &images]));
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
