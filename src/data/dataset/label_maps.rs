//! The label maps of both splits.

use std::path::Path;
use std::sync::Arc;

use super::DatasetReader;
use crate::data::label_map::LabelMap;
use crate::error::Problems;
use crate::sagemaker::channels::LabelMapChannel;

/// The label map of each split, for masks that hold other values than class ids.
#[derive(Debug)]
pub(super) struct LabelMaps {
    pub(super) train: Option<Arc<LabelMap>>,
    pub(super) validation: Option<Arc<LabelMap>>,
}

/// Reads the label maps of training and validation, and tells how each is read.
pub(super) fn read_label_maps(reader: DatasetReader<'_>, problems: &mut Problems) -> LabelMaps {
    let LabelMapChannel { train, validation, .. } = &reader.channels.label_map;
    if train == validation {
        // A problem of a file for both splits is told once.
        let map = read_label_map(reader, "train and validation", train.as_deref(), problems);
        return LabelMaps { train: map.clone(), validation: map };
    }
    LabelMaps {
        train: read_label_map(reader, "train", train.as_deref(), problems),
        validation: read_label_map(reader, "validation", validation.as_deref(), problems),
    }
}

fn read_label_map(
    reader: DatasetReader<'_>,
    splits: &str,
    path: Option<&Path>,
    problems: &mut Problems,
) -> Option<Arc<LabelMap>> {
    let map = problems.record_err(LabelMap::read(path?, reader.num_classes)).flatten()?;
    reader.listener.on_result(&format_args!("label map of {splits}: {map}"));
    Some(Arc::new(map))
}
