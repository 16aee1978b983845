//! Tests of references and functions.

use proptest::prelude::*;
use serde_json::json;

use super::*;

struct Known;

impl Values for Known {
    fn get(&self, reference: &Reference) -> Option<Value> {
        match reference.to_string().as_str() {
            "Parameters.Root" => Some(json!("s3://bucket/root")),
            "Parameters.Epochs" => Some(json!(10)),
            "Parameters.LearningRate" => Some(json!(0.0001)),
            "Parameters.Spot" => Some(json!(true)),
            "Execution.PipelineExecutionId" => Some(json!("abc")),
            _ => None,
        }
    }

    fn property_file(&self, step: &str, name: &str) -> Option<Value> {
        ((step, name) == ("Evaluate", "Report"))
            .then(|| json!({"metrics": {"miou": {"value": 0.5}}, "classes": [{"iou": 0.25}]}))
    }
}

fn parse_error(text: &str) -> String {
    Reference::parse(text).unwrap_err()
}

#[test]
fn known_expressions_become_values_and_others_stay() {
    let arguments = json!({
        "S3Uri": {"Std:Join": {"On": "/", "Values": [
            {"Get": "Parameters.Root"}, {"Get": "Execution.PipelineExecutionId"}, "train"
        ]}},
        "HyperParameters": {
            "epochs": {"Std:Join": {"On": "", "Values": [{"Get": "Parameters.Epochs"}]}},
            "learning_rate": {"Std:Join": {"Values": [{"Get": "Parameters.LearningRate"}]}},
            "spot": {"Std:Join": {"Values": [{"Get": "Parameters.Spot"}]}},
        },
        "List": [{"Get": "Parameters.Epochs"}, 2],
        "Model": {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"},
        "Joined": {"Std:Join": {"On": "", "Values": [{"Get": "Steps.Train.TrainingJobName"}]}},
    });
    let expected = json!({
        "S3Uri": "s3://bucket/root/abc/train",
        "HyperParameters": {"epochs": "10", "learning_rate": "0.0001", "spot": "true"},
        "List": [10, 2],
        "Model": {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"},
        "Joined": {"Std:Join": {"On": "", "Values": [{"Get": "Steps.Train.TrainingJobName"}]}},
    });
    assert_eq!(resolve(&arguments, &Known), expected);
}

#[test]
fn values_of_a_json_file_are_found_by_their_path() {
    let read = |path: &str| {
        let file = json!({"Get": "Steps.Evaluate.PropertyFiles.Report"});
        resolve(&json!({"Std:JsonGet": {"PropertyFile": file, "Path": path}}), &Known)
    };
    assert_eq!(read("metrics.miou.value"), json!(0.5));
    assert_eq!(read("$.metrics['miou'].value"), json!(0.5));
    assert_eq!(read("classes[0].iou"), json!(0.25));
    assert!(read("classes[1].iou").is_object(), "a path that leads nowhere has no value");
}

#[test]
fn malformed_references_say_what_is_allowed() {
    assert!(parse_error("Parameter.Epochs").contains("did you mean \"Parameters\"?"));
    assert!(parse_error("Steps.Train").contains("Steps.STEP.PROPERTY"));
    assert!(parse_error("Steps.Train.Outputs[").contains("Steps.STEP.PROPERTY"));
    assert!(parse_error("Execution.PipelineExecutionID").contains("PipelineExecutionId"));
    let read = |value: &Value| Expression::read(value).unwrap().unwrap_err();
    assert!(read(&json!({"Get": 5})).contains("Get is 5"));
    assert!(read(&json!({"Get": "Parameters.A", "On": ""})).contains("one key"));
    assert!(read(&json!({"Std:Joins": {}})).contains("Std:Joins is no function"));
    assert!(read(&json!({"Std:Join": ["a"]})).contains("Values"));
    assert!(read(&json!({"Std:Join": {"Values": ["a", {}]}})).contains("has the part {}"));
    let file = json!({"Get": "Steps.Evaluate.PropertyFiles.Report"});
    let bad_path = json!({"Std:JsonGet": {"PropertyFile": file, "Path": "a..b[["}});
    assert!(read(&bad_path).contains("has the path \"a..b[[\""));
    assert!(read(&json!({"Std:JsonGet": {"Path": "a"}})).contains("PropertyFile"));
    assert!(Expression::read(&json!({"S3Uri": "s3://a/b"})).is_none());
}

proptest! {
    #[test]
    fn paths_are_read_as_they_are_written(
        first in "[A-Za-z][A-Za-z0-9]{0,8}",
        parts in proptest::collection::vec(prop_oneof![
            "[A-Za-z][A-Za-z0-9]{0,8}".prop_map(PathPart::Member),
            "[^'\"]{0,8}".prop_map(PathPart::Key),
            (0usize..1000).prop_map(PathPart::Index),
        ], 0..6),
    ) {
        let mut all = vec![PathPart::Member(first)];
        all.extend(parts);
        let path = PropertyPath(all);
        prop_assert_eq!(PropertyPath::parse(&path.to_string()), Some(path));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
        let _ = Reference::parse(&text);
        let _ = Reference::parse(&format!("Steps.{text}"));
        let _ = find_json_value(&json!({"a": [1]}), &text);
    }
}
