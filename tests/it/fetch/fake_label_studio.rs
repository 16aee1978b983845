//! As much of Label Studio as the program asks for, with the project that was exported from a real one.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) const LEGACY_TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const PERSONAL_TOKEN: &str =
    "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl";

/// What a request for a path meets instead of its answer.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Status(u16),
    /// A page for people.
    Html,
    /// This document.
    Json(Value),
    /// A redirect to this address.
    Redirect(String),
    /// No answer, for as long as the server lives.
    Silent,
    /// The request is carried out, and its answer is lost on the way: the client sees 502.
    LostAnswer,
    /// The answer comes after this time.
    Slow(std::time::Duration),
}

#[derive(Default)]
struct Shared {
    tasks: Vec<Value>,
    label_config: String,
    files: BTreeMap<String, Vec<u8>>,
    /// Predictions, in the order in which they were stored.
    predictions: Vec<Value>,
    /// Version of predictions of the project.
    model_version: Value,
    /// By path: what each of its next requests meets. The last one stays.
    acts: HashMap<String, Vec<Act>>,
    /// Requests: method and path, `Authorization`.
    requests: Vec<(String, String)>,
    /// Number of access tokens that were given out; only the last one is good.
    access_tokens: usize,
    /// Requests that an access token is good for, if it ends before its time.
    access_uses: Option<usize>,
    uses: usize,
}

/// The server; it ends with the test.
pub(crate) struct FakeLabelStudio {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _runtime: Runtime,
}

impl FakeLabelStudio {
    /// Starts a server with the captured project, whose id is 1, and its 7 images.
    pub(crate) fn start() -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/annotations/labelstudio");
        let read = |name: &str| std::fs::read(format!("{folder}/{name}")).unwrap();
        let tasks: Vec<Value> = serde_json::from_slice(&read("seg_JSON_all_tasks.json")).unwrap();
        let mut files = BTreeMap::new();
        for task in &tasks {
            let path = task["data"]["image"].as_str().unwrap();
            // Label Studio puts 8 digits and a hyphen before a name, and underscores for spaces.
            let name =
                path.rsplit('/').next().unwrap()[9..].replace("%C3%BC", "ü").replace("%C3%AF", "ï");
            let name = if name.starts_with("odd") { name.replace('_', " ") } else { name };
            files.insert(path.to_owned(), read(&format!("images/{name}")));
        }
        let label_config = String::from_utf8(read("label_config_seg.xml")).unwrap();
        let shared = Shared { tasks, label_config, files, ..Shared::default() };
        let shared = Arc::new(Mutex::new(shared));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, shared, _runtime: runtime }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the tasks.
    pub(crate) fn change_tasks(&self, change: impl FnOnce(&mut Vec<Value>)) {
        change(&mut self.shared.lock().unwrap().tasks);
    }

    /// Replaces the labeling configuration.
    pub(crate) fn set_label_config(&self, xml: &str) {
        xml.clone_into(&mut self.shared.lock().unwrap().label_config);
    }

    /// Stores a prediction of a version for the first task, as Label Studio does with what a backend answers.
    pub(crate) fn store_prediction_of(&self, version: &Value) {
        let mut shared = self.shared.lock().unwrap();
        let task = shared.tasks[0]["id"].clone();
        shared.predictions.push(json!({"task": task, "model_version": version, "result": []}));
    }

    /// Returns the predictions that are stored, in their order.
    pub(crate) fn predictions(&self) -> Vec<Value> {
        self.shared.lock().unwrap().predictions.clone()
    }

    /// Returns the version of predictions that the project shows.
    pub(crate) fn model_version(&self) -> Value {
        self.shared.lock().unwrap().model_version.clone()
    }

    /// Adds a file, or changes it.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        self.shared.lock().unwrap().files.insert(path.to_owned(), bytes.to_vec());
    }

    /// Says what the next requests for a path meet, of which the last stays.
    pub(crate) fn act(&self, path: &str, acts: impl IntoIterator<Item = Act>) {
        self.shared.lock().unwrap().acts.insert(path.to_owned(), acts.into_iter().collect());
    }

    pub(crate) fn clear_acts(&self) {
        self.shared.lock().unwrap().acts.clear();
    }

    /// Lets each access token end after so many requests.
    pub(crate) fn end_access_after(&self, uses: usize) {
        self.shared.lock().unwrap().access_uses = Some(uses);
    }

    /// Returns the requests so far, and forgets them: method and path, `Authorization`.
    pub(crate) fn take_requests(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.shared.lock().unwrap().requests)
    }

    /// Returns the paths of the files that were asked for so far, sorted, and forgets all requests.
    pub(crate) fn take_files(&self) -> Vec<String> {
        let mut files = Vec::new();
        for (request, _) in self.take_requests() {
            let path = request.strip_prefix("GET ").unwrap_or_default();
            if path.starts_with("/data/")
                || path.starts_with("/files/")
                || path.starts_with("/tasks/")
            {
                files.push(path.to_owned());
            }
        }
        files.sort();
        files
    }
}

