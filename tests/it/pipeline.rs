//! `maskmaker pipeline`: definitions that are checked, rendered and shown by the real program.

use std::fs;
use std::path::Path;

use crate::job::{Run, maskmaker};

const OWN_DEFINITIONS: [&str; 5] = [
    "pipeline.json",
    "pipelines/own-test-set.json",
    "pipelines/on-demand.json",
    "pipelines/tuning.json",
    "pipelines/two-steps.json",
];

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pipeline");
    folder.join(name).to_str().unwrap().to_owned()
}

fn own(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name).to_str().unwrap().to_owned()
}

fn run(arguments: &[&str]) -> Run {
    Run::new(&maskmaker().arg("pipeline").args(arguments).output().unwrap())
}

/// Definition in a temporary folder, which the caller keeps.
fn written(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.json");
    fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn the_draft_that_people_begin_with_gets_exactly_these_findings() {
    let checked = run(&["check", &fixture("draft.json")]);
    assert_eq!(checked.code, Some(3), "{}", checked.stderr);
    let expected = fs::read_to_string(fixture("draft.check.txt")).unwrap();
    assert_eq!(checked.stdout, expected);
    let errors = expected.lines().filter(|line| line.starts_with("error: ")).count();
    assert!(checked.stderr.contains(&format!("{errors} errors, ")), "{}", checked.stderr);
}

#[test]
fn our_own_definitions_are_right_and_call_flags_that_the_program_has() {
    for name in OWN_DEFINITIONS {
        let checked = run(&["check", &own(name)]);
        assert_eq!(checked.code, Some(0), "{name}: {}{}", checked.stdout, checked.stderr);
    }
    let text = fs::read_to_string(own("pipeline.json")).unwrap();
    let (_folder, file) = written(&text.replace("--test-ratio", "--test-ration"));
    let checked = run(&["check", &file]);
    assert_eq!(checked.code, Some(3));
    let expected = "error: step Preprocess, Arguments.AppSpecification.ContainerArguments: is \
                    preprocess --train-test-split-ratio 20 --test-ration 10, which maskmaker does \
                    not take: unexpected argument '--test-ration' found";
    assert!(checked.stdout.contains(expected), "{}", checked.stdout);
}

#[test]
fn a_run_is_rendered_with_the_values_of_its_parameters() {
    let rendered = run(&[
        "render",
        &own("pipeline.json"),
        "--parameter",
        "DataRevision=r7",
        "--parameter",
        "Epochs=3",
        "--parameter",
        "OutputRoot=s3://bucket/a=b",
    ]);
    assert_eq!(rendered.code, Some(0), "{}", rendered.stderr);
    let run: serde_json::Value = serde_json::from_str(&rendered.stdout).unwrap();
    assert_eq!(run["Parameters"]["Epochs"], 3);
    let steps = run["Steps"].as_array().unwrap();
    let step = |name: &str| steps.iter().find(|step| step["Name"] == name).unwrap();
    assert_eq!(step("Preprocess")["Operation"], "CreateProcessingJob");
    assert_eq!(step("Preprocess")["Arguments"]["Environment"]["DATA_REVISION"], "r7");
    assert_eq!(step("Train")["Arguments"]["HyperParameters"]["epochs"], "3");
    assert_eq!(step("Train")["WaitsFor"], serde_json::json!(["Preprocess"]));
    let place = &step("Train")["Arguments"]["OutputDataConfig"]["S3OutputPath"]["Std:Join"];
    assert_eq!(place["Values"][0], serde_json::json!({"Get": "Parameters.OutputRoot"}));

    let missing = self::run(&["render", &own("pipeline.json")]);
    assert_eq!(missing.code, Some(3));
    let expected = "the parameter DataRevision has no value; give one by --parameter DataRevision=";
    assert!(missing.stderr.contains(expected), "{}", missing.stderr);
    let wrong = self::run(&["render", &own("pipeline.json"), "--parameter", "Epochs=many"]);
    assert!(wrong.stderr.contains("--parameter Epochs: is \"many\"; allowed: a whole number"));
    assert_eq!(
        self::run(&["render", &own("pipeline.json"), "--parameter", "Epochs"]).code,
        Some(2)
    );
}

#[test]
fn the_graph_is_shown_as_text_and_as_a_picture() {
    let shown = run(&["show", &own("pipeline.json")]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let mut lines = shown.stdout.lines();
    assert!(lines.next().unwrap().starts_with("Preprocess"), "{}", shown.stdout);
    assert!(lines.next().unwrap().contains("Training"), "{}", shown.stdout);
    let picture = run(&["show", &own("pipeline.json"), "--format", "svg"]);
    let document = roxmltree::Document::parse(&picture.stdout).unwrap();
    assert_eq!(document.root_element().tag_name().name(), "svg");
    for step in ["Preprocess", "Train", "Evaluate"] {
        let texts = document.descendants().filter(|node| node.text() == Some(step)).count();
        assert!(texts >= 1, "{step}");
    }
}

#[test]
fn files_that_are_no_definition_are_told() {
    let (_folder, file) = written("{\n  \"Version\": \"2020-12-01\"\n  \"Steps\": []\n}");
    for command in ["check", "render", "show"] {
        let broken = run(&[command, &file]);
        assert_eq!(broken.code, Some(3), "{command}");
        assert!(broken.stderr.contains("line 3 column 3"), "{}", broken.stderr);
        assert!(broken.stderr.contains("pipeline.json"), "{}", broken.stderr);
    }
    let absent = run(&["check", "/does/not/exist.json"]);
    assert_eq!(absent.code, Some(3));
    assert!(absent.stderr.contains("/does/not/exist.json"), "{}", absent.stderr);
    let (_folder, file) = written(
        r#"{"Version": "2020-12-01", "Steps": [
            {"Name": "A", "Type": "Fail", "DependsOn": ["B"], "Arguments": {"ErrorMessage": "a"}},
            {"Name": "B", "Type": "Fail", "DependsOn": ["A"], "Arguments": {"ErrorMessage": "b"}}
        ]}"#,
    );
    for command in ["check", "render", "show"] {
        let cycle = run(&[command, &file]);
        assert_eq!(cycle.code, Some(3), "{command}");
        let told = cycle.stdout + &cycle.stderr;
        assert!(told.contains("steps wait for each other: A -> B -> A"), "{told}");
    }
}
