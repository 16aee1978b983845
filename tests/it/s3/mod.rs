//! S3: manifests whose references are objects, and weights by URI.

mod client;
mod fake;
mod jobs;
mod moto;
