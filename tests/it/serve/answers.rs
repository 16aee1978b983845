//! Every answer of the router, one request at a time.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use maskmaker::error::Error;
use maskmaker::imaging::{DecodeLimits, decode_mask, encode_jpeg};
use maskmaker::serve::{ModelLoader, ServeSettings, Server, ServerStatus};

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
    let wait = Mutex::new(wait);
    let loader = Loader(move |_: &Path| {
        let _ = wait.lock().unwrap().recv_timeout(FOR_EVER);
        Ok(boxed(red_modulo_4))
    });
    let server = Server::start(&settings(), Arc::new(loader), None).unwrap();
    let app = server.router();
    let words = ask(&app, request("GET", "/ping")).await.is_refusal(503, "ModelLoading");
    assert_eq!(words, "loading the model");
    ask(&app, post(png(3, 3))).await.is_refusal(503, "ModelLoading");
    let head = ask(&app, request("HEAD", "/ping")).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (503, 0));
    load.send(()).unwrap();
    server.ready().await.unwrap();
    assert_eq!(ask(&app, request("GET", "/ping")).await.status, 200);
}

#[tokio::test]
async fn the_model_is_loaded_from_the_folder_that_is_set() {
    let loader = Loader(|folder: &Path| Err(Error::input(format!("looked at {folder:?}"))));
    let settings = ServeSettings { model_dir: "/some/where".into(), ..settings() };
    let server = Server::start(&settings, Arc::new(loader), None).unwrap();
    let error = server.ready().await.unwrap_err();
    assert_eq!(error.to_string(), "looked at \"/some/where\"");
    assert_eq!(server.status(), ServerStatus::Failed(error));
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_named() {
    let cut = Loader(|_: &Path| Err(Error::input("model.safetensors is cut off")));
    let panics = Loader(|_: &Path| panic!("no such layer"));
    let fails = Loader(|_: &Path| Ok(boxed(|_| Err(Error::internal("no such kernel")))));
    let bomb = Loader(|_: &Path| Ok(boxed(|_| std::panic::panic_any(Bomb))));
    let tried = ServeSettings { warm_up_side: 16, ..settings() };
    let loaders: [(Arc<dyn ModelLoader>, &str); 4] = [
        (Arc::new(cut), "is cut off"),
        (Arc::new(panics), "panicked: no such layer"),
        (Arc::new(fails), "fails on an image: no such kernel"),
        (Arc::new(bomb), "panicked: without words"),
    ];
    for (load, words) in loaders {
        let server = Server::start(&tried, load, None).unwrap();
        assert!(server.ready().await.unwrap_err().to_string().contains(words));
        let app = server.router();
        for request in [request("GET", "/ping"), post(png(3, 3))] {
            let got = ask(&app, request).await.is_refusal(503, "ModelUnavailable");
            assert!(got.contains(words), "{got}");
        }
    }
}

/// What a panic can carry, and that panics again when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("and again")
    }
}

#[tokio::test]
async fn not_even_a_panic_within_a_panic_ends_the_server() {
    let server = server(
        |image| if image.width() == 3 { std::panic::panic_any(Bomb) } else { red_modulo_4(image) },
        &settings(),
    );
    let app = ready(&server).await;
    ask(&app, post(png(3, 3))).await.is_refusal(500, "InferenceFailed");
    ask(&app, post(png(4, 4))).await.is_mask(4, 4);
    assert_eq!(server.status(), ServerStatus::Ready);
}

#[tokio::test]
async fn an_image_gets_the_class_ids_of_its_pixels_as_a_png() {
    let app = plain().await;
    for content_type in ["image/png", "application/x-image", "IMAGE/JPEG; x=y", "image/jpg"] {
        ask(&app, post_as(content_type, png(31, 17))).await.is_mask(31, 17);
    }
    // One color, so that JPEG keeps it nearly as it is.
    let gray = encode_jpeg(&RgbImage::from_pixel(40, 20, image::Rgb([122; 3])), 95);
    let answer = ask(&app, post_as("image/jpeg", gray)).await;
    let mask = decode_mask(&answer.body, DecodeLimits::default()).unwrap();
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
async fn custom_attributes_come_back_as_they_were_also_with_a_refusal() {
    let app = plain().await;
    for (body, status) in [(png(5, 4), 200), (b"no image".to_vec(), 422)] {
        let mut request = post(body);
        request.headers_mut().insert(ATTRIBUTES, "trace=7; who = me".parse().unwrap());
        let answer = ask(&app, request).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers[ATTRIBUTES], "trace=7; who = me");
    }
    assert!(!ask(&app, post(png(5, 4))).await.headers.contains_key(ATTRIBUTES));
    // SageMaker takes back no more than it gives.
    for bad in [vec![b'x'; 1025], vec![0xe9; 3]] {
        let mut request = request("GET", "/ping");
        request.headers_mut().insert(ATTRIBUTES, HeaderValue::from_bytes(&bad).unwrap());
        assert!(!ask(&app, request).await.headers.contains_key(ATTRIBUTES));
    }
}

