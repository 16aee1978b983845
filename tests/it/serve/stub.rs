//! Engines, images, bodies and requests that the server's tests are made of.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Frame;
use image::{GrayImage, Luma, RgbImage};
use maskmaker::error::{Error, Result};
use maskmaker::imaging::{DecodeLimits, decode_mask, encode_png};
use maskmaker::inference::{ModelInfo, OutputDetail, Segment, SegmentOptions, Segmentation};
use maskmaker::serve::{LoadedModel, ModelLoader, ServeSettings, Server};
use tower::ServiceExt;

/// Longer than anything here takes; a test that waits this long has failed.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(20);

/// An engine that is a function of the images of a batch.
struct Stub<F>(ModelInfo, F);

impl<F> Segment for Stub<F>
where
    F: FnMut(&[&RgbImage], &SegmentOptions) -> Result<Vec<GrayImage>> + Send,
{
    fn segment(&mut self, images: &[&RgbImage], ask: &SegmentOptions) -> Result<Vec<Segmentation>> {
        let answer = |ids: GrayImage| {
            let pixels = ids.len();
            let of = |detail, count| if ask.detail >= detail { vec![0.5; count] } else { vec![] };
            Segmentation {
                ids,
                confidence: of(OutputDetail::Confidence, 4),
                pixel_confidence: of(OutputDetail::PixelConfidence, pixels),
                probabilities: of(OutputDetail::Probabilities, 4 * pixels),
                pixel_entropy: Vec::new(),
            }
        };
        Ok((self.1)(images, ask)?.into_iter().map(answer).collect())
    }

    fn info(&self) -> &ModelInfo {
        &self.0
    }
}

/// An engine of four classes that is a function of a batch.
pub(crate) fn batched(
    segment: impl FnMut(&[&RgbImage], &SegmentOptions) -> Result<Vec<GrayImage>> + Send + 'static,
) -> Box<dyn Segment> {
    let about = ModelInfo {
        class_names: ["background", "a", "b", "c"].map(String::from).to_vec(),
        colors: vec![[0, 0, 0], [200, 0, 0], [0, 200, 0], [0, 0, 200]],
        precision: "fp32",
        device: "cpu".into(),
        max_side: 2048,
        tile_side: 1024,
        tile_overlap: 128,
    };
    Box::new(Stub(about, segment))
}

/// An engine that is a function of each image.
pub(crate) fn boxed(
    mut segment: impl FnMut(&RgbImage) -> Result<GrayImage> + Send + 'static,
) -> Box<dyn Segment> {
    batched(move |images, _| images.iter().map(|image| segment(image)).collect())
}

/// A loader that is a function; what it loads holds 1000 bytes, and is told to hold as many before.
pub(crate) struct Loader<F>(pub(crate) F);

impl<F: Fn(&Path) -> Result<Box<dyn Segment>> + Send + Sync> ModelLoader for Loader<F> {
    fn estimate_bytes(&self, _: &Path) -> Result<u64> {
        Ok(1000)
    }

    fn load(&self, folder: &Path) -> Result<LoadedModel> {
        Ok(LoadedModel { engine: (self.0)(folder)?, memory_bytes: 1000 })
    }
}

/// A loader with one engine.
pub(crate) fn only(engine: Box<dyn Segment>) -> Arc<dyn ModelLoader> {
    let engine = Mutex::new(Some(engine));
    Arc::new(Loader(move |_: &Path| {
        engine.lock().unwrap().take().ok_or_else(|| Error::internal("loaded twice"))
    }))
}

/// A server with one engine.
pub(crate) fn serving(engine: Box<dyn Segment>, settings: &ServeSettings) -> Server {
    Server::start(settings, only(engine), None).unwrap()
}

/// A server with an engine that is a function of each image.
pub(crate) fn server(
    segment: impl FnMut(&RgbImage) -> Result<GrayImage> + Send + 'static,
    settings: &ServeSettings,
) -> Server {
    serving(boxed(segment), settings)
}

/// Class ids that a test can foretell.
#[allow(clippy::unnecessary_wraps, reason = "has the form of an engine")]
pub(crate) fn red_modulo_4(image: &RgbImage) -> Result<GrayImage> {
    let (width, height) = image.dimensions();
    Ok(GrayImage::from_fn(width, height, |x, y| Luma([image.get_pixel(x, y)[0] % 4])))
}

