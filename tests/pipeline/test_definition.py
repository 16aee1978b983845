"""The definitions in pipeline.json and pipelines/: what SageMaker's SDK writes, what its API takes, and what the schema allows."""

import copy
import json
import logging
import re

import pytest
from botocore.validate import ParamValidator
from jsonschema import Draft7Validator, Draft202012Validator

from definitions import EXECUTION, FILES, REQUESTS, Run, broken_rules, differences, read, references, steps
from sdk_pipeline import build

# (a) The definition equals what the SDK writes, but for these: a path, what stands in pipeline.json and what the SDK
# writes there (None: nothing; ...: anything), and the reason.
SDK_DIFFERENCES = [
    (r"/Parameters/\d+/Description", ..., None, "the SDK's parameters have no description"),
    (r"(/Steps/\d+|/Steps/3/Arguments/(If|Else)Steps/0)/Description", ..., None,
     "texts for people stand in pipeline.json alone; the SDK would write them"),
    (r"/Steps/[02]/Arguments/(ProcessingInputs|ProcessingOutputConfig/Outputs)/\d+/AppManaged", None, False,
     "false is the default, and the schema has no such key"),
    (r"/Steps/1/Arguments/ProfilerRuleConfigurations/0/RuleEvaluatorImage", {"Get": "Parameters.ProfilerRuleImageUri"},
     "915447279597.dkr.ecr.us-east-2.amazonaws.com/sagemaker-debugger-rules:latest",
     "the SDK looks the image up by its own region, a definition is for all"),
    (r"/Steps/3/Arguments/IfSteps/0/Name", "RegisterModel", "RegisterModel-RegisterModel",
     "ModelStep appends what it does to its name"),
    (r"/Steps/3/Arguments/IfSteps/0/Arguments/SkipModelValidation", None, "None",
     "None is the default, and the schema has no such key"),
    (r"/Steps/3/Arguments/IfSteps/0/Arguments/InferenceSpecification/Containers/0/Environment", None, {},
     "an empty map says nothing, and the schema has no such key"),
    (r"/Steps/3/Arguments/IfSteps/0/Arguments/ModelMetrics/Bias", None, {}, "an empty map says nothing"),
]


def allows(difference, found):
    """Returns true if an entry of the list of differences describes a difference that was found."""
    pattern, ours, theirs, _ = difference
    path, expected, written = found
    return (re.fullmatch(pattern, path) is not None and (ours is ... or ours == expected)
            and (theirs is ... or theirs == written))


@pytest.fixture(scope="module")
def sdk_differences():
    logging.disable()
    try:
        written = json.loads(build().definition())
    finally:
        logging.disable(logging.NOTSET)
    return list(differences(read("pipeline.json"), written))


def test_the_definition_equals_what_the_sdk_writes(sdk_differences):
    unexplained = [found for found in sdk_differences if not any(allows(entry, found) for entry in SDK_DIFFERENCES)]
    assert unexplained == []


@pytest.mark.parametrize("entry", SDK_DIFFERENCES, ids=lambda entry: entry[-1])
def test_each_named_difference_exists(sdk_differences, entry):
    assert any(allows(entry, found) for found in sdk_differences)


# (b) Requests.

JOBS = [(file, name) for file in FILES for name, step in steps(read(file)).items() if step["Type"] in REQUESTS]


@pytest.mark.parametrize("file, name", JOBS)
def test_the_request_of_a_step_passes_botocores_validator(file, name):
    request, shape = Run(read(file)).request(name)
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize("file, name", JOBS)
def test_the_request_of_a_step_keeps_patterns_words_and_limits(file, name):
    request, shape = Run(read(file)).request(name)
    assert list(broken_rules(request, shape)) == []


def test_the_rules_of_the_service_find_mistakes():
    request, shape = Run(read("pipeline.json")).request("Preprocess")
    request["ProcessingResources"]["ClusterConfig"] |= {"InstanceType": "ml.nonsense", "InstanceCount": 0}
    request["RoleArn"] = "ROLE_FOR_SAGEMAKER_PIPELINE"
    found = "\n".join(broken_rules(request, shape))
    for path in ["/ProcessingResources/ClusterConfig/InstanceType", "/ProcessingResources/ClusterConfig/InstanceCount", "/RoleArn"]:
        assert f"{path}: " in found, found


@pytest.mark.parametrize("file", FILES)
def test_conditions_compare_values_of_one_type(file):
    run = Run(read(file))
    for step in run.steps.values():
        for condition in step["Arguments"].get("Conditions", []):
            left, right = run.resolve(condition["LeftValue"]), run.resolve(condition["RightValue"])
            assert type(left) is type(right), condition


def test_the_message_of_the_fail_step_has_score_limit_and_reason():
    run = Run(read("pipeline.json"))
    message = run.resolve(run.steps["RefuseModel"]["Arguments"]["ErrorMessage"])
    assert message == "The model is not registered: its mIoU is 0.75, the least is 0.6 (mIoU 0.7500 is at least 0.6)"


