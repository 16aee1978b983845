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

use super::log::{Level, log_message};
use super::settings::ServeSettings;

/// After a failed accept, which means no more file descriptors: some connection will end.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// How long connections without a request are kept after the stop, at most: one that a client has just sent on its way
/// shall be answered and not meet a closed door.
const IDLE_GRACE: Duration = Duration::from_millis(200);

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
    settings: &ServeSettings,
    stop: impl Future<Output = ()>,
) {
    let is_stopping = Arc::new(AtomicBool::new(false));
    let app = app.layer(from_fn_with_state(Arc::clone(&is_stopping), close_after_response));
    let timeouts = Timeouts { head: settings.head_timeout, reply: settings.reply_timeout };
    let (close_sender, close_receiver) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (app, close_receiver) = (app.clone(), close_receiver.clone());
                    connections.spawn(serve_connection(stream, app, timeouts, close_receiver));
                }
                Err(error) => {
                    log_message(Level::Warning, format_args!("cannot accept a connection: {error}"));
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
        }
    }
    // For a client that is connected, whether we have taken note of that or not is the same.
    while let Some(stream) = accept_pending(&listener).await {
        connections.spawn(serve_connection(stream, app.clone(), timeouts, close_receiver.clone()));
    }
    drop((listener, close_receiver, app));
    is_stopping.store(true, Ordering::Relaxed);
    let drained = async {
        // Those who are told that this was the last answer close by themselves.
        let all_closed = async { while connections.join_next().await.is_some() {} };
        if timeout(IDLE_GRACE, all_closed).await.is_err() {
            close_sender.send_replace(());
            while connections.join_next().await.is_some() {}
        }
    };
    if timeout(settings.drain_timeout, drained).await.is_err() {
        let (open_count, limit_seconds) = (connections.len(), settings.drain_timeout.as_secs_f64());
        let problem = format!(
            "{open_count} connections were still open after {limit_seconds} s and are cut off"
        );
        log_message(Level::Warning, problem);
        connections.shutdown().await;
    }
}

/// A connection that has been made and waits to be accepted, if there is one now.
async fn accept_pending(listener: &TcpListener) -> Option<TcpStream> {
    poll_fn(|cx| match listener.poll_accept(cx) {
        Poll::Ready(Ok((stream, _))) => Poll::Ready(Some(stream)),
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Tells clients, once the server is stopping, that there will be no answer after this one.
async fn close_after_response(
    State(is_stopping): State<Arc<AtomicBool>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if is_stopping.load(Ordering::Relaxed) {
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
async fn serve_connection(
    stream: TcpStream,
    app: Router,
    timeouts: Timeouts,
    mut close_receiver: watch::Receiver<()>,
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
        _ = close_receiver.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
