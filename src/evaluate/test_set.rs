//! The test images and their masks: two folders as `preprocess --test-ratio` writes them, or a
//! manifest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::groups::read_values;
use crate::data::Sample;
use crate::data::audit::SplitDescription;
use crate::data::class_names::{ClassNames, GivenClassNames, ModelClassNames};
use crate::data::color_map::{any_has_color_map, assign_class_ids};
use crate::data::label_map::LabelMap;
use crate::data::manifest::read_manifest;
use crate::data::objects::{ConnectStore, DiskBudget, ObjectCache, RESERVED_DISK_BYTES};
use crate::data::pairing::pair_images_and_masks;
use crate::error::{Checked, Error, Problems, Result, join_examples};
use crate::files::PathContext;
use crate::sagemaker::channels::{LabelMapChannel, SplitFolders};

/// Name of the split, of its folder of images, and of `<name>_annotation` with the masks.
const SPLIT: &str = "test";

/// Folder with label maps and the classes' names, beside the images.
const LABEL_MAP_FOLDER: &str = "label_map";

/// Place of a test set, and the classes that it must fit.
pub(super) struct TestSetRequest<'a> {
    /// Folder with `test` and `test_annotation` or with a manifest, or a manifest.
    pub(super) data: &'a Path,
    /// Names of the model's classes, class 0 first.
    pub(super) class_names: &'a [String],
    /// True if the model was trained without names, so that these are numbers.
    pub(super) are_names_made_up: bool,
    /// Attribute of the manifest by whose values the images are grouped.
    pub(super) group: Option<&'a str>,
    pub(super) connect: ConnectStore,
}

/// Samples of a test.
#[derive(Debug)]
pub(super) struct TestSet {
    pub(super) samples: Vec<Sample>,
    /// Where the samples are, for messages.
    pub(super) description: SplitDescription,
    /// Value of the attribute for groups of each sample.
    pub(super) group_values: Option<Vec<String>>,
    is_manifest: bool,
    /// Objects of S3 that the samples are, which lie there until this is dropped.
    _fetched: Option<TempDir>,
}

impl TestSet {
    /// Returns the name of a sample's mask among files: the key of a sample in folders, and the
    /// number and the image's name for a line of a manifest, in which names may come twice.
    pub(super) fn mask_name(&self, index: usize) -> String {
        let sample = &self.samples[index];
        if !self.is_manifest {
            return format!("{}.png", sample.key);
        }
        let name = sample.image.display().to_string();
        let stem = Path::new(&name).file_stem().unwrap_or_default().to_string_lossy();
        format!("{:06}-{stem}.png", index + 1)
    }
}

/// Where the samples are listed.
enum Source {
    Folders(SplitFolders),
    Manifest(PathBuf),
}

impl TestSet {
    /// Lists the samples, with the classes of their values and colors, and fetches those in S3.
    pub(super) fn find(request: &TestSetRequest<'_>, problems: &mut Problems) -> Checked<Self> {
        let result = Self::read(request);
        problems.check(result)
    }

    fn read(request: &TestSetRequest<'_>) -> Result<Self> {
        let source = find_source(request.data)?;
        let mut problems = Problems::new();
        let budget = DiskBudget { max_bytes: None, reserved_bytes: RESERVED_DISK_BYTES };
        let objects = ObjectCache::new(Arc::clone(&request.connect), budget);
        let (mut samples, description) = match &source {
            Source::Folders(folders) => (
                pair_images_and_masks(folders, &mut problems),
                SplitDescription::for_folders(SPLIT),
            ),
            Source::Manifest(file) => {
                // References may lead anywhere: who evaluates chose the manifest.
                let (samples, attribute) =
                    read_manifest(file, Path::new("/"), &objects, &mut problems);
                let description = SplitDescription::for_manifest(SPLIT, file, attribute.as_deref());
                (samples, description)
            }
        };
        let group_values = match (request.group, &source) {
            (None, _) => None,
            (Some(key), Source::Manifest(file)) => problems.record_err(read_values(file, key)),
            (Some(key), Source::Folders(folders)) => {
                problems.push(format!(
                    "--group {key} is for a manifest, whose lines have attributes; {} is a folder of images",
                    folders.images.display()
                ));
                None
            }
        };
        let folder = if request.data.is_file() {
            request.data.parent().unwrap_or(Path::new("."))
        } else {
            request.data
        };
        resolve_classes(&mut samples, &folder.join(LABEL_MAP_FOLDER), request, &mut problems);
        problems.into_result()?;
        let fetched = fetch_objects(&objects)?;
        let is_manifest = matches!(source, Source::Manifest(_));
        Ok(Self { samples, description, group_values, is_manifest, _fetched: fetched })
    }
}