@pytest.mark.parametrize("file", FILES)
def test_hyperparameters_are_those_of_train(file):
    # train counts the classes of label_map/labels.json.
    schema = read("hyperparameters/schema.json")
    schema["required"] = [name for name in schema.get("required", []) if name != "num_classes"]
    definition = read(file)
    run = Run(definition)
    train = next(name for name, step in run.steps.items() if step["Type"] == "Training")
    request, _ = run.request(train)
    Draft202012Validator(schema).validate(request["HyperParameters"])
    channels = [channel["ChannelName"] for channel in request["InputDataConfig"]]
    assert sorted(channels) == ["label_map", "train", "train_annotation", "validation", "validation_annotation"]
    assert request["AlgorithmSpecification"]["MetricDefinitions"] == read("hyperparameters/metric-definitions.json")
    for parameter in definition["Parameters"]:
        for name, value in run.steps[train]["Arguments"]["HyperParameters"].items():
            if value == {"Get": f"Parameters.{parameter['Name']}"} and "EnumValues" in parameter:
                words = [word for word in schema["properties"][name]["enum"] if isinstance(word, str)]
                assert parameter["EnumValues"] == words, parameter


# (c) The schema.
#
# tests/pipeline/pipeline-definition.schema.json is schema/pipeline-definition.schema.json of the repository
# aws-sagemaker-mlops/sagemaker-model-building-pipeline-definition-JSON-schema at b4012b0, without a change. It is behind the
# service. Each function below lets it accept one thing that the service takes and the SDK writes.


def allow_experiments(schema):
    names = {"type": "object", "properties": {"ExperimentName": argument("String"), "TrialName": argument("String")},
             "required": ["ExperimentName"], "additionalProperties": False}
    schema["properties"]["PipelineExperimentConfig"] = names


def allow_enum_values(schema):
    schema["definitions"]["StringParameter"]["properties"]["EnumValues"] = {"type": "array", "items": {"type": "string"}}


def allow_joins_in_strings(schema):
    values = {"type": "array", "minItems": 1, "items": {"anyOf": [
        {"type": ["string", "number", "boolean"]}, reference("GetFunction"), reference("Join"), json_get()]}}
    arguments = {"type": "object", "properties": {"On": {"type": "string"}, "Values": values}, "required": ["Values"],
                 "additionalProperties": False}
    # The schema's own JoinFunction describes nothing: it has names of keys where words of JSON Schema belong.
    schema["definitions"]["Join"] = {"type": "object", "properties": {"Std:Join": arguments}, "required": ["Std:Join"],
                                     "additionalProperties": False}
    schema["definitions"]["StringArgumentValue"]["oneOf"].append(reference("Join"))


def allow_json_get_in_conditions(schema):
    schema["definitions"]["BinaryCondition"]["properties"]["LeftValue"]["anyOf"].append(json_get())


def allow_lists_of_exceptions(schema):
    exception = schema["definitions"]["RetryPolicy"]["properties"]["ExceptionType"]
    schema["definitions"]["RetryPolicy"]["properties"]["ExceptionType"] = {"type": "array", "minItems": 1, "items": exception}


def allow_property_files(schema):
    names = ["PropertyFileName", "OutputName", "FilePath"]
    file = {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": names,
            "additionalProperties": False}
    schema["definitions"]["ProcessingStep"]["properties"]["PropertyFiles"] = {"type": "array", "items": file}


def allow_the_profiler(schema):
    properties = schema["definitions"]["TrainingStep"]["properties"]["Arguments"]["properties"]
    properties["ProfilerConfig"] = {
        "type": "object", "additionalProperties": False, "properties": {
            "S3OutputPath": argument("String"), "ProfilingIntervalInMilliseconds": argument("Integer"),
            "DisableProfiler": argument("Boolean")}}
    # They have the form of debugging rules.
    properties["ProfilerRuleConfigurations"] = copy.deepcopy(properties["DebugRuleConfigurations"])


def allow_approval_status(schema):
    arguments = schema["definitions"]["RegisterModelStep"]["properties"]["Arguments"]
    arguments["properties"]["ModelApprovalStatus"] = argument("String")


def allow_customer_metadata(schema):
    arguments = schema["definitions"]["RegisterModelStep"]["properties"]["Arguments"]
    arguments["properties"]["CustomerMetadataProperties"] = {"type": "object", "additionalProperties": argument("String")}


RELAXATIONS = [allow_experiments, allow_enum_values, allow_joins_in_strings, allow_json_get_in_conditions,
               allow_lists_of_exceptions, allow_property_files, allow_the_profiler, allow_approval_status,
               allow_customer_metadata]


def reference(name):
    return {"$ref": f"#/definitions/{name}"}


def argument(kind):
    return reference(f"{kind}ArgumentValue")


