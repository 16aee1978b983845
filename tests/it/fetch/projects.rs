//! Projects of Label Studio.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fake_label_studio::{Act, FakeLabelStudio, PERSONAL_TOKEN};
use super::*;

const ASTRONAUT: &str = "/data/upload/1/a0cba9f4-astronaut.jpg";
const COFFEE: &str = "/data/upload/1/67783b4e-coffee.jpg";

/// Changes the image of a task.
fn set_image(server: &FakeLabelStudio, task: usize, image: &str) {
    server.change_tasks(|tasks| tasks[task]["data"]["image"] = json!(image));
}

#[test]
fn preprocess_reads_what_was_fetched_of_a_project() {
    let server = FakeLabelStudio::start();
    let output = Output::new();
    let run = output.fetch_project(&server, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stdout.starts_with("7 files fetched (0.1 MB), 0 there already, 0 missing: "),
        "{}",
        run.stdout
    );
    assert_eq!(
        output.files("images"),
        [
            "data/upload/1/1a194f98-coins_gray.png",
            "data/upload/1/540f6c44-rocket.png",
            "data/upload/1/67783b4e-coffee.jpg",
            "data/upload/1/a0cba9f4-astronaut.jpg",
            "data/upload/1/b087ff7d-chelsea.jpg",
            "data/upload/1/b15a62bb-exif_rotated.jpg",
            "data/upload/1/ecb42193-odd_size_ünïcode.png",
        ]
    );
    let channels = output.path("channels");
    let preprocess = maskmaker()
        .arg("preprocess")
        .args(["--annotations".as_ref(), output.path("annotations").as_os_str()])
        .args(["--images".as_ref(), output.path("images").as_os_str()])
        .args(["--label-config".as_ref(), output.path("label_config/label_config.xml").as_os_str()])
        .args(["--output".as_ref(), channels.as_os_str()])
        .args(["--several", "newest"])
        .output()
        .unwrap();
    let preprocess = Run::new(&preprocess);
    assert_eq!(preprocess.code, Some(0), "{}", preprocess.stderr);
    // Of 7 tasks one was skipped by its annotator.
    assert!(preprocess.stdout.contains("6 images"), "{}", preprocess.stdout);
}

#[test]
fn a_second_fetch_takes_new_annotations_and_new_images_alone() {
    let server = FakeLabelStudio::start();
    server.change_tasks(|tasks| tasks.truncate(5));
    let output = Output::new();
    assert_eq!(output.fetch_project(&server, &[]).code, Some(0));
    assert_eq!(server.take_files().len(), 5);
    server.change_tasks(|tasks| {
        let mut another = tasks[0].clone();
        another["id"] = json!(8);
        another["data"]["image"] = json!("/data/upload/1/00000000-new.jpg");
        tasks.push(another);
    });
    server.put("/data/upload/1/00000000-new.jpg", b"new");
    // A file that is not as it was fetched is fetched again.
    fs::write(output.path(&format!("images{COFFEE}")), b"changed").unwrap();
    let run = output.fetch_project(&server, &[]);
    assert!(
        run.stdout.starts_with("2 files fetched (0.0 MB), 4 there already, 0 missing"),
        "{}",
        run.stdout
    );
    assert_eq!(server.take_files(), ["/data/upload/1/00000000-new.jpg", COFFEE]);
    let exported: Value =
        serde_json::from_slice(&fs::read(output.path("annotations/project-1.json")).unwrap())
            .unwrap();
    assert_eq!(exported.as_array().unwrap().len(), 6);
}

#[test]
fn a_fetch_that_was_killed_goes_on_and_fetches_nothing_twice() {
    let server = FakeLabelStudio::start();
    server.act(COFFEE, [Act::Silent]);
    let output = Output::new();
    let arguments = ["--label-studio", &server.url(), "--project", "1", "--parallel-files", "2"];
    let mut killed = output.command(&arguments).spawn().unwrap();
    let started = Instant::now();
    let ledger = output.ledger();
    while fs::read_to_string(&ledger).unwrap_or_default().lines().count() < 6 {
        assert!(started.elapsed() < Duration::from_mins(1), "the other files were not fetched");
        std::thread::sleep(Duration::from_millis(10));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!output.path(&format!("images{COFFEE}")).exists());
    server.clear_acts();
    server.take_requests();
    // A line that was cut off is as good as none.
    let text = fs::read_to_string(&ledger).unwrap();
    fs::write(&ledger, &text[..text.len() - 20]).unwrap();
    let run = output.fetch_project(&server, &[]);
    assert!(run.stdout.starts_with("2 files fetched"), "{}", run.stdout);
    assert_eq!(server.take_files().len(), 2);
    let again = output.fetch_project(&server, &[]);
    assert!(
        again.stdout.starts_with("0 files fetched (0.0 MB), 7 there already"),
        "{}",
        again.stdout
    );
}

