//! Tests of reading definitions.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn parse(document: &Value) -> (Definition, Vec<String>) {
    let (definition, findings) = Definition::parse(document.to_string().as_bytes()).unwrap();
    (definition, findings.as_slice().iter().map(ToString::to_string).collect())
}

fn with_steps(steps: &Value) -> Value {
    json!({"Version": "2020-12-01", "Steps": steps})
}

#[test]
fn parameters_and_steps_are_read_with_those_in_branches() {
    let (definition, findings) = parse(&json!({
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": [
            {"Name": "Epochs", "Type": "Integer", "DefaultValue": 10},
            {"Name": "Size", "Type": "String", "EnumValues": ["a", "b"]},
        ],
        "PipelineExperimentConfig": {
            "ExperimentName": {"Get": "Execution.PipelineName"}, "TrialName": "trial"},
        "Steps": [
            {"Name": "Train", "Type": "Training", "Arguments": {"RoleArn": "x"},
             "CacheConfig": {"Enabled": true, "ExpireAfter": "P30D"},
             "RetryPolicies": [{"ExceptionType": ["Step.THROTTLING"], "MaxAttempts": 3}]},
            {"Name": "Evaluate", "Type": "Processing", "Arguments": {}, "DependsOn": ["Train"],
             "PropertyFiles": [
                {"PropertyFileName": "Report", "OutputName": "out", "FilePath": "evaluation.json"}
             ]},
            {"Name": "Good", "Type": "Condition", "Arguments": {
                "Conditions": [],
                "IfSteps": [{"Name": "Register", "Type": "RegisterModel", "Arguments": {}}],
                "ElseSteps": [{"Name": "Bad", "Type": "Fail", "Arguments": {}}],
            }},
        ],
    }));
    assert_eq!(findings, [""; 0]);
    let names: Vec<&str> = definition.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["Train", "Evaluate", "Good", "Register", "Bad"]);
    assert!(definition.step("Train").unwrap().is_cached);
    assert_eq!(definition.step("Evaluate").unwrap().property_files[0].path, "evaluation.json");
    assert_eq!(definition.step("Good").unwrap().arguments, json!({"Conditions": []}));
    let branch = definition.step("Bad").unwrap().branch.clone().unwrap();
    assert_eq!((branch.condition.as_str(), branch.is_if), ("Good", false));
    let epochs = definition.parameter("Epochs").unwrap();
    assert_eq!(epochs.read_value("3"), json!(3));
    assert_eq!(epochs.read_value("3.5"), json!("3.5"));
    assert!(epochs.check_value(&json!("3.5")).unwrap_err().contains("a whole number"));
    let size = definition.parameter("Size").unwrap();
    assert!(size.check_value(&json!("c")).unwrap_err().contains("\"b\""));
}

#[test]
fn every_mistake_of_form_is_told_with_its_step_and_field() {
    let (definition, findings) = parse(&json!({
        "Version": "2021",
        "Parameter": [],
        "Parameters": [
            {"Name": "A", "Type": "Int"},
            {"Name": "B", "Type": "Integer", "DefaultValue": "1"},
            {"Name": "B", "Type": "Boolean", "DefaultValue": true},
            {"Type": "String"},
            5,
        ],
        "Steps": [
            {"Name": "Run", "Type": "Notebook", "Arguments": {}},
            {"Name": "Train", "Type": "Training", "Argument": {}, "DependsOn": "Run"},
            {"Name": "Train", "Type": "Fail", "Arguments": [], "DependsOn": [3]},
            {"Name": "a b", "Type": "Processing", "Arguments": {},
             "CacheConfig": {"Enabled": "yes", "ExpireAfter": "soon"},
             "RetryPolicies": [{"ExceptionType": ["Step.Throttling"], "MaxAttempts": 50}],
             "PropertyFiles": [{"PropertyFileName": "x"}]},
            {"Type": "Fail", "Arguments": {}},
        ],
    }));
    let expected = [
        "error: Parameter: the key is unknown (did you mean \"Parameters\"?)",
        "error: Version: is \"2021\"; allowed: \"2020-12-01\"",
        "error: Parameters[0].Type: is \"Int\"",
        "error: Parameters[1].DefaultValue: is \"1\"; allowed: a whole number",
        "error: Parameters[2].Name: another parameter has the name B",
        "error: Parameters[3].Name: is missing",
        "error: Parameters[4]: is 5; allowed: an object",
        "error: step Run, Type: is \"Notebook\"; the service has Processing, Training, ",
        "error: step Train, Argument: the key is unknown (did you mean \"Arguments\"?)",
        "error: step Train, DependsOn: is \"Run\"; allowed: a list",
        "error: step Train, Arguments: is missing",
        "error: step Train, DependsOn[0]: is 3; allowed: the name of a step",
        "error: step Train, Arguments: is a list; allowed: an object",
        "error: step Train, Name: another step has the same name",
        "error: step \"a b\", Name: is \"a b\"; allowed: 1 to 64 letters, digits, - and _",
        "error: step \"a b\", PropertyFiles[0].OutputName: is missing",
        "error: step \"a b\", PropertyFiles[0].FilePath: is missing",
        "error: step \"a b\", CacheConfig.ExpireAfter: is \"soon\"; allowed: a duration",
        "error: step \"a b\", CacheConfig.Enabled: is \"yes\"; allowed: true or false",
        "error: step \"a b\", RetryPolicies[0].ExceptionType[0]: is \"Step.Throttling\"",
        "error: step \"a b\", RetryPolicies[0].MaxAttempts: is 50; allowed: a number, 1 to 20",
        "error: Steps[4].Name: is missing",
    ];
    assert_eq!(findings.len(), expected.len(), "{findings:#?}");
    for (finding, expected) in findings.iter().zip(expected) {
        assert!(finding.starts_with(expected), "{finding}\n{expected}");
    }
    assert_eq!(definition.unread_steps, ["Run", ""]);
}

