//! How much is taken on at once, and what happens beyond it.

use std::thread::sleep;
use std::time::Duration;

use maskmaker::inference::Segment;
use maskmaker::serve::ServeSettings;
use tokio::spawn;

use super::stub::*;

#[tokio::test]
async fn a_body_over_the_limit_is_413_whether_declared_or_streamed() {
    let app = plain().await;
    let most = settings().max_body_bytes;
    let words = ask(&app, post(vec![0; most + 1])).await.is_refusal(413, "BodyTooLarge");
    assert!(words.contains(&most.to_string()), "{words}");
    let pieces = (0..5).map(|_| Step::Bytes(vec![0; most / 4]));
    ask(&app, post(arriving(pieces))).await.is_refusal(413, "BodyTooLarge");
    ask(&app, post(vec![0; most])).await.is_refusal(422, "UndecodableImage");
}

#[tokio::test]
async fn an_image_over_the_pixel_limit_is_413() {
    let app = plain().await;
    let words = ask(&app, post(png(101, 100))).await.is_refusal(413, "ImageTooLarge");
    assert!(words.contains("10000"), "{words}");
    ask(&app, post(png(100, 100))).await.is_mask(100, 100);
}

#[tokio::test]
async fn an_image_with_too_long_a_side_is_413_whatever_its_pixels() {
    let roomy = ServeSettings { max_pixels: 1 << 20, ..settings() }.with_max_body_bytes(1 << 20);
    let app = ready(&server(red_modulo_4, &roomy)).await;
    for (width, height) in [(65_536, 1), (1, 65_536)] {
        let png = maskmaker::imaging::encode_png(&image::RgbImage::new(width, height));
        let words = ask(&app, post(png)).await.is_refusal(413, "ImageTooLarge");
        assert!(words.contains("65535"), "{words}");
    }
}

/// An engine that takes a while for its first image, and then waits for the test.
fn slow_then_gated() -> (Gate, Box<dyn Segment>) {
    let (gate, mut gated) = gate();
    let mut first = true;
    let engine = batched(move |images, ask| {
        if std::mem::take(&mut first) {
            sleep(Duration::from_millis(30));
            return images.iter().map(|image| red_modulo_4(image)).collect();
        }
        Ok(gated.segment(images, ask)?.into_iter().map(|answer| answer.ids).collect())
    });
    (gate, engine)
}

#[tokio::test]
async fn a_queue_full_of_measured_work_is_503_at_once_and_an_idle_server_takes_any_one() {
    let (gate, engine) = slow_then_gated();
    let settings = ServeSettings { max_wait: Duration::from_millis(1), ..settings() };
    let app = ready(&serving(engine, &settings)).await;
    ask(&app, post(png(20, 20))).await.is_mask(20, 20);
    let only = spawn({
        let app = app.clone();
        async move { ask(&app, post(png(20, 20))).await.is_mask(20, 20) }
    });
    gate.next_begun().await;
    let answer = ask(&app, post(png(20, 20))).await;
    let words = answer.is_refusal(503, "Overloaded");
    assert!(words.contains("seconds of computing"), "{words}");
    assert_eq!(answer.headers["retry-after"], "1");
    // Not a byte of this one is read.
    ask(&app, post(arriving([Step::Stall]))).await.is_refusal(503, "Overloaded");
    assert_eq!(ask(&app, request("GET", "/ping")).await.status, 200);
    drop(gate.let_on);
    only.await.unwrap();
    ask(&app, post(png(9, 9))).await.is_mask(9, 9);
}

#[tokio::test]
async fn a_request_that_would_take_too_long_is_413_before_it_is_computed() {
    let (calls, called) = std::sync::mpsc::channel();
    let settings = ServeSettings { max_compute: Duration::from_millis(5), ..settings() };
    let engine = move |image: &image::RgbImage| {
        calls.send(image.width()).unwrap();
        sleep(Duration::from_millis(2 * u64::from(image.width())));
        red_modulo_4(image)
    };
    let app = ready(&server(engine, &settings)).await;
    // Nothing is known yet.
    ask(&app, post(png(20, 20))).await.is_mask(20, 20);
    let words = ask(&app, post(png(21, 21))).await.is_refusal(413, "TooMuchWork");
    assert!(words.contains("fewer pixels"), "{words}");
    ask(&app, post(png(2, 1))).await.is_mask(2, 1);
    assert_eq!(called.try_iter().collect::<Vec<_>>(), [20, 2]);
}

#[tokio::test]
async fn an_answer_over_the_limit_is_413_before_computing_where_its_size_is_known() {
    let (calls, called) = std::sync::mpsc::channel();
    let engine = move |image: &image::RgbImage| {
        calls.send(image.width()).unwrap();
        red_modulo_4(image)
    };
    let app = ready(&server(engine, &ServeSettings { max_reply_bytes: 300, ..settings() })).await;
    let array = |width, height| {
        let mut request = post(png(width, height));
        request.headers_mut().insert("accept", "application/x-npy".parse().unwrap());
        request
    };
    let words = ask(&app, array(90, 90)).await.is_refusal(413, "ReplyTooLarge");
    assert!(words.contains("300"), "{words}");
    assert_eq!(ask(&app, array(5, 5)).await.status, 200);
    assert_eq!(called.try_iter().collect::<Vec<_>>(), [5]);

    let app =
        ready(&server(red_modulo_4, &ServeSettings { max_reply_bytes: 60, ..settings() })).await;
    ask(&app, post(png(90, 90))).await.is_refusal(413, "ReplyTooLarge");
}