/// Finds the two folders, or the manifest.
fn find_source(data: &Path) -> Result<Source> {
    let absolute = std::path::absolute(data).with_path("find", data)?;
    if absolute.is_file() {
        return Ok(Source::Manifest(absolute));
    }
    let (images, masks) = (absolute.join(SPLIT), absolute.join(format!("{SPLIT}_annotation")));
    if images.is_dir() && masks.is_dir() {
        return Ok(Source::Folders(SplitFolders { name: SPLIT, images, masks }));
    }
    let mut manifests = list_manifests(&absolute);
    manifests.extend(list_manifests(&images));
    match &manifests[..] {
        [manifest] => Ok(Source::Manifest(manifest.clone())),
        [] => Err(no_test_set_error(data)),
        _ => Err(Error::input(format!(
            "{} holds several manifests, {}; give the one that is meant by --data",
            data.display(),
            join_examples(manifests.iter().map(|path| path.display().to_string()))
        ))),
    }
}

fn list_manifests(folder: &Path) -> Vec<PathBuf> {
    let mut manifests = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("manifest" | "jsonl")) && path.is_file() {
            manifests.push(path);
        }
    }
    manifests.sort();
    manifests
}

fn no_test_set_error(data: &Path) -> Error {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(data).into_iter().flatten().flatten() {
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let found = if !data.exists() {
        "there is no such folder".to_owned()
    } else if names.is_empty() {
        "the folder is empty".to_owned()
    } else {
        format!("found: {}", join_examples(names))
    };
    Error::input(format!(
        "{} holds no test set: the folders {SPLIT} and {SPLIT}_annotation, as `maskmaker preprocess \
         --test-ratio 10` writes them, or a file *.manifest ({found})",
        data.display()
    ))
}

/// Gives the masks' values and colors their classes, and checks that these are the model's.
fn resolve_classes(
    samples: &mut [Sample],
    label_map_folder: &Path,
    request: &TestSetRequest<'_>,
    problems: &mut Problems,
) {
    let num_classes = request.class_names.len();
    let mut files = LabelMapChannel::default();
    if label_map_folder.is_dir() {
        files = problems.record_err(LabelMapChannel::read(label_map_folder)).unwrap_or_default();
    }
    if files.test.is_none() && files.train.is_some() {
        problems.push(format!(
            "{} holds a label map of the training masks and none of the test masks: copy it as \
             test_label_map.json if it is meant for these too, or remove it",
            label_map_folder.display()
        ));
    }
    if let Some(path) = &files.test {
        let map = problems.record_err(LabelMap::read(path, num_classes)).flatten();
        let map = map.map(Arc::new);
        for sample in &mut *samples {
            sample.label_map.clone_from(&map);
        }
    }
    let given = GivenClassNames::read(None, files.labels.as_deref(), num_classes);
    let class_names = ClassNames {
        given: problems.record_err(given).flatten(),
        model: Some(ModelClassNames {
            names: request.class_names.to_vec(),
            are_made_up: request.are_names_made_up,
        }),
    };
    if let Some(required) = class_names.required()
        && required.names != request.class_names
        && !request.are_names_made_up
    {
        problems.push(describe_other_names(required.names, request.class_names));
    }
    if any_has_color_map(samples) {
        if class_names.required().is_none() {
            problems.push(format!(
                "the masks' colors name their classes, and the model was trained without names: put \
                 labels.json into {}, with the name of each of the model's classes, class 0 first",
                label_map_folder.display()
            ));
            return;
        }
        let splits = [(SPLIT, &mut *samples), ("train", &mut [][..])];
        problems.record_err(assign_class_ids(splits, class_names.required(), num_classes));
    }
}

/// Describes how the names of the masks' classes differ from the model's.
fn describe_other_names(of_masks: &[String], of_model: &[String]) -> String {
    let mut sorted = [of_masks.to_vec(), of_model.to_vec()];
    for names in &mut sorted {
        names.sort();
    }
    let hint = if sorted[0] == sorted[1] {
        "the same names in another order, so that a class of the masks is another of the model; \
         write the masks with the model's labels.json (preprocess --label-config), or train with \
         the masks' order"
    } else {
        "evaluate with masks of the model's classes"
    };
    format!(
        "the classes of the masks are {} (labels.json), those of the model {}: {hint}",
        list_classes(of_masks),
        list_classes(of_model)
    )
}

fn list_classes(names: &[String]) -> String {
    let numbered = names.iter().enumerate().map(|(id, name)| format!("{id} {name}"));
    join_examples(numbered)
}

/// Fetches the objects of S3 to a temporary folder, if there are any.
fn fetch_objects(objects: &Arc<ObjectCache>) -> Result<Option<TempDir>> {
    if objects.is_empty() {
        return Ok(None);
    }
    let folder = tempfile::Builder::new()
        .prefix("maskmaker-")
        .tempdir()
        .with_path("write to", &std::env::temp_dir())?;
    objects.fetch_all(folder.path(), || ())?;
    Ok(Some(folder))
}
