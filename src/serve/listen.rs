//! Connections: accepted until told to stop, then drained.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::log::{Level, say};
use super::settings::Settings;

/// After a failed accept, which means no more file descriptors: some connection will end.
const BREATH: Duration = Duration::from_millis(100);

/// How long connections without a request are kept after the stop, at most: one that a client has just sent on its way
/// shall be answered and not meet a closed door.
const LINGER: Duration = Duration::from_millis(200);

/// How long a client may send nothing of a head, and take nothing of an answer.
#[derive(Clone, Copy)]
struct Timeouts {
    head: Duration,
    reply: Duration,
}

/// Serves `app` until `stop` completes. Then accepts no more connections, soon closes idle ones, answers requests in
/// flight, and cuts off what is left after the drain timeout.
pub async fn serve_until(
    listener: TcpListener,
    app: Router,
    settings: &Settings,
    stop: impl Future<Output = ()>,
) {
    let stopping = Arc::new(AtomicBool::new(false));
    let app = app.layer(from_fn_with_state(Arc::clone(&stopping), last_answers));
    let timeouts = Timeouts { head: settings.head_timeout, reply: settings.reply_timeout };
    let (close, closing) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (app, closing) = (app.clone(), closing.clone());
                    connections.spawn(connection(stream, app, timeouts, closing));
                }
                Err(error) => {
                    say(Level::Warning, format_args!("cannot accept a connection: {error}"));
                    sleep(BREATH).await;
                }
            },
        }
    }
    // For a client that is connected, whether we have taken note of that or not is the same.
    while let Some(stream) = waiting(&listener).await {
        connections.spawn(connection(stream, app.clone(), timeouts, closing.clone()));
    }
    drop((listener, closing, app));
    stopping.store(true, Ordering::Relaxed);
    let drained = async {
        // Those who are told that this was the last answer close by themselves.
        let idle_ones = async { while connections.join_next().await.is_some() {} };
        if timeout(LINGER, idle_ones).await.is_err() {
            close.send_replace(());
            while connections.join_next().await.is_some() {}
        }
    };
    if timeout(settings.drain_timeout, drained).await.is_err() {
        let (left, limit) = (connections.len(), settings.drain_timeout.as_secs_f64());
        let problem = format!("{left} connections were still open after {limit} s and are cut off");
        say(Level::Warning, problem);
        connections.shutdown().await;
    }
}

/// A connection that has been made and waits to be accepted, if there is one now.
async fn waiting(listener: &TcpListener) -> Option<TcpStream> {
    poll_fn(|cx| match listener.poll_accept(cx) {
        Poll::Ready(Ok((stream, _))) => Poll::Ready(Some(stream)),
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Tells clients, once the server is stopping, that there will be no answer after this one.
async fn last_answers(
    State(stopping): State<Arc<AtomicBool>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if stopping.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// One connection with all its requests.
///
/// A client that closes its sending half once its request is out gets no answer: hyper takes the
/// end of its bytes for a hang-up and drops the request. That is the price of noticing clients who
/// left, so that nothing is computed for them; hyper's `half_close` would answer the one and compute
/// for the other, whom it cannot tell apart.
async fn connection(
    stream: TcpStream,
    app: Router,
    timeouts: Timeouts,
    mut closing: watch::Receiver<()>,
) {
    // Answers are written whole; waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(timeouts.reply));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // First what has been read already: a request that is here is in flight.
        biased;
        // How a connection ended is the client's affair; its requests are logged.
        _ = &mut connection => return,
        _ = closing.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
