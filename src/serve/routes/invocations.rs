//! Images in, answers out: the checks of a request's head, its body, and the answer.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;

use crate::http::{
    AccessInfo, BodyLimits, ReceivedBody, check_declared_length, decode_body, discard_unread_body,
    parse_content_encoding, receive_body,
};
use crate::inference::SegmentOptions;
use crate::serve::api_error::{ApiError, body_error, content_encoding_error, thread_ended_error};
use crate::serve::pipeline::{EncodedResponse, InferenceParams};
use crate::serve::request::BodyKind;
use crate::serve::request::options::RequestOptions;
use crate::serve::response::format::ResponseFormat;
use crate::serve::state::AppState;

/// Answers `POST /invocations`.
pub(super) async fn invocations(State(state): State<Arc<AppState>>, request: Request) -> Response {
    run_invocation(&state, None, request).await
}

/// Answers the images of a request by the model of this name, or by the single model.
pub(super) async fn run_invocation(
    state: &Arc<AppState>,
    name: Option<&str>,
    request: Request,
) -> Response {
    let (head, mut body) = request.into_parts();
    let mut access_info = AccessInfo::default();
    if let Some(name) = name {
        access_info.fields.push(("model", name.into()));
    }
    let outcome = async {
        let (body_kind, params) = parse_head(state, name, &head.headers)?;
        let max_bytes = state.settings.max_body_bytes;
        check_declared_length(&body, max_bytes).map_err(body_error)?;
        state.pipeline.limiter.check_capacity()?;
        let received =
            receive(state, &head.headers, &mut body, max_bytes, &mut access_info.bytes_in).await?;
        let content_type = params.response_format.content_type();
        let EncodedResponse { bytes, timing } =
            state.pipeline.answer(body_kind, params, received).await?;
        let permit = state.pipeline.bodies.permit();
        let bytes = permit.hold(bytes).map_err(|error| body_error(error.into()))?;
        Ok((content_type, bytes, timing))
    };
    let mut response = match outcome.await {
        Ok((content_type, bytes, timing)) => {
            state.metrics.record_timing(&timing);
            timing.report_to(&mut access_info);
            ([(CONTENT_TYPE, content_type)], bytes).into_response()
        }
        Err(refusal) => {
            discard_unread_body(&head.headers, body, access_info.bytes_in);
            ApiError::into_response(refusal)
        }
    };
    response.extensions_mut().insert(access_info);
    response
}

/// Reads a body of at most `max_bytes` bytes, within the server's bounds on time and memory, and
/// unpacks it if it is compressed. `bytes_received` counts the bytes that have arrived.
pub(super) async fn receive(
    state: &AppState,
    headers: &HeaderMap,
    body: &mut Body,
    max_bytes: usize,
    bytes_received: &mut usize,
) -> Result<ReceivedBody, ApiError> {
    let codings = match parse_content_encoding(headers) {
        Ok(codings) => codings,
        Err(encoding) => return Err(content_encoding_error(&encoding)),
    };
    let limits = BodyLimits { max_bytes, timeout: state.settings.body_timeout };
    let permit = state.pipeline.bodies.permit();
    let received = receive_body(body, limits, permit, bytes_received).await.map_err(body_error)?;
    if codings.is_empty() {
        return Ok(received);
    }
    // Unpacking takes a core, as decoding an image does.
    let decoder_permit = state.pipeline.limiter.decoder_permit().await?;
    let unpacking = spawn_blocking(move || {
        let unpacked = decode_body(received, &codings, max_bytes);
        drop(decoder_permit);
        unpacked
    });
    match unpacking.await {
        Ok(unpacked) => unpacked.map_err(body_error),
        Err(_) => Err(thread_ended_error()),
    }
}

/// Reads the head of a request, and refuses one that cannot be answered.
fn parse_head(
    state: &AppState,
    name: Option<&str>,
    headers: &HeaderMap,
) -> Result<(BodyKind, InferenceParams), ApiError> {
    let model = state.model(name)?;
    let options = RequestOptions::parse(headers)?;
    let body_kind = BodyKind::from_headers(headers)?;
    let response_format = ResponseFormat::negotiate(headers, body_kind, &options)?;
    let detail = response_format.output_detail();
    let segment_options =
        SegmentOptions { tile: options.tile, tta: options.tta, detail, pixel_entropy: false };
    Ok((body_kind, InferenceParams { model, response_format, options: segment_options }))
}
