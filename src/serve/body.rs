//! Receiving a request's body under limits of size, memory and time.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use tokio::time::timeout;

use super::queue::{Budget, Queue};
use super::reply::{ErrorType, Refusal};

/// How long the rest of a refused body is read and thrown away. Closing on a client that still
/// sends would reset the connection, often before the client has seen why it was refused.
const DISCARD_FOR: Duration = Duration::from_secs(5);

/// A whole body, counted against the queue's bytes as long as the budget exists.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) budget: Budget,
}

/// Refuses a body whose declared length is over `most`, before a byte of it is read.
pub(super) fn check_declared(body: &Body, most: usize) -> Result<(), Refusal> {
    let declared = body.size_hint().lower();
    if declared > most as u64 { Err(too_large(&format!("{declared} bytes"), most)) } else { Ok(()) }
}

/// Reads the body to its end, which may be `most` bytes away and `patience`; `count` follows the bytes that have come.
pub(super) async fn receive(
    body: &mut Body,
    queue: &Arc<Queue>,
    most: usize,
    patience: Duration,
    count: &mut usize,
) -> Result<Received, Refusal> {
    let all = async {
        let mut budget = queue.budget();
        let mut bytes = Vec::new();
        // Nothing is copied while it grows; and what is reserved only takes memory once it is written to.
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(most).min(most);
        // Where even that fails, growing may not: the declared length is only a claim.
        let _ = bytes.try_reserve_exact(declared);
        while let Some(piece) = next(body).await {
            let piece = piece.map_err(|error| broken(&error))?;
            *count += piece.len();
            if *count > most {
                return Err(too_large("more bytes than allowed", most));
            }
            budget.grow(piece.len())?;
            bytes.extend_from_slice(&piece);
        }
        Ok(Received { bytes, budget })
    };
    match timeout(patience, all).await {
        Ok(Ok(received)) if received.bytes.is_empty() => Err(Refusal::new(
            ErrorType::EmptyBody,
            "the body is empty; send one whole image, or what else the Content-Type tells",
        )),
        Ok(received) => received,
        Err(_) => Err(Refusal::new(
            ErrorType::BodyTimeout,
            format!(
                "the body did not arrive within {} s; send a smaller image or send it faster",
                patience.as_secs_f64()
            ),
        )),
    }
}

/// Throws the rest of a refused body away for a while, so that the client sees the answer and can
/// go on using the connection.
pub(super) fn discard(mut body: Body) {
    if !body.is_end_stream() {
        let rest = async move { while let Some(Ok(_)) = next(&mut body).await {} };
        tokio::spawn(timeout(DISCARD_FOR, rest));
    }
}

/// The next bytes; trailers are passed over.
async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        match frame {
            Err(error) => return Some(Err(error)),
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
        }
    }
}

fn broken(error: &axum::Error) -> Refusal {
    Refusal::new(
        ErrorType::BrokenBody,
        format!("the body broke off or its chunks are malformed ({error}); send it again whole"),
    )
}

fn too_large(got: &str, most: usize) -> Refusal {
    Refusal::new(
        ErrorType::BodyTooLarge,
        format!(
            "the body has {got}; at most {most} bytes are allowed (max_body_bytes), so send a \
             smaller image or fewer at a time"
        ),
    )
}
