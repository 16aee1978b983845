//! Data and settings of a job, as they lie on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::job::{Job, names};

/// Hyperparameters that a job which goes on may change.
const CHANGEABLE_SETTINGS: [&str; 2] = ["epochs", "checkpoint_interval"];

/// Channel of each split, and the split's name in messages.
const SPLITS: [(&str, &str); 2] = [("train", "training"), ("validation", "validation")];

/// Everything that decides the weights of a job but the number of its epochs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobInputs {
    /// Content of each file by channel and name.
    files: BTreeMap<[String; 2], Vec<u8>>,
    /// Hyperparameters in one spelling.
    settings: BTreeMap<String, String>,
}

/// Content of the files of a sample.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
struct SampleFiles<'a> {
    image: Option<&'a [u8]>,
    mask: Option<&'a [u8]>,
}

impl JobInputs {
    pub(super) fn read(job: &Job) -> Self {
        let mut files = BTreeMap::new();
        for (channel, _) in SPLITS {
            for channel in [channel.to_owned(), format!("{channel}_annotation")] {
                for name in names(&job.path("input/data").join(&channel)) {
                    let bytes = fs::read(job.file(&channel, &name)).unwrap();
                    files.insert([channel.clone(), name], bytes);
                }
            }
        }
        let mut settings = BTreeMap::new();
        for (name, value) in job.hyperparameters() {
            if !CHANGEABLE_SETTINGS.contains(&&name[..]) {
                let number = value.parse::<f64>().map(|number| number.to_string());
                settings.insert(name.clone(), number.unwrap_or(value.to_lowercase()));
            }
        }
        Self { files, settings }
    }

    /// Gives the job these data and settings, and no others.
    pub(super) fn write(&self, job: &mut Job) {
        let data = job.path("input/data");
        if data.exists() {
            fs::remove_dir_all(&data).unwrap();
        }
        for ([channel, name], bytes) in &self.files {
            fs::create_dir_all(data.join(channel)).unwrap();
            fs::write(job.file(channel, name), bytes).unwrap();
        }
        for (name, value) in &self.settings {
            job.set(name, value);
        }
    }

    /// Returns true if images and masks are the same under the same names.
    pub(super) fn has_data_of(&self, other: &Self) -> bool {
        SPLITS.iter().all(|(channel, _)| self.samples(channel) == other.samples(channel))
    }

    /// Lists the names of images without a mask, and of masks without an image.
    pub(super) fn unpaired_names(&self) -> Vec<String> {
        let mut unpaired = Vec::new();
        for (channel, _) in SPLITS {
            for (name, files) in self.samples(channel) {
                if files.image.is_none() || files.mask.is_none() {
                    unpaired.push(name.to_owned());
                }
            }
        }
        unpaired
    }

    /// Lists texts that must stand in an error which refuses the checkpoint of a job with the
    /// inputs `then`. None are listed if the checkpoint fits. A checkpoint that does not know the
    /// content of its samples fits samples of the same names.
    pub(super) fn required_texts(&self, then: &Self, knows_content: bool) -> Vec<String> {
        let mut texts = Vec::new();
        for (name, value) in &self.settings {
            if then.settings[name] != *value {
                texts.push(format!("{name} was "));
            }
        }
        for (channel, split) in SPLITS {
            let (new, old) = (self.samples(channel), then.samples(channel));
            if !knows_content {
                if !new.keys().eq(old.keys()) {
                    texts.push(format!("{split} images was "));
                }
            } else if new != old {
                texts.push(split.to_owned());
                add_changed_names(&new, &old, &mut texts);
            }
        }
        texts
    }

    /// Returns the samples of a channel by name. The extensions of files are no part of the name.
    fn samples(&self, channel: &str) -> BTreeMap<&str, SampleFiles<'_>> {
        let mask_channel = format!("{channel}_annotation");
        let mut samples: BTreeMap<&str, SampleFiles<'_>> = BTreeMap::new();
        for ([file_channel, name], bytes) in &self.files {
            let stem = Path::new(name).file_stem().unwrap().to_str().unwrap();
            if file_channel == channel {
                samples.entry(stem).or_default().image = Some(bytes);
            } else if *file_channel == mask_channel {
                samples.entry(stem).or_default().mask = Some(bytes);
            }
        }
        samples
    }
}

/// Adds the name of each sample that brings content which was not there, or that had content which
/// is there no more. Content that only has another name has not changed.
fn add_changed_names(
    new: &BTreeMap<&str, SampleFiles<'_>>,
    old: &BTreeMap<&str, SampleFiles<'_>>,
    texts: &mut Vec<String>,
) {
    let all_names: BTreeSet<&str> = new.keys().chain(old.keys()).copied().collect();
    for name in all_names {
        let (now, then) = (new.get(name), old.get(name));
        let is_new = now.is_some_and(|now| !old.values().any(|other| other == now));
        let is_gone = then.is_some_and(|then| !new.values().any(|other| other == then));
        match (now, then) {
            (Some(now), Some(then)) if is_new && is_gone => {
                let part = match (now.image == then.image, now.mask == then.mask) {
                    (true, _) => "mask",
                    (_, true) => "image",
                    _ => "image and mask",
                };
                texts.push(format!("{name} ({part})"));
            }
            _ if is_new || is_gone => texts.push(name.to_owned()),
            _ => {}
        }
    }
}
