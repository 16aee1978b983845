//! Tests of the checks on this project's own definitions with planted mistakes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::pipeline::Severity;

const PIPELINE: &str = include_str!("../../../pipeline.json");

fn definition() -> Value {
    serde_json::from_str(PIPELINE).unwrap()
}

/// Returns the findings of a definition with a value for the parameter that has no default. No
/// arguments are wrong for the program.
pub(super) fn check(document: &Value) -> Vec<String> {
    let (definition, mut findings) = Definition::parse(document.to_string().as_bytes()).unwrap();
    let given = match definition.parameter("DataRevision") {
        Some(_) => BTreeMap::from([("DataRevision".to_owned(), json!("r1"))]),
        None => BTreeMap::new(),
    };
    let values = ParameterValues::choose(&definition, &given, &mut findings);
    check_definition(&definition, &values, &|_| Ok(()), &mut findings);
    findings.as_slice().iter().map(ToString::to_string).collect()
}

/// Returns the step of this name, which is no step of a branch.
pub(super) fn step<'a>(document: &'a mut Value, name: &str) -> &'a mut Value {
    let steps = document["Steps"].as_array_mut().unwrap();
    steps.iter_mut().find(|step| step["Name"] == name).unwrap()
}

/// Returns the channel of this name of the training step.
fn channel<'a>(document: &'a mut Value, name: &str) -> &'a mut Value {
    let channels = &mut step(document, "Train")["Arguments"]["InputDataConfig"];
    let Value::Array(channels) = channels else { panic!("no channels") };
    channels.iter_mut().find(|channel| channel["ChannelName"] == name).unwrap()
}

#[track_caller]
fn assert_found(change: impl FnOnce(&mut Value), expected: &[&str]) {
    let mut document = definition();
    change(&mut document);
    let findings = check(&document);
    for expected in expected {
        assert!(findings.iter().any(|finding| finding.contains(expected)), "{findings:#?}");
    }
}

#[test]
fn the_projects_own_definitions_have_no_error() {
    for file in [
        "pipeline.json",
        "pipelines/own-test-set.json",
        "pipelines/on-demand.json",
        "pipelines/tuning.json",
        "pipelines/two-steps.json",
    ] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(path).unwrap();
        let findings = check(&serde_json::from_str(&text).unwrap());
        let errors: Vec<&String> =
            findings.iter().filter(|finding| finding.starts_with("error")).collect();
        assert_eq!(errors, [""; 0], "{file}");
    }
}

#[test]
fn requests_are_checked_against_the_shapes_of_the_service() {
    assert_found(
        |document| {
            let arguments = &mut step(document, "Train")["Arguments"];
            arguments["ResourceConfig"]["InstanceType"] = json!("ml.g5.xlrge");
            arguments["ResourceConfig"]["InstanceCount"] = json!("1");
            arguments["OutputDataConfig"]["S3OutputPath"] = json!("sS3://bucket/x");
            arguments["RoleArn"] = json!("SageMakerRole");
            arguments["AlgorithmSpecification"]["TrainingInputMod"] = json!("File");
            arguments["StoppingCondition"]["MaxRuntimeInSeconds"] = json!(0);
            arguments["HyperParameters"]["epochs"] = json!({"Get": "Parameters.Epochs"});
            arguments["HyperParameters"]["seed"] = json!(7);
            arguments["EnableNetworkIsolation"] = json!({"Std:Join": {"Values": ["a"]}});
        },
        &[
            "step Train, Arguments.ResourceConfig.InstanceType: is \"ml.g5.xlrge\" (did you mean",
            "Arguments.ResourceConfig.InstanceCount: is \"1\"; allowed: a whole number",
            "Arguments.OutputDataConfig.S3OutputPath: is \"sS3://bucket/x\"; allowed: (https|s3)",
            "write \"s3://bucket/x\"",
            "Arguments.RoleArn: is \"SageMakerRole\"; allowed: arn:aws",
            "Arguments.AlgorithmSpecification.TrainingInputMod: the key is unknown (did you mean",
            "Arguments.StoppingCondition.MaxRuntimeInSeconds: is 0; allowed: 1 or more",
            "Arguments.HyperParameters.epochs: is 10 of Parameters.Epochs; allowed: a text; join it",
            "Arguments.HyperParameters.seed: is 7; allowed: a text; write \"7\"",
            "Arguments.EnableNetworkIsolation: is",
        ],
    );
    assert_found(
        |document| {
            step(document, "Preprocess")["Arguments"]["AppSpecification"]
                .as_object_mut()
                .unwrap()
                .remove("ImageUri");
        },
        &["step Preprocess, Arguments.AppSpecification.ImageUri: is missing; give a text"],
    );
}

