//! From files to batches: sources, the audit, augmentation, the loader; and the sample data set.

pub mod synthetic;