const ATTRIBUTES: &str = "x-amzn-sagemaker-custom-attributes";

#[tokio::test]
async fn every_answer_has_an_id_which_is_sagemakers_if_it_gave_one() {
    let app = plain().await;
    let mut seen = std::collections::HashSet::new();
    for request in [request("GET", "/ping"), request("GET", "/no"), post(png(5, 4)), post("")] {
        let answer = ask(&app, request).await;
        assert!(seen.insert(answer.headers["x-request-id"].clone()));
    }
    for (given, kept) in
        [("an-id_1", true), ("", false), ("two words", false), (&"x".repeat(65), false)]
    {
        let mut request = post(png(5, 4));
        request.headers_mut().insert("x-amzn-sagemaker-inference-id", given.parse().unwrap());
        let answer = ask(&app, request).await;
        assert_eq!(answer.headers["x-request-id"] == given, kept, "{given}");
    }
}

#[tokio::test]
async fn an_answer_tells_where_its_time_went() {
    let answer = ask(&plain().await, post(png(50, 40))).await;
    let timing = answer.headers["server-timing"].to_str().unwrap();
    let stages: Vec<(&str, f64)> = timing
        .split(", ")
        .map(|stage| stage.split_once(";dur=").unwrap())
        .map(|(name, ms)| (name, ms.parse().unwrap()))
        .collect();
    let names: Vec<&str> = stages.iter().map(|stage| stage.0).collect();
    assert_eq!(names, ["decode", "queue", "model", "encode", "total"]);
    let parts: f64 = stages[..4].iter().map(|stage| stage.1).sum();
    assert!(parts > 0.0 && parts <= stages[4].1, "{timing}");
}