#[test]
fn references_lead_somewhere() {
    assert_found(
        |document| {
            channel(document, "train")["DataSource"]["S3DataSource"]["S3Uri"] = json!(
                {"Get": "Steps.Preprocess.ProcessingOutputConfig.Outputs['trian'].S3Output.S3Uri"}
            );
            channel(document, "validation")["DataSource"]["S3DataSource"]["S3Uri"] = json!({"Get": "Steps.Preproces.ProcessingOutputConfig.Outputs['x'].S3Output.S3Uri"});
            let train = step(document, "Train");
            train["Arguments"]["RoleArn"] = json!({"Get": "Parameters.RolArn"});
            train["DependsOn"] = json!(["Evaluate"]);
            train["Arguments"]["Environment"] =
                json!({"A": {"Get": "Steps.Preprocess.ProcessingJob"}, "B": {"Std:Get": 1}});
        },
        &[
            "step Preprocess has no output trian (did you mean \"train\"?)",
            "there is no step Preproces (did you mean \"Preprocess\"?)",
            "takes the parameter RolArn, which is not declared (did you mean \"RoleArn\"?)",
            "steps wait for each other: ",
            "the description of a Processing job has no ProcessingJob (did you mean",
            "step Train, Arguments.Environment.B: Std:Get is no function",
        ],
    );
    assert_found(
        |document| {
            let evaluate = step(document, "Evaluate");
            evaluate["PropertyFiles"][0]["PropertyFileName"] = json!("Report2");
            evaluate["Arguments"]["Environment"] =
                json!({"A": {"Get": "Steps.RegisterModel.ModelPackageArn"}});
        },
        &["which declares no such file"],
    );
}

#[test]
fn a_step_cannot_take_what_a_branch_may_not_have_made() {
    let document = json!({"Version": "2020-12-01", "Steps": [
        {"Name": "Choose", "Type": "Condition", "Arguments": {
            "Conditions": [{"Type": "Equals", "LeftValue": 1, "RightValue": 1}],
            "IfSteps": [{"Name": "A", "Type": "Fail", "Arguments": {"ErrorMessage": "a"}}],
            "ElseSteps": [
                {"Name": "B", "Type": "Fail", "DependsOn": ["A"], "Arguments": {"ErrorMessage": "b"}}
            ]}},
        {"Name": "C", "Type": "Fail", "DependsOn": ["A"], "Arguments": {"ErrorMessage": "c"}},
    ]});
    let findings = check(&document);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    for (finding, step) in findings.iter().zip(["B", "C"]) {
        let expected =
            format!("error: step {step}, DependsOn[0]: step A stands in IfSteps of Choose");
        assert!(finding.starts_with(&expected), "{finding}");
    }
}

