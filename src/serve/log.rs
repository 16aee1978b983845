//! One plain line per request on stderr, where SageMaker collects it.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

/// How many bytes of a body were received; handlers leave it in the response's extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct BytesIn(pub(super) usize);

/// Prints a line; a closed stderr is no reason to stop serving.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// The same router, with a line for every request.
pub(super) fn logged(app: Router) -> Router {
    app.layer(from_fn_with_state(LastPing::default(), log))
}

/// The last answer to `/ping`. SageMaker asks every few seconds for ever; only a change is news.
#[derive(Debug, Clone, Default)]
struct LastPing(Arc<AtomicU16>);

/// Prints a request's line once its answer is made.
async fn log(State(last): State<LastPing>, request: Request, next: Next) -> Response {
    let ping = request.uri().path() == "/ping";
    let line = Line::begin(&request);
    let response = next.run(request).await;
    let status = response.status().as_u16();
    if ping && last.0.swap(status, Ordering::Relaxed) == status {
        line.keep_quiet();
    } else {
        line.answered(&response);
    }
    response
}

/// The line of a request in progress. Dropped on the way, it tells that nobody got an answer.
struct Line {
    request: String,
    begun: Instant,
    told: bool,
}

impl Line {
    fn begin(request: &Request) -> Self {
        let path: String = request.uri().path().chars().take(200).collect();
        let request = format!("{} {path}", request.method());
        Self { request, begun: Instant::now(), told: false }
    }

    fn answered(mut self, response: &Response) {
        let bytes_in = response.extensions().get::<BytesIn>().map_or(0, |bytes| bytes.0);
        let bytes_out = response.body().size_hint().lower();
        let (request, ms) = (&self.request, self.begun.elapsed().as_millis());
        let status = response.status().as_u16();
        say(&format!("{request} {status} {ms} ms, {bytes_in} B in, {bytes_out} B out"));
        self.told = true;
    }

    fn keep_quiet(mut self) {
        self.told = true;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.told {
            let (request, ms) = (&self.request, self.begun.elapsed().as_millis());
            say(&format!("{request} unanswered after {ms} ms: the client left or was cut off"));
        }
    }
}
