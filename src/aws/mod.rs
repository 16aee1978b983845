//! S3: objects by URI, behind a trait that tests and other stores can implement.
//!
//! A program that reads no `s3://` reference starts no runtime here, looks for no credentials and
//! touches no network: all of that begins with [`Client::connect`].

mod client;
mod failure;
mod store;
mod uri;

pub use client::{Client, Settings, Stopped};
pub use failure::{Failure, Scope};
pub use store::{About, Get, Sink, Store};
pub use uri::S3Uri;
