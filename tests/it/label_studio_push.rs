//! `maskmaker label-studio push` with the real program and a model that it trained, against a server on
//! loopback.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::fetch::fake_label_studio::{Act, FakeLabelStudio, LEGACY_TOKEN, PERSONAL_TOKEN};
use crate::job::{Job, Run, maskmaker};

const ASTRONAUT: &str = "/data/upload/1/a0cba9f4-astronaut.jpg";

/// A model of four classes, which all tests share, and the names of its classes.
pub(crate) static MODEL: LazyLock<(Job, Vec<String>)> = LazyLock::new(|| {
    let job = Job::new();
    job.train();
    let labels = fs::read(job.path("model/labels.json")).unwrap();
    let labels: Value = serde_json::from_slice(&labels).unwrap();
    let mut names = Vec::new();
    for number in 0..4 {
        let label = &labels[number.to_string()];
        names.push(label["name"].as_str().or(label.as_str()).unwrap().to_owned());
    }
    (job, names)
});

/// Returns a labeling configuration with one control for all classes of the model, the background too.
pub(crate) fn label_config(tag: &str) -> String {
    let mut labels = String::new();
    for name in &MODEL.1 {
        labels.extend(["<Label value=\"", name, "\"/>"]);
    }
    format!(
        "<View><Image name=\"image\" value=\"$image\"/><{tag} name=\"tag\" toName=\"image\">{labels}</{tag}></View>"
    )
}

/// A server whose 7 tasks nobody has annotated.
pub(crate) fn start_server(tag: &str) -> FakeLabelStudio {
    let server = FakeLabelStudio::start();
    server.set_label_config(&label_config(tag));
    server.change_tasks(|tasks| {
        for task in tasks {
            task["total_annotations"] = json!(0);
            task["cancelled_annotations"] = json!(0);
        }
    });
    server
}

fn push_command(server: &FakeLabelStudio, arguments: &[&str]) -> Command {
    let mut command = maskmaker();
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "LABEL_STUDIO_URL"] {
        command.env_remove(name);
    }
    command.args(["label-studio", "push", "--label-studio", &server.url(), "--project", "1"]);
    command.args(["--device", "cpu", "--model"]).arg(MODEL.0.path("model")).args(arguments);
    command.env("LABEL_STUDIO_API_KEY", LEGACY_TOKEN);
    command
}

fn push(server: &FakeLabelStudio, arguments: &[&str]) -> Run {
    Run::new(&push_command(server, arguments).output().unwrap())
}

/// Returns the tasks of the predictions in the order in which they were stored.
fn stored_tasks(server: &FakeLabelStudio) -> Vec<i64> {
    server.predictions().iter().map(|stored| stored["task"].as_i64().unwrap()).collect()
}

#[track_caller]
fn assert_all_once(server: &FakeLabelStudio) {
    let tasks = stored_tasks(server);
    assert_eq!(tasks.len(), 7);
    assert_eq!(tasks.iter().collect::<BTreeSet<_>>().len(), 7);
}

