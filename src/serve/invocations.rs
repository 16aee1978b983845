//! Images in, answers out: the way of a request through the checks of its head, its body and the pipeline.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;

use super::accept::Reply;
use super::body::{self, Received};
use super::input::{self, Content};
use super::options::Options;
use super::pipeline::{Done, Wanted};
use super::queue::Budget;
use super::reply::{ErrorType, Refusal};
use super::server::Shared;
use super::timing::Seen;
use crate::inference::Ask;

/// `POST /invocations`.
pub(super) async fn invocations(State(server): State<Arc<Shared>>, request: Request) -> Response {
    invoke(&server, None, request).await
}

/// Answers about the request's images by the model of this name, or by the one that there is.
pub(super) async fn invoke(server: &Arc<Shared>, name: Option<&str>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let mut seen = Seen { model: name.map(str::to_owned), ..Seen::default() };
    let outcome = async {
        let (content, wanted) = server.wanted(name, &head.headers)?;
        let most = server.settings.max_body_bytes;
        body::check_declared(&body, most)?;
        server.queue.check()?;
        let (patience, count) = (server.settings.body_timeout, &mut seen.bytes_in);
        let received = body::receive(&mut body, &server.queue, most, patience, count).await?;
        let content_type = wanted.reply.content_type();
        let Done { bytes, timing } = server.answer(content, wanted, received).await?;
        let mut budget = server.queue.budget();
        budget.grow(bytes.len())?;
        Ok((content_type, Bytes::from_owner(Counted { bytes, _budget: budget }), timing))
    };
    let mut response = match outcome.await {
        Ok((content_type, bytes, timing)) => {
            seen.timing = Some(timing);
            ([(CONTENT_TYPE, content_type)], bytes).into_response()
        }
        Err(refusal) => {
            discard(&head, body, seen.bytes_in);
            Refusal::into_response(refusal)
        }
    };
    response.extensions_mut().insert(seen);
    response
}

/// The bytes of an answer, which count until the connection is done with them: a client that asks and never reads would
/// else be given memory without end.
struct Counted {
    bytes: Vec<u8>,
    _budget: Budget,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Takes the rest of a refused body off the line, unless the client sends it only after "100 Continue", which reading
/// would call for.
pub(super) fn discard(head: &Parts, body: Body, bytes_in: usize) {
    if bytes_in > 0 || !head.headers.contains_key(EXPECT) {
        body::discard(body);
    }
}

impl Shared {
    /// What the head asks for, if that can be had.
    fn wanted(
        &self,
        name: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(Content, Wanted), Refusal> {
        let model = self.model(name)?;
        let options = Options::parse(headers)?;
        let content = Content::of(headers)?;
        let reply = Reply::negotiate(headers, content, &options)?;
        let ask = Ask { view: options.view, detail: reply.detail() };
        Ok((content, Wanted { model, reply, ask }))
    }

    async fn answer(
        self: &Arc<Self>,
        content: Content,
        wanted: Wanted,
        received: Received,
    ) -> Result<Done, Refusal> {
        let Received { bytes, budget } = received;
        let parsed = match content {
            // Nothing to be read before the decoder does.
            Content::Image | Content::Npy => input::parse(content, bytes),
            Content::Json | Content::JsonLines => {
                let parsing = spawn_blocking(move || input::parse(content, bytes));
                parsing.await.unwrap_or_else(|_| {
                    Err(Refusal::new(ErrorType::InvalidJson, "the body cannot be read as JSON"))
                })
            }
        };
        match parsed? {
            input::Request::One(source) => self.answer_one(wanted, source, budget).await,
            input::Request::Records(records, style) => {
                self.answer_records(wanted, records, style, budget).await
            }
        }
    }
}
