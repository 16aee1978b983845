//! Requests of several images.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maskmaker::serve::{ObjectFetcher, ServeSettings, Server};
use tokio::spawn;

use super::stub::*;

fn line(image: &str, id: u32) -> String {
    serde_json::json!({ "image": image, "id": id }).to_string()
}

fn encoded(width: u32, height: u32) -> String {
    STANDARD.encode(png(width, height))
}

async fn lines(app: &Router, lines: &[String]) -> Answer {
    ask(app, post_as("application/jsonlines", lines.join("\n"))).await
}

#[tokio::test]
async fn each_record_is_answered_in_its_place_and_a_bad_one_spoils_no_other() {
    let app = plain().await;
    let body: Vec<String> = (0..30)
        .map(|at| match at {
            4 => line(&STANDARD.encode("no image"), 4),
            9 => line(&encoded(101, 100), 9),
            _ => line(&encoded(1 + at, 7), at),
        })
        .collect();
    let answer = lines(&app, &body).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert_eq!(answer.status, 200, "{text}");
    assert_eq!(answer.headers["content-type"], "application/jsonlines");
    assert!(text.ends_with("}\n"));
    let answers: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 30);
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(answer["id"], at);
        match at {
            4 => assert_eq!(answer["error_type"], "UndecodableImage"),
            9 => assert_eq!(answer["error_type"], "ImageTooLarge"),
            _ => assert!(answer["error_type"].is_null(), "{answer}"),
        }
    }
    assert!(answer.headers.contains_key("server-timing"));
}

#[tokio::test]
async fn one_image_in_json_is_answered_by_its_own_object_or_as_any_other() {
    let app = plain().await;
    let answer = ask(&app, post_as("application/json", line(&encoded(9, 7), 3))).await;
    assert_eq!((answer.status.as_u16(), answer.json()["id"].as_u64()), (200, Some(3)));
    let mut request = post_as("application/json", line(&encoded(9, 7), 3));
    request.headers_mut().insert("accept", "image/png".parse().unwrap());
    ask(&app, request).await.is_mask(9, 7);
    let bad = line(&STANDARD.encode("no image"), 3);
    ask(&app, post_as("application/json", bad)).await.is_refusal(422, "UndecodableImage");
    ask(&app, post_as("application/json", "{")).await.is_refusal(400, "InvalidJson");
}

#[tokio::test]
async fn a_list_in_json_is_answered_by_predictions_and_by_no_picture() {
    let app = plain().await;
    let image = |width| serde_json::json!({ "image": encoded(width, 7) });
    let body = serde_json::json!({ "instances": [image(9), { "image": "?" }, image(8)] });
    let answer = ask(&app, post_as("application/json", body.to_string())).await;
    let json = answer.json();
    let predictions = json["predictions"].as_array().unwrap();
    let failed: Vec<bool> = predictions.iter().map(|one| one["error_type"].is_string()).collect();
    assert_eq!((answer.status.as_u16(), failed), (200, vec![false, true, false]), "{json}");
    let mut request = post_as("application/json", body.to_string());
    request.headers_mut().insert("accept", "image/png".parse().unwrap());
    ask(&app, request).await.is_refusal(406, "NotAcceptable");
}

#[tokio::test]
async fn records_that_are_all_bad_are_refused_as_the_first_one_is() {
    let app = plain().await;
    let body = [line(&encoded(101, 100), 1), line(&STANDARD.encode("no image"), 2)];
    lines(&app, &body).await.is_refusal(413, "ImageTooLarge");
    let body = [line(&STANDARD.encode("no image"), 2), line(&encoded(101, 100), 1)];
    lines(&app, &body).await.is_refusal(422, "UndecodableImage");
}

#[tokio::test]
async fn a_request_of_many_images_waits_for_room_itself_and_leaves_some_to_others() {
    let engine = |image: &image::RgbImage| {
        sleep(Duration::from_millis(5));
        red_modulo_4(image)
    };
    // Room for four images; half of that is for those who do not wait.
    let settings =
        ServeSettings { max_wait: Duration::from_millis(20), max_batch: 1, ..settings() };
    let app = ready(&server(engine, &settings)).await;
    ask(&app, post(png(8, 8))).await.is_mask(8, 8);
    let body: Vec<String> = (0..25).map(|id| line(&encoded(8, 8), id)).collect();
    let answer = lines(&app, &body).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.status.as_u16(), text.matches("error_type").count()), (200, 0), "{text}");
    assert_eq!(text.lines().count(), 25);
}

#[tokio::test]
async fn images_that_take_too_long_together_are_413() {
    let engine = |image: &image::RgbImage| {
        sleep(Duration::from_millis(5));
        red_modulo_4(image)
    };
    let settings = ServeSettings { max_compute: Duration::from_millis(40), ..settings() };
    let app = ready(&server(engine, &settings)).await;
    ask(&app, post(png(8, 8))).await.is_mask(8, 8);
    let body: Vec<String> = (0..100).map(|id| line(&encoded(8, 8), id)).collect();
    lines(&app, &body).await.is_refusal(413, "TooMuchWork");
}

#[tokio::test]
async fn answers_that_are_too_large_together_are_413() {
    let settings = ServeSettings { max_reply_bytes: 200, ..settings() };
    let app = ready(&server(red_modulo_4, &settings)).await;
    let body: Vec<String> = (0..50).map(|id| line(&encoded(8, 8), id)).collect();
    lines(&app, &body).await.is_refusal(413, "ReplyTooLarge");
}

#[tokio::test]
async fn the_rest_of_a_request_is_not_computed_when_its_client_leaves() {
    let (gate, engine) = gate();
    let app = ready(&serving(engine, &ServeSettings { max_batch: 1, ..settings() })).await;
    let leaves = spawn({
        let app = app.clone();
        let body: Vec<String> = (0..30).map(|id| line(&encoded(8, 8), id)).collect();
        async move { lines(&app, &body).await.status }
    });
    gate.next_begun().await;
    leaves.abort();
    leaves.await.unwrap_err();
    gate.let_on.send(()).unwrap();
    let other = spawn({
        let app = app.clone();
        async move { ask(&app, post(png(9, 9))).await.is_mask(9, 9) }
    });
    assert_eq!(gate.next_begun().await, 9);
    drop(gate.let_on);
    other.await.unwrap();
}

/// A bucket with two objects.
struct Bucket;

impl ObjectFetcher for Bucket {
    fn fetch(
        &self,
        uri: &str,
        most: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'static>> {
        let object = match uri {
            "s3://b/image" => Ok(png(12, 5)),
            "s3://b/large" => Err(format!("more than {most} bytes")),
            _ => Err("there is none".to_owned()),
        };
        Box::pin(async move { object })
    }
}

#[tokio::test]
async fn images_by_reference_are_fetched_where_that_is_allowed() {
    let app = plain().await;
    lines(&app, &[line("s3://b/image", 1)]).await.is_refusal(403, "ReferencesNotAllowed");

    let engine = only(boxed(red_modulo_4));
    let server = Server::start(&settings(), engine, Some(Arc::new(Bucket))).unwrap();
    let app = ready(&server).await;
    let words = lines(&app, &[line("s3://b/none", 1)]).await.is_refusal(424, "ReferenceFailed");
    assert!(words.contains("s3://b/none") && words.contains("there is none"), "{words}");
    let body = [line("s3://b/image", 1), line("s3://b/large", 2)];
    let answer = lines(&app, &body).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.status.as_u16(), text.lines().count()), (200, 2), "{text}");
    assert!(text.contains(&format!("more than {} bytes", settings().max_body_bytes)), "{text}");
}