async fn answer(
    State(shared): State<Arc<Mutex<Shared>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let path = uri.path().to_owned();
    let given =
        headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap()).to_owned();
    let act = {
        let mut shared = shared.lock().unwrap();
        shared.requests.push((format!("{method} {path}"), given.clone()));
        let acts = shared.acts.get_mut(&path);
        acts.and_then(
            |acts| if acts.len() > 1 { Some(acts.remove(0)) } else { acts.first().cloned() },
        )
    };
    match act {
        Some(Act::Status(200) | Act::LostAnswer) | None => {}
        Some(Act::Status(status)) => {
            let body = json!({"detail": "as the test wants"}).to_string();
            return (StatusCode::from_u16(status).unwrap(), [(header::RETRY_AFTER, "0")], body)
                .into_response();
        }
        Some(Act::Html) => {
            return ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], "<!DOCTYPE html>")
                .into_response();
        }
        Some(Act::Json(value)) => return json_answer(&value),
        Some(Act::Redirect(address)) => return Redirect::to(&address).into_response(),
        Some(Act::Silent) => return std::future::pending().await,
        Some(Act::Slow(time)) => tokio::time::sleep(time).await,
    }
    let answer = carry_out(&mut shared.lock().unwrap(), &method, &uri, &headers, &body, &given);
    match act {
        Some(Act::LostAnswer) => (StatusCode::BAD_GATEWAY, "").into_response(),
        _ => answer,
    }
}

fn carry_out(
    shared: &mut Shared,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &str,
    given: &str,
) -> Response {
    let path = uri.path();
    if path == "/api/token/refresh/" {
        let asked: Value = serde_json::from_str(body).unwrap();
        if asked != json!({"refresh": PERSONAL_TOKEN}) {
            return refuse(StatusCode::UNAUTHORIZED, "Token is invalid");
        }
        shared.access_tokens += 1;
        shared.uses = 0;
        return json_answer(&json!({"access": format!("access{}", shared.access_tokens)}));
    }
    // Files below /files/ are those of a server that asks nobody who he is.
    if !path.starts_with("/files/") && !is_authorized(shared, given) {
        return refuse(StatusCode::UNAUTHORIZED, "Invalid token.");
    }
    let query = uri.query().unwrap_or_default();
    match path {
        "/api/projects/1/" => {
            if *method == Method::PATCH {
                let change: Value = serde_json::from_str(body).unwrap();
                shared.model_version = change["model_version"].clone();
            }
            json_answer(&json!({
                "id": 1,
                "title": "Streets",
                "label_config": shared.label_config,
                "model_version": shared.model_version,
            }))
        }
        "/api/projects/1/model-versions/" => {
            let mut counts = BTreeMap::<&str, usize>::new();
            for prediction in &shared.predictions {
                *counts.entry(prediction["model_version"].as_str().unwrap()).or_default() += 1;
            }
            json_answer(&json!(counts))
        }
        "/api/tasks/" => list_tasks(shared, query),
        "/api/predictions/" if *method == Method::POST => store_prediction(shared, body),
        "/api/predictions/" => {
            let task = query.strip_prefix("task=").unwrap().parse::<i64>().unwrap();
            let mut found = shared.predictions.clone();
            found.retain(|prediction| prediction["task"] == task);
            json_answer(&json!(found))
        }
        "/api/projects/1/export" => {
            let is_wanted = |task: &Value| {
                query.split('&').any(|pair| pair == format!("ids%5B%5D={}", task["id"]))
            };
            let wanted: Vec<&Value> = shared.tasks.iter().filter(|task| is_wanted(task)).collect();
            json_answer(&json!(wanted))
        }
        path => match shared.files.get(path) {
            Some(bytes) => give_file(bytes, headers),
            None => refuse(StatusCode::NOT_FOUND, "Not found."),
        },
    }
}

