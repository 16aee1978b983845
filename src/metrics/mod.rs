//! Scores of masks, each defined once and used wherever masks are compared: the confusion matrix and
//! what follows from it, borders, calibration, and the intervals of all of them.

mod bootstrap;
mod boundary;
mod calibration;
mod confusion_matrix;
mod image_scores;
mod object_sizes;

pub use bootstrap::{Bootstrap, Estimate, PairedDifference};
pub use boundary::{BoundaryScore, DEFAULT_BOUNDARY_TOLERANCE, score_boundaries};
pub use calibration::{CALIBRATION_BINS, Calibration, CalibrationBin};
pub use confusion_matrix::{ClassScores, ConfusionMatrix, IGNORE_INDEX};
pub use image_scores::{ClassCounts, ImageScores, Totals};
pub use object_sizes::{OBJECT_SIZES, ObjectCounts, ObjectSize, count_objects};