def json_get():
    arguments = {"type": "object", "properties": {"PropertyFile": reference("GetFunction"), "Path": {"type": "string"}},
                 "required": ["PropertyFile", "Path"], "additionalProperties": False}
    return {"type": "object", "properties": {"Std:JsonGet": arguments}, "required": ["Std:JsonGet"], "additionalProperties": False}


def schema_errors(definition, relaxations):
    schema = read("tests/pipeline/pipeline-definition.schema.json")
    for relax in relaxations:
        relax(schema)
    Draft7Validator.check_schema(schema)
    return [f"{error.json_path}: {error.message}" for error in Draft7Validator(schema).iter_errors(definition)]


@pytest.mark.parametrize("file", FILES)
def test_a_definition_is_what_the_relaxed_schema_allows(file):
    assert schema_errors(read(file), RELAXATIONS) == []


@pytest.mark.parametrize("relaxation", RELAXATIONS, ids=lambda relaxation: relaxation.__name__)
def test_each_relaxation_is_needed(relaxation):
    others = [other for other in RELAXATIONS if other is not relaxation]
    assert schema_errors(read("pipeline.json"), others) != []


# Beyond single steps.


@pytest.mark.parametrize("file", FILES)
def test_parameters_are_described_and_used(file):
    definition = read(file)
    used = {text.removeprefix("Parameters.") for text in references(definition["Steps"]) if text.startswith("Parameters.")}
    assert used == {parameter["Name"] for parameter in definition["Parameters"]}
    for parameter in definition["Parameters"]:
        assert parameter["Description"].endswith("."), parameter
        if "EnumValues" in parameter:
            assert parameter["DefaultValue"] in parameter["EnumValues"], parameter


@pytest.mark.parametrize("file", FILES)
def test_all_jobs_write_below_the_folder_of_execution_and_step(file):
    run = Run(read(file))
    for name, step in run.steps.items():
        if step["Type"] not in ("Processing", "Training"):
            continue
        request, _ = run.request(name)
        root = f"{run.parameters['OutputRoot']}/{EXECUTION['Execution.PipelineExecutionId']}/{name}"
        places = [output["S3Output"]["S3Uri"] for output in request.get("ProcessingOutputConfig", {}).get("Outputs", [])]
        for setting in ["OutputDataConfig", "CheckpointConfig", "ProfilerConfig"]:
            config = request.get(setting, {})
            places += [config[key] for key in ["S3OutputPath", "S3Uri"] if key in config]
        for place in places:
            assert place == root or place.startswith(f"{root}/"), place
        # A prefix of S3 is a text: the inputs of a job at .../train would be the objects of .../train_annotation too.
        if step["Type"] == "Processing":
            for place in places:
                assert [other for other in places if other.startswith(place)] == [place]


@pytest.mark.parametrize("file", FILES)
def test_a_cached_step_that_reads_an_outside_prefix_has_the_data_revision(file):
    for step in steps(read(file)).values():
        if not step.get("CacheConfig", {}).get("Enabled"):
            continue
        uris = [entry["S3Input"]["S3Uri"] for entry in step["Arguments"]["ProcessingInputs"]]
        if any(text.startswith("Parameters.") for text in references(uris)):
            assert {"Get": "Parameters.DataRevision"} in step["Arguments"]["Environment"].values(), step["Name"]


def test_on_demand_differs_by_spot_alone():
    ours, other = read("pipeline.json"), read("pipelines/on-demand.json")
    spot = ["UseSpotTraining", "MaxWaitTimeInSeconds"]
    ours["Parameters"] = [parameter for parameter in ours["Parameters"] if parameter["Name"] not in spot]
    train = steps(ours)["Train"]["Arguments"]
    del train["EnableManagedSpotTraining"], train["StoppingCondition"]["MaxWaitTimeInSeconds"]
    assert list(differences(ours, other)) == []


def test_own_test_set_differs_by_the_test_set_alone():
    ours, other = read("pipeline.json"), read("pipelines/own-test-set.json")
    places = {"test": "TestImagesS3Uri", "test_annotation": "TestMasksS3Uri"}
    other["Parameters"] = [parameter for parameter in other["Parameters"] if parameter["Name"] not in places.values()]
    preprocess, evaluate = steps(ours)["Preprocess"], steps(ours)["Evaluate"]
    preprocess["Description"] = steps(other)["Preprocess"]["Description"]
    arguments = preprocess["Arguments"]["AppSpecification"]["ContainerArguments"]
    assert arguments[-2] == "--test-ratio"
    del arguments[-2:]
    outputs = preprocess["Arguments"]["ProcessingOutputConfig"]["Outputs"]
    outputs[:] = [output for output in outputs if output["OutputName"] not in places]
    for entry in evaluate["Arguments"]["ProcessingInputs"]:
        if entry["InputName"] in places:
            entry["S3Input"]["S3Uri"] = {"Get": f"Parameters.{places[entry['InputName']]}"}
    assert list(differences(ours, other)) == []