fn is_authorized(shared: &mut Shared, given: &str) -> bool {
    if given == format!("Token {LEGACY_TOKEN}") {
        return true;
    }
    shared.uses += 1;
    let is_current = given == format!("Bearer access{}", shared.access_tokens);
    is_current && shared.access_uses.is_none_or(|uses| shared.uses <= uses)
}

/// Stores a prediction, whatever it holds, as Label Studio does.
fn store_prediction(shared: &mut Shared, body: &str) -> Response {
    let mut prediction: Value = serde_json::from_str(body).unwrap();
    if !shared.tasks.iter().any(|task| task["id"] == prediction["task"]) {
        return refuse(StatusCode::BAD_REQUEST, "Invalid pk - object does not exist.");
    }
    prediction["id"] = json!(shared.predictions.len() + 1);
    shared.predictions.push(prediction.clone());
    let mut answer = json_answer(&prediction);
    *answer.status_mut() = StatusCode::CREATED;
    answer
}

/// Returns the version of a model that no prediction of a task may have to be listed.
fn read_version_filter(query: &str) -> Option<String> {
    let url: maskmaker::web_client::Url = format!("http://host/?{query}").parse().unwrap();
    let (_, filters) = url.query_pairs().find(|(key, _)| key == "query")?;
    let filters: Value = serde_json::from_str(&filters).unwrap();
    let item = &filters["filters"]["items"][0];
    assert_eq!(item["filter"], "filter:tasks:predictions_model_versions");
    assert_eq!(item["operator"], "not_contains");
    Some(item["value"][0].as_str().unwrap().to_owned())
}

fn list_tasks(shared: &Shared, query: &str) -> Response {
    let mut tasks = shared.tasks.clone();
    if let Some(version) = read_version_filter(query) {
        tasks.retain(|task| {
            let mut predictions = shared.predictions.iter();
            !predictions.any(|stored| {
                stored["task"] == task["id"] && stored["model_version"] == version.as_str()
            })
        });
    }
    let value = |name: &str| {
        query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(str::to_owned)
    };
    assert_eq!(value("resolve_uri").as_deref(), Some("false"));
    let page: usize = value("page").unwrap().parse().unwrap();
    // Fewer than were asked for, as an administrator may set it.
    let size = 3;
    let first = (page - 1) * size;
    let mut listed = Vec::new();
    for task in tasks.iter().skip(first).take(size) {
        let mut task = task.clone();
        task.as_object_mut().unwrap().remove("annotations");
        listed.push(task);
    }
    if listed.is_empty() && page > 1 {
        return refuse(StatusCode::NOT_FOUND, "Invalid page.");
    }
    json_answer(
        &json!({"tasks": listed, "total": tasks.len(), "total_annotations": 0, "total_predictions": 0}),
    )
}

/// Gives a file, or the part of it that was asked for.
fn give_file(bytes: &[u8], headers: &HeaderMap) -> Response {
    let etag = format!("\"{:08x}\"", crc32fast::hash(bytes));
    let range =
        headers.get(header::RANGE).and_then(|range| range.to_str().unwrap().strip_prefix("bytes="));
    let start: usize = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
    let is_same =
        headers.get(header::IF_RANGE).is_some_and(|value| value.to_str().unwrap() == etag);
    if range.is_none() || !is_same {
        return ([(header::ETAG, etag)], bytes.to_vec()).into_response();
    }
    let length = bytes.len();
    if start >= length {
        let range = format!("bytes */{length}");
        return (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, range)])
            .into_response();
    }
    let range = format!("bytes {start}-{}/{length}", length - 1);
    let headers = [(header::ETAG, etag), (header::CONTENT_RANGE, range)];
    (StatusCode::PARTIAL_CONTENT, headers, bytes[start..].to_vec()).into_response()
}

fn json_answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn refuse(status: StatusCode, detail: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], json!({"detail": detail}).to_string())
        .into_response()
}