#[tokio::test]
async fn as_many_requests_as_set_wait_and_ping_does_not() {
    let (gate, engine) = gate();
    let app = ready(&serving(engine, &ServeSettings { queue_depth: 2, ..settings() })).await;
    let waiting: Vec<_> = (11..13)
        .map(|width| {
            let app = app.clone();
            spawn(async move { ask(&app, post(png(width, 5))).await.is_mask(width, 5) })
        })
        .collect();
    gate.next_begun().await;
    let words = loop {
        let answer = ask(&app, post(arriving([Step::Break]))).await;
        if answer.status != 400 {
            break answer.is_refusal(503, "Overloaded");
        }
        // The second has not come as far yet.
        tokio::task::yield_now().await;
    };
    assert!(words.contains("Retry-After"), "{words}");
    assert_eq!(ask(&app, request("GET", "/ping")).await.status, 200);
    drop(gate.let_on);
    for answered in waiting {
        answered.await.unwrap();
    }
    ask(&app, post(png(9, 9))).await.is_mask(9, 9);
}

#[tokio::test]
async fn decoded_images_hold_no_more_memory_than_set() {
    let (gate, engine) = gate();
    let app = ready(&serving(engine, &ServeSettings { pixels_bytes: 3 * 100, ..settings() })).await;
    let large = spawn({
        let app = app.clone();
        async move { ask(&app, post(png(90, 90))).await.is_mask(90, 90) }
    });
    gate.next_begun().await;
    let words = ask(&app, post(png(1, 1))).await.is_refusal(503, "Overloaded");
    assert!(words.contains("pixels"), "{words}");
    drop(gate.let_on);
    large.await.unwrap();
    ask(&app, post(png(9, 9))).await.is_mask(9, 9);
}

#[tokio::test]
async fn work_whose_client_left_is_not_computed() {
    let (gate, engine) = gate();
    let app = ready(&serving(engine, &settings())).await;
    let send = |width| {
        let app = app.clone();
        spawn(async move { ask(&app, post(png(width, 5))).await.is_mask(width, 5) })
    };
    let first = send(11);
    assert_eq!(gate.next_begun().await, 11);
    let leaves = send(12);
    tokio::time::sleep(Duration::from_millis(100)).await;
    leaves.abort();
    leaves.await.unwrap_err();
    let last = send(13);
    gate.let_on.send(()).unwrap();
    gate.let_on.send(()).unwrap();
    first.await.unwrap();
    last.await.unwrap();
    assert_eq!(gate.begun.try_iter().collect::<Vec<_>>(), [13]);
}

#[tokio::test]
async fn work_in_progress_keeps_its_place_when_its_client_leaves() {
    let (gate, engine) = gate();
    let app = ready(&serving(engine, &ServeSettings { queue_depth: 1, ..settings() })).await;
    let leaves = spawn({
        let app = app.clone();
        async move { ask(&app, post(png(11, 5))).await.status }
    });
    gate.next_begun().await;
    leaves.abort();
    leaves.await.unwrap_err();
    ask(&app, post(png(3, 3))).await.is_refusal(503, "Overloaded");
    drop(gate.let_on);
    loop {
        let answer = ask(&app, post(png(3, 3))).await;
        if answer.status != 503 {
            break answer.is_mask(3, 3);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn bodies_that_fill_the_memory_set_aside_for_them_are_503() {
    let app = plain().await;
    let most = settings().max_body_bytes;
    let slow: Vec<_> = (0..4)
        .map(|_| {
            let app = app.clone();
            let body = arriving([Step::Bytes(vec![0; most]), Step::Stall]);
            spawn(async move { ask(&app, post(body)).await.status })
        })
        .collect();
    tokio::task::yield_now().await;
    ask(&app, post(png(3, 3))).await.is_refusal(503, "Overloaded");
    slow.iter().for_each(tokio::task::JoinHandle::abort);
    for task in slow {
        task.await.unwrap_err();
    }
    ask(&app, post(png(3, 3))).await.is_mask(3, 3);
}

#[tokio::test]
async fn many_images_at_once_are_all_answered_by_one_decoder() {
    let settings = ServeSettings { decoders: 1, ..settings() };
    let app = ready(&server(red_modulo_4, &settings)).await;
    let all: Vec<_> = (20..50)
        .map(|width| {
            let app = app.clone();
            spawn(async move { ask(&app, post(png(width, 8))).await.is_mask(width, 8) })
        })
        .collect();
    for answered in all {
        answered.await.unwrap();
    }
}
