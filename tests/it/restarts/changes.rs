//! Changes between two starts of a job.

use std::fs;
use std::path::{Path, PathBuf};

use maskmaker::imaging::{DecodeLimits, decode_mask, decode_upright, encode_jpeg, encode_mask};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::checkpoint_files::{
    clear_header_of_newest, cut_best_weights_of_newest, cut_newest, forget_all_content,
};
use crate::job::{Job, names};

/// Hyperparameters that decide the weights, with two values each.
const SETTINGS: [(&str, [&str; 2]); 5] = [
    ("learning_rate", ["0.01", "0.02"]),
    ("crop_size", ["32", "24"]),
    ("seed", ["0", "1"]),
    ("mini_batch_size", ["2", "3"]),
    ("augmentations", ["none", "hflip"]),
];

/// A number of samples that no removal goes below.
const MIN_SAMPLES: usize = 2;

/// A change of the samples of a channel.
#[derive(Debug, Clone, Copy)]
pub(super) enum SampleChange {
    /// Two classes are exchanged in the mask.
    MaskPixels,
    /// The colors of the image are inverted.
    ImagePixels,
    /// Bytes that no decoder reads follow the image.
    BytesBehindImage,
    Add,
    Remove,
    /// The sample comes last in the order of names, unless it was the last before.
    RenameToLast,
    /// The sample gets another name and keeps its place in the order.
    RenameInPlace,
    /// The image's name ends in `.jpeg` instead of `.jpg`.
    RenameExtension,
    /// The mask is removed, and the image is left.
    RemoveMask,
}

/// A change of anything that a job reads.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Sample {
        channel: &'static str,
        sample: Index,
        change: SampleChange,
    },
    /// All files of the data are written again with the same bytes.
    FilesRewritten,
    /// A hyperparameter has its other value.
    Setting(Index),
    /// Hyperparameters have the same values in another spelling.
    Spelling,
    Epochs(usize),
    /// The model folder of the last machine is lost.
    ModelFolderRemoved,
    CheckpointsRemoved,
    NewestCheckpointCut,
    HeaderOfNewestCleared,
    BestWeightsCut,
    /// The checkpoints are of an older version, which saved the names of samples only.
    OlderVersion,
}

pub(super) fn any_change() -> impl Strategy<Value = Change> {
    let sample_changes = select(vec![
        SampleChange::MaskPixels,
        SampleChange::ImagePixels,
        SampleChange::BytesBehindImage,
        SampleChange::Add,
        SampleChange::Remove,
        SampleChange::RenameToLast,
        SampleChange::RenameInPlace,
        SampleChange::RenameExtension,
        SampleChange::RemoveMask,
    ]);
    let channels = select(vec!["train", "validation"]);
    let sample_change = (channels, any::<Index>(), sample_changes)
        .prop_map(|(channel, sample, change)| Change::Sample { channel, sample, change });
    prop_oneof![
        6 => sample_change,
        1 => Just(Change::FilesRewritten),
        2 => any::<Index>().prop_map(Change::Setting),
        1 => Just(Change::Spelling),
        2 => (1..4_usize).prop_map(Change::Epochs),
        1 => Just(Change::ModelFolderRemoved),
        1 => Just(Change::CheckpointsRemoved),
        1 => Just(Change::NewestCheckpointCut),
        1 => Just(Change::HeaderOfNewestCleared),
        2 => Just(Change::BestWeightsCut),
        2 => Just(Change::OlderVersion),
    ]
}

/// Gives the hyperparameters that changes replace their first values.
pub(super) fn set_first_values(job: &mut Job) {
    for (name, [first, _]) in SETTINGS {
        job.set(name, first);
    }
}

