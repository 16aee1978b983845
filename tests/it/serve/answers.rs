//! Every answer of the router, one request at a time.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use image::RgbImage;
use maskmaker::error::Error;
use maskmaker::imaging::{Limits, decode_mask, encode_jpeg};
use maskmaker::serve::{EngineHandle, Settings, Status, app};

use super::stub::*;

#[tokio::test]
async fn ping_is_200_without_a_body_once_the_model_is_there() {
    let app = plain().await;
    for method in ["GET", "POST", "HEAD"] {
        let answer = ask(&app, request(method, "/ping")).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0), "{method}");
    }
}

#[tokio::test]
async fn while_the_model_loads_everything_says_so() {
    let (load, wait) = std::sync::mpsc::channel::<()>();
    let engine = EngineHandle::spawn(move || {
        let _ = wait.recv_timeout(FOR_EVER);
        Ok(boxed(red_modulo_4))
    });
    let engine = engine.unwrap();
    let app = app(engine.clone(), &settings());
    let words = ask(&app, request("GET", "/ping")).await.is_refusal(503, "ModelLoading");
    assert_eq!(words, "loading the model");
    ask(&app, post(png(3, 3))).await.is_refusal(503, "ModelLoading");
    let head = ask(&app, request("HEAD", "/ping")).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (503, 0));
    load.send(()).unwrap();
    engine.ready().await.unwrap();
    assert_eq!(ask(&app, request("GET", "/ping")).await.status, 200);
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_named() {
    for (load, words) in [
        (EngineHandle::spawn(|| Err(Error::input("model.safetensors is cut off"))), "is cut off"),
        (EngineHandle::spawn(|| panic!("no such layer")), "panicked: no such layer"),
    ] {
        let engine = load.unwrap();
        assert!(engine.ready().await.unwrap_err().to_string().contains(words));
        let app = app(engine, &settings());
        for request in [request("GET", "/ping"), post(png(3, 3))] {
            let got = ask(&app, request).await.is_refusal(503, "ModelUnavailable");
            assert!(got.contains(words), "{got}");
        }
    }
}

/// What a panic can carry that takes even the thread that caught it down.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("and again")
    }
}