#[test]
fn a_fetch_that_is_asked_to_stop_does_not_wait_for_a_silent_server() {
    let server = FakeLabelStudio::start();
    server.act("/api/tasks/", [Act::Silent]);
    let output = Output::new();
    let mut command = output.command(&["--label-studio", &server.url(), "--project", "1"]);
    let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut requests = Vec::new();
    while !requests.iter().any(|(request, _)| request == "GET /api/tasks/") {
        std::thread::sleep(Duration::from_millis(10));
        requests.extend(server.take_requests());
    }
    let process = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    let run = Run::new(&child.wait_with_output().unwrap());
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(
        run.stderr.contains("the fetch was stopped; the same command goes on"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_personal_access_token_is_renewed_and_never_shown() {
    let server = FakeLabelStudio::start();
    server.end_access_after(3);
    let output = Output::new();
    let arguments = ["--label-studio", &server.url(), "--project", "1", "--parallel-files", "1"];
    let mut command = output.command(&arguments);
    let run = Run::new(&command.env("LABEL_STUDIO_API_KEY", PERSONAL_TOKEN).output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.starts_with("7 files fetched"), "{}", run.stdout);
    let requests = server.take_requests();
    let renewals =
        requests.iter().filter(|(request, _)| request == "POST /api/token/refresh/").count();
    // 1 project, 3 pages of tasks, 1 export and 7 images, 3 for each access token.
    assert_eq!(renewals, 4);
    for text in [&run.stdout, &run.stderr, &fs::read_to_string(output.ledger()).unwrap()] {
        assert!(!text.contains("access1") && !text.contains(&PERSONAL_TOKEN[..20]), "{text}");
    }
}

#[test]
fn a_token_that_is_not_taken_says_what_to_do() {
    let server = FakeLabelStudio::start();
    let fetch = |token: &str| {
        let output = Output::new();
        let mut command = output.command(&["--label-studio", &server.url(), "--project", "1"]);
        let run = Run::new(&command.env("LABEL_STUDIO_API_KEY", token).output().unwrap());
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        assert!(token.len() < 5 || !run.stderr.contains(token), "{}", run.stderr);
        run.stderr
    };
    for (token, expected) in [
        ("", "there is no token for Label Studio; set LABEL_STUDIO_API_KEY, or name a secret"),
        (
            "my secret",
            "LABEL_STUDIO_API_KEY has 9 characters and is no token of Label Studio; a personal",
        ),
        (&"f".repeat(40), "legacy tokens are off (LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN"),
        ("a.b.c", "the personal access token has ended or was revoked"),
    ] {
        let error = fetch(token);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn images_on_other_servers_get_no_token_and_need_leave_to_be_private() {
    let (server, other) = (FakeLabelStudio::start(), FakeLabelStudio::start());
    other.put("/files/a.jpg", b"a");
    other.put("/files/b.jpg", b"b");
    set_image(&server, 0, &format!("{}/files/a.jpg?signature=x", other.url()));
    // As Label Studio does for an object of a storage.
    set_image(&server, 1, "s3://bucket/b.jpg");
    server.act("/tasks/2/resolve/", [Act::Redirect(format!("{}/files/b.jpg", other.url()))]);
    let output = Output::new();
    let run = output.fetch_project(&server, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stdout.starts_with("5 files fetched (0.1 MB), 0 there already, 2 missing"),
        "{}",
        run.stdout
    );
    assert!(
        run.stderr
            .contains("127.0.0.1 is a private address, and only public addresses may be asked"),
        "{}",
        run.stderr
    );
    assert!(other.take_requests().is_empty());
    let run = output.fetch_project(&server, &["--allow-private-addresses"]);
    assert!(
        run.stdout.starts_with("2 files fetched (0.0 MB), 5 there already, 0 missing"),
        "{}",
        run.stdout
    );
    let mut requests = other.take_requests();
    requests.sort();
    assert_eq!(
        requests,
        ["GET /files/a.jpg", "GET /files/b.jpg"].map(|request| (request.to_owned(), String::new()))
    );
    let ledger = fs::read_to_string(output.ledger()).unwrap();
    assert!(ledger.contains("/files/a.jpg?") && !ledger.contains("signature"), "{ledger}");
    let port = other.url().rsplit(':').next().unwrap().to_owned();
    assert!(output.path("images/bucket/b.jpg").exists(), "{:?} {port}", output.files("images"));
    assert!(
        output.path(&format!("images/127.0.0.1_{port}/files/a.jpg")).exists(),
        "{:?}",
        output.files("images")
    );
}

#[test]
fn missing_images_are_told_and_those_of_a_busy_server_fetched_later() {
    let server = FakeLabelStudio::start();
    server.act(ASTRONAUT, [Act::Status(404)]);
    server.act(COFFEE, [Act::Status(503)]);
    set_image(&server, 2, "data:image/png;base64,AAAA");
    let output = Output::new();
    let run = output.fetch_project(&server, &[]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(
        run.stdout.starts_with("4 files fetched (0.1 MB), 0 there already, 2 missing"),
        "{}",
        run.stdout
    );
    for expected in [
        format!(
            "missing: {ASTRONAUT}: GET {}{ASTRONAUT}: the server answers 404 (Not Found), and says: as the test wants",
            server.url()
        ),
        "missing: data:image/png;base64,AAAA: holds the image itself".to_owned(),
        format!("{COFFEE}: GET {}{COFFEE}: the server answers 503", server.url()),
        "1 file could not be fetched now; the same command goes on with them".to_owned(),
    ] {
        assert!(run.stderr.contains(&expected), "{expected}: {}", run.stderr);
    }
    server.clear_acts();
    server.act(ASTRONAUT, [Act::Status(410)]);
    let run = output.fetch_project(&server, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stdout.starts_with("1 file fetched (0.0 MB), 4 there already, 2 missing"),
        "{}",
        run.stdout
    );
    let run = output.fetch_project(&server, &["--strict"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("2 files missing, and --strict is given"), "{}", run.stderr);
}

#[test]
fn a_server_that_is_not_label_studio_or_fails_is_named() {
    let server = FakeLabelStudio::start();
    let output = Output::new();
    let error = |run: Run| {
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        run.stderr
    };
    server.act("/api/projects/1/", [Act::Html]);
    let found = error(output.fetch_project(&server, &[]));
    assert!(
        found.contains("the server answers with a page for people (HTML); check the address"),
        "{found}"
    );
    server.act("/api/projects/1/", [Act::Status(403)]);
    let found = error(output.fetch_project(&server, &[]));
    assert!(found.contains("the token's user may not do that"), "{found}");
    server.clear_acts();
    server.act("/api/projects/1/export", [Act::Status(404)]);
    let found = error(output.fetch_project(&server, &[]));
    assert!(found.contains("Label Studio Enterprise has no such export"), "{found}");
    server.clear_acts();
    server.change_tasks(|tasks| {
        tasks.retain(|task| task["total_annotations"] == 0 && task["cancelled_annotations"] == 0);
    });
    let found = error(output.fetch_project(&server, &[]));
    assert!(
        found.contains("project 1 (\"Streets\") has no task with an annotation; annotate some"),
        "{found}"
    );
    // Nobody listens there.
    let gone = output.fetch(&["--label-studio", "http://127.0.0.1:9", "--project", "1"]);
    let found = error(gone);
    assert!(
        found.contains("no connection")
            && found.contains("check that Label Studio runs at http://127.0.0.1:9/"),
        "{found}"
    );
    let nothing = output.fetch(&["--project", "1"]);
    assert_eq!(nothing.code, Some(2), "{}", nothing.stderr);
    assert!(
        error(output.fetch(&["--label-studio", "http://127.0.0.1:9"]))
            .contains("there is nothing to fetch")
    );
}

#[test]
fn images_of_tasks_without_annotations_are_fetched_if_wanted() {
    let server = FakeLabelStudio::start();
    server.change_tasks(|tasks| {
        tasks[0]["annotations"] = json!([]);
        tasks[0]["total_annotations"] = json!(0);
    });
    let output = Output::new();
    assert!(output.fetch_project(&server, &[]).stdout.starts_with("6 files fetched"));
    assert!(output.fetch_project(&server, &["--all-tasks"]).stdout.starts_with("1 file fetched"));
}

#[test]
fn an_address_that_shows_no_image_is_never_asked_with_the_token() {
    let server = FakeLabelStudio::start();
    server.put("/api/current-user/token", b"{\"token\": \"of the user\"}");
    set_image(&server, 0, "/api/current-user/token");
    set_image(&server, 1, &format!("{}/data/../api/current-user/token", server.url()));
    let output = Output::new();
    let run = output.fetch_project(&server, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stdout.starts_with("5 files fetched (0.1 MB), 0 there already, 2 missing"),
        "{}",
        run.stdout
    );
    assert!(run.stderr.contains("shows no image (api/current-user/token)"), "{}", run.stderr);
    assert!(server.take_requests().iter().all(|(request, _)| !request.contains("current-user")));
}

#[test]
fn a_page_or_nothing_in_place_of_an_image_is_missing() {
    let server = FakeLabelStudio::start();
    server.act(ASTRONAUT, [Act::Html]);
    server.put(COFFEE, b"");
    let output = Output::new();
    let run = output.fetch_project(&server, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stdout.starts_with("5 files fetched (0.1 MB), 0 there already, 2 missing"),
        "{}",
        run.stdout
    );
    for expected in ["a page for people (HTML)", "the answer is empty"] {
        assert!(run.stderr.contains(expected), "{}", run.stderr);
    }
    assert!(!output.path(&format!("images{ASTRONAUT}")).exists());
}

#[test]
fn a_storage_that_refuses_one_image_does_not_end_the_fetch() {
    let (server, storage) = (FakeLabelStudio::start(), FakeLabelStudio::start());
    storage.act("/files/a.jpg", [Act::Status(401)]);
    set_image(&server, 0, "s3://bucket/a.jpg");
    server.act("/tasks/1/resolve/", [Act::Redirect(format!("{}/files/a.jpg", storage.url()))]);
    let output = Output::new();
    let run = output.fetch_project(&server, &["--allow-private-addresses"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stdout.starts_with("6 files fetched (0.1 MB), 0 there already, 1 missing"),
        "{}",
        run.stdout
    );
    assert!(
        run.stderr.contains("s3://bucket/a.jpg: GET ") && run.stderr.contains("401"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_disk_that_takes_no_file_is_named() {
    let server = FakeLabelStudio::start();
    let output = Output::new();
    fs::create_dir_all(output.path("images/data")).unwrap();
    fs::write(output.path("images/data/upload"), b"a file").unwrap();
    let run = output.fetch_project(&server, &[]);
    assert_eq!(run.code, Some(3));
    assert!(
        run.stderr.contains("images/data/upload/1/") && run.stderr.contains("Not a directory"),
        "{}",
        run.stderr
    );
}

#[test]
fn an_export_that_is_not_what_was_asked_for_is_refused_and_lost_tasks_are_told() {
    let server = FakeLabelStudio::start();
    let output = Output::new();
    let path = "/api/projects/1/export";
    server.act(path, [Act::Json(json!([{"id": 1, "data": {}, "annotations": []}, {"id": 1, "data": {}, "annotations": []}]))]);
    let run = output.fetch_project(&server, &[]);
    assert!(
        run.stderr.contains("has a task that was not asked for, or twice (task 1)"),
        "{}",
        run.stderr
    );
    server.act(
        path,
        [Act::Json(json!([{"id": 1, "data": {"image": ASTRONAUT}, "annotations": []}]))],
    );
    let run = output.fetch_project(&server, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stdout.starts_with("1 file fetched (0.0 MB), 0 there already, 6 missing"),
        "{}",
        run.stdout
    );
    assert!(run.stderr.contains("missing: task 7: is no longer there"), "{}", run.stderr);
}
