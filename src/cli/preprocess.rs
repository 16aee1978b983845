//! The flags of `preprocess`.

// clap prints the comments on flags as help texts, so they hold no Markdown.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;

use clap::Args;

use super::integer_parser;
use crate::annotations::shapes::FillRule;
use crate::annotations::split::SplitConfig;
use crate::commands::preprocess::parse_percent;
use crate::imaging::DecodeLimits;
use crate::preprocess::{self, AnnotatedAs, AnnotationFormat, AnnotationPolicy};
use crate::sagemaker::MlRoot;
use crate::settings;

#[derive(Debug, Args)]
pub(super) struct PreprocessArgs {
    /// Folder of annotations: Label Studio's objects and exports, COCO, Ground Truth's manifests
    /// and masks, or masks [default: processing/input/annotations below the root]
    #[arg(long, value_name = "DIR")]
    annotations: Option<PathBuf>,
    /// Folder of images [default: processing/input/images below the root]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Folder that gets train, train_annotation, validation, validation_annotation, label_map and
    /// the report [default: processing/output below the root]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The labeling configuration (XML), a project's JSON that holds it, or a labels.json: which
    /// class has which number
    #[arg(long, value_name = "FILE")]
    label_config: Option<PathBuf>,
    /// Percent of the images for validation; which ones is decided by their names
    #[arg(long, default_value = "20", value_name = "PERCENT", value_parser = parse_percent)]
    train_test_split_ratio: f64,
    /// Percent of the images to keep for a test, in test and test_annotation
    #[arg(long, default_value = "0", value_name = "PERCENT", value_parser = parse_percent)]
    test_ratio: f64,
    /// Another seed gives another split
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What to do with several annotations of one image
    #[arg(long, value_enum, default_value_t)]
    several: AnnotationPolicy,
    /// Picture on which masks, COCO and Ground Truth were drawn, of images with an EXIF orientation
    /// [default: upright, with a warning where the size does not show it]
    #[arg(long, value_enum, value_name = "PICTURE")]
    annotated_as: Option<AnnotatedAs>,
    /// Leave out images on which nothing was drawn; else they are background
    #[arg(long)]
    skip_empty: bool,
    /// Labels that are painted over all others, the topmost first, separated by commas; else later
    /// regions cover earlier ones
    #[arg(long, value_name = "LABELS")]
    priority: Vec<String>,
    /// Labels whose regions are ignored (255), separated by commas; a label that has commas itself
    /// is written as it is, and the flag may be repeated
    #[arg(long, value_name = "LABELS")]
    ignore: Vec<String>,
    /// Rule that fills polygons of Label Studio that cross themselves; those of COCO are evenodd
    #[arg(long, value_enum, default_value_t)]
    polygon_rule: FillRule,
    /// Take only annotations of this format [default: the one that is there]
    #[arg(long)]
    format: Option<AnnotationFormat>,
    /// The attribute of Ground Truth's manifests with the masks, where a line has several
    #[arg(long, value_name = "NAME")]
    attribute: Option<String>,
    /// Fail if anything cannot be used, instead of leaving it out and reporting it
    #[arg(long)]
    strict: bool,
    /// Copy images also where a hard link would do
    #[arg(long)]
    copy: bool,
    /// Refuse images with more pixels
    #[arg(long, default_value_t = settings::DEFAULT_MAX_PIXELS,
          value_name = settings::MAX_PIXELS.unit,
          value_parser = integer_parser::<u64>(settings::MAX_PIXELS))]
    max_pixels: u64,
}

impl PreprocessArgs {
    pub(super) fn into_settings(self, root: &MlRoot) -> preprocess::PreprocessSettings {
        preprocess::PreprocessSettings {
            annotations: self
                .annotations
                .unwrap_or_else(|| root.processing_input_folder("annotations")),
            images: self.images.unwrap_or_else(|| root.processing_input_folder("images")),
            output: self.output.unwrap_or_else(|| root.processing_output_folder()),
            label_config: self.label_config,
            format: self.format,
            attribute: self.attribute,
            split: SplitConfig {
                validation_percent: self.train_test_split_ratio,
                test_percent: self.test_ratio,
                seed: self.seed,
            },
            annotation_policy: self.several,
            annotated_as: self.annotated_as,
            skip_empty: self.skip_empty,
            ignore: self.ignore,
            priority: self.priority,
            strict: self.strict,
            copy: self.copy,
            limits: DecodeLimits { max_pixels: self.max_pixels },
            polygon_rule: self.polygon_rule,
            host: None,
        }
    }
}
