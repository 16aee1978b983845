//! Models that come and go: the contract of multi-model endpoints.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, mpsc};

use axum::Router;
use image::RgbImage;
use maskmaker::error::{Error, Result};
use maskmaker::inference::{ModelInfo, Segment, SegmentOptions, Segmentation};
use maskmaker::serve::{LoadedModel, ModelLoader, ServeSettings, Server};
use tokio::spawn;

use super::stub::*;

/// Models by folder: `/bytes/N...` holds N bytes, `/slow...` waits for the test, `/gated...`
/// computes when it is let, `/grows...` holds more than it says, `/large...` and `/bad...` cannot
/// be loaded.
#[derive(Default)]
struct Shelf {
    slow: Option<Mutex<Receiver<()>>>,
    gated: Mutex<Vec<Box<dyn Segment>>>,
    live: Arc<AtomicU64>,
    gpu_memory_bytes: Option<u64>,
}

/// An engine whose bytes are counted as long as it lives.
struct Counted(Box<dyn Segment>, u64, Arc<AtomicU64>);

impl Segment for Counted {
    fn segment(&mut self, images: &[&RgbImage], ask: &SegmentOptions) -> Result<Vec<Segmentation>> {
        self.0.segment(images, ask)
    }

    fn info(&self) -> &ModelInfo {
        self.0.info()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.2.fetch_sub(self.1, Ordering::SeqCst);
    }
}

fn size(folder: &Path) -> u64 {
    let words: Vec<&str> = folder.to_str().unwrap().split('/').collect();
    if words[1] == "bytes" { words[2].parse().unwrap() } else { 10 }
}

impl ModelLoader for Shelf {
    fn estimate_bytes(&self, folder: &Path) -> Result<u64> {
        Ok(size(folder))
    }

    fn gpu_memory_bytes(&self) -> Option<u64> {
        self.gpu_memory_bytes
    }

    fn load(&self, folder: &Path) -> Result<LoadedModel> {
        let engine = match folder.to_str().unwrap() {
            "/slow" => {
                let wait = self.slow.as_ref().unwrap().lock().unwrap();
                let _ = wait.recv_timeout(FOR_EVER);
                boxed(red_modulo_4)
            }
            "/gated" => self.gated.lock().unwrap().pop().unwrap(),
            "/bad" => return Err(Error::input("config.json is missing")),
            "/panics" => panic!("no such layer"),
            "/large" => return Err(Error::out_of_memory("no more to be had")),
            "/fails" => boxed(|_| Err(Error::out_of_memory("no more to be had"))),
            _ => boxed(red_modulo_4),
        };
        let bytes = if folder == "/grows" { 1000 } else { size(folder) };
        self.live.fetch_add(bytes, Ordering::SeqCst);
        let engine = Box::new(Counted(engine, bytes, Arc::clone(&self.live)));
        Ok(LoadedModel { engine, memory_bytes: bytes })
    }
}

fn app_of(shelf: Shelf) -> Router {
    let settings = ServeSettings { multi_model: true, models_bytes: Some(100), ..settings() };
    Server::start(&settings, Arc::new(shelf), None).unwrap().router()
}

async fn load(app: &Router, name: &str, url: &str) -> Answer {
    let body = serde_json::json!({ "model_name": name, "url": url }).to_string();
    ask(app, post_to("/models", "application/json", body)).await
}

async fn invoke(app: &Router, name: &str, width: u32) -> Answer {
    ask(app, post_to(&format!("/models/{name}/invoke"), "image/png", png(width, 5))).await
}

async fn delete(app: &Router, name: &str) -> Answer {
    ask(app, request("DELETE", &format!("/models/{name}"))).await
}

