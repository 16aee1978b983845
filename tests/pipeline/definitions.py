"""What the tests know of pipeline definitions: differences of two, references, and what a run would put in their place."""

import json
import re
from pathlib import Path

import botocore.session

ROOT = Path(__file__).parents[2]
FILES = ["pipeline.json", "pipelines/on-demand.json", "pipelines/own-test-set.json", "pipelines/tuning.json", "pipelines/two-steps.json"]
# Values that only a run has, and of a parameter without a default.
EXECUTION = {"Execution.PipelineExecutionId": "abcdefghijkl", "Execution.PipelineName": "maskmaker"}
REQUIRED = {"DataRevision": "9f86d081884c7d65"}

service = botocore.session.get_session().get_service_model("sagemaker")
# Type of step -> shapes of the request that it makes, of the answers that its properties follow, and the job's name.
REQUESTS = {
    "Processing": ("CreateProcessingJobRequest", ["DescribeProcessingJobResponse"], "ProcessingJobName"),
    "Training": ("CreateTrainingJobRequest", ["DescribeTrainingJobResponse"], "TrainingJobName"),
    "Tuning": ("CreateHyperParameterTuningJobRequest",
               ["DescribeHyperParameterTuningJobResponse", "ListTrainingJobsForHyperParameterTuningJobResponse"],
               "HyperParameterTuningJobName"),
    "RegisterModel": ("CreateModelPackageInput", ["DescribeModelPackageOutput"], None),
}


def read(file):
    return json.loads((ROOT / file).read_text())


def differences(expected, found, path=""):
    """Yields (path, expected value, found value) wherever two JSON values differ; what is missing is None."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected | found:
            yield from differences(expected.get(key), found.get(key), f"{path}/{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, pair in enumerate(zip(expected, found)):
            yield from differences(*pair, f"{path}/{number}")
    elif type(expected) is not type(found) or expected != found:
        yield path, expected, found


def steps(definition):
    """Gives all steps by their names, those of branches included."""
    found = {}
    for step in definition["Steps"]:
        arguments = step["Arguments"]
        for each in [step, *arguments.get("IfSteps", []), *arguments.get("ElseSteps", [])]:
            assert each["Name"] not in found, each["Name"]
            found[each["Name"]] = each
    return found


def references(value):
    """Yields the text of every {"Get": text} in a JSON value."""
    if isinstance(value, dict):
        if value.keys() == {"Get"}:
            yield value["Get"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


class Run:
    """A run with the defaults of all parameters, which executes nothing."""

    def __init__(self, definition):
        self.steps = steps(definition)
        self.parameters = {}
        for parameter in definition["Parameters"]:
            name = parameter["Name"]
            self.parameters[name] = parameter["DefaultValue"] if "DefaultValue" in parameter else REQUIRED[name]

    def resolve(self, value):
        """Puts values of the right type in the place of references and functions."""
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Get"}:
            return self.get(value["Get"])
        if value.keys() == {"Std:Join"}:
            join = value["Std:Join"]
            return join["On"].join(str(self.resolve(item)) for item in join["Values"])
        if value.keys() == {"Std:JsonGet"}:
            return self.json_get(value["Std:JsonGet"])
        return {key: self.resolve(item) for key, item in value.items()}

    def get(self, text):
        kind, _, rest = text.partition(".")
        if kind == "Parameters":
            return self.parameters[rest]
        if kind == "Execution":
            return EXECUTION[text]
        assert kind == "Steps", text
        name, _, path = rest.partition(".")
        return self.step_property(self.steps[name], path)

    def step_property(self, step, path):
        """Gives a sample of a property; its path must lead through an answer of the service on the job."""
        first = re.match(r"\w+", path).group()
        answers = [service.shape_for(name) for name in REQUESTS[step["Type"]][1]]
        shape = next(answer for answer in answers if first in answer.members)
        # A property that the request has is the same in the answer.
        value = step["Arguments"]
        for name, key in re.findall(r"\.?(\w+)(?:\['([^']+)'\])?", path):
            shape = shape.members[name]
            value = value.get(name) if isinstance(value, dict) else None
            if key:
                assert shape.type_name == "list", path
                shape = shape.member
                matching = [item for item in value if key in (item.get("OutputName"), item.get("InputName"))]
                assert len(matching) == 1, f"{step['Name']} has no {name} of the name {key}"
                value = matching[0]
        assert shape.type_name == "string", path
        return self.resolve(value) if value else f"s3://amzn-s3-demo-bucket/{step['Name']}/{path}"

    def json_get(self, function):
        """Gives a sample of a value in a property file, by the schema of evaluation.json."""
        name, file = re.fullmatch(r"Steps\.([\w-]+)\.PropertyFiles\.([\w-]+)", function["PropertyFile"]["Get"]).groups()
        step = self.steps[name]
        files = [entry for entry in step["PropertyFiles"] if entry["PropertyFileName"] == file]
        assert len(files) == 1 and files[0]["FilePath"] == "evaluation.json", function
        outputs = [output["OutputName"] for output in step["Arguments"]["ProcessingOutputConfig"]["Outputs"]]
        assert files[0]["OutputName"] in outputs, function
        whole = read("docs/evaluation.schema.json")
        schema = whole
        for key in function["Path"].split("."):
            schema = schema["properties"][key]
            if "$ref" in schema:
                schema = whole["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
        return {"number": 0.75, "integer": 12, "boolean": True, "string": "mIoU 0.7500 is at least 0.6"}[kind]

    def request(self, name):
        """Gives a step's request with its shape. A job name is added, which the service makes up itself."""
        step = self.steps[name]
        shape, _, job_name = REQUESTS[step["Type"]]
        arguments = self.resolve(step["Arguments"])
        if job_name:
            # The name of a tuning job has at most 32 characters.
            arguments[job_name] = f"pipelines-{EXECUTION['Execution.PipelineExecutionId']}-{name}"[:32]
        return arguments, service.shape_for(shape)