#[test]
fn conditions_are_those_of_the_service() {
    let document = json!({"Version": "2020-12-01", "Parameters": [
        {"Name": "Text", "Type": "String"}
    ], "Steps": [
        {"Name": "Choose", "Type": "Condition", "Arguments": {"Condition": [], "Conditions": [
            {"Type": "GreaterThen", "LeftValue": 1, "RightValue": 2},
            {"Type": "LessThan", "LeftValue": "a", "RightValu": 2},
            {"Type": "Equals", "LeftValue": "1", "RightValue": 1},
            {"Type": "In", "Value": 1, "In": [1, null]},
            {"Type": "In", "QueryValue": "a", "Values": ["a"]},
            {"Type": "Or", "Conditions": []},
            {"Type": "Not", "Condition": {"Type": "Equals", "LeftValue": true, "RightValue": true}},
            5,
            {"Type": "GreaterThan", "LeftValue": {"Get": "Parameters.Text"}, "RightValue": 1},
            {"Type": "LessThan", "LeftValue": {"Get": "Execution.StartDateTime"},
             "RightValue": "2030-01-01"},
            {"Type": "LessThan", "LeftValue": true, "RightValue": true},
        ]}},
    ]});
    let findings = check(&document);
    let expected = [
        "error: step Choose, Arguments.Condition: the key is unknown (did you mean \"Conditions\"?)",
        "error: step Choose, Arguments.Conditions[0].Type: is \"GreaterThen\" (did you mean",
        "error: step Choose, Arguments.Conditions[1].RightValu: the key is unknown (did you mean",
        "error: step Choose, Arguments.Conditions[1].RightValue: is missing",
        "error: step Choose, Arguments.Conditions[2]: compares \"1\" with 1",
        "error: step Choose, Arguments.Conditions[3].In[1]: is null; allowed: a text",
        "error: step Choose, Arguments.Conditions[5].Conditions: has no condition",
        "error: step Choose, Arguments.Conditions[7]: is 5; allowed: an object",
        "error: step Choose, Arguments.Conditions[8]: compares Parameters.Text with 1",
        "error: step Choose, Arguments.Conditions[10].LeftValue: is true or false, which LessThan",
        "error: step Choose, Arguments.Conditions[10].RightValue: is true or false, which LessThan",
        "warning: step Choose, Arguments: IfSteps and ElseSteps have no step",
    ];
    assert_eq!(findings.len(), expected.len(), "{findings:#?}");
    for (finding, expected) in findings.iter().zip(expected) {
        assert!(finding.starts_with(expected), "{finding}\n{expected}");
    }
}

#[test]
fn channels_get_their_own_part_of_the_data() {
    let output = |name: &str| {
        json!({"Get": format!(
            "Steps.Preprocess.ProcessingOutputConfig.Outputs['{name}'].S3Output.S3Uri"
        )})
    };
    assert_found(
        |document| {
            channel(document, "train_annotation")["DataSource"]["S3DataSource"]["S3Uri"] =
                output("train");
            channel(document, "validation")["DataSource"]["S3DataSource"]["S3Uri"] =
                output("train");
            channel(document, "validation_annotation")["ChannelName"] = json!("label");
            channel(document, "label_map")["DataSource"]["S3DataSource"]["S3Uri"] = output("test");
        },
        &[
            "channel train_annotation has the data of channel train: masks would be the images",
            "channel validation has the data of channel train: the scores would be those of images",
            "Arguments.InputDataConfig: has no channel validation_annotation; add it",
            "channel label_map takes the folder test of step Preprocess; take its folder label_map",
        ],
    );
    assert_found(
        |document| {
            channel(document, "validation")["DataSource"]["S3DataSource"]["S3Uri"] =
                json!("s3://bucket/validation");
        },
        &[
            "warning: step Train, Arguments.InputDataConfig[",
            "no step writes the data of channel validation",
        ],
    );
}

