//! `maskmaker label-studio backend` with the real program and a model that it trained: requests as Label
//! Studio sends them, and its API on loopback.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fetch::fake_label_studio::{Act, FakeLabelStudio, LEGACY_TOKEN};
use crate::job::{Job, maskmaker};
use crate::label_studio_push::{MODEL, label_config, start_server};

const ASTRONAUT: &str = "/data/upload/1/a0cba9f4-astronaut.jpg";
const FOR_EVER: Duration = Duration::from_mins(1);

/// The backend; it ends with the test.
struct RunningBackend {
    process: Child,
    port: u16,
    log: Arc<Mutex<String>>,
}

impl RunningBackend {
    fn start(server: &FakeLabelStudio, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_model(server, &MODEL.0, arguments, variables)
    }

    fn start_model(
        server: &FakeLabelStudio,
        job: &Job,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command: Command = maskmaker();
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "LABEL_STUDIO_URL"] {
            command.env_remove(name);
        }
        command.args(["label-studio", "backend", "--host", "127.0.0.1", "--port", "0"]);
        command.args(["--label-studio", &server.url(), "--device", "cpu", "--model"]);
        command.arg(job.path("model")).args(arguments).env("LABEL_STUDIO_API_KEY", LEGACY_TOKEN);
        command.envs(variables.iter().copied()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let mut port = None;
        while port.is_none() {
            let line = lines.next().expect("the backend ended").unwrap();
            port = line.split("listening on http://127.0.0.1:").nth(1).map(|rest| {
                rest.trim_end_matches(|sign: char| !sign.is_ascii_digit()).parse().unwrap()
            });
            *log.lock().unwrap() += &(line + "\n");
        }
        let reader_log = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *reader_log.lock().unwrap() += &(line + "\n");
            }
        });
        Self { process, port: port.unwrap(), log }
    }

    /// Sends a request, and returns status and body.
    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: backend\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())))
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, "", &body.to_string())
    }

    /// Sends a round with all tasks of a server's project.
    fn predict(&self, server: &FakeLabelStudio, tag: &str) -> (u16, Value) {
        self.post("/predict", &round(server, tag))
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for RunningBackend {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A round as Label Studio sends it, with annotations in the tasks.
fn round(server: &FakeLabelStudio, tag: &str) -> Value {
    let mut tasks = Value::Null;
    server.change_tasks(|own| tasks = json!(own));
    json!({
        "tasks": tasks,
        "project": "1.1795207983",
        "label_config": label_config(tag),
        "params": {"login": null, "password": null, "context": null},
    })
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < FOR_EVER, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn rounds_get_one_prediction_per_task_and_no_task_is_computed_twice() {
    for tag in ["BrushLabels", "BitmaskLabels", "PolygonLabels"] {
        let server = start_server(tag);
        let backend = RunningBackend::start(&server, &["--max-regions", "5"], &[]);
        let (status, health) = backend.send("GET", "/health", "", "");
        assert_eq!((status, &health["status"]), (200, &json!("UP")));
        let setup = json!({"project": "1.1795207983", "schema": label_config(tag), "hostname": "http://x",
                           "access_token": "0", "extra_params": null});
        let (status, answer) = backend.post("/setup", &setup);
        assert_eq!(status, 200);
        let version = answer["model_version"].clone();
        let (status, answer) = backend.predict(&server, tag);
        assert_eq!(status, 200, "{answer}");
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), 7);
        for result in results {
            assert_eq!(result["model_version"], version);
            assert!((0.0..=1.0).contains(&result["score"].as_f64().unwrap()));
            let regions = result["result"].as_array().unwrap();
            assert!((1..=5).contains(&regions.len()));
            assert!(regions.iter().all(|region| region["type"] == tag.to_lowercase()));
        }
        assert_eq!(server.take_files().len(), 7);
        assert_eq!(backend.predict(&server, tag).1, answer);
        assert_eq!(server.take_files(), [""; 0]);
        // Label Studio stores what it was answered, and shows it.
        assert!(server.predictions().is_empty());
        assert_eq!(server.model_version(), Value::Null);
        server.store_prediction_of(&version);
        wait_until("the project was not told the version", || server.model_version() == version);
        assert_eq!(backend.send("GET", "/versions", "", "").1, json!({"versions": [version]}));
        let (_, metrics) = backend.send("GET", "/metrics", "", "");
        let metrics = metrics.as_str().unwrap();
        assert!(
            metrics.contains("maskmaker_backend_tasks_total{answer=\"in_time\"} 14"),
            "{metrics}"
        );
    }
}

#[test]
fn a_round_that_takes_too_long_is_refused_and_its_predictions_come_by_the_api_once() {
    let server = start_server("BrushLabels");
    server.act(ASTRONAUT, [Act::Slow(Duration::from_secs(3))]);
    let backend = RunningBackend::start(&server, &["--max-round", "1"], &[]);
    let started = Instant::now();
    let (status, answer) = backend.predict(&server, "BrushLabels");
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!((status, &answer["error_type"]), (503, &json!("TakesTooLong")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("label-studio push"), "{answer}");
    // A round meanwhile gets nothing that is stored by the API.
    let (status, answer) = backend.predict(&server, "BrushLabels");
    if status == 200 {
        let results = answer["results"].as_array().unwrap();
        assert!(results.iter().all(|result| result.get("result").is_none()), "{answer}");
    }
    wait_until("the predictions were not stored", || server.predictions().len() == 7);
    std::thread::sleep(Duration::from_millis(300));
    let tasks: BTreeSet<i64> =
        server.predictions().iter().map(|stored| stored["task"].as_i64().unwrap()).collect();
    assert_eq!((server.predictions().len(), tasks.len()), (7, 7));
    assert_eq!(server.take_files().len(), 7);
}

#[test]
fn predictions_of_a_client_that_left_come_by_the_api() {
    let server = start_server("PolygonLabels");
    server.act(ASTRONAUT, [Act::Slow(Duration::from_secs(1))]);
    let backend = RunningBackend::start(&server, &[], &[]);
    let body = round(&server, "PolygonLabels").to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", backend.port)).unwrap();
    let length = body.len();
    write!(stream, "POST /predict HTTP/1.1\r\nHost: b\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    wait_until("no image was asked for", || !server.take_files().is_empty());
    drop(stream);
    wait_until("the predictions were not stored", || server.predictions().len() == 7);
}

#[test]
fn tasks_that_fail_store_nothing_and_leave_the_others_alone() {
    let server = start_server("BrushLabels");
    server.put(ASTRONAUT, b"no image");
    let backend = RunningBackend::start(&server, &[], &[]);
    let (status, answer) = backend.predict(&server, "BrushLabels");
    assert_eq!(status, 200);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.iter().filter(|result| result.get("result").is_some()).count(), 6);
    assert!(results.iter().any(|result| result["error"].is_string()));
    assert!(backend.log().contains("\"level\":\"warning\""), "{}", backend.log());
}

#[test]
fn name_and_password_are_asked_for_but_by_the_webhook() {
    let server = start_server("BrushLabels");
    let variables = [("BASIC_AUTH_USER", "lsuser"), ("BASIC_AUTH_PASS", "lspass")];
    let backend = RunningBackend::start(&server, &[], &variables);
    let good = "Authorization: Basic bHN1c2VyOmxzcGFzcw==\r\n";
    for (method, path) in [
        ("GET", "/health"),
        ("GET", "/versions"),
        ("GET", "/metrics"),
        ("POST", "/setup"),
        ("POST", "/predict"),
    ] {
        let (status, answer) = backend.send(method, path, "", "{}");
        assert_eq!((status, &answer["error_type"]), (401, &json!("Unauthorized")), "{path}");
        assert_ne!(backend.send(method, path, good, "{}").0, 401, "{path}");
    }
    for body in
        ["", "{}", "[", r#"{"action": "ANNOTATION_CREATED"}"#, r#"{"action": "START_TRAINING"}"#]
    {
        assert_eq!(backend.send("POST", "/webhook", "", body).0, 200, "{body}");
    }
    assert!(!backend.log().contains("lspass") && !backend.log().contains(LEGACY_TOKEN));
}

#[test]
fn requests_that_are_not_label_studios_are_told_why() {
    let server = start_server("BrushLabels");
    let backend = RunningBackend::start(&server, &[], &[]);
    let task = json!({"id": 1, "data": {"image": ASTRONAUT}});
    let config = label_config("BrushLabels");
    for (path, body, error_type) in [
        ("/predict", json!([]), "InvalidBody"),
        ("/predict", json!({"tasks": 7, "label_config": config}), "InvalidBody"),
        ("/predict", json!({"tasks": [{"id": "x"}], "label_config": config}), "InvalidBody"),
        ("/predict", json!({"tasks": [task], "label_config": "<View"}), "UnusableConfig"),
        ("/predict", json!({"tasks": [task]}), "UnusableConfig"),
        (
            "/setup",
            json!({"project": "1.2", "schema": label_config("RectangleLabels")}),
            "UnusableConfig",
        ),
        ("/setup", json!({"schema": 7}), "InvalidBody"),
    ] {
        let (status, answer) = backend.post(path, &body);
        assert_eq!((status, &answer["error_type"]), (400, &json!(error_type)), "{body}: {answer}");
    }
    assert_eq!(backend.send("POST", "/predict", "", "").1["error_type"], "InvalidBody");
    assert_eq!(backend.send("GET", "/nothing", "", "").0, 404);
    assert_eq!(backend.send("GET", "/predict", "", "").0, 405);
    // No task is no error.
    let (status, answer) = backend.post("/predict", &json!({"tasks": [], "label_config": config}));
    assert_eq!((status, &answer["results"]), (200, &json!([])));
    // A task without data is an answer without a prediction.
    let (status, answer) =
        backend.post("/predict", &json!({"tasks": [{"id": 5}], "label_config": config}));
    assert!(status == 200 && answer["results"][0]["error"].is_string(), "{answer}");
}

#[test]
fn an_annotators_prompt_is_answered_by_what_the_model_sees_there() {
    let server = start_server("BrushLabels");
    let backend = RunningBackend::start(&server, &[], &[]);
    let ask = |prompt: Value| {
        let mut request = round(&server, "BrushLabels");
        request["tasks"] = json!([request["tasks"][0]]);
        request["params"]["context"] = json!({"result": [prompt]});
        let (status, answer) = backend.post("/predict", &request);
        assert_eq!(status, 200, "{answer}");
        answer["results"][0]["result"].as_array().unwrap().clone()
    };
    let point = |label: &str| {
        ask(json!({"type": "keypointlabels", "original_width": 256, "original_height": 256,
                   "value": {"x": 50.0, "y": 50.0, "width": 0.3, "keypointlabels": [label]}}))
    };
    // One class alone is under the point.
    let found: Vec<&String> = MODEL.1.iter().filter(|name| !point(name).is_empty()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let region = point(found[0]).remove(0);
    assert_eq!(region["value"]["brushlabels"], json!([found[0]]));
    // A rectangle around everything has every class that the mask has.
    let rectangle = |width: f64| {
        ask(json!({"type": "rectanglelabels", "original_width": 256, "original_height": 256,
                   "value": {"x": 0, "y": 0, "width": width, "height": width, "rotation": 0,
                             "rectanglelabels": [found[0]]}}))
    };
    assert_eq!(rectangle(100.0).len(), 1);
    assert!(ask(json!({"type": "keypointlabels", "value": {"x": 400.0, "y": 50.0}})).is_empty());
    assert!(ask(json!({"type": "nothing"})).is_empty());
}

#[test]
fn new_weights_are_taken_up_and_the_project_is_told() {
    let server = start_server("BrushLabels");
    let job = Job::new();
    job.train();
    let backend = RunningBackend::start_model(&server, &job, &[], &[]);
    let setup = json!({"project": "1.1795207983", "schema": label_config("BrushLabels")});
    let old = backend.post("/setup", &setup).1["model_version"].clone();
    server.store_prediction_of(&old);
    wait_until("the project was not told the version", || server.model_version() == old);
    for name in ["model.safetensors", "labels.json", "config.json"] {
        let from = MODEL.0.path("model").join(name);
        fs::copy(from, job.path("model").join(name)).unwrap();
    }
    let newer = Job::new().with("seed", "7");
    newer.train();
    fs::copy(newer.path("model/model.safetensors"), job.path("model/model.safetensors")).unwrap();
    wait_until("the new model was not taken up", || {
        backend.post("/setup", &setup).1["model_version"] != old
    });
    let new = backend.post("/setup", &setup).1["model_version"].clone();
    let (_, answer) = backend.predict(&server, "BrushLabels");
    assert_eq!(answer["results"][0]["model_version"], new);
    server.store_prediction_of(&new);
    wait_until("the project was not told the new version", || server.model_version() == new);
    // A file that is no model leaves the one that is loaded.
    fs::write(job.path("model/model.safetensors"), "damaged").unwrap();
    wait_until("the damaged model was not told", || backend.log().contains("the old one stays"));
    assert_eq!(backend.predict(&server, "BrushLabels").0, 200);
}
