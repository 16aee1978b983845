//! Images in, answers out: the way of a request through the checks of its head, its body and the pipeline.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;

use super::accept::ResponseFormat;
use super::body::{self, ReceivedBody};
use super::input::{self, BodyKind};
use super::options::RequestOptions;
use super::pipeline::{EncodedResponse, InferenceParams};
use super::queue::BodyPermit;
use super::reply::{ApiError, ErrorType};
use super::server::AppState;
use super::timing::AccessInfo;
use crate::inference::SegmentOptions;

/// `POST /invocations`.
pub(super) async fn invocations(State(state): State<Arc<AppState>>, request: Request) -> Response {
    run_invocation(&state, None, request).await
}

/// Answers about the request's images by the model of this name, or by the one that there is.
pub(super) async fn run_invocation(
    state: &Arc<AppState>,
    name: Option<&str>,
    request: Request,
) -> Response {
    let (head, mut body) = request.into_parts();
    let mut access_info = AccessInfo { model: name.map(str::to_owned), ..AccessInfo::default() };
    let outcome = async {
        let (content, params) = state.parse_head(name, &head.headers)?;
        let max_bytes = state.settings.max_body_bytes;
        body::check_declared_length(&body, max_bytes)?;
        state.limiter.check_capacity()?;
        let (time_limit, bytes_received) = (state.settings.body_timeout, &mut access_info.bytes_in);
        let received =
            body::receive_body(&mut body, &state.limiter, max_bytes, time_limit, bytes_received)
                .await?;
        let content_type = params.response_format.content_type();
        let EncodedResponse { bytes, timing } =
            state.answer_request(content, params, received).await?;
        let mut permit = state.limiter.body_permit();
        permit.grow(bytes.len())?;
        Ok((content_type, Bytes::from_owner(CountedBytes { bytes, _permit: permit }), timing))
    };
    let mut response = match outcome.await {
        Ok((content_type, bytes, timing)) => {
            access_info.timing = Some(timing);
            ([(CONTENT_TYPE, content_type)], bytes).into_response()
        }
        Err(refusal) => {
            discard_unread_body(&head, body, access_info.bytes_in);
            ApiError::into_response(refusal)
        }
    };
    response.extensions_mut().insert(access_info);
    response
}

/// The bytes of an answer, which count until the connection is done with them: a client that asks and never reads would
/// else be given memory without end.
struct CountedBytes {
    bytes: Vec<u8>,
    _permit: BodyPermit,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Takes the rest of a refused body off the line, unless the client sends it only after "100 Continue", which reading
/// would call for.
pub(super) fn discard_unread_body(head: &Parts, body: Body, bytes_in: usize) {
    if bytes_in > 0 || !head.headers.contains_key(EXPECT) {
        body::discard_body(body);
    }
}

impl AppState {
    /// What the head asks for, if that can be had.
    fn parse_head(
        &self,
        name: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(BodyKind, InferenceParams), ApiError> {
        let model = self.model(name)?;
        let options = RequestOptions::parse(headers)?;
        let content = BodyKind::from_headers(headers)?;
        let response_format = ResponseFormat::negotiate(headers, content, &options)?;
        let detail = response_format.output_detail();
        let segment_options = SegmentOptions { tile: options.tile, tta: options.tta, detail };
        Ok((content, InferenceParams { model, response_format, options: segment_options }))
    }

    async fn answer_request(
        self: &Arc<Self>,
        content: BodyKind,
        params: InferenceParams,
        received: ReceivedBody,
    ) -> Result<EncodedResponse, ApiError> {
        let ReceivedBody { bytes, permit } = received;
        let parsed = match content {
            // Nothing to be read before the decoder does.
            BodyKind::Image | BodyKind::Npy => input::parse_body(content, bytes),
            BodyKind::Json | BodyKind::JsonLines => {
                let parsing = spawn_blocking(move || input::parse_body(content, bytes));
                parsing.await.unwrap_or_else(|_| {
                    Err(ApiError::new(ErrorType::InvalidJson, "the body cannot be read as JSON"))
                })
            }
        };
        match parsed? {
            input::RequestBody::Image(source) => self.answer_image(params, source, permit).await,
            input::RequestBody::Records(records, style) => {
                self.answer_records(params, records, style, permit).await
            }
        }
    }
}