/// An engine that says which image (by its width) it has begun and then waits to be let on.
pub(crate) struct Gate {
    pub(crate) begun: mpsc::Receiver<u32>,
    pub(crate) let_on: mpsc::Sender<()>,
}

pub(crate) fn gate() -> (Gate, Box<dyn Segment>) {
    let (begin, begun) = mpsc::channel();
    let (let_on, wait) = mpsc::channel();
    let engine = boxed(move |image| {
        let _ = begin.send(image.width());
        let _ = wait.recv_timeout(FOR_EVER);
        red_modulo_4(image)
    });
    (Gate { begun, let_on }, engine)
}

impl Gate {
    /// Waits until the engine has begun an image, without holding up the test's runtime.
    pub(crate) async fn next_begun(&self) -> u32 {
        for _ in 0..4000 {
            if let Ok(width) = self.begun.try_recv() {
                return width;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the engine begins nothing")
    }
}

/// A picture whose red channel counts columns.
pub(crate) fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]))
}

pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    encode_png(&picture(width, height))
}

/// Small limits on an address of this machine only.
pub(crate) fn settings() -> ServeSettings {
    ServeSettings {
        host: std::net::Ipv4Addr::LOCALHOST.into(),
        port: 0,
        max_body_bytes: 64 << 10,
        bodies_bytes: 256 << 10,
        max_pixels: 10_000,
        decoders: 4,
        // Engines here tell what they are asked, or wait for the test.
        warm_up_side: 0,
        log_requests: false,
        ..ServeSettings::default()
    }
}

/// The router over a server that is ready.
pub(crate) async fn ready(server: &Server) -> Router {
    server.ready().await.unwrap();
    server.router()
}

/// The router over [`red_modulo_4`].
pub(crate) async fn plain() -> Router {
    ready(&server(red_modulo_4, &settings())).await
}

pub(crate) fn post(body: impl Into<Body>) -> Request<Body> {
    post_as("image/png", body)
}

pub(crate) fn post_as(content_type: &str, body: impl Into<Body>) -> Request<Body> {
    post_to("/invocations", content_type, body)
}

pub(crate) fn post_to(path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", content_type).body(body.into()).unwrap()
}

pub(crate) fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) async fn ask(app: &Router, request: Request<Body>) -> Answer {
    let answer = async {
        let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    };
    tokio::time::timeout(FOR_EVER, answer).await.expect("the server does not answer")
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that this is the mask of [`red_modulo_4`] for [`picture`].
    #[track_caller]
    pub(crate) fn is_mask(&self, width: u32, height: u32) {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.headers["content-type"], "image/png");
        assert!(self.headers.contains_key("server-timing"));
        let expected = red_modulo_4(&picture(width, height)).unwrap();
        assert_eq!(decode_mask(&self.body, DecodeLimits::default()).unwrap(), expected);
    }

    /// Checks that this is a refusal in the documented form, and gives its words.
    #[track_caller]
    pub(crate) fn is_refusal(&self, status: u16, error_type: &str) -> String {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.headers["content-type"], "application/json");
        let retries = ["Overloaded", "ModelLoading"].contains(&error_type);
        assert_eq!(self.headers.contains_key("retry-after"), retries);
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(json["error_type"], error_type, "{text}");
        assert_eq!(json.as_object().unwrap().len(), 2, "{text}");
        json["error"].as_str().unwrap().to_owned()
    }
}

/// What happens to a body on its way.
pub(crate) enum Step {
    Bytes(Vec<u8>),
    Break,
    Stall,
}

/// A body without a declared length that arrives as told.
pub(crate) fn arriving(steps: impl IntoIterator<Item = Step>) -> Body {
    Body::new(Arriving(steps.into_iter().collect()))
}

struct Arriving(VecDeque<Step>);

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.0.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Bytes(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
            Some(Step::Break) => Poll::Ready(Some(Err(std::io::ErrorKind::UnexpectedEof.into()))),
            Some(Step::Stall) => {
                self.0.push_front(Step::Stall);
                Poll::Pending
            }
        }
    }
}
