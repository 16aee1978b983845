//! The deterministic data set behind `maskmaker sample-data`.
