"""The module answers one signed call: it checks, fails as asked, runs the operation, and checks the answer."""

import json
import time
import traceback
import uuid

from . import executions, jobs, logs, model, pipelines, registry, signature
from .errors import ServiceError, denied

OPERATIONS = {
    "sagemaker": pipelines.OPERATIONS | executions.OPERATIONS | jobs.OPERATIONS | registry.OPERATIONS,
    "logs": logs.OPERATIONS,
}
# Members that the stub would have to ignore; it answers 501 instead.
UNMODELLED = {"PipelineVersionAlias", "PipelineVersionAliases", "MlflowExperimentName", "ManagedBy",
              "CrossAccountFilterOption", "AdditionalInferenceSpecificationsToAdd", "ModelPackageRegistrationType",
              "unmask"}
CONTENT_TYPE = "application/x-amz-json-1.1"
HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"


class Dropped(Exception):
    """The exception ends a call without an answer."""


class Answer:
    """An answer carries the status, the headers and the body of a response."""

    def __init__(self, status, body, content_type=CONTENT_TYPE, headers=None):
        self.status, self.body = status, body.encode()
        self.headers = {"Content-Type": content_type, "x-amzn-RequestId": str(uuid.uuid4())} | (headers or {})


def answer_call(account, method, path, headers, body, write_log):
    """The function answers a call; it raises Dropped where the connection is to be closed without an answer."""
    entry = {"service": None, "operation": None, "input": None, "violations": [], "status": None}
    delay = 0
    dropped = False
    with account.lock:
        try:
            fault, call = prepare(account, method, path, headers, body, entry)
            if fault:
                entry["fault"] = {name: value for name, value in fault.items() if name not in ("times", "skip")}
                delay = fault.get("delay", 0)
            answer, dropped = carry_out(fault, call, entry)
        except ServiceError as error:
            answer = Answer(error.status, json.dumps(error.body()))
            entry["error"] = error.code
        except Exception:
            entry["stub_error"] = traceback.format_exc()
            answer = Answer(500, json.dumps({"__type": "InternalFailure", "message": entry["stub_error"]}))
        entry["status"] = None if dropped else answer.status
        account.requests.append(entry)
        write_log(entry)
    time.sleep(delay)
    if dropped:
        raise Dropped
    return answer


def prepare(account, method, path, headers, body, entry):
    """The function checks a call, and returns the fault that it meets and a function that runs the operation."""
    prefix, _, name = headers.get("X-Amz-Target", "").partition(".")
    service = model.SERVICES.get(prefix)
    operation = model.find_operation(service, name) if service else None
    entry["service"], entry["operation"] = service, name
    if operation is None or method != "POST" or path != "/":
        entry["violations"].append(f"no operation: {method} {path} X-Amz-Target: {headers.get('X-Amz-Target')}")
        raise ServiceError("UnknownOperationException", "", 400)
    try:
        signature.verify_request(account.keys, account.region, service, method, path, headers, body)
    except ServiceError as error:
        # Wrong keys and expired tokens are a user's mistakes, malformed signatures are the client's.
        if error.code not in ("UnrecognizedClientException", "ExpiredTokenException"):
            entry["violations"].append(str(error))
        raise
    if headers.get("Content-Type") != CONTENT_TYPE:
        entry["violations"].append(f"Content-Type is {headers.get('Content-Type')}")
        raise ServiceError("SerializationException", f"Content-Type must be {CONTENT_TYPE}")
    try:
        values = json.loads(body)
    except ValueError:
        entry["violations"].append("the body is not JSON")
        raise ServiceError("SerializationException", "The body could not be parsed.") from None
    entry["input"] = values
    violations = model.check_request(operation, values)
    text = model.describe(violations)
    entry["violations"].extend(model.describe([violation]) for violation in violations)

    def call():
        if violations:
            raise ServiceError("ValidationException" if service == "sagemaker" else "InvalidParameterException", text)
        run = OPERATIONS[service].get(name)
        unmodelled = sorted(UNMODELLED & set(values))
        if run is None or unmodelled:
            raise ServiceError("InternalFailure", f"The stub does not model {name} {' '.join(unmodelled)}", 501)
        answer = run(account, values)
        wrong = model.check_answer(operation, answer)
        if wrong:
            raise AssertionError(f"the stub's answer to {name} is wrong: {model.describe(wrong)}: {answer}")
        return answer

    fault = take_fault(account, name)
    if fault and fault.get("code") == "AccessDeniedException" and "message" not in fault:
        fault = fault | {"message": denied(service, name, resource_of(account, values))}
    return fault, call


def carry_out(fault, call, entry):
    """The function runs an operation or fails as a fault says; it returns the answer and whether to drop it."""
    if fault is None or set(fault) <= {"operation", "times", "skip", "delay"}:
        return Answer(200, json.dumps(call())), False
    if fault.get("drop_after_commit"):
        return Answer(200, json.dumps(call())), True
    if fault.get("drop"):
        return None, True
    headers = fault.get("headers")
    if fault.get("html"):
        return Answer(fault.get("status", 502), HTML, "text/html", headers), False
    error = ServiceError(fault.get("code", "InternalFailure"), fault.get("message", "Rate exceeded"),
                         fault.get("status", 400))
    entry["error"] = error.code
    return Answer(error.status, json.dumps(error.body()), headers=headers), False


def take_fault(account, operation):
    """The function returns the first fault that waits for an operation, and counts it down."""
    for fault in account.faults:
        if fault["operation"] in ("*", operation):
            if fault["skip"] > 0:
                fault["skip"] -= 1
                continue
            fault["times"] -= 1
            if fault["times"] <= 0:
                account.faults.remove(fault)
            return fault
    return None


def resource_of(account, values):
    """The function returns the ARN that IAM would name for a request, or a star."""
    for name in ("PipelineExecutionArn", "ModelPackageArn", "ResourceArn"):
        if name in values:
            return values[name]
    for name, kind in (("PipelineName", "pipeline"), ("ModelPackageName", "model-package"),
                       ("ModelPackageGroupName", "model-package-group"), ("TrainingJobName", "training-job"),
                       ("ProcessingJobName", "processing-job")):
        if name in values:
            value = values[name]
            return value if value.startswith("arn:") else account.arn(f"{kind}/{value}")
    if "logGroupName" in values:
        return account.arn("").replace(":sagemaker:", ":logs:") + f"log-group:{values['logGroupName']}:log-stream:"
    return "*"
