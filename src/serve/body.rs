//! Receiving a request's body under limits of size, memory and time.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use tokio::time::timeout;

use super::queue::{BodyPermit, Limiter};
use super::reply::{ApiError, ErrorType};

/// How long the rest of a refused body is read and thrown away. Closing on a client that still
/// sends would reset the connection, often before the client has seen why it was refused.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// A whole body, counted against the queue's bytes as long as the budget exists.
#[derive(Debug)]
pub(super) struct ReceivedBody {
    pub(super) bytes: Vec<u8>,
    pub(super) permit: BodyPermit,
}

/// Refuses a body whose declared length is over `most`, before a byte of it is read.
pub(super) fn check_declared_length(body: &Body, max_bytes: usize) -> Result<(), ApiError> {
    let declared_bytes = body.size_hint().lower();
    if declared_bytes > max_bytes as u64 {
        Err(body_too_large_error(&format!("{declared_bytes} bytes"), max_bytes))
    } else {
        Ok(())
    }
}

/// Reads the body to its end, which may be `most` bytes away and `patience`; `count` follows the bytes that have come.
pub(super) async fn receive_body(
    body: &mut Body,
    queue: &Arc<Limiter>,
    max_bytes: usize,
    time_limit: Duration,
    bytes_received: &mut usize,
) -> Result<ReceivedBody, ApiError> {
    let receiving = async {
        let mut permit = queue.body_permit();
        let mut bytes = Vec::new();
        // Nothing is copied while it grows; and what is reserved only takes memory once it is written to.
        let declared_bytes =
            usize::try_from(body.size_hint().lower()).unwrap_or(max_bytes).min(max_bytes);
        // Where even that fails, growing may not: the declared length is only a claim.
        let _ = bytes.try_reserve_exact(declared_bytes);
        while let Some(chunk) = next_chunk(body).await {
            let chunk = chunk.map_err(|error| broken_body_error(&error))?;
            *bytes_received += chunk.len();
            if *bytes_received > max_bytes {
                return Err(body_too_large_error("more bytes than allowed", max_bytes));
            }
            permit.grow(chunk.len())?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(ReceivedBody { bytes, permit })
    };
    match timeout(time_limit, receiving).await {
        Ok(Ok(received)) if received.bytes.is_empty() => Err(ApiError::new(
            ErrorType::EmptyBody,
            "the body is empty; send one whole image, or what else the Content-Type tells",
        )),
        Ok(received) => received,
        Err(_) => Err(ApiError::new(
            ErrorType::BodyTimeout,
            format!(
                "the body did not arrive within {} s; send a smaller image or send it faster",
                time_limit.as_secs_f64()
            ),
        )),
    }
}

/// Throws the rest of a refused body away for a while, so that the client sees the answer and can
/// go on using the connection.
pub(super) fn discard_body(mut body: Body) {
    if !body.is_end_stream() {
        let rest = async move { while let Some(Ok(_)) = next_chunk(&mut body).await {} };
        tokio::spawn(timeout(DISCARD_TIMEOUT, rest));
    }
}

/// The next bytes; trailers are passed over.
async fn next_chunk(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
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

fn broken_body_error(error: &axum::Error) -> ApiError {
    ApiError::new(
        ErrorType::BrokenBody,
        format!("the body broke off or its chunks are malformed ({error}); send it again whole"),
    )
}

fn body_too_large_error(found: &str, max_bytes: usize) -> ApiError {
    ApiError::new(
        ErrorType::BodyTooLarge,
        format!(
            "the body has {found}; at most {max_bytes} bytes are allowed (max_body_bytes), so send a \
             smaller image or fewer at a time"
        ),
    )
}