#[test]
fn broken_json_is_told_with_line_and_column() {
    let error = |text: &str| Definition::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(error("{\n \"Version\": 1,,}").contains("line 2 column 15"), "{}", error("{,}"));
    let twice = error("{\"Steps\": [],\n\"Steps\": []}");
    assert!(twice.contains("the key \"Steps\" stands twice in one object"), "{twice}");
    assert!(twice.contains("line 2"), "{twice}");
    assert!(error("[]").contains("is a list; allowed: an object"));
    assert!(error("{} {}").contains("trailing characters"));
}

#[test]
fn limits_of_the_service_are_told() {
    let steps: Vec<Value> = (0..51)
        .map(|i| json!({"Name": format!("s{i}"), "Type": "Fail", "Arguments": {}}))
        .collect();
    let (_, findings) = parse(&with_steps(&json!(steps)));
    assert_eq!(findings, ["error: Steps: has 51 entries; the service takes 50"]);
    let (_, findings) = parse(&with_steps(&json!([])));
    assert_eq!(findings, ["error: Steps: has no step; give at least one"]);
}

#[test]
fn steps_of_a_branch_whose_condition_cannot_be_read_are_not_told_as_missing() {
    let (definition, findings) = parse(&with_steps(&json!([
        {"Name": "Choose", "Type": "Conditions", "Arguments": {"IfSteps": [
            {"Name": "A", "Type": "Fail", "Arguments": {}}
        ]}},
    ])));
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(definition.unread_steps, ["Choose", "A"]);
}

#[test]
fn durations_are_those_of_iso_8601_with_or_without_their_p() {
    for (text, is_valid) in [
        ("P30D", true),
        ("30d", true),
        ("PT12H", true),
        ("T16m", true),
        ("30dT5h", true),
        ("P1Y2M3W4DT5H6M7S", true),
        ("P", false),
        ("", false),
        ("PT", false),
        ("30", false),
        ("D30", false),
        ("P5D2Y", false),
        ("5ß", false),
    ] {
        let (_, findings) = parse(&with_steps(&json!([{
            "Name": "a", "Type": "Training", "Arguments": {},
            "CacheConfig": {"Enabled": true, "ExpireAfter": text}
        }])));
        assert_eq!(findings.is_empty(), is_valid, "{text}: {findings:?}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let keys = prop_oneof![
            Just("Name".to_owned()),
            Just("Type".to_owned()),
            Just("Arguments".to_owned()),
            Just("IfSteps".to_owned()),
            Just("CacheConfig".to_owned()),
            Just("RetryPolicies".to_owned()),
            Just("Get".to_owned()),
            "[A-Z][a-z]{0,5}",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(keys, inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_makes_the_reader_panic(
        parameters in any_json(),
        mut steps in proptest::collection::vec(any_json(), 0..4),
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let _ = Definition::parse(&bytes);
        for (index, step) in steps.iter_mut().enumerate() {
            if let Value::Object(object) = step {
                object.insert("Name".to_owned(), format!("s{index}").into());
                let kind = StepKind::ALL[index % StepKind::ALL.len()];
                object.insert("Type".to_owned(), kind.name().into());
            }
        }
        let document =
            json!({"Version": "2020-12-01", "Parameters": parameters, "Steps": steps}).to_string();
        let (definition, _) = Definition::parse(document.as_bytes()).unwrap();
        let _ = crate::pipeline::Graph::new(&definition);
    }
}
