"""The definitions in pipeline.json and pipelines/: what SageMaker's SDK writes, what its API takes, and what the schema allows."""

import copy
import itertools
import json
import logging
import re

import pytest
from botocore.validate import ParamValidator
from jsonschema import Draft7Validator, Draft202012Validator

from definitions import EXECUTION, FILES, REQUESTS, Run, broken_rules, differences, read, references, steps
from sdk_pipeline import BUILDS

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
    (r"/Steps/1/.*/ContinuousParameterRanges/0/MinValue", "0.00001", "1e-05", "a person reads it so; they are one number"),
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


@pytest.fixture(scope="module", params=BUILDS)
def sdk_differences(request):
    """Gives the name of a definition, and its differences from what the SDK writes."""
    logging.disable()
    try:
        written = json.loads(BUILDS[request.param]().definition())
    finally:
        logging.disable(logging.NOTSET)
    return request.param, list(differences(read(request.param), written))


def test_the_definition_equals_what_the_sdk_writes(sdk_differences):
    unexplained = [found for found in sdk_differences[1] if not any(allows(entry, found) for entry in SDK_DIFFERENCES)]
    assert unexplained == []


@pytest.mark.parametrize("entry", SDK_DIFFERENCES, ids=lambda entry: entry[-1])
def test_each_named_difference_exists(sdk_differences, entry):
    file, found = sdk_differences
    # Training jobs have no ranges, and those of a tuning step have no profiler.
    other_kind = "Profiler" if file == "pipelines/tuning.json" else "Ranges"
    if other_kind not in entry[0]:
        assert any(allows(entry, difference) for difference in found)


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


def training_jobs(file):
    """Yields the requests of all training jobs of a definition: that of Train, or of Tune with each end and word of its ranges."""
    run = Run(read(file))
    for name, step in run.steps.items():
        request, _ = run.request(name) if step["Type"] in REQUESTS else ({}, None)
        if step["Type"] == "Training":
            yield request
        if step["Type"] == "Tuning":
            job = request["TrainingJobDefinition"]
            ranges = request["HyperParameterTuningJobConfig"]["ParameterRanges"]
            words = {entry["Name"]: entry["Values"] for entry in ranges["CategoricalParameterRanges"]}
            numbers = ranges["IntegerParameterRanges"] + ranges["ContinuousParameterRanges"]
            words |= {entry["Name"]: [entry["MinValue"], entry["MaxValue"]] for entry in numbers}
            assert not words.keys() & job["StaticHyperParameters"].keys()
            for searched in itertools.product(*words.values()):
                yield job | {"HyperParameters": job["StaticHyperParameters"] | dict(zip(words, searched))}


@pytest.mark.parametrize("file", FILES)
def test_hyperparameters_are_those_of_train(file):
    # train counts the classes of label_map/labels.json.
    schema = read("hyperparameters/schema.json")
    schema["required"] = [name for name in schema.get("required", []) if name != "num_classes"]
    jobs = list(training_jobs(file))
    assert jobs
    for job in jobs:
        Draft202012Validator(schema).validate(job["HyperParameters"])
        channels = [channel["ChannelName"] for channel in job["InputDataConfig"]]
        assert sorted(channels) == ["label_map", "train", "train_annotation", "validation", "validation_annotation"]
        assert job["AlgorithmSpecification"]["MetricDefinitions"] == read("hyperparameters/metric-definitions.json")


@pytest.mark.parametrize("file", FILES)
def test_words_of_parameters_are_those_of_their_hyperparameters(file):
    properties = read("hyperparameters/schema.json")["properties"]
    definition = read(file)
    given = {}
    for step in steps(definition).values():
        given |= step["Arguments"].get("HyperParameters", {})
        given |= step["Arguments"].get("TrainingJobDefinition", {}).get("StaticHyperParameters", {})
    for parameter in definition["Parameters"]:
        for name, value in given.items():
            if value == {"Get": f"Parameters.{parameter['Name']}"} and "EnumValues" in parameter:
                words = [word for word in properties[name]["enum"] if isinstance(word, str)]
                assert parameter["EnumValues"] == words, parameter