#[test]
fn jobs_that_cannot_run_are_told() {
    assert_found(
        |document| {
            let preprocess = &mut step(document, "Preprocess")["Arguments"];
            preprocess["ProcessingInputs"][0]["S3Input"]["LocalPath"] = json!("/data");
            preprocess["ProcessingInputs"][1]["InputName"] = json!("annotations");
            preprocess["AppSpecification"]["ContainerEntrypoint"] = json!(["python3"]);
            preprocess["ProcessingResources"]["ClusterConfig"]["InstanceType"] =
                json!("ml.c6g.xlarge");
            let train = &mut step(document, "Train")["Arguments"];
            train["StoppingCondition"]["MaxWaitTimeInSeconds"] = json!(5);
            train["AlgorithmSpecification"]["TrainingImage"] = json!("maskmaker:gpu");
            let evaluate = &mut step(document, "Evaluate")["Arguments"];
            evaluate["ProcessingResources"]["ClusterConfig"]["InstanceCount"] = json!(2);
            evaluate["AppSpecification"]["ImageUri"] =
                json!("111122223333.dkr.ecr.eu-west-1.amazonaws.com/maskmaker");
        },
        &[
            "ProcessingInputs[0].S3Input.LocalPath: is \"/data\"; allowed: a folder below",
            "ProcessingInputs[1].InputName: is \"annotations\", as of another entry",
            "ContainerEntrypoint: takes the place of the image's program",
            "is \"ml.c6g.xlarge\", whose processor is an ARM",
            "MaxWaitTimeInSeconds: is 5; allowed: MaxRuntimeInSeconds, ",
            "TrainingImage: is \"maskmaker:gpu\"; allowed: an image in Amazon's registry",
            "InstanceCount: is 2; evaluate scores a test set as a whole",
            "without a tag, which means latest",
            "is an image in eu-west-1, and that of step Preprocess is in us-east-2",
        ],
    );
    assert_found(
        |document| {
            step(document, "Train")["Arguments"]["EnableManagedSpotTraining"] = json!(false);
        },
        &["MaxWaitTimeInSeconds: is given without spot instances, which the service refuses"],
    );
    assert_found(
        |document| {
            let train = &mut step(document, "Train")["Arguments"];
            train["HyperParameters"]["algoritm"] = json!("fcn");
            train["HyperParameters"]["crop_size"] = json!({"Get": "Steps.Preprocess.ExitMessage"});
            train["HyperParameters"]["learning_rate"] = json!("fast");
        },
        &[
            "step Train, Arguments.HyperParameters: learning_rate is \"fast\"; allowed: a number",
            "algoritm",
        ],
    );
}

#[test]
fn arguments_are_those_of_the_program() {
    let (definition, mut findings) = Definition::parse(PIPELINE.as_bytes()).unwrap();
    let values = ParameterValues::choose(&definition, &BTreeMap::new(), &mut findings);
    let refuse = |arguments: &[String]| Err(format!("is {}, which is refused", arguments[0]));
    check_definition(&definition, &values, &refuse, &mut findings);
    let texts: Vec<String> = findings.as_slice().iter().map(ToString::to_string).collect();
    for expected in ["ContainerArguments: is preprocess, which is", "is evaluate, which is"] {
        assert!(texts.iter().any(|text| text.contains(expected)), "{texts:#?}");
    }
}

#[test]
fn two_rounds_do_not_mix() {
    assert_found(
        |document| {
            let preprocess = step(document, "Preprocess");
            preprocess["Arguments"].as_object_mut().unwrap().remove("Environment");
            let outputs = &mut preprocess["Arguments"]["ProcessingOutputConfig"]["Outputs"];
            outputs[0]["S3Output"]["S3Uri"] = json!("s3://bucket/train");
            outputs[2]["S3Output"]["S3Uri"] = outputs[1]["S3Output"]["S3Uri"].clone();
            outputs[3]["S3Output"]["S3Uri"] = json!("s3://bucket/train_annotation");
        },
        &[
            "step Preprocess, CacheConfig: is enabled, and the step reads annotations, images from",
            "Outputs[0].S3Output.S3Uri: is the same place in each run",
            "Outputs[2].S3Output.S3Uri: is the place that step Preprocess writes",
            "Outputs[0].S3Output.S3Uri: is the beginning of the place",
        ],
    );
}

#[test]
fn a_job_waits_for_what_it_reads() {
    let job = |name: &str, reads: &str, writes: &str| {
        json!({"Name": name, "Type": "Processing", "Arguments": {
            "ProcessingInputs": [{"InputName": "in", "S3Input": {
                "S3Uri": reads, "LocalPath": "/opt/ml/processing/in"}}],
            "ProcessingOutputConfig": {"Outputs": [{"OutputName": "out", "S3Output": {
                "S3Uri": writes, "LocalPath": "/opt/ml/processing/out"}}]}}})
    };
    let mut document = json!({"Version": "2020-12-01", "Steps": [
        job("A", "s3://bucket/data", "s3://bucket/a"), job("B", "s3://bucket/a/part/", "s3://bucket/b")
    ]});
    let told = |document: &Value| {
        check(document).iter().any(|finding| {
            finding.starts_with(
                "error: step B, Arguments.ProcessingInputs[0].S3Input.S3Uri: is what step A",
            )
        })
    };
    assert!(told(&document), "{:#?}", check(&document));
    document["Steps"][1]["DependsOn"] = json!(["A"]);
    assert!(!told(&document));
}

