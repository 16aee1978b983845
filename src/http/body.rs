//! Bodies under limits of size, memory and time.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use tokio::time::timeout;

use super::content_encoding::ContentCoding;

/// Longest time to read and drop the rest of a refused body. Closing on a client that still sends
/// would reset the connection, often before the client has seen why it was refused.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// The limits on one body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Largest body, in bytes.
    pub max_bytes: usize,
    /// Longest time for the whole body to arrive.
    pub timeout: Duration,
}

/// The reason why a body was refused.
#[derive(Debug)]
pub enum BodyError {
    /// The body has no bytes.
    Empty,
    /// The body ended early, or its chunks are malformed.
    Broken(axum::Error),
    /// The body has more bytes than allowed.
    TooLarge {
        /// Length that the head declares, in bytes; none if the limit was passed while reading.
        declared_bytes: Option<u64>,
        /// Largest allowed body, in bytes.
        max_bytes: usize,
    },
    /// The body is not what its `Content-Encoding` tells, or it is cut off.
    Undecodable {
        /// Coding that does not fit.
        coding: ContentCoding,
        /// Reason.
        error: std::io::Error,
    },
    /// The body has more bytes than allowed once it is unpacked.
    UnpackedTooLarge {
        /// Largest allowed body, in bytes.
        max_bytes: usize,
    },
    /// The body did not arrive within this time.
    TimedOut(Duration),
    /// All bodies together have more bytes than the budget.
    OverBudget,
}

impl From<BudgetExceeded> for BodyError {
    fn from(_: BudgetExceeded) -> Self {
        Self::OverBudget
    }
}

/// A bound on the bytes of all bodies of a server. Clones share one bound.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    used_bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

/// The bytes of one body, counted against the budget until the permit is dropped.
#[derive(Debug)]
pub struct BodyPermit {
    budget: BodyBudget,
    bytes: usize,
}

/// The error of a body that does not fit into the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetExceeded;

impl BodyBudget {
    /// Makes a budget of `max_bytes` bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self { used_bytes: Arc::default(), max_bytes }
    }

    /// Returns a permit of 0 bytes, for a body that begins to arrive.
    pub fn permit(&self) -> BodyPermit {
        BodyPermit { budget: self.clone(), bytes: 0 }
    }
}

impl BodyPermit {
    /// Returns a permit of 0 bytes in the same budget.
    #[must_use]
    pub fn sibling(&self) -> Self {
        self.budget.permit()
    }

    /// Counts `added_bytes` more bytes for this body.
    pub fn grow(&mut self, added_bytes: usize) -> Result<(), BudgetExceeded> {
        let BodyBudget { used_bytes, max_bytes } = &self.budget;
        let grown = used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(added_bytes).filter(|total| total <= max_bytes)
        });
        match grown {
            Ok(_) => {
                self.bytes += added_bytes;
                Ok(())
            }
            Err(_) => Err(BudgetExceeded),
        }
    }

    /// Counts the bytes of an answer until the connection has sent them. A client that asks and
    /// never reads would otherwise be given memory without end.
    pub fn hold(mut self, bytes: Vec<u8>) -> Result<Bytes, BudgetExceeded> {
        self.grow(bytes.len())?;
        Ok(Bytes::from_owner(CountedBytes { bytes, _permit: self }))
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes with the permit that counts them.
struct CountedBytes {
    bytes: Vec<u8>,
    _permit: BodyPermit,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A whole body, counted against the budget as long as the permit exists.
#[derive(Debug)]
pub struct ReceivedBody {
    /// Bytes of the body; at least one.
    pub bytes: Vec<u8>,
    /// Permit of these bytes.
    pub permit: BodyPermit,
}

/// Refuses a body whose declared length is over `max_bytes`, before a byte of it is read.
pub fn check_declared_length(body: &Body, max_bytes: usize) -> Result<(), BodyError> {
    let declared_bytes = body.size_hint().lower();
    if declared_bytes <= max_bytes as u64 {
        return Ok(());
    }
    Err(BodyError::TooLarge { declared_bytes: Some(declared_bytes), max_bytes })
}

/// Reads a body to its end, and counts its bytes by `permit`. `bytes_received` counts the bytes
/// that have arrived, also if the body is refused.
pub async fn receive_body(
    body: &mut Body,
    limits: BodyLimits,
    permit: BodyPermit,
    bytes_received: &mut usize,
) -> Result<ReceivedBody, BodyError> {
    let receiving = receive_chunks(body, limits.max_bytes, permit, bytes_received);
    let Ok(outcome) = timeout(limits.timeout, receiving).await else {
        return Err(BodyError::TimedOut(limits.timeout));
    };
    let received = outcome?;
    if received.bytes.is_empty() { Err(BodyError::Empty) } else { Ok(received) }
}

async fn receive_chunks(
    body: &mut Body,
    max_bytes: usize,
    mut permit: BodyPermit,
    bytes_received: &mut usize,
) -> Result<ReceivedBody, BodyError> {
    let mut bytes = Vec::new();
    // Reserving at once avoids copies while the body grows; memory is only taken when it is
    // written.
    let declared_bytes =
        usize::try_from(body.size_hint().lower()).unwrap_or(max_bytes).min(max_bytes);
    // The declared length is only a claim: if it cannot be reserved, the body itself may still fit.
    let _ = bytes.try_reserve_exact(declared_bytes);
    while let Some(chunk) = next_chunk(body).await {
        let chunk = chunk.map_err(BodyError::Broken)?;
        *bytes_received += chunk.len();
        if *bytes_received > max_bytes {
            return Err(BodyError::TooLarge { declared_bytes: None, max_bytes });
        }
        permit.grow(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(ReceivedBody { bytes, permit })
}

/// Drops the rest of a refused request's body, so that the client sees the answer and can go on
/// using the connection. `bytes_received` is the number of bytes that were read before.
///
/// A client that waits for "100 Continue" has sent nothing, and reading would ask it to send.
pub fn discard_unread_body(request_headers: &HeaderMap, mut body: Body, bytes_received: usize) {
    let waits_for_continue = bytes_received == 0 && request_headers.contains_key(EXPECT);
    if waits_for_continue || body.is_end_stream() {
        return;
    }
    let rest = async move { while let Some(Ok(_)) = next_chunk(&mut body).await {} };
    tokio::spawn(timeout(DISCARD_TIMEOUT, rest));
}

/// Returns the next bytes of a body; trailers are skipped.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_counted_until_they_are_gone() {
        let budget = BodyBudget::new(10);
        let (mut one, mut two) = (budget.permit(), budget.permit());
        one.grow(6).unwrap();
        assert!(two.grow(5).is_err());
        two.grow(4).unwrap();
        drop(one);
        two.grow(6).unwrap();
    }

    #[test]
    fn an_answer_is_counted_until_its_bytes_are_gone() {
        let budget = BodyBudget::new(10);
        let answer = budget.permit().hold(vec![0; 8]).unwrap();
        let part = answer.slice(..1);
        drop(answer);
        assert!(budget.permit().hold(vec![0; 3]).is_err());
        drop(part);
        budget.permit().hold(vec![0; 10]).unwrap();
    }
}
