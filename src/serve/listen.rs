//! Connections: accepted until told to stop, then drained.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::log::say;
use super::settings::Settings;

/// After a failed accept, which means no more file descriptors: some connection will end.
const BREATH: Duration = Duration::from_millis(100);

/// Serves `app` until `stop` completes. Then accepts no more connections, closes idle ones at
/// once, answers requests in flight, and cuts off what is left after the drain timeout.
pub async fn serve_until(
    listener: TcpListener,
    app: Router,
    settings: &Settings,
    stop: impl Future<Output = ()>,
) {
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
                    connections.spawn(connection(stream, app, settings.head_timeout, closing));
                }
                Err(error) => {
                    say(&format!("cannot accept a connection: {error}"));
                    sleep(BREATH).await;
                }
            },
        }
    }
    drop((listener, closing, app));
    close.send_replace(());
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(settings.drain_timeout, drained).await.is_err() {
        let (left, limit) = (connections.len(), settings.drain_timeout.as_secs_f64());
        say(&format!("{left} connections were still open after {limit} s and are cut off"));
        connections.shutdown().await;
    }
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
    head_timeout: Duration,
    mut closing: watch::Receiver<()>,
) {
    // Answers are written whole; waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
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
