//! The kinds of SageMaker endpoint, and the largest request, the largest answer and the longest
//! computation of each.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, did_you_mean};

const MB: usize = 1 << 20;

/// The limit, in MB, that stands for `MaxPayloadInMB: 0`, which is "no limit": 1 GB, as for
/// asynchronous endpoints.
const UNLIMITED_PAYLOAD_MB: u32 = 1024;

/// The kind of SageMaker endpoint in front of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndpointKind {
    /// Requests and answers to 25 MB, 60 s.
    #[default]
    Realtime,
    /// Requests and answers to 4 MB, 60 s.
    Serverless,
    /// Requests to 1 GB, an hour.
    Async,
    /// Batch transform: requests to 100 MB, 10 minutes.
    Batch,
}

/// The limits of an endpoint. Source: SageMaker's documentation of each kind ("Model Hosting FAQs",
/// "Serverless Inference", "Asynchronous inference", `ModelClientConfig` of `CreateTransformJob`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointLimits {
    /// Largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Largest body of an answer, in bytes.
    pub max_reply_bytes: usize,
    /// Longest time to compute one request.
    pub max_compute: Duration,
}

impl EndpointKind {
    /// All kinds, in the order of messages.
    pub const ALL: [Self; 4] = [Self::Realtime, Self::Serverless, Self::Async, Self::Batch];

    /// Returns the name in settings and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Serverless => "serverless",
            Self::Async => "async",
            Self::Batch => "batch",
        }
    }

    /// Returns the limits of this kind. `payload_mb` is `SAGEMAKER_MAX_PAYLOAD_IN_MB`, which a
    /// batch transform job may set; 0 means "no limit".
    pub fn limits(self, payload_mb: Option<u32>) -> EndpointLimits {
        let (body_mb, reply_mb, seconds) = match self {
            Self::Realtime => (25, 25, 60),
            Self::Serverless => (4, 4, 60),
            Self::Async => (1024, 1024, 3600),
            Self::Batch => match payload_mb {
                Some(0) => (UNLIMITED_PAYLOAD_MB, UNLIMITED_PAYLOAD_MB, 600),
                Some(limit_mb) => (limit_mb, 100, 600),
                None => (100, 100, 600),
            },
        };
        EndpointLimits {
            max_body_bytes: body_mb as usize * MB,
            max_reply_bytes: reply_mb as usize * MB,
            max_compute: Duration::from_secs(seconds),
        }
    }
}

impl fmt::Display for EndpointKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EndpointKind {
    type Err = Error;

    /// Reads a name in any case.
    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let nearest = did_you_mean(text, names);
            let names = names.join(", ");
            Error::input(format!("{text:?} is no kind of endpoint; give one of {names}{nearest}"))
        })
    }
}

/// The number of records that a batch transform job puts into one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchStrategy {
    /// One record, which suits images.
    #[default]
    SingleRecord,
    /// As many records as fit into the payload.
    MultiRecord,
}

impl BatchStrategy {
    /// Returns the name in `SAGEMAKER_BATCH_STRATEGY` and in the answer of `/execution-parameters`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SingleRecord => "SINGLE_RECORD",
            Self::MultiRecord => "MULTI_RECORD",
        }
    }
}

impl FromStr for BatchStrategy {
    type Err = Error;

    /// Reads a name in any case, with or without the underscore (the API writes `SingleRecord`).
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.replace('_', "").to_ascii_lowercase().as_str() {
            "singlerecord" => Ok(Self::SingleRecord),
            "multirecord" => Ok(Self::MultiRecord),
            _ => Err(Error::input(format!(
                "{text:?} is no batch strategy; give SINGLE_RECORD or MULTI_RECORD"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_back_in_any_case_and_others_are_told_the_nearest() {
        for kind in EndpointKind::ALL {
            assert_eq!(kind.to_string().to_uppercase().parse::<EndpointKind>().unwrap(), kind);
        }
        let error = "real-time".parse::<EndpointKind>().unwrap_err().to_string();
        assert!(error.contains("serverless") && error.contains("\"realtime\"?"), "{error}");
    }

    #[test]
    fn a_strategy_is_read_as_the_environment_and_as_the_api_write_it() {
        for (text, strategy) in [
            ("SINGLE_RECORD", BatchStrategy::SingleRecord),
            ("SingleRecord", BatchStrategy::SingleRecord),
            ("multi_record", BatchStrategy::MultiRecord),
        ] {
            assert_eq!(text.parse::<BatchStrategy>().unwrap(), strategy);
            assert_eq!(strategy.name().parse::<BatchStrategy>().unwrap(), strategy);
        }
        assert!("RECORD".parse::<BatchStrategy>().is_err());
    }

    #[test]
    fn limits_are_those_of_the_service_and_a_jobs_payload_wins() {
        let limits_mb = |kind: EndpointKind, payload| {
            let limits = kind.limits(payload);
            (limits.max_body_bytes / MB, limits.max_reply_bytes / MB, limits.max_compute.as_secs())
        };
        assert_eq!(limits_mb(EndpointKind::Realtime, None), (25, 25, 60));
        assert_eq!(limits_mb(EndpointKind::Serverless, Some(9)), (4, 4, 60));
        assert_eq!(limits_mb(EndpointKind::Async, None), (1024, 1024, 3600));
        assert_eq!(limits_mb(EndpointKind::Batch, None), (100, 100, 600));
        assert_eq!(limits_mb(EndpointKind::Batch, Some(6)), (6, 100, 600));
        assert_eq!(limits_mb(EndpointKind::Batch, Some(0)), (1024, 1024, 600));
    }
}
