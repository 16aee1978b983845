//! One image in, its mask out: the way of a request through checks, queue, decoder and model.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;

use super::app::Server;
use super::body::{self, Received};
use super::engine::Status;
use super::log::BytesIn;
use super::media;
use super::reply::{ErrorType, Refusal};
use crate::imaging::{DecodeError, Limits, decode_upright, encode_mask};

/// `POST /invocations`.
pub(super) async fn invocations(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let mut count = 0;
    let outcome = async {
        media::check_content_type(&head.headers)?;
        media::check_accept(&head.headers)?;
        body::check_declared(&body, &server.settings)?;
        server.check_engine()?;
        server.queue.check()?;
        let received =
            body::receive(&mut body, &server.queue, &server.settings, &mut count).await?;
        server.mask(received).await
    };
    let mut response = match outcome.await {
        Ok(png) => ([(CONTENT_TYPE, media::PNG)], png).into_response(),
        Err(refusal) => {
            if count > 0 || !waits_to_send(&head) {
                body::discard(body);
            }
            refusal.into_response()
        }
    };
    response.extensions_mut().insert(BytesIn(count));
    response
}

/// Whether the client sends its body only after "100 Continue", which reading would call for.
fn waits_to_send(head: &Parts) -> bool {
    head.headers.contains_key(EXPECT)
}

impl Server {
    /// Refuses unless the model is there.
    pub(super) fn check_engine(&self) -> Result<(), Refusal> {
        match self.engine.status() {
            Status::Ready => Ok(()),
            Status::Loading => Err(Refusal::new(ErrorType::ModelLoading, "loading the model")),
            Status::Failed(error) => Err(Refusal::new(
                ErrorType::ModelUnavailable,
                format!("the model could not be loaded: {error}"),
            )),
            Status::Gone => Err(gone()),
        }
    }

    /// The mask of a received image, as a PNG. Decoding and encoding keep a core busy for up to
    /// seconds; they run beside the threads that answer pings and beside the engine's.
    async fn mask(&self, received: Received) -> Result<Vec<u8>, Refusal> {
        let ticket = self.queue.enter().await?;
        let limits = Limits { max_pixels: self.settings.max_pixels };
        let decoding = spawn_blocking(move || {
            // The whole of it moves in, so that its budget is held until its bytes are gone.
            let received = received;
            (decode_upright(&received.bytes, limits), ticket)
        });
        // A decoder that panics does so because of these bytes.
        let (image, ticket) = decoding.await.map_err(|_| undecodable("the decoder gave up"))?;
        let image = image.map_err(|error| refused_image(&error))?;
        let (width, height) = image.dimensions();
        let (mask, ticket) = self.engine.segment(image, ticket).await.ok_or_else(gone)?;
        let mask = mask.map_err(|error| {
            failed(format!("the model failed on this image of {width}x{height} pixels: {error}"))
        })?;
        let encoding = spawn_blocking(move || {
            let png = encode_mask(&mask);
            drop((mask, ticket));
            png
        });
        encoding.await.map_err(|_| failed("the mask could not be encoded".into()))
    }
}

fn refused_image(error: &DecodeError) -> Refusal {
    match error {
        DecodeError::Empty => Refusal::new(ErrorType::EmptyBody, error.to_string()),
        DecodeError::TooLarge { .. } | DecodeError::TooLong { .. } => {
            Refusal::new(ErrorType::ImageTooLarge, error.to_string())
        }
        DecodeError::NotAnImage { .. } | DecodeError::Broken(_) => undecodable(&error.to_string()),
    }
}

fn undecodable(reason: &str) -> Refusal {
    Refusal::new(
        ErrorType::UndecodableImage,
        format!("the body cannot be decoded: {reason}; send one whole JPEG or PNG image"),
    )
}

fn failed(reason: String) -> Refusal {
    Refusal::new(ErrorType::InferenceFailed, reason)
}

fn gone() -> Refusal {
    Refusal::new(
        ErrorType::ModelUnavailable,
        "the engine's thread has ended; restart the container and see its log for the reason",
    )
}
