"""The module checks requests and answers against the service models that botocore carries."""

import datetime
import functools
import math
import re
import sys
import unicodedata

import botocore.session
from botocore.validate import ParamValidator

SERVICES = {"SageMaker": "sagemaker", "Logs_20140328": "logs"}
TYPES = {"string": str, "boolean": bool, "integer": int, "long": int, "float": (int, float), "double": (int, float),
         "timestamp": (int, float), "list": list, "structure": dict, "map": dict, "blob": str}

session = botocore.session.Session()


@functools.cache
def load_service(service):
    """The function returns botocore's model of a service."""
    return session.get_service_model(service)


def find_operation(service, name):
    """The function returns botocore's model of an operation, or None if the service has no such operation."""
    model = load_service(service)
    return model.operation_model(name) if name in model.operation_names else None


def checked_constraints(shape, value, path, violations):
    """The function appends one text per way in which a JSON value breaks its shape: (where, value, constraint)."""
    kind = shape.type_name
    expected = TYPES[kind]
    if not isinstance(value, expected) or isinstance(value, bool) and kind != "boolean":
        violations.append((path, value, f"Member must be of type {kind}"))
        return
    limits = shape.metadata
    if kind == "structure":
        check_structure(shape, value, path, violations)
    elif kind == "list":
        check_size(len(value), limits, "length", path, value, violations)
        for number, entry in enumerate(value, 1):
            checked_constraints(shape.member, entry, f"{path}.{number}.member", violations)
    elif kind == "map":
        check_size(len(value), limits, "length", path, value, violations)
        for key, entry in value.items():
            checked_constraints(shape.key, key, f"{path}.key", violations)
            checked_constraints(shape.value, entry, f"{path}.{key}.member", violations)
    elif kind == "string":
        check_size(len(value), limits, "length", path, value, violations)
        if shape.enum and value not in shape.enum:
            violations.append((path, value, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"))
        if "pattern" in limits and not compile_pattern(limits["pattern"]).fullmatch(value):
            violations.append((path, value, f"Member must satisfy regular expression pattern: {limits['pattern']}"))
    elif kind in ("integer", "long", "float", "double"):
        check_number(kind, value, limits, path, violations)


def check_structure(shape, value, path, violations):
    """The function checks a structure's members; with a union exactly one of them may be set."""
    for name in value:
        if name not in shape.members:
            violations.append((join(path, name), value[name], "Member is unknown to the service"))
    for name in shape.required_members:
        if value.get(name) is None:
            violations.append((join(path, name), None, "Member must not be null"))
    if getattr(shape, "is_tagged_union", False) and len(value) != 1:
        violations.append((path, value, "Member must set exactly one member of the union"))
    for name, member in shape.members.items():
        if name in value and not (value[name] is None and name in shape.required_members):
            checked_constraints(member, value[name], join(path, name), violations)


def check_number(kind, value, limits, path, violations):
    """The function checks a number's range; the widths of an integer are those of Java."""
    width = {"integer": 31, "long": 63}.get(kind)
    if width and not -2**width <= value < 2**width or isinstance(value, float) and not math.isfinite(value):
        violations.append((path, value, f"Member must be of type {kind}"))
    check_size(value, limits, "value", path, value, violations)


def check_size(size, limits, what, path, value, violations):
    """The function compares a length or a number with the least and the greatest one allowed."""
    if "min" in limits and size < limits["min"]:
        violations.append((path, value, f"Member must have {what} greater than or equal to {limits['min']}"))
    if "max" in limits and size > limits["max"]:
        violations.append((path, value, f"Member must have {what} less than or equal to {limits['max']}"))


def join(path, name):
    """The function appends a member's name to a path as Amazon writes it, with a small first letter."""
    name = name[:1].lower() + name[1:]
    return f"{path}.{name}" if path else name


@functools.cache
def compile_pattern(pattern):
    r"""The function translates a pattern of the service model, which is Java's, to Python's.

    Python lacks \p{L}, and cannot repeat an anchor ("${1,128}") or end a class of letters with a bare dash ("[\w-_]").
    """
    pattern = re.sub(r"\$\{\d+,\d+\}", "", pattern).replace("\\p{Alnum}", "a-zA-Z0-9").replace("\\w-_", "\\w\\-_")
    return re.compile(re.sub(r"\\p\{(\w)\}", lambda found: unicode_ranges(found[1]), pattern), re.ASCII)


@functools.cache
def unicode_ranges(category):
    """The function returns the characters of a Unicode category as what stands between the brackets of a class."""
    ranges, first = [], None
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and unicodedata.category(chr(code)).startswith(category)
        if inside and first is None:
            first = code
        elif not inside and first is not None:
            ranges.append(f"\\U{first:08x}-\\U{code - 1:08x}")
            first = None
    return "".join(ranges)


def check_request(operation, values):
    """The function returns all violations of a request, as botocore's ParamValidator and the service model see them."""
    shape = operation.input_shape
    if shape is None:
        return [] if values == {} else [("", values, "the operation takes no input")]
    violations = []
    checked_constraints(shape, values, "", violations)
    if not violations:
        report = ParamValidator().validate(with_dates(shape, values), shape)
        if report.has_errors():
            violations.append(("", values, report.generate_report()))
    return violations


def check_answer(operation, values):
    """The function returns all violations of an answer, each of which is an error of this stub."""
    violations = []
    if operation.output_shape is not None:
        checked_constraints(operation.output_shape, values, "", violations)
    elif values:
        violations.append(("", values, "the operation has no output"))
    return violations


def with_dates(shape, value):
    """The function copies a value of the wire with timestamps as botocore takes them from Python."""
    if shape.type_name == "timestamp":
        return datetime.datetime.fromtimestamp(value, datetime.timezone.utc)
    if shape.type_name == "structure":
        return {name: with_dates(shape.members[name], entry) for name, entry in value.items()}
    if shape.type_name == "list":
        return [with_dates(shape.member, entry) for entry in value]
    if shape.type_name == "map":
        return {key: with_dates(shape.value, entry) for key, entry in value.items()}
    return value


def describe(violations):
    """The function writes violations as Amazon's services do: "1 validation error detected: Value ..."."""
    texts = []
    for path, value, constraint in violations:
        shown = "null" if value is None else f"'{value}'"
        texts.append(f"Value {shown[:300]} at '{path}' failed to satisfy constraint: {constraint}")
    count = f"{len(texts)} validation error{'' if len(texts) == 1 else 's'} detected"
    return f"{count}: {'; '.join(texts)}"
