//! Numbers of images and of regions by what became of them. Those of one kind add up to what came
//! in, which is counted where it is read.

use serde::Serialize;

use super::annotated_image::WrittenSample;
use super::select::{Selection, UnusedReason};
use super::sources::SkippedEntry;

/// Images that annotations name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct ImageTotals {
    /// Number of images that annotations name, which is the sum of the others.
    pub annotated: usize,
    pub written: usize,
    /// Number of images of which nothing is written.
    pub skipped: usize,
    /// Number of images that are on another instance of the job.
    pub elsewhere: usize,
}

/// Regions of annotations. A mask is one region.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct RegionTotals {
    /// Number of regions that were read, which is the sum of the others.
    pub read: usize,
    /// Number of regions that were painted, those that later ones cover among them.
    pub drawn: usize,
    /// Number of regions that are in no mask although their annotation was used.
    pub left_out: usize,
    /// Number of regions of annotations for which others of the same images were taken.
    pub superseded: usize,
    /// Number of regions of images, tasks and annotations that were skipped.
    pub skipped: usize,
    /// Number of regions of images that are on another instance of the job.
    pub elsewhere: usize,
}

/// Numbers of images and regions, a part of `report.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    pub images: ImageTotals,
    pub regions: RegionTotals,
}

impl Totals {
    /// Counts the regions of one image's annotations that are not used.
    pub(super) fn add_unused(&mut self, selection: &Selection) {
        for unused in &selection.unused {
            match unused.reason {
                UnusedReason::Cancelled | UnusedReason::Deleted => {
                    self.regions.skipped += unused.region_count;
                }
                _ => self.regions.superseded += unused.region_count,
            }
        }
    }

    /// Counts an image that was written.
    pub(super) fn add_written(&mut self, written: &WrittenSample) {
        self.images.written += 1;
        self.regions.drawn += written.regions.drawn;
        self.regions.left_out += written.regions.left_out.len();
    }

    /// Counts what is lost with an entry that was skipped.
    pub(super) fn add_skipped(&mut self, entry: &SkippedEntry) {
        self.images.skipped += entry.lost_images;
        self.regions.skipped += entry.lost_regions;
    }

    /// Counts an image that is on another instance.
    pub(super) fn add_elsewhere(&mut self, region_count: usize) {
        self.images.elsewhere += 1;
        self.regions.elsewhere += region_count;
    }
}
