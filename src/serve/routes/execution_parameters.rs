//! `GET /execution-parameters`: the concurrency and payload that a batch transform job asks for
//! before it begins.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::http::json_response;
use crate::serve::settings::ServeSettings;
use crate::serve::state::AppState;

/// Largest `MaxPayloadInMB` that SageMaker accepts, and the largest product of it and
/// `MaxConcurrentTransforms`.
const MAX_PAYLOAD_MB: u32 = 100;
/// Largest `MaxConcurrentTransforms` that SageMaker accepts.
const MAX_TRANSFORMS: u32 = 100;

/// The answer, by the names of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExecutionParameters {
    max_concurrent_transforms: u32,
    batch_strategy: &'static str,
    #[serde(rename = "MaxPayloadInMB")]
    max_payload_in_mb: u32,
}

/// Answers `GET /execution-parameters`.
pub(super) async fn execution_parameters(State(state): State<Arc<AppState>>) -> Response {
    json_response(StatusCode::OK, &choose_parameters(&state.settings))
}

/// Returns the settings where they are given. The defaults are as many transforms as keep the
/// decoders and the model busy, and the payload that the contract allows for this number.
fn choose_parameters(settings: &ServeSettings) -> ExecutionParameters {
    let body_mb = u32::try_from(settings.max_body_bytes >> 20)
        .unwrap_or(MAX_PAYLOAD_MB)
        .clamp(1, MAX_PAYLOAD_MB);
    let useful_transforms =
        u32::try_from(settings.decoders + 1).unwrap_or(MAX_TRANSFORMS).min(MAX_TRANSFORMS);
    let (transforms, payload_mb) =
        match (settings.max_concurrent_transforms, settings.max_payload_mb) {
            (Some(transforms), Some(payload_mb)) => (transforms, payload_mb),
            (Some(transforms), None) => {
                (transforms, (MAX_PAYLOAD_MB / transforms.max(1)).clamp(1, body_mb))
            }
            // No limit on the payload leaves the product open.
            (None, Some(0)) => (useful_transforms, 0),
            (None, Some(payload_mb)) => {
                (useful_transforms.min(MAX_PAYLOAD_MB / payload_mb).max(1), payload_mb)
            }
            (None, None) => {
                (useful_transforms, (MAX_PAYLOAD_MB / useful_transforms).clamp(1, body_mb))
            }
        };
    ExecutionParameters {
        max_concurrent_transforms: transforms,
        batch_strategy: settings.batch_strategy.name(),
        max_payload_in_mb: payload_mb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::endpoint::{BatchStrategy, EndpointKind};

    fn advertised(transforms: Option<u32>, payload: Option<u32>) -> (u32, u32) {
        let settings = ServeSettings {
            max_concurrent_transforms: transforms,
            decoders: 4,
            ..ServeSettings::for_endpoint(EndpointKind::Batch, payload)
        };
        let parameters = choose_parameters(&settings);
        (parameters.max_concurrent_transforms, parameters.max_payload_in_mb)
    }

    #[test]
    fn what_was_set_is_told_and_the_rest_fits_the_contract() {
        assert_eq!(advertised(None, None), (5, 20));
        assert_eq!(advertised(Some(2), None), (2, 50));
        assert_eq!(advertised(Some(200), None), (200, 1));
        assert_eq!(advertised(Some(0), None), (0, 100));
        assert_eq!(advertised(None, Some(6)), (5, 6));
        assert_eq!(advertised(None, Some(40)), (2, 40));
        assert_eq!(advertised(None, Some(400)), (1, 400));
        assert_eq!(advertised(None, Some(0)), (5, 0));
        assert_eq!(advertised(Some(7), Some(9)), (7, 9));
    }

    #[test]
    fn the_names_are_those_of_the_contract() {
        let settings = ServeSettings {
            batch_strategy: BatchStrategy::MultiRecord,
            decoders: 1,
            ..ServeSettings::default()
        };
        assert_eq!(
            serde_json::to_string(&choose_parameters(&settings)).unwrap(),
            r#"{"MaxConcurrentTransforms":2,"BatchStrategy":"MULTI_RECORD","MaxPayloadInMB":25}"#
        );
    }
}
