//! A data set that was read, as a JSON document. The parent of a host reads and audits the data set
//! once, and its workers read the document.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::AuditedSplit;
use crate::data::audit::Audit;
use crate::data::color_map::ColorMap;
use crate::data::content::Content;
use crate::data::label_map::LabelMap;
use crate::data::objects::{ObjectCache, ObjectEntry};
use crate::data::sample::Sample;
use crate::error::{Error, Result};

/// Both splits of a host, with what the audit found.
#[derive(Debug, Serialize, Deserialize)]
pub struct DatasetDocument {
    training: SplitDocument,
    validation: SplitDocument,
    /// Class names, class 0 first, if any source has names.
    pub class_names: Option<Vec<String>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SplitDocument {
    samples: Vec<SampleDocument>,
    /// Maps of the samples, which name them by position: most samples have the same.
    label_maps: Vec<LabelMap>,
    color_maps: Vec<ColorMap>,
    audit: Audit,
}

#[derive(Debug, Serialize, Deserialize)]
struct SampleDocument {
    key: String,
    image: ContentDocument,
    mask: ContentDocument,
    label_map: Option<usize>,
    color_map: Option<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
enum ContentDocument {
    File(PathBuf),
    Object(ObjectEntry),
}

impl DatasetDocument {
    /// Describes both splits.
    pub fn new(
        training: &AuditedSplit,
        validation: &AuditedSplit,
        class_names: Option<Vec<String>>,
    ) -> Self {
        let [training, validation] = [training, validation].map(SplitDocument::new);
        Self { training, validation, class_names }
    }

    /// Returns the number of training samples.
    pub fn training_images(&self) -> usize {
        self.training.samples.len()
    }

    /// Returns both splits, training first. Objects of S3 that are not on disk are read by
    /// `objects`.
    pub fn into_splits(self, objects: &Arc<ObjectCache>) -> Result<[AuditedSplit; 2]> {
        Ok([self.training.into_split(objects)?, self.validation.into_split(objects)?])
    }
}

impl SplitDocument {
    fn new(split: &AuditedSplit) -> Self {
        let mut label_maps = Table::default();
        let mut color_maps = Table::default();
        let mut samples = Vec::with_capacity(split.samples.len());
        for sample in &split.samples {
            samples.push(SampleDocument {
                key: sample.key.clone(),
                image: ContentDocument::new(&sample.image),
                mask: ContentDocument::new(&sample.mask),
                label_map: sample.label_map.as_deref().map(|map| label_maps.position_of(map)),
                color_map: sample.color_map.as_deref().map(|map| color_maps.position_of(map)),
            });
        }
        let audit = split.audit.clone();
        Self { samples, label_maps: label_maps.items, color_maps: color_maps.items, audit }
    }

    fn into_split(self, objects: &Arc<ObjectCache>) -> Result<AuditedSplit> {
        let label_maps: Vec<_> = self.label_maps.into_iter().map(Arc::new).collect();
        let color_maps: Vec<_> = self.color_maps.into_iter().map(Arc::new).collect();
        let mut samples = Vec::with_capacity(self.samples.len());
        for sample in self.samples {
            samples.push(Sample {
                key: sample.key,
                image: sample.image.into_content(objects),
                mask: sample.mask.into_content(objects),
                label_map: item_at(&label_maps, sample.label_map)?,
                color_map: item_at(&color_maps, sample.color_map)?,
            });
        }
        Ok(AuditedSplit { samples, audit: self.audit })
    }
}

impl ContentDocument {
    fn new(content: &Content) -> Self {
        match content {
            Content::File(path) => Self::File(path.clone()),
            Content::Object(object) => Self::Object(object.entry()),
        }
    }

    fn into_content(self, objects: &Arc<ObjectCache>) -> Content {
        match self {
            Self::File(path) => Content::File(path),
            Self::Object(entry) => Content::Object(objects.add_entry(entry)),
        }
    }
}

/// Items that occur often, each kept once.
struct Table<T> {
    items: Vec<T>,
    positions: HashMap<T, usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { items: Vec::new(), positions: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Table<T> {
    fn position_of(&mut self, item: &T) -> usize {
        if let Some(position) = self.positions.get(item) {
            return *position;
        }
        let position = self.items.len();
        self.items.push(item.clone());
        self.positions.insert(item.clone(), position);
        position
    }
}

fn item_at<T>(items: &[Arc<T>], position: Option<usize>) -> Result<Option<Arc<T>>> {
    let Some(position) = position else { return Ok(None) };
    match items.get(position) {
        Some(item) => Ok(Some(item.clone())),
        None => Err(Error::internal(format!("there is no map {position} in the data set"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::data::color_map::ColorMaps;
    use crate::data::digest::SampleDigest;
    use crate::data::objects::DiskBudget;

    fn empty_cache() -> Arc<ObjectCache> {
        let connect = Arc::new(|| Err(crate::aws::S3Error::for_object("no store", "")));
        ObjectCache::new(connect, DiskBudget { max_bytes: None, reserved_bytes: 0 })
    }

    fn sample(key: &str) -> Sample {
        Sample {
            key: key.to_owned(),
            image: format!("/images/{key}.jpg").into(),
            mask: format!("/masks/{key}.png").into(),
            label_map: None,
            color_map: None,
        }
    }

    #[test]
    fn a_data_set_reads_back_with_its_maps_and_objects() {
        let label_map = LabelMap::parse(b"{\"scale\": 3}", 4).unwrap().map(Arc::new);
        let metadata = json!({"internal-color-map":
            {"1": {"class-name": "road", "hex-color": "#010203"}}});
        let color_map = ColorMaps::default().parse_metadata(&metadata).unwrap();
        let cache = empty_cache();
        let uri = "s3://bucket/a b.jpg".parse().unwrap();
        let object = Content::Object(cache.add(uri, &Arc::from("train.manifest"), 7));
        let samples = vec![
            Sample { label_map: label_map.clone(), ..sample("one") },
            Sample { label_map, color_map, ..sample("two") },
            Sample { image: object, ..sample("three") },
        ];
        let mut histogram = Box::new([0; 256]);
        (histogram[0], histogram[255]) = (u64::MAX, 5);
        let audit = Audit {
            digests: vec![SampleDigest::new(b"image", None, b"mask")],
            histogram,
            snapped: vec![("two".to_owned(), 9)],
            only_ignored: Vec::new(),
            size_range: None,
        };
        let split = AuditedSplit { samples: samples.clone(), audit };
        let names = Some(vec!["background".to_owned()]);
        let document = DatasetDocument::new(&split, &split, names.clone());
        let text = serde_json::to_string(&document).unwrap();

        let document: DatasetDocument = serde_json::from_str(&text).unwrap();
        assert_eq!(document.class_names, names);
        assert_eq!(document.training.label_maps.len(), 1, "equal maps are written once");
        let other_cache = empty_cache();
        let [training, _] = document.into_splits(&other_cache).unwrap();
        assert_eq!(training.samples[..2], samples[..2]);
        assert_eq!(
            training.samples[2].image.display().to_string(),
            samples[2].image.display().to_string()
        );
        assert_eq!(training.audit.histogram, split.audit.histogram);
        assert_eq!(training.audit.digests, split.audit.digests);
    }
}