def test_the_objective_of_the_search_is_a_metric_of_its_jobs():
    config = steps(read("pipelines/tuning.json"))["Tune"]["Arguments"]["HyperParameterTuningJobConfig"]
    names = [metric["Name"] for metric in read("hyperparameters/metric-definitions.json")]
    assert config["HyperParameterTuningJobObjective"]["MetricName"] in names


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


def allow_limits_of_tuning_from_parameters(schema):
    limits = tuning_config(schema)["ResourceLimits"]["properties"]
    for name in ["MaxNumberOfTrainingJobs", "MaxParallelTrainingJobs"]:
        limits[name] = argument("Integer")


def allow_seeds_of_tuning(schema):
    tuning_config(schema)["RandomSeed"] = argument("Integer")


def allow_resources_of_tuning(schema):
    job = schema["definitions"]["HyperParameterTrainingJobDefinition"]
    job["properties"]["HyperParameterTuningResourceConfig"] = job["properties"]["ResourceConfig"]
    job["required"].remove("ResourceConfig")


RELAXATIONS = [allow_experiments, allow_enum_values, allow_joins_in_strings, allow_json_get_in_conditions,
               allow_lists_of_exceptions, allow_property_files, allow_the_profiler, allow_approval_status,
               allow_customer_metadata, allow_limits_of_tuning_from_parameters, allow_seeds_of_tuning, allow_resources_of_tuning]


def reference(name):
    return {"$ref": f"#/definitions/{name}"}


def argument(kind):
    return reference(f"{kind}ArgumentValue")


def tuning_config(schema):
    return schema["definitions"]["TuningStep"]["properties"]["Arguments"]["properties"]["HyperParameterTuningJobConfig"]["properties"]


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
    assert any(schema_errors(read(file), others) for file in ["pipeline.json", "pipelines/tuning.json"])


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
        if step["Type"] not in ("Processing", "Training", "Tuning"):
            continue
        request, _ = run.request(name)
        request |= request.get("TrainingJobDefinition", {})
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


def test_tuning_differs_from_on_demand_by_the_search_alone():
    ours, other = read("pipelines/on-demand.json"), read("pipelines/tuning.json")
    # What people read differs where it speaks of the search.
    for definition in (ours, other):
        for entry in definition["Parameters"] + definition["Steps"]:
            del entry["Description"]
    searched = ["Backbone", "Optimizer", "LearningRate", "ProfilerRuleImageUri"]
    ours["Parameters"] = [parameter for parameter in ours["Parameters"] if parameter["Name"] not in searched]
    limits = ["MaxTrainingJobs", "MaxParallelTrainingJobs"]
    other["Parameters"] = [parameter for parameter in other["Parameters"] if parameter["Name"] not in limits]
    train, tune = ours["Steps"].pop(1), other["Steps"].pop(1)
    assert (train["Name"], tune["Name"]) == ("Train", "Tune")
    assert train["RetryPolicies"] == tune["RetryPolicies"]
    place = {"Std:Join": {"On": "/", "Values": [
        {"Get": "Steps.Tune.TrainingJobDefinition.OutputDataConfig.S3OutputPath"},
        {"Get": "Steps.Tune.BestTrainingJob.TrainingJobName"}, "output/model.tar.gz"]}}
    found = [(path.rsplit("/", 1)[-1], ours, theirs) for path, ours, theirs in differences(ours, other)]
    model = {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}
    assert sorted(name for name, _, _ in found) == ["Backbone", "Get", "Get", "Std:Join", "Std:Join", "TrainingJobName"]
    assert {"Std:Join": [theirs for name, _, theirs in found if name == "Std:Join"][0]} == place
    assert [ours for name, ours, _ in found if name == "Get"] == [model["Get"]] * 2
    job = tune["Arguments"]["TrainingJobDefinition"]
    assert job["StaticHyperParameters"] | {
        name: train["Arguments"]["HyperParameters"][name] for name in ("backbone", "optimizer", "learning_rate")
    } == train["Arguments"]["HyperParameters"]
    assert job["HyperParameterTuningResourceConfig"] == train["Arguments"]["ResourceConfig"]
    for key in ["AlgorithmSpecification", "InputDataConfig", "StoppingCondition", "RoleArn"]:
        assert job[key] == train["Arguments"][key], key


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