#[tokio::test]
async fn metrics_count_what_was_answered() {
    let app = plain().await;
    ask(&app, post(png(50, 40))).await.is_mask(50, 40);
    ask(&app, post("no image")).await.is_refusal(422, "UndecodableImage");
    ask(&app, request("GET", "/models/a/b/c")).await.is_refusal(404, "NotFound");
    let answer = ask(&app, request("GET", "/metrics")).await;
    let kind = answer.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for line in [
        r#"maskmaker_requests_total{path="/invocations",status="200",error_type=""} 1"#,
        r#"maskmaker_requests_total{path="/invocations",status="422",error_type="UndecodableImage"} 1"#,
        r#"maskmaker_requests_total{path="other",status="404",error_type="NotFound"} 1"#,
        r#"maskmaker_stage_seconds_count{stage="model"} 1"#,
        r#"maskmaker_request_seconds_count{path="/invocations"} 2"#,
        r#"maskmaker_batch_size_bucket{le="1.0"} 1"#,
        "maskmaker_in_flight 1",
        "maskmaker_models 1",
        "maskmaker_models_bytes 1000",
        "maskmaker_queue_seconds 0.0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("maskmaker_resident_memory_bytes "), "{text}");
}

#[tokio::test]
async fn a_batch_transform_job_is_told_how_to_ask() {
    let app = plain().await;
    let answer = ask(&app, request("GET", "/execution-parameters")).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let told = answer.json();
    assert_eq!(told["MaxConcurrentTransforms"], 5);
    assert_eq!(
        (&told["BatchStrategy"], told["MaxPayloadInMB"].as_u64()),
        (&"SINGLE_RECORD".into(), Some(1))
    );
}

#[tokio::test]
async fn a_type_that_cannot_be_read_is_415() {
    let app = plain().await;
    let words = ask(&app, post_as("text/csv", png(3, 3))).await;
    let words = words.is_refusal(415, "UnsupportedMediaType");
    assert!(words.contains("text/csv"), "{words}");
    let bare = Request::post("/invocations").body(Body::from(png(3, 3))).unwrap();
    let words = ask(&app, bare).await.is_refusal(415, "UnsupportedMediaType");
    assert!(words.contains("no Content-Type"), "{words}");
}

fn compressed(content_type: &str, encoding: &str, body: Vec<u8>) -> Request<Body> {
    let mut request = post_as(content_type, body);
    request.headers_mut().insert("content-encoding", encoding.parse().unwrap());
    request
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn compressed_bodies_of_every_kind_are_unpacked() {
    let app = plain().await;
    let body = gzip(&png(9, 5));
    ask(&app, compressed("image/png", "gzip", body)).await.is_mask(9, 5);
    ask(&app, compressed("image/png", "identity", png(9, 5))).await.is_mask(9, 5);
    let record = serde_json::json!({ "id": 3, "image": STANDARD.encode(png(9, 5)) }).to_string();
    let plain_answer = ask(&app, post_as("application/json", record.clone())).await.json();
    for content_type in ["application/json", "application/jsonlines"] {
        let answer = ask(&app, compressed(content_type, "GZIP", gzip(record.as_bytes()))).await;
        assert_eq!(answer.json(), plain_answer, "{content_type}");
    }
}

#[tokio::test]
async fn codings_that_cannot_be_read_and_bodies_that_cannot_be_unpacked_are_refused() {
    let app = plain().await;
    for encoding in ["br", "zstd", "gzip, br"] {
        let answer = ask(&app, compressed("image/png", encoding, png(3, 3))).await;
        let message = answer.is_refusal(415, "UnsupportedContentEncoding");
        assert!(message.contains("gzip or deflate"), "{message}");
        assert_eq!(answer.headers["accept-encoding"], "gzip, deflate, identity");
    }
    for encoding in ["gzip", "deflate"] {
        let answer = ask(&app, compressed("image/png", encoding, png(3, 3))).await;
        let message = answer.is_refusal(400, "BrokenBody");
        assert!(message.contains(&format!("Content-Encoding is {encoding}")), "{message}");
    }
    let most = settings().max_body_bytes;
    let bomb = gzip(&vec![0; most + 1]);
    let message = ask(&app, compressed("image/png", "gzip", bomb)).await;
    let message = message.is_refusal(413, "BodyTooLarge");
    assert!(message.contains("unpacked") && message.contains(&most.to_string()), "{message}");
    let nothing = ask(&app, compressed("application/json", "gzip", gzip(b""))).await;
    nothing.is_refusal(400, "EmptyBody");
}

#[tokio::test]
async fn an_accept_that_cannot_be_met_is_406() {
    let app = plain().await;
    let mut request = post(png(3, 3));
    request.headers_mut().insert("accept", "text/html".parse().unwrap());
    ask(&app, request).await.is_refusal(406, "NotAcceptable");
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
    ask(&app, request("GET", "/nothing")).await.is_refusal(404, "NotFound");
    let words = ask(&app, request("GET", "/models")).await.is_refusal(404, "NotFound");
    assert!(words.contains("SAGEMAKER_MULTI_MODEL"), "{words}");
    ask(&app, request("POST", "/ping/x")).await.is_refusal(404, "NotFound");
    for (method, path, allow) in
        [("PUT", "/invocations", "POST"), ("DELETE", "/ping", "GET,HEAD,POST")]
    {
        let answer = ask(&app, request(method, path)).await;
        answer.is_refusal(405, "MethodNotAllowed");
        assert_eq!(answer.headers["allow"], allow);
    }
}

#[tokio::test]
async fn a_model_that_fails_or_panics_is_500_and_goes_on() {
    let engine = batched(|images, _| match images[0].width() {
        13 => Err(Error::out_of_memory("no more to be had")),
        14 => panic!("index out of bounds"),
        15 => Ok(vec![]),
        16 => Ok(vec![image::GrayImage::new(1, 1)]),
        _ => images.iter().map(|image| red_modulo_4(image)).collect(),
    });
    let app = ready(&serving(engine, &settings())).await;
    for (width, reason) in [
        (13, "not enough memory"),
        (14, "index out of bounds"),
        (15, "other images"),
        (16, "other images"),
    ] {
        let words = ask(&app, post(png(width, 9))).await.is_refusal(500, "InferenceFailed");
        assert!(words.contains(reason) && words.contains(&format!("{width}x9")), "{words}");
        ask(&app, post(png(6, 6))).await.is_mask(6, 6);
        assert_eq!(ask(&app, request("GET", "/ping")).await.status, 200);
    }
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408() {
    let settings = ServeSettings { body_timeout: Duration::from_millis(30), ..settings() };
    let app = ready(&server(red_modulo_4, &settings)).await;
    let slow = arriving([Step::Bytes(png(3, 3)), Step::Stall]);
    let answer = ask(&app, post(slow)).await;
    answer.is_refusal(408, "BodyTimeout");
    assert_eq!(answer.headers["connection"], "close");
}
