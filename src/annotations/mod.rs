//! Formats of annotations: from bytes to regions, from regions to pixels, and from pixels back to
//! run lengths and outlines.
//!
//! The module walks no folders and reads no network. The text of an [`Error`] completes a sentence
//! whose subject the caller puts first: "region ab12 of annotation 7: has 3 of 5 points".

pub mod bitmask;
pub mod brush_rle;
pub mod coco;
pub mod coco_rle;
pub mod contours;
mod error;
mod json;
pub mod json_objects;
pub mod label_config;
pub mod label_studio;
pub mod region;
pub mod runs;
pub mod shapes;
pub mod split;
pub mod uncovered;

pub use error::{Error, Result};
pub use region::Region;
pub use runs::Runs;
