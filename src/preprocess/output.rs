//! The folders that preprocess writes, and how one tells a whole set of them from one that was interrupted.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::annotations::split::{Side, Split};
use crate::error::{Error, Problems, Result};
use crate::files::{self, UNFINISHED};

/// The channel of the classes' names.
pub(super) const LABEL_MAP: &str = "label_map";

/// The contact sheet's name and extension.
const SHEET: (&str, &str) = ("contact-sheet", "png");

/// The file in it.
pub(super) const LABELS: &str = "labels.json";

/// What a report's name starts with; several instances write one each.
const REPORT: &str = "report";

/// The folders of one run.
#[derive(Debug)]
pub(super) struct Output {
    root: PathBuf,
    channels: Vec<&'static str>,
    /// Whether images are copied even where a hard link would do.
    copy: bool,
    /// The instance, if there are several.
    host: Option<String>,
}

impl Output {
    /// Makes the folders and marks them as unfinished. What an earlier run left in them is removed; files that no
    /// run wrote are problems, and so is a folder that lies in one of `inputs` or the other way round.
    pub(super) fn begin(
        root: &Path,
        split: &Split,
        inputs: [&Path; 2],
        (copy, host): (bool, Option<&str>),
    ) -> Result<Self> {
        let mut problems = Problems::new();
        for input in inputs {
            check_apart(root, input, &mut problems);
        }
        let channels: Vec<&'static str> = [Side::Train, Side::Validation, Side::Test]
            .into_iter()
            .flat_map(|side| [side.channel(), side.annotation_channel()])
            .chain([LABEL_MAP])
            .collect();
        let ours = is_ours(root, &channels);
        let written = written(root);
        for channel in &channels {
            let strangers = strangers(root, channel, &written);
            if strangers > 0 {
                problems.push(format!(
                    "{} holds {strangers} files or folders that no run of preprocess left; give an empty folder with \
                     --output, or empty this one",
                    root.join(channel).display()
                ));
            }
        }
        let host = host.map(str::to_owned);
        let mut output = Self { root: root.to_owned(), channels: Vec::new(), copy, host };
        for path in [output.report(), output.sheet()] {
            if path.exists() && !ours {
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
            .partition(|channel| split.test > 0.0 || !channel.starts_with("test"));
        output.begin_anew(&unused)?;
        Ok(output)
    }

    /// Marks the folders, and then removes what an earlier run left in them: whatever happens in between, what is left
    /// is not taken for whole.
    fn begin_anew(&self, unused: &[&str]) -> Result<()> {
        let unused: Vec<PathBuf> = unused.iter().map(|channel| self.root.join(channel)).collect();
        let unused: Vec<PathBuf> = unused.into_iter().filter(|folder| folder.exists()).collect();
        for folder in self.folders().chain(unused.iter().cloned()) {
            files::make_folder(&folder)?;
            files::write_atomically(&folder.join(UNFINISHED), b"")?;
        }
        for folder in self.folders().chain(unused.iter().cloned()) {
            // The folder itself may be a mount.
            empty(&folder)?;
        }
        remove_reports(&self.root)?;
        files::remove(&self.sheet())?;
        for folder in unused {
            files::remove(&folder.join(UNFINISHED))?;
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
    pub(super) fn file(&self, stem: &str, extension: &str) -> PathBuf {
        let host = self.host.as_ref().map_or(String::new(), |host| format!("-{host}"));
        self.root.join(format!("{stem}{host}.{extension}"))
    }

    /// The path of the contact sheet.
    pub(super) fn sheet(&self) -> PathBuf {
        self.file(SHEET.0, SHEET.1)
    }

    /// The path of the report.
    pub(super) fn report(&self) -> PathBuf {
        self.file(REPORT, "json")
    }

    /// Puts the image `from`, whose content is `bytes`, at `to`: as a hard link where both are on one disk, as a
    /// copy of the bytes elsewhere. Never as a symbolic link, which SageMaker would not upload.
    pub(super) fn put_image(&self, from: &Path, bytes: &[u8], to: &Path) -> Result<()> {
        files::make_folder(to.parent().unwrap_or(&self.root))?;
        if !self.copy {
            // The link of a link would be a link.
            let real = fs::canonicalize(from).unwrap_or_else(|_| from.to_owned());
            if fs::hard_link(real, to).is_ok() {
                return Ok(());
            }
        }
        files::write_whole(to, bytes)
    }

    /// Says that everything is there: on disk first, then the marks go.
    pub(super) fn finish(self) -> Result<()> {
        files::sync_disk(&self.root)?;
        self.folders().try_for_each(|folder| files::remove(&folder.join(UNFINISHED)))
    }
}

/// Whether an earlier run wrote what is there: its report, or the mark of one that was interrupted.
fn is_ours(root: &Path, channels: &[&str]) -> bool {
    let marked = channels.iter().any(|channel| root.join(channel).join(UNFINISHED).exists());
    marked || reports(root).next().is_some()
}

fn reports(root: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let named = name.starts_with(REPORT) && name.ends_with(".json");
        named && fs::read(path).is_ok_and(|bytes| super::report::is_report(&bytes))
    })
}

/// What earlier runs say they wrote, below the root.
fn written(root: &Path) -> HashSet<PathBuf> {
    let mut written = HashSet::from([Path::new(LABEL_MAP).join(LABELS)]);
    for path in reports(root) {
        written.extend(fs::read(path).iter().flat_map(|bytes| super::report::files_of(bytes)));
    }
    written
}

/// How many files of a channel no run wrote. One that is marked was looked at when its run began.
fn strangers(root: &Path, channel: &str, written: &HashSet<PathBuf>) -> usize {
    let folder = root.join(channel);
    if !folder.exists() || folder.join(UNFINISHED).exists() {
        return 0;
    }
    let mut strangers = 0;
    let mut problems = Problems::new();
    files::below(&folder, &mut problems, &mut |path, _| {
        strangers += usize::from(!path.strip_prefix(root).is_ok_and(|path| written.contains(path)));
    });
    // What cannot be read, and what is no file, nobody of ours wrote.
    strangers + problems.into_result().map_or_else(|error| error.problems().len(), |()| 0)
}

fn remove_reports(root: &Path) -> Result<()> {
    reports(root).collect::<Vec<_>>().iter().try_for_each(|path| files::remove(path))
}

/// Removes what is in a folder and leaves the folder.
fn empty(folder: &Path) -> Result<()> {
    let failed = |path: &Path, cause: &io::Error| Error::io("remove", path, cause);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // A run that stops here is still unfinished.
        if path.file_name().is_some_and(|name| name == UNFINISHED) {
            continue;
        }
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|cause| failed(&path, &cause))?;
    }
    Ok(())
}

