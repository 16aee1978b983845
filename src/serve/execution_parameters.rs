//! `GET /execution-parameters`: what a batch transform job asks before it begins.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::reply::json;
use super::server::Shared;
use super::settings::Settings;

/// The largest `MaxPayloadInMB`, and the largest product of it and `MaxConcurrentTransforms`, that SageMaker takes.
const MOST_MB: u32 = 100;
/// The most concurrent transforms that SageMaker takes.
const MOST_TRANSFORMS: u32 = 100;

/// The answer, in the names of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExecutionParameters {
    max_concurrent_transforms: u32,
    batch_strategy: &'static str,
    #[serde(rename = "MaxPayloadInMB")]
    max_payload_in_mb: u32,
}

pub(super) async fn execution_parameters(State(server): State<Arc<Shared>>) -> Response {
    json(StatusCode::OK, &of(&server.settings))
}

/// What was set, is told. Else: as many transforms as keep the decoders and the model busy, and the payload that the
/// contract leaves for so many.
fn of(settings: &Settings) -> ExecutionParameters {
    let body_mb = u32::try_from(settings.max_body_bytes >> 20).unwrap_or(MOST_MB).clamp(1, MOST_MB);
    let pays = u32::try_from(settings.decoders + 1).unwrap_or(MOST_TRANSFORMS).min(MOST_TRANSFORMS);
    let (transforms, payload) = match (settings.max_concurrent_transforms, settings.max_payload_mb)
    {
        (Some(transforms), Some(payload)) => (transforms, payload),
        (Some(transforms), None) => (transforms, (MOST_MB / transforms.max(1)).clamp(1, body_mb)),
        // No limit on the payload leaves the product open.
        (None, Some(0)) => (pays, 0),
        (None, Some(payload)) => (pays.min(MOST_MB / payload).max(1), payload),
        (None, None) => (pays, (MOST_MB / pays).clamp(1, body_mb)),
    };
    ExecutionParameters {
        max_concurrent_transforms: transforms,
        batch_strategy: settings.batch_strategy.name(),
        max_payload_in_mb: payload,
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::{BatchStrategy, Endpoint};
    use super::*;

    fn told(transforms: Option<u32>, payload: Option<u32>) -> (u32, u32) {
        let settings = Settings {
            max_concurrent_transforms: transforms,
            decoders: 4,
            ..Settings::of(Endpoint::Batch, payload)
        };
        let told = of(&settings);
        (told.max_concurrent_transforms, told.max_payload_in_mb)
    }

    #[test]
    fn what_was_set_is_told_and_the_rest_fits_the_contract() {
        assert_eq!(told(None, None), (5, 20));
        assert_eq!(told(Some(2), None), (2, 50));
        assert_eq!(told(Some(200), None), (200, 1));
        assert_eq!(told(Some(0), None), (0, 100));
        assert_eq!(told(None, Some(6)), (5, 6));
        assert_eq!(told(None, Some(40)), (2, 40));
        assert_eq!(told(None, Some(400)), (1, 400));
        assert_eq!(told(None, Some(0)), (5, 0));
        assert_eq!(told(Some(7), Some(9)), (7, 9));
    }

    #[test]
    fn the_names_are_those_of_the_contract() {
        let settings = Settings {
            batch_strategy: BatchStrategy::MultiRecord,
            decoders: 1,
            ..Settings::default()
        };
        assert_eq!(
            serde_json::to_string(&of(&settings)).unwrap(),
            r#"{"MaxConcurrentTransforms":2,"BatchStrategy":"MULTI_RECORD","MaxPayloadInMB":25}"#
        );
    }
}