async fn loaded(app: &Router) -> Vec<String> {
    let list = ask(app, request("GET", "/models")).await.json();
    let models = list["models"].as_array().unwrap();
    models.iter().map(|model| model["modelName"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn models_on_a_gpu_share_its_memory() {
    let shelf = Shelf { gpu_memory_bytes: Some(1000), ..Shelf::default() };
    let settings = ServeSettings { multi_model: true, models_bytes: None, ..settings() };
    let app = Server::start(&settings, Arc::new(shelf), None).unwrap().router();
    assert_eq!(load(&app, "first", "/bytes/600").await.status, 200);
    let refused = load(&app, "second", "/bytes/1").await;
    assert_eq!(refused.status, 507);
    let text = String::from_utf8_lossy(&refused.body);
    assert!(text.contains("0 of the 600 bytes"), "{text}");
}

#[tokio::test]
async fn a_model_is_loaded_told_invoked_and_unloaded() {
    let app = app_of(Shelf::default());
    let ping = ask(&app, request("GET", "/ping")).await;
    assert_eq!((ping.status.as_u16(), ping.body.len()), (200, 0), "with no model at all");
    assert_eq!(
        ask(&app, request("GET", "/models")).await.json(),
        serde_json::json!({ "models": [] })
    );
    invoke(&app, "a", 7).await.is_refusal(404, "ModelNotFound");

    let told = serde_json::json!({ "modelName": "a", "modelUrl": "/m/a" });
    let answer = load(&app, "a", "/m/a").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, told.clone()));
    assert_eq!(ask(&app, request("GET", "/models/a")).await.json(), told);
    invoke(&app, "a", 7).await.is_mask(7, 5);
    load(&app, "a", "/m/b").await.is_refusal(409, "ModelExists");

    assert_eq!(delete(&app, "a").await.json(), told);
    delete(&app, "a").await.is_refusal(404, "ModelNotFound");
    invoke(&app, "a", 7).await.is_refusal(404, "ModelNotFound");
    ask(&app, request("GET", "/models/a")).await.is_refusal(404, "ModelNotFound");
    assert_eq!(load(&app, "a", "/m/b").await.status, 200);
}

#[tokio::test]
async fn names_may_hold_whatever_a_path_can_carry() {
    let app = app_of(Shelf::default());
    assert_eq!(load(&app, "ä/b c%", "/m").await.status, 200);
    invoke(&app, "%C3%A4%2Fb%20c%25", 7).await.is_mask(7, 5);
    invoke(&app, "%ff", 7).await.is_refusal(404, "ModelNotFound");
    assert_eq!(delete(&app, "%C3%A4%2Fb%20c%25").await.status, 200);
}

#[tokio::test]
async fn what_is_not_of_this_mode_is_404_and_says_so() {
    let app = app_of(Shelf::default());
    let words = ask(&app, post(png(3, 3))).await.is_refusal(404, "NotFound");
    assert!(words.contains("/models/NAME/invoke"), "{words}");
    ask(&app, request("PUT", "/models/a")).await.is_refusal(405, "MethodNotAllowed");
    ask(&app, request("GET", "/models/a/invoke")).await.is_refusal(405, "MethodNotAllowed");
    ask(&app, request("GET", "/models/a/b")).await.is_refusal(404, "NotFound");
}

#[tokio::test]
async fn a_load_that_asks_for_nothing_sensible_is_400_or_413() {
    let app = app_of(Shelf::default());
    for body in ["", "{", "[]", "{}", r#"{"model_name":"a","url":"relative"}"#] {
        let kind = if body.is_empty() { "EmptyBody" } else { "InvalidJson" };
        ask(&app, post_to("/models", "application/json", body)).await.is_refusal(400, kind);
    }
    let long = vec![b' '; (64 << 10) + 1];
    ask(&app, post_to("/models", "application/json", long)).await.is_refusal(413, "BodyTooLarge");
    let words = load(&app, "a", "/bad").await.is_refusal(400, "InvalidModel");
    assert!(words.contains("config.json is missing"), "{words}");
    load(&app, "a", "/panics").await.is_refusal(400, "InvalidModel");
    // Nothing of it is left.
    assert_eq!(load(&app, "a", "/m").await.status, 200);
}

#[tokio::test]
async fn a_model_that_does_not_fit_is_507_and_fits_when_others_went() {
    let app = app_of(Shelf::default());
    assert_eq!(load(&app, "a", "/bytes/60").await.status, 200);
    let words = load(&app, "b", "/bytes/41").await.is_refusal(507, "InsufficientMemory");
    for number in ["41", "40", "100"] {
        assert!(words.contains(number), "{words}");
    }
    assert_eq!(load(&app, "b", "/bytes/40").await.status, 200);
    assert_eq!(delete(&app, "a").await.status, 200);
    assert_eq!(load(&app, "c", "/bytes/60").await.status, 200);
    // What turns out larger than told, and what the loader or the device has no memory for.
    assert_eq!(delete(&app, "c").await.status, 200);
    for folder in ["/grows", "/large"] {
        load(&app, "d", folder).await.is_refusal(507, "InsufficientMemory");
    }
    assert_eq!(load(&app, "d", "/fails").await.status, 200);
    invoke(&app, "d", 7).await.is_refusal(507, "InsufficientMemory");
    assert_eq!(loaded(&app).await, ["b", "d"]);
    let metrics = ask(&app, request("GET", "/metrics")).await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(text.contains("maskmaker_models_bytes 50\n"), "{text}");
}

#[tokio::test]
async fn the_list_comes_in_pages_that_stay_right_when_models_go() {
    let app = app_of(Shelf::default());
    for name in ["d", "b", "a", "c", "e"] {
        assert_eq!(load(&app, name, "/bytes/1").await.status, 200);
    }
    let mut names = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let page = ask(&app, request("GET", &format!("/models?{query}"))).await.json();
        let models = page["models"].as_array().unwrap();
        assert!(models.len() <= 2);
        names.extend(models.iter().map(|model| model["modelName"].as_str().unwrap().to_owned()));
        // The next page begins after a model that is there no more.
        assert_eq!(delete(&app, names.last().unwrap()).await.status, 200);
        let Some(token) = page["nextPageToken"].as_str() else { break };
        query = format!("limit=2&next_page_token={token}");
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    for bad in ["limit=0", "next_page_token=%20"] {
        let answer = ask(&app, request("GET", &format!("/models?{bad}"))).await;
        answer.is_refusal(400, "InvalidOption");
    }
}

async fn until_being_loaded(app: &Router, name: &str) {
    loop {
        let words = invoke(app, name, 7).await.is_refusal(404, "ModelNotFound");
        if words.contains("being loaded") {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn loading_delays_no_answer_and_what_is_loading_is_not_there_yet() {
    let (go, slow) = mpsc::channel();
    let app = app_of(Shelf { slow: Some(Mutex::new(slow)), ..Shelf::default() });
    assert_eq!(load(&app, "quick", "/m").await.status, 200);
    let loading = spawn({
        let app = app.clone();
        async move { load(&app, "slow", "/slow").await.status.as_u16() }
    });
    until_being_loaded(&app, "slow").await;
    load(&app, "slow", "/slow").await.is_refusal(409, "ModelExists");
    delete(&app, "slow").await.is_refusal(404, "ModelNotFound");
    ask(&app, request("GET", "/models/slow")).await.is_refusal(404, "ModelNotFound");
    assert_eq!(loaded(&app).await, ["quick"]);
    invoke(&app, "quick", 7).await.is_mask(7, 5);
    assert_eq!(load(&app, "other", "/m").await.status, 200);
    assert!(!loading.is_finished());
    go.send(()).unwrap();
    assert_eq!(loading.await.unwrap(), 200);
    invoke(&app, "slow", 7).await.is_mask(7, 5);
}

#[tokio::test]
async fn a_load_whose_client_left_is_finished() {
    let (go, slow) = mpsc::channel();
    let app = app_of(Shelf { slow: Some(Mutex::new(slow)), ..Shelf::default() });
    let leaves = spawn({
        let app = app.clone();
        async move { load(&app, "slow", "/slow").await.status }
    });
    until_being_loaded(&app, "slow").await;
    leaves.abort();
    leaves.await.unwrap_err();
    go.send(()).unwrap();
    while ask(&app, request("GET", "/models/slow")).await.status != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn unloading_answers_first_what_was_accepted_and_frees_before_it_is_answered() {
    let (gate, engine) = gate();
    let shelf = Shelf { gated: Mutex::new(vec![engine]), ..Shelf::default() };
    let live = Arc::clone(&shelf.live);
    let app = app_of(shelf);
    assert_eq!(load(&app, "a", "/gated").await.status, 200);
    let invoking = spawn({
        let app = app.clone();
        async move { invoke(&app, "a", 7).await.is_mask(7, 5) }
    });
    gate.next_begun().await;
    let unloading = spawn({
        let app = app.clone();
        async move { delete(&app, "a").await.status.as_u16() }
    });
    while ask(&app, request("GET", "/models/a")).await.status != 404 {
        tokio::task::yield_now().await;
    }
    invoke(&app, "a", 8).await.is_refusal(404, "ModelNotFound");
    load(&app, "a", "/m").await.is_refusal(409, "ModelExists");
    assert!(!unloading.is_finished());
    assert_eq!(live.load(Ordering::SeqCst), 10);
    gate.let_on.send(()).unwrap();
    invoking.await.unwrap();
    assert_eq!(unloading.await.unwrap(), 200);
    assert_eq!(live.load(Ordering::SeqCst), 0);
    assert_eq!(load(&app, "a", "/m").await.status, 200);
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_models_come_and_go_under_load_within_the_budget() {
    let shelf = Shelf::default();
    let live = Arc::clone(&shelf.live);
    let app = app_of(shelf);
    let owning = Arc::new(());
    let owners = (0..5).map(|owner| {
        let (app, live, owning) = (app.clone(), Arc::clone(&live), Arc::clone(&owning));
        spawn(async move {
            let mut dice = Dice(owner);
            let mut counts: HashMap<(&str, u16), u32> = HashMap::new();
            for round in 0..60 {
                // Every model is loaded, or tried to be, and then any of the owner's own may go.
                let name = format!("m{}", owner * 10 + round % 10);
                let url = format!("/bytes/{}", 1 + dice.below(20));
                let status = load(&app, &name, &url).await.status.as_u16();
                *counts.entry(("load", status)).or_default() += 1;
                assert!(live.load(Ordering::SeqCst) <= 100);
                if status == 200 {
                    // No other client unloads this model.
                    assert_eq!(invoke(&app, &name, 3).await.status, 200);
                }
                let name = format!("m{}", owner * 10 + dice.below(10));
                let status = delete(&app, &name).await.status.as_u16();
                *counts.entry(("delete", status)).or_default() += 1;
            }
            drop(owning);
            counts
        })
    });
    // Whoever asks for models that may be gone goes on while others load and unload them.
    let clients = (5..8).map(|client| {
        let (app, owning) = (app.clone(), Arc::downgrade(&owning));
        spawn(async move {
            let mut dice = Dice(client);
            let mut counts: HashMap<(&str, u16), u32> = HashMap::new();
            while owning.strong_count() > 0 {
                let name = format!("m{}", dice.below(50));
                let answer = invoke(&app, &name, 1 + dice.below(5) as u32).await;
                *counts.entry(("invoke", answer.status.as_u16())).or_default() += 1;
                tokio::task::yield_now().await;
            }
            counts
        })
    });
    let all: Vec<_> = owners.chain(clients).collect();
    drop(owning);
    let mut counts: HashMap<(&str, u16), u32> = HashMap::new();
    for task in all {
        for (key, count) in task.await.unwrap() {
            *counts.entry(key).or_default() += count;
        }
    }
    let allowed = [
        ("load", 200),
        ("load", 409),
        ("load", 507),
        ("delete", 200),
        ("delete", 404),
        ("invoke", 200),
        ("invoke", 404),
    ];
    assert!(counts.keys().all(|key| allowed.contains(key)), "{counts:?}");
    for key in [("load", 200), ("load", 507), ("delete", 200)] {
        assert!(counts.contains_key(&key), "{key:?}: {counts:?}");
    }
    for name in loaded(&app).await {
        assert_eq!(delete(&app, &name).await.status, 200);
    }
    assert_eq!(live.load(Ordering::SeqCst), 0);
    assert_eq!(load(&app, "all", "/bytes/100").await.status, 200);
}