def broken_rules(value, shape, path=""):
    """Yields what breaks a pattern, an enumeration, a least or a largest value of a shape.

    botocore's own validator knows none of these but the least ones.
    """
    rules = shape.metadata
    if shape.type_name == "structure":
        for key, item in value.items():
            yield from broken_rules(item, shape.members[key], f"{path}/{key}")
    elif shape.type_name == "list":
        for number, item in enumerate(value):
            yield from broken_rules(item, shape.member, f"{path}/{number}")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from broken_rules(key, shape.key, f"{path}/{key}")
            yield from broken_rules(item, shape.value, f"{path}/{key}")
    size = value if isinstance(value, (int, float)) else len(value)
    if not isinstance(value, bool) and not rules.get("min", size) <= size <= rules.get("max", size):
        yield f"{path}: {value!r} is not from {rules.get('min')} to {rules.get('max')}"
    if "enum" in rules and value not in rules["enum"]:
        yield f"{path}: {value!r} is not among {rules['enum']}"
    if "pattern" in rules and not re.fullmatch(python_pattern(rules["pattern"]), value):
        yield f"{path}: {value!r} does not match {rules['pattern']}"


def python_pattern(pattern):
    """Writes a pattern of the service's model as Python takes it: letters, spaces and so on in ASCII."""
    classes = {"L": "A-Za-z", "M": "", "Z": " ", "N": "0-9", "S": "$+<=>^`|~", "P": "!-#%-*,-/:;?@\\[-\\]_{}"}
    for name, ascii_class in classes.items():
        pattern = pattern.replace(f"\\p{{{name}}}", ascii_class)
    # Some patterns end with `${1,256}`, which repeats an end.
    return re.sub(r"\$\{\d+,\d+\}$", "", pattern)
