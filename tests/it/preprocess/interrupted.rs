//! A run that ends early is not taken for a whole one.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Folders, files, region, task};
use crate::job::Run;

/// Number of images. No processor is done with all of them before the test, however busy the machine
/// is, has seen the first masks.
const TASKS: i64 = 2000;

/// Makes a folder of images that take minutes to decode, all of them links to one file.
fn slow() -> Folders {
    let folders = Folders::new();
    let size = (1500, 1000);
    let bytes = maskmaker::imaging::encode_png(&super::noise(size.0, size.1));
    folders.image("0.png", &bytes);
    let images = folders.path("processing/input/images");
    let mut tasks = Vec::new();
    for number in 0..TASKS {
        let name = format!("{number}.png");
        if number > 0 {
            std::fs::hard_link(images.join("0.png"), images.join(&name)).unwrap();
        }
        tasks.push(task(number, &name, &[region("road", size, [0, 0, 700, 900])]));
    }
    folders.annotation("export.json", json!(tasks).to_string());
    folders
}

/// Lists the whole masks of a run that may still write: a file that is there when the folder is
/// listed has another name a moment later, so none is read.
fn masks_so_far(folders: &Folders) -> Vec<PathBuf> {
    let mut masks = Vec::new();
    for entry in std::fs::read_dir(folders.output("train_annotation")).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "png") {
            masks.push(path);
        }
    }
    masks
}

/// A run of which some masks are there already, and not all.
fn begun(folders: &Folders) -> Child {
    // So that masks of an earlier run are not taken for those of this one.
    for mask in masks_so_far(folders) {
        std::fs::remove_file(mask).unwrap();
    }
    let config = folders.config();
    let mut command = folders.command(&["--label-config", config.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_mins(5);
    while masks_so_far(folders).len() < 3 {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn whatever_ends_a_run_leaves_marks_and_the_next_run_replaces_what_it_left() {
    let folders = slow();
    for name in ["TERM", "INT", "KILL"] {
        let child = begun(&folders);
        signal(&child, name);
        let run = Run::new(&child.wait_with_output().unwrap());
        assert_ne!(run.code, Some(0), "{name}");
        assert!(folders.is_marked(), "{name}");
        assert!(!folders.output("report.json").exists());
        if name != "KILL" {
            assert_eq!(run.code, Some(3), "{}", run.stderr);
            assert!(run.stderr.contains("is not complete and is marked so"), "{}", run.stderr);
        }
    }
    // A mask that this run will not write again.
    folders.put("processing/output/train_annotation/stale.png", "half");
    let left: Vec<Value> = (0..4).map(|n| task(n, &format!("{n}.png"), &[])).collect();
    folders.annotation("export.json", json!(left).to_string());
    folders.done(&[]);
    let names = folders.masks().into_keys().collect::<Vec<_>>();
    assert_eq!(names, ["0", "1", "2", "3"]);
    let all = files(&folders.output(""));
    assert!(all.keys().all(|name| !name.contains(".partial-")), "{:?}", all.keys());
}

#[test]
fn an_output_that_is_whole_is_marked_before_anything_in_it_changes() {
    let folders = slow();
    let few = json!([task(0, "0.png", &[])]).to_string();
    let all = std::fs::read(folders.path("processing/input/annotations/export.json")).unwrap();
    folders.annotation("export.json", few);
    folders.done(&[]);
    folders.annotation("export.json", all);
    let child = begun(&folders);
    signal(&child, "KILL");
    child.wait_with_output().unwrap();
    assert!(folders.is_marked());
}