#[tokio::test]
async fn when_the_engines_thread_is_gone_ping_tells() {
    let engine = engine(|_| std::panic::panic_any(Bomb));
    let app = ready(&engine, &settings()).await;
    ask(&app, post(png(3, 3))).await.is_refusal(503, "ModelUnavailable");
    while engine.status() != Status::Gone {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    ask(&app, request("GET", "/ping")).await.is_refusal(503, "ModelUnavailable");
    ask(&app, post(png(3, 3))).await.is_refusal(503, "ModelUnavailable");
}

#[tokio::test]
async fn an_image_gets_the_class_ids_of_its_pixels_as_a_png() {
    let app = plain().await;
    for content_type in ["image/png", "application/x-image", "IMAGE/JPEG; x=y", "image/jpg"] {
        ask(&app, post_as(content_type, png(31, 17))).await.is_mask(31, 17);
    }
    // One colour, so that JPEG keeps it nearly as it is.
    let gray = encode_jpeg(&RgbImage::from_pixel(40, 20, image::Rgb([122; 3])), 95);
    let answer = ask(&app, post_as("image/jpeg", gray)).await;
    let mask = decode_mask(&answer.body, Limits::default()).unwrap();
    assert_eq!((mask.dimensions(), mask.get_pixel(5, 5)[0]), ((40, 20), 2));
}

#[tokio::test]
async fn headers_nobody_knows_are_ignored() {
    let app = plain().await;
    let mut request = post(png(5, 4));
    for (name, value) in [("x-amzn-sagemaker-target-variant", "a"), ("x-unknown", "\u{e9}")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    ask(&app, request).await.is_mask(5, 4);
}

#[tokio::test]
async fn a_type_that_cannot_be_read_is_415_and_lists_what_can() {
    let app = plain().await;
    let words = ask(&app, post_as("application/json", png(3, 3))).await;
    let words = words.is_refusal(415, "UnsupportedMediaType");
    for name in ["application/json", "image/jpeg", "image/png", "application/x-image"] {
        assert!(words.contains(name), "{words}");
    }
    let bare = Request::post("/invocations").body(Body::from(png(3, 3))).unwrap();
    let words = ask(&app, bare).await.is_refusal(415, "UnsupportedMediaType");
    assert!(words.contains("no Content-Type"), "{words}");
}

#[tokio::test]
async fn an_accept_without_png_is_406() {
    let app = plain().await;
    let accepting = |accept: &str| {
        let mut request = post(png(3, 3));
        request.headers_mut().insert("accept", accept.parse().unwrap());
        request
    };
    ask(&app, accepting("application/json")).await.is_refusal(406, "NotAcceptable");
    ask(&app, accepting("image/*, image/png;q=0")).await.is_refusal(406, "NotAcceptable");
    ask(&app, accepting("text/html;q=0.9, image/*;q=0.1")).await.is_mask(3, 3);
}

#[tokio::test]
async fn an_empty_or_broken_body_is_400() {
    let app = plain().await;
    ask(&app, post(Body::empty())).await.is_refusal(400, "EmptyBody");
    ask(&app, post(arriving([]))).await.is_refusal(400, "EmptyBody");
    let broken = arriving([Step::Bytes(png(3, 3)), Step::Break]);
    ask(&app, post(broken)).await.is_refusal(400, "BrokenBody");
}

#[tokio::test]
async fn what_is_no_whole_image_is_422() {
    let app = plain().await;
    let whole = png(60, 60);
    let mut corrupt = whole.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0x55;
    for body in [b"GIF89a".to_vec(), b"{}".to_vec(), whole[..whole.len() / 2].to_vec(), corrupt] {
        ask(&app, post(body)).await.is_refusal(422, "UndecodableImage");
    }
}

#[tokio::test]
async fn a_wrong_path_is_404_and_a_wrong_method_405_with_allow() {
    let app = plain().await;
    ask(&app, request("GET", "/")).await.is_refusal(404, "NotFound");
    ask(&app, request("POST", "/ping/x")).await.is_refusal(404, "NotFound");
    for (method, path, allow) in
        [("GET", "/invocations", "POST"), ("DELETE", "/ping", "GET,HEAD,POST")]
    {
        let answer = ask(&app, request(method, path)).await;
        answer.is_refusal(405, "MethodNotAllowed");
        assert_eq!(answer.headers["allow"], allow);
    }
}

#[tokio::test]
async fn a_model_that_fails_or_panics_is_500_and_goes_on() {
    let engine = engine(|image| match image.width() {
        13 => Err(Error::internal("out of memory; use a smaller image")),
        14 => panic!("index out of bounds"),
        _ => red_modulo_4(image),
    });
    let app = ready(&engine, &settings()).await;
    for (width, reason) in [(13, "use a smaller image"), (14, "index out of bounds")] {
        let words = ask(&app, post(png(width, 9))).await.is_refusal(500, "InferenceFailed");
        assert!(words.contains(reason) && words.contains(&format!("{width}x9")), "{words}");
        ask(&app, post(png(6, 6))).await.is_mask(6, 6);
        assert_eq!(ask(&app, request("GET", "/ping")).await.status, 200);
    }
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408() {
    let settings = Settings { body_timeout: Duration::from_millis(30), ..settings() };
    let app = ready(&engine(red_modulo_4), &settings).await;
    let slow = arriving([Step::Bytes(png(3, 3)), Step::Stall]);
    let answer = ask(&app, post(slow)).await;
    answer.is_refusal(408, "BodyTimeout");
    assert_eq!(answer.headers["connection"], "close");
}
