//! Annotations become masks: from bytes to regions, from regions to pixels, and back.
//!
//! No folders are walked here, and nothing is fetched. Errors of the codecs and parsers are texts that complete
//! a sentence whose subject the caller puts first: "region ab12 of annotation 7: has 3 of 5 points".

pub mod bitmask;
pub mod brush_rle;
pub mod coco;
pub mod coco_rle;
pub mod contours;
mod json;
pub mod json_objects;
pub mod label_config;
pub mod label_studio;
pub mod region;
pub mod runs;
pub mod shapes;
pub mod split;

pub use region::Region;
pub use runs::Runs;