#[test]
fn conditions_do_not_stand_in_branches_and_branches_exclude_each_other() {
    let write = |name: &str| {
        json!({"Name": name, "Type": "Processing", "Arguments": {
            "ProcessingOutputConfig": {"Outputs": [{"OutputName": "out", "S3Output": {
                "S3Uri": "s3://bucket/a", "LocalPath": "/opt/ml/processing/out"}}]}}})
    };
    let conditions = json!([{"Type": "Equals", "LeftValue": 1, "RightValue": 1}]);
    let document = json!({"Version": "2020-12-01", "Steps": [
        {"Name": "Outer", "Type": "Condition", "Arguments": {
            "Conditions": conditions,
            "IfSteps": [
                write("A"),
                {"Name": "Inner", "Type": "Condition", "Arguments": {
                    "Conditions": conditions, "IfSteps": [write("C")]}},
            ],
            "ElseSteps": [write("B")]}},
    ]});
    let findings = check(&document);
    let has = |text: &str| findings.iter().any(|finding| finding.contains(text));
    assert!(has("step Inner, Type: is a condition in a branch of Outer"), "{findings:#?}");
    assert!(has(
        "step C, Arguments.ProcessingOutputConfig.Outputs[0].S3Output.S3Uri: is the place"
    ));
    assert!(!has(
        "step B, Arguments.ProcessingOutputConfig.Outputs[0].S3Output.S3Uri: is the place"
    ));
}

#[test]
fn a_cache_may_read_what_its_place_tells() {
    let with_input = |uri: Value| {
        let mut document = definition();
        let preprocess = step(&mut document, "Preprocess");
        preprocess["Arguments"].as_object_mut().unwrap().remove("Environment");
        for input in preprocess["Arguments"]["ProcessingInputs"].as_array_mut().unwrap() {
            input["S3Input"]["S3Uri"] = uri.clone();
        }
        check(&document).iter().any(|finding| finding.contains("CacheConfig: is enabled"))
    };
    assert!(with_input(json!("s3://bucket/data")));
    let digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    assert!(!with_input(json!(format!("s3://bucket/code/{digest}/run.py"))));
    let values = json!(["s3://bucket", {"Get": "Parameters.DataRevision"}]);
    assert!(!with_input(json!({"Std:Join": {"On": "/", "Values": values}})));
}

#[test]
fn names_that_terminals_would_obey_are_quoted() {
    let mut document = definition();
    step(&mut document, "Train")["Arguments"]["a\u{1b}[31m.b"] = json!(1);
    let findings = check(&document);
    let expected = "step Train, Arguments[\"a\\u{1b}[31m.b\"]: the key is unknown";
    assert!(findings.iter().any(|finding| finding.contains(expected)), "{findings:#?}");
}

#[test]
fn values_of_parameters_are_of_their_type() {
    let (definition, mut findings) = Definition::parse(PIPELINE.as_bytes()).unwrap();
    let given = BTreeMap::from([
        ("Epochs".to_owned(), json!("ten")),
        ("Epoch".to_owned(), json!(1)),
        ("Backbone".to_owned(), json!("resnet-51")),
    ]);
    let values = ParameterValues::choose(&definition, &given, &mut findings);
    assert_eq!(values.get("Optimizer"), Some(&json!("rmsprop")));
    let texts: Vec<String> = findings.as_slice().iter().map(ToString::to_string).collect();
    assert_eq!(findings.count(Severity::Error), 3, "{texts:#?}");
    assert!(texts[0].contains("--parameter Backbone: is \"resnet-51\"; allowed: \"resnet-18\""));
    assert!(texts[1].contains("--parameter Epoch: the definition has no such parameter (did you"));
    assert!(texts[2].contains("--parameter Epochs: is \"ten\"; allowed: a whole number"));
}

#[test]
fn parameters_that_nothing_uses_are_told() {
    assert_found(
        |document| {
            let parameters = document["Parameters"].as_array_mut().unwrap();
            parameters.push(json!({"Name": "Unused", "Type": "Float"}));
        },
        &["no step uses the parameter Unused; use it, or remove it"],
    );
}