impl Change {
    pub(super) fn apply(&self, job: &mut Job) {
        match self {
            Self::Sample { channel, sample, change } => {
                SamplePaths::pick(job, channel, *sample).change(*change);
            }
            Self::FilesRewritten => rewrite_files(job),
            Self::Setting(which) => {
                let (name, [first, second]) = *which.get(&SETTINGS);
                let is_first = job.hyperparameters()[name] == first;
                job.set(name, if is_first { second } else { first });
            }
            Self::Spelling => {
                let rate: f64 = job.hyperparameters()["learning_rate"].parse().unwrap();
                job.set("learning_rate", &format!("{rate:e}"));
                job.set("algorithm", "FCN");
            }
            Self::Epochs(epochs) => job.set("epochs", &epochs.to_string()),
            Self::ModelFolderRemoved => remove_folder(&job.path("model")),
            Self::CheckpointsRemoved => remove_folder(&job.path("checkpoints")),
            Self::NewestCheckpointCut => cut_newest(job),
            Self::HeaderOfNewestCleared => clear_header_of_newest(job),
            Self::BestWeightsCut => cut_best_weights_of_newest(job),
            Self::OlderVersion => forget_all_content(job),
        }
    }
}

/// Removes a folder if it exists.
pub(super) fn remove_folder(folder: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).unwrap();
    }
}

fn rewrite_files(job: &Job) {
    let data = job.path("input/data");
    for channel in names(&data) {
        for name in names(&data.join(&channel)) {
            let path = job.file(&channel, &name);
            let bytes = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
}

/// Paths of the files of a sample.
struct SamplePaths {
    image: PathBuf,
    /// The mask, which may be missing.
    mask: PathBuf,
    /// Number of images in the channel.
    count: usize,
}

impl SamplePaths {
    fn pick(job: &Job, channel: &str, sample: Index) -> Self {
        let names = names(&job.path("input/data").join(channel));
        let image = job.file(channel, &names[sample.index(names.len())]);
        let stem = image.file_stem().unwrap().to_str().unwrap();
        let mask = job.file(&format!("{channel}_annotation"), &format!("{stem}.png"));
        Self { image, mask, count: names.len() }
    }

    fn change(&self, change: SampleChange) {
        let stem = self.image.file_stem().unwrap().to_str().unwrap();
        let Self { image, mask, count } = self;
        match change {
            SampleChange::ImagePixels => invert_image(image, image),
            SampleChange::BytesBehindImage => {
                let mut bytes = fs::read(image).unwrap();
                bytes.extend_from_slice(b"behind the image");
                fs::write(image, bytes).unwrap();
            }
            SampleChange::RenameExtension => {
                let is_short = image.extension().is_some_and(|extension| extension == "jpg");
                let extension = if is_short { "jpeg" } else { "jpg" };
                fs::rename(image, image.with_extension(extension)).unwrap();
            }
            // An earlier change removed the mask.
            _ if !mask.exists() => {}
            SampleChange::MaskPixels => exchange_classes(mask),
            SampleChange::Add => {
                invert_image(image, &renamed(image, &format!("{stem}_added")));
                fs::copy(mask, renamed(mask, &format!("{stem}_added"))).unwrap();
            }
            SampleChange::Remove if *count > MIN_SAMPLES => {
                fs::remove_file(image).unwrap();
                fs::remove_file(mask).unwrap();
            }
            SampleChange::RenameToLast => self.rename(&format!("z{stem}")),
            SampleChange::RenameInPlace => self.rename(&format!("{stem}a")),
            SampleChange::RemoveMask => fs::remove_file(mask).unwrap(),
            SampleChange::Remove => {}
        }
    }

    fn rename(&self, stem: &str) {
        for path in [&self.image, &self.mask] {
            fs::rename(path, renamed(path, stem)).unwrap();
        }
    }
}

/// Returns the path with another name and the same extension.
fn renamed(path: &Path, stem: &str) -> PathBuf {
    let extension = path.extension().unwrap().to_str().unwrap();
    path.with_file_name(format!("{stem}.{extension}"))
}

/// Writes the image `from` with inverted colors.
fn invert_image(from: &Path, to: &Path) {
    let bytes = fs::read(from).unwrap();
    let mut image = decode_upright(&bytes, DecodeLimits::default()).unwrap();
    for pixel in image.pixels_mut() {
        pixel.0 = pixel.0.map(|value| 255 - value);
    }
    fs::write(to, encode_jpeg(&image, 90)).unwrap();
}

/// Exchanges classes 0 and 1 in a mask.
fn exchange_classes(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let mut mask = decode_mask(&bytes, DecodeLimits::default()).unwrap();
    for pixel in mask.pixels_mut() {
        if pixel.0[0] <= 1 {
            pixel.0[0] = 1 - pixel.0[0];
        }
    }
    fs::write(path, encode_mask(&mask)).unwrap();
}