#[test]
fn every_task_gets_one_prediction_the_least_certain_first() {
    for tag in ["BrushLabels", "BitmaskLabels", "PolygonLabels"] {
        let server = start_server(tag);
        let run = push(&server, &["--max-regions", "5"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stdout.starts_with("7 predictions stored"), "{}", run.stdout);
        assert_all_once(&server);
        let predictions = server.predictions();
        let version = predictions[0]["model_version"].clone();
        assert_eq!(server.model_version(), version);
        let mut last_score = 0.0;
        for prediction in &predictions {
            assert_eq!(prediction["model_version"], version);
            let score = prediction["score"].as_f64().unwrap();
            assert!((last_score..=1.0).contains(&score), "{score} after {last_score}");
            last_score = score;
            let regions = prediction["result"].as_array().unwrap();
            assert!((1..=5).contains(&regions.len()));
            for region in regions {
                assert_eq!(region["type"], tag.to_lowercase());
                assert_eq!(
                    (&region["from_name"], &region["to_name"]),
                    (&json!("tag"), &json!("image"))
                );
                let label = region["value"][tag.to_lowercase()][0].as_str().unwrap();
                assert!(MODEL.1.iter().any(|name| name == label), "{label}");
            }
        }
        // Nothing is left to do.
        server.take_requests();
        let again = push(&server, &[]);
        assert!(
            again.stdout.starts_with("0 predictions stored"),
            "{}{}",
            again.stdout,
            again.stderr
        );
        assert_eq!(server.take_files(), [""; 0]);
        assert_all_once(&server);
    }
}

#[test]
fn annotated_tasks_get_predictions_where_that_is_asked_for() {
    let server = start_server("BrushLabels");
    server.change_tasks(|tasks| {
        tasks[0]["total_annotations"] = json!(1);
        tasks[1]["cancelled_annotations"] = json!(1);
    });
    assert_eq!(push(&server, &[]).code, Some(0));
    assert_eq!(server.predictions().len(), 5);
    assert_eq!(push(&server, &["--all-tasks"]).code, Some(0));
    assert_all_once(&server);
}

#[test]
fn a_push_that_ended_early_goes_on_and_computes_and_stores_nothing_twice() {
    let server = start_server("BrushLabels");
    let state = tempfile::tempdir().unwrap();
    let arguments = ["--state", state.path().to_str().unwrap()];
    let fine = Act::Status(200);
    server.act("/api/predictions/", [fine.clone(), fine.clone(), fine, Act::Status(403)]);
    let run = push(&server, &arguments);
    assert_eq!((run.code, server.predictions().len()), (Some(3), 3), "{}", run.stderr);
    assert!(run.stderr.contains("403"), "{}", run.stderr);
    assert_eq!(server.take_files().len(), 7);
    // A line that was cut off is computed again.
    let file: PathBuf = fs::read_dir(state.path()).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&file).unwrap();
    let cut = text.trim_end().rsplit_once('\n').unwrap().0.len() + 20;
    fs::write(&file, &text[..cut]).unwrap();
    server.clear_acts();
    let run = push(&server, &arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(server.take_files().len() <= 1);
    assert_all_once(&server);
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
}

#[test]
fn a_prediction_whose_answer_was_lost_is_not_stored_twice() {
    let server = start_server("BrushLabels");
    server.act("/api/predictions/", [Act::LostAnswer, Act::Status(200)]);
    let run = push(&server, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_all_once(&server);
}

#[test]
fn tokens_that_end_are_renewed_and_stand_in_no_message() {
    let server = start_server("PolygonLabels");
    server.end_access_after(2);
    let mut command = push_command(&server, &["--parallel-images", "1"]);
    command.env("LABEL_STUDIO_API_KEY", PERSONAL_TOKEN);
    let run = Run::new(&command.output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_all_once(&server);
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(!all.contains(PERSONAL_TOKEN) && !all.contains("access1"), "{all}");
}

#[test]
fn tasks_that_cannot_be_predicted_are_told_and_the_others_stored() {
    let server = start_server("BrushLabels");
    server.put(ASTRONAUT, b"no image");
    server.change_tasks(|tasks| {
        tasks[1]["data"]["image"] = json!("/data/upload/1/gone.jpg");
        tasks[2]["data"] = json!({"text": "no image here"});
        tasks[3]["data"]["image"] = json!("/api/current-user/token");
    });
    let run = push(&server, &[]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    for reason in [
        "/data/upload/1/gone.jpg: the server answers 404",
        "the task's data have no image at $image; their texts are text",
        "shows no image",
        "4 tasks got no prediction",
    ] {
        assert!(run.stderr.contains(reason), "{reason}: {}", run.stderr);
    }
    assert!(run.stdout.starts_with("3 predictions stored"), "{}", run.stdout);
    assert_eq!(server.predictions().len(), 3);
}

#[test]
fn a_project_that_cannot_get_predictions_is_told_before_anything_is_computed() {
    let server = start_server("RectangleLabels");
    let run = push(&server, &[]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("no control that can get predictions"), "{}", run.stderr);
    server.set_label_config(
        "<View><Image name='i' value='$image'/><BrushLabels name='b' toName='i'><Label value='Zebra'/>\
         </BrushLabels></View>",
    );
    let run = push(&server, &[]);
    assert!(run.stderr.contains("its labels are Zebra"), "{}", run.stderr);
    let run = push(&server, &["--control", "c"]);
    assert!(run.stderr.contains("there are b"), "{}", run.stderr);
    assert_eq!(server.take_files(), [""; 0]);
    server.act("/api/projects/1/", [Act::Html]);
    let run = push(&server, &[]);
    assert!(run.stderr.contains("page for people"), "{}", run.stderr);
    let mut command = push_command(&server, &[]);
    command.env("LABEL_STUDIO_API_KEY", LEGACY_TOKEN.replace('0', "1"));
    server.clear_acts();
    let run = Run::new(&command.output().unwrap());
    assert!(run.code == Some(3) && run.stderr.contains("401"), "{}", run.stderr);
}
