"""The module reads pipeline definitions: their steps, their parameters, and what a run puts for references."""

import json
import re

from .errors import invalid

PREFIX = "Unable to parse pipeline definition."
BRANCHES = ("IfSteps", "ElseSteps")


def parse_definition(text):
    """The function returns a definition, or raises the service's error if it is none."""
    try:
        definition = json.loads(text)
    except ValueError as error:
        raise invalid(f"{PREFIX} {error}") from None
    if not isinstance(definition, dict):
        raise invalid(f"{PREFIX} Expecting start of Json Object.")
    if definition.get("Version") != "2020-12-01":
        raise invalid(f"{PREFIX} Version must be 2020-12-01")
    if not isinstance(definition.get("Steps"), list) or not definition["Steps"]:
        raise invalid(f"{PREFIX} Expecting start of Json Array.")
    names = [step.get("Name") for step in all_steps(definition["Steps"])]
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9\-_]{1,64}", name):
            raise invalid(f"{PREFIX} Invalid step name {name!r}")
        if names.count(name) > 1:
            raise invalid(f"{PREFIX} Step names must be unique; {name} is repeated")
    parameters = {parameter.get("Name") for parameter in definition.get("Parameters", [])}
    for reference in references(definition["Steps"]):
        kind, _, rest = reference.partition(".")
        name = re.split(r"[.\[]", rest)[0]
        if kind == "Parameters" and name not in parameters:
            raise invalid(f"{PREFIX} Parameter {name} is not defined")
        if kind == "Steps" and name not in names:
            raise invalid(f"{PREFIX} Step {name} is not defined")
    return definition


def all_steps(steps):
    """The function yields steps and those in the branches of condition steps."""
    for step in steps:
        yield step
        if step.get("Type") == "Condition":
            for branch in BRANCHES:
                yield from all_steps(step.get("Arguments", {}).get(branch, []))


def references(value):
    """The function yields the texts of all {"Get": ...} in a JSON value."""
    if isinstance(value, dict):
        if set(value) == {"Get"} and isinstance(value["Get"], str):
            yield value["Get"]
        else:
            for entry in value.values():
                yield from references(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from references(entry)


def order_steps(steps):
    """The function returns steps such that each stands after all that it refers to or depends on."""
    names = {step["Name"] for step in steps}
    inner = {inside["Name"]: step["Name"] for step in steps for inside in all_steps([step])}
    left, done = list(steps), []
    while left:
        placed = {step["Name"] for step in done}
        for step in left:
            needed = {inner.get(re.split(r"[.\[]", text.split(".", 1)[1])[0]) for text in references(step)
                      if text.startswith("Steps.")} | set(step.get("DependsOn", []))
            if needed & names <= placed | {step["Name"]}:
                break
        else:
            raise invalid(f"{PREFIX} Steps depend on each other in a circle")
        left.remove(step)
        done.append(step)
    return done


def check_parameters(definition, given):
    """The function returns all parameters of an execution as texts, or raises an error if a value does not fit.

    The texts of these errors are the stub's own.
    """
    declared = {parameter["Name"]: parameter for parameter in definition.get("Parameters", [])}
    names = [parameter.get("Name") for parameter in given]
    for parameter in given:
        name, value = parameter.get("Name"), parameter["Value"]
        if name not in declared:
            raise invalid(f"Unknown parameter: {name} is not a parameter of the pipeline definition")
        if names.count(name) > 1:
            raise invalid(f"Parameter {name} is given more than once")
        check_value(declared[name], value)
    values = {parameter["Name"]: parameter["Value"] for parameter in given}
    lacking = [name for name in declared if name not in values and "DefaultValue" not in declared[name]]
    if lacking:
        raise invalid(f"Missing required parameters: [{', '.join(lacking)}]")
    return {name: values[name] if name in values else as_text(declared[name]["DefaultValue"]) for name in declared}


def check_value(parameter, value):
    """The function raises an error if a parameter's value is empty, of another type, or none of its enumeration."""
    name, kind = parameter["Name"], parameter["Type"]
    if value == "":
        raise invalid('[string "" is too short (length: 0, required minimum: 1)]')
    patterns = {"Integer": r"[+-]?\d+", "Float": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?",
                "Boolean": r"(?i:true|false)"}
    if kind in patterns and not re.fullmatch(patterns[kind], value):
        raise invalid(f"Parameter {name} has a value that is no {kind}: {value}")
    allowed = [as_text(entry) for entry in parameter.get("EnumValues", [])]
    if allowed and value not in allowed:
        raise invalid(f"Parameter {name} must be one of [{', '.join(allowed)}]; found: {value}")


def as_text(value):
    """The function writes a JSON value as the service writes parameters and joins."""
    return value if isinstance(value, str) else json.dumps(value)


class Resolver:
    """A resolver puts values in the place of references to parameters, the execution and the jobs of earlier steps."""

    def __init__(self, definition, parameters, execution, step_properties, property_files):
        self.kinds = {parameter["Name"]: parameter["Type"] for parameter in definition.get("Parameters", [])}
        self.parameters, self.execution = parameters, execution
        self.step_properties, self.property_files = step_properties, property_files

    def resolve(self, value):
        """The method returns a JSON value without references; what it cannot know becomes the text "unresolved"."""
        if isinstance(value, list):
            return [self.resolve(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Get"}:
            return self.look_up(value["Get"])
        if set(value) == {"Std:Join"}:
            parts = [as_text(self.resolve(entry)) for entry in value["Std:Join"]["Values"]]
            return value["Std:Join"].get("On", "").join(parts)
        if set(value) == {"Std:JsonGet"}:
            return self.read_property_file(value["Std:JsonGet"])
        return {name: self.resolve(entry) for name, entry in value.items()}

    def look_up(self, reference):
        """The method returns what a reference such as Parameters.Epochs stands for."""
        kind, _, rest = reference.partition(".")
        if kind == "Parameters":
            text = self.parameters[rest]
            kind = self.kinds[rest]
            if kind == "Boolean":
                return text.lower() == "true"
            return {"Integer": int, "Float": float}.get(kind, str)(text)
        if kind == "Execution":
            return self.execution.get(rest, "unresolved")
        step, _, path = rest.partition(".")
        return follow(self.step_properties.get(step, {}), path)

    def read_property_file(self, arguments):
        """The method returns a value out of the property files that the test set; it is 0 by default."""
        reference = arguments.get("PropertyFile", {}).get("Get", "..")
        found = self.property_files.get(reference.rpartition(".")[2], {})
        for name in arguments["Path"].split("."):
            found = found.get(name, 0) if isinstance(found, dict) else 0
        return found


def follow(value, path):
    """The function follows a path such as Outputs['train'].S3Output.S3Uri through the description of a job."""
    for name, key in re.findall(r"([A-Za-z0-9]+)|\[['\"]?([^'\"\]]+)['\"]?\]", path):
        if name:
            value = value.get(name) if isinstance(value, dict) else None
        elif isinstance(value, list) and key.isdigit():
            value = value[int(key)] if int(key) < len(value) else None
        elif isinstance(value, list):
            value = next((entry for entry in value if key in (entry.get("OutputName"), entry.get("InputName"),
                                                              entry.get("ChannelName"), entry.get("MetricName"))), None)
        else:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            return "unresolved"
    return value
