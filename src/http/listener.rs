//! Connections: accepted until the server is told to stop, then drained.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
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

/// Pause after a failed accept. Accepting fails if there are no more file descriptors, until some
/// connection ends.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Longest time that connections without a request stay open after the stop. A request that a
/// client has just sent is still answered.
const IDLE_GRACE: Duration = Duration::from_millis(200);

/// The time limits on clients and requests.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Longest time for the head of a request to arrive, and for a connection to be idle.
    pub head: Duration,
    /// Longest time for a client to take nothing of its answer.
    pub reply: Duration,
    /// Longest time for requests in flight after the stop.
    pub drain: Duration,
}

/// Listens on an address and logs it; port 0 lets the system choose.
pub async fn bind_listener(host: IpAddr, port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((host, port)).await?;
    let address = listener.local_addr()?;
    log_message(Level::Info, format_args!("listening on http://{address}"));
    Ok(listener)
}

/// Serves `app` until `stop` completes. Then accepts no more connections, soon closes idle ones,
/// answers requests in flight, and cuts off what is left after [`Timeouts::drain`].
pub async fn serve_until(
    listener: TcpListener,
    app: Router,
    timeouts: Timeouts,
    stop: impl Future<Output = ()>,
) {
    let is_stopping = Arc::new(AtomicBool::new(false));
    let app = app.layer(from_fn_with_state(Arc::clone(&is_stopping), close_after_response));
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
                    let problem = format_args!("cannot accept a connection: {error}");
                    log_message(Level::Warning, problem);
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
        }
    }
    // A client in the backlog is connected as far as it can see, so it is served as well.
    while let Some(stream) = accept_pending(&listener).await {
        connections.spawn(serve_connection(stream, app.clone(), timeouts, close_receiver.clone()));
    }
    drop((listener, close_receiver, app));
    is_stopping.store(true, Ordering::Relaxed);
    drain_connections(connections, &close_sender, timeouts.drain).await;
}

/// Waits until all connections have ended, and cuts off those that are open after `drain_timeout`.
async fn drain_connections(
    mut connections: JoinSet<()>,
    close_sender: &watch::Sender<()>,
    drain_timeout: Duration,
) {
    let drained = async {
        // Clients whose answer says "Connection: close" close by themselves.
        let all_closed = async { while connections.join_next().await.is_some() {} };
        if timeout(IDLE_GRACE, all_closed).await.is_err() {
            close_sender.send_replace(());
            while connections.join_next().await.is_some() {}
        }
    };
    if timeout(drain_timeout, drained).await.is_err() {
        let (open_count, limit_seconds) = (connections.len(), drain_timeout.as_secs_f64());
        let problem = format!(
            "{open_count} connections were still open after {limit_seconds} s and are cut off"
        );
        log_message(Level::Warning, problem);
        connections.shutdown().await;
    }
}

/// Returns a connection of the backlog, if there is one now.
async fn accept_pending(listener: &TcpListener) -> Option<TcpStream> {
    poll_fn(|cx| match listener.poll_accept(cx) {
        Poll::Ready(Ok((stream, _))) => Poll::Ready(Some(stream)),
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Adds `Connection: close` to answers while the server is stopping.
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

/// Serves one connection with all its requests.
///
/// A client that closes its sending half once its request is out gets no answer: hyper takes the
/// end of its bytes for a hang-up and drops the request. This is the price of noticing clients that
/// left, so that nothing is computed for them. hyper's `half_close` would answer the former and
/// compute for the latter, since it cannot tell them apart.
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
        // The connection is polled first: a request whose bytes have arrived is in flight.
        biased;
        // The end of a connection is not logged; its requests are.
        _ = &mut connection => return,
        _ = close_receiver.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