/// What is written must not be read as input, in this run or the next.
fn check_apart(output: &Path, input: &Path, problems: &mut Problems) {
    let (out, within) = (real(output), real(input));
    if out.starts_with(&within) || within.starts_with(&out) {
        problems.push(format!(
            "the output folder {} and the input folder {} lie in one another; what is written would be read \
             again: choose another --output",
            output.display(),
            input.display()
        ));
    }
}

/// The path without links, also of a folder that is still to be made.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = path.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    let Some((above, real)) = found else { return path };
    // Nothing is joined to a folder that is there: a slash at the end would be.
    match path.strip_prefix(above) {
        Ok(below) if below.as_os_str().is_empty() => real,
        Ok(below) => real.join(below),
        Err(_) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPLIT: Split = Split { validation: 20.0, test: 0.0, seed: 0 };

    fn begin(folder: &Path) -> Result<Output> {
        let inputs = [&folder.join("annotations"), &folder.join("images")];
        for input in inputs {
            fs::create_dir_all(input).unwrap();
        }
        Output::begin(&folder.join("out"), &SPLIT, inputs.map(PathBuf::as_path), (false, None))
    }

    fn places(output: &Output, channel: &str, name: &str) -> (PathBuf, PathBuf) {
        let root = output.root();
        let image = root.join(format!("{channel}/{name}.jpg"));
        (image, root.join(format!("{channel}_annotation/{name}.png")))
    }

    fn names(folder: &Path) -> Vec<String> {
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
        let output = begin(folder.path()).unwrap();
        let train = folder.path().join("out/train");
        assert_eq!(names(&train), [UNFINISHED]);
        let original = folder.path().join("images/a.jpg");
        fs::write(&original, b"bytes").unwrap();
        let (image, mask) = places(&output, "train", "sub/a");
        output.put_image(&original, b"bytes", &image).unwrap();
        files::make_folder(mask.parent().unwrap()).unwrap();
        files::write_whole(&mask, b"mask").unwrap();
        output.finish().unwrap();
        assert_eq!(names(&train), ["sub"]);
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
        let output = begin(folder.path()).unwrap();
        let (_, mask) = places(&output, "train", "stale");
        files::write_whole(&mask, b"mask").unwrap();
        // Interrupted here.
        begin(folder.path()).unwrap().finish().unwrap();
        assert!(!mask.exists());
        fs::write(folder.path().join("out/train/mine.jpg"), b"").unwrap();
        let error = begin(folder.path()).unwrap_err().to_string();
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
        let output = Output::begin(&out, &SPLIT, inputs, (true, Some("algo-2"))).unwrap();
        assert_eq!(output.report(), out.join("report-algo-2.json"));
        let output = Output::begin(&out, &SPLIT, inputs, (true, None)).unwrap();
        assert_eq!(output.report(), out.join("report.json"));
    }

    #[test]
    fn input_and_output_must_be_apart() {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path().join("images");
        fs::create_dir_all(&images).unwrap();
        let within = Output::begin(&images.join("out"), &SPLIT, [&images, &images], (false, None));
        assert!(within.unwrap_err().to_string().contains("lie in one another"));
        let around = Output::begin(folder.path(), &SPLIT, [&images, &images], (false, None));
        assert!(around.unwrap_err().to_string().contains("lie in one another"));
        assert!(!images.join("out").exists());
    }

    #[test]
    fn a_linked_image_is_put_as_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let output = begin(folder.path()).unwrap();
        let original = folder.path().join("images/a.jpg");
        fs::write(&original, b"bytes").unwrap();
        let link = folder.path().join("images/link.jpg");
        std::os::unix::fs::symlink("a.jpg", &link).unwrap();
        let (image, _) = places(&output, "validation", "link");
        output.put_image(&link, b"bytes", &image).unwrap();
        assert!(fs::symlink_metadata(&image).unwrap().is_file());
    }
}
