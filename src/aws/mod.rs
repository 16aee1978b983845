//! AWS: objects in S3 behind a trait that tests and other stores can implement, and the few calls of
//! SageMaker, CloudWatch Logs and Secrets Manager that the program needs.
//!
//! | module | task |
//! |---|---|
//! | `session` | region, credentials and the runtime of a client |
//! | `client`, `store`, `uri`, `error` | S3 on Amazon's SDK |
//! | `json_client`, `service_error` | services that speak JSON, on the runtime of Amazon's SDKs |
//! | `sagemaker_api`, `logs_api`, `secrets_api` | requests and answers of those services |
//!
//! A program that needs nothing of AWS starts no runtime here, looks for no credentials and touches no
//! network: all of that begins with [`S3Client::connect`] and [`JsonClient::connect`].

mod client;
mod error;
mod json_client;
pub mod logs_api;
pub mod sagemaker_api;
pub mod secrets_api;
mod service_error;
mod session;
mod store;
mod uri;

pub use client::{ListedObject, S3Client, S3Settings};
pub use error::{ErrorScope, S3Error};
pub use json_client::{JsonClient, JsonRequest, JsonService};
pub use logs_api::CLOUDWATCH_LOGS;
pub use sagemaker_api::SAGEMAKER;
pub use secrets_api::SECRETS_MANAGER;
pub use service_error::{ServiceError, ServiceErrorKind};
pub use session::StopCheck;
pub use store::{GetRequest, ObjectInfo, ObjectSink, ObjectStore};
pub use uri::S3Uri;
