//! S3: objects by URI, behind a trait that tests and other stores can implement.
//!
//! A program that reads no `s3://` reference starts no runtime here, looks for no credentials and
//! touches no network: all of that begins with [`S3Client::connect`].

mod client;
mod error;
mod store;
mod uri;

pub use client::{S3Client, S3Settings, StopCheck};
pub use error::{ErrorScope, S3Error};
pub use store::{GetRequest, ObjectInfo, ObjectSink, ObjectStore};
pub use uri::S3Uri;
