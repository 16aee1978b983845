"""The module holds the state of one AWS account in one region: everything that operations read and write."""

import base64
import hashlib
import json
import threading
import time

from . import signature
from .errors import ServiceError, invalid

NUMBER = "111122223333"
USER = {"IamIdentity": {"Arn": f"arn:aws:sts::{NUMBER}:assumed-role/annotator/me", "PrincipalId": "AROAEXAMPLE:me"}}


def default_settings():
    """The function returns the settings that tests may change through /_control."""
    return {
        # Greatest number of entries on a page, whatever MaxResults or limit says.
        "page_size": None,
        # Operations whose calls move executions on.
        "poll_operations": ["ListPipelineExecutionSteps"],
        # Calls that still find an execution Stopping after it was stopped.
        "stop_polls": 1,
        # Calls that find a step Executing before it ends.
        "polls": 1,
        # GetLogEvents answers each position first with an empty page and a new token, as the real service may.
        "empty_log_pages": False,
    }


class Account:
    """An account holds resources, faults, and the answers to tokens; its lock serializes operations."""

    def __init__(self, region="us-east-2", s3=None):
        self.lock = threading.RLock()
        self.region, self.s3 = region, s3
        self.reset()

    def reset(self):
        """The method forgets everything but the region and the S3 endpoint."""
        self.settings = default_settings()
        self.keys = signature.default_keys()
        self.faults = []
        self.requests = []
        self.tokens = {}
        self.tags = {}
        self.pipelines, self.executions, self.jobs = {}, {}, {}
        self.groups, self.packages = {}, {}
        self.log_groups = {}
        # What executions that start from now on do: a plan, and how steps end.
        self.script = {"plan": None, "steps": {}}
        self.last_time = 0.0
        self.count = 0

    def now(self):
        """The method returns seconds since 1970, to the millisecond and never the same twice."""
        self.last_time = max(round(time.time(), 3), round(self.last_time + 0.001, 3))
        return self.last_time

    def random(self, length, letters="abcdefghijklmnopqrstuvwxyz0123456789"):
        """The method returns a text that no other call returned, and the same in each run of the same test."""
        self.count += 1
        number = int.from_bytes(hashlib.sha256(str(self.count).encode()).digest(), "big")
        return "".join(letters[number // len(letters) ** place % len(letters)] for place in range(length))

    def arn(self, resource):
        """The method returns the ARN of one of SageMaker's resources in this account."""
        return f"arn:aws:sagemaker:{self.region}:{NUMBER}:{resource}"

    def snapshot(self):
        """The method returns all resources as one JSON object, as GET /_state shows them."""
        return {
            "region": self.region, "settings": self.settings, "faults": self.faults, "script": self.script,
            "pipelines": self.pipelines, "executions": self.executions, "jobs": self.jobs, "tags": self.tags,
            "model_package_groups": self.groups, "model_packages": self.packages, "log_groups": self.log_groups,
            "requests": len(self.requests), "violations": sum(len(entry["violations"]) for entry in self.requests),
        }


def run_once(account, operation, token, values, action):
    """The function runs an action once per token, and answers a repetition with the first answer.

    The same token with other parameters is a conflict.
    """
    if token is None:
        return action()
    key = f"{operation} {token}"
    asked = {name: value for name, value in values.items() if name not in ("ClientRequestToken", "ClientToken")}
    if key in account.tokens:
        first, answer = account.tokens[key]
        if first != asked:
            raise ServiceError("ConflictException", f"The token {token} was already used with other parameters.")
        return answer
    answer = action()
    account.tokens[key] = (asked, answer)
    return answer


def cut_page(account, operation, values, entries, default, names=("NextToken", "MaxResults"), error=invalid):
    """The function returns one page of a list, and the token of the next one or None.

    A token counts only in the operation that gave it, with the same parameters; the page's size alone may change.
    """
    token_name, size_name = names
    asked = {name: value for name, value in values.items() if name not in names}
    check = hashlib.sha256(json.dumps([operation, asked], sort_keys=True).encode()).hexdigest()[:16]
    start = 0
    if values.get(token_name):
        try:
            text = base64.urlsafe_b64decode(values[token_name].encode()).decode()
            given, start = text.split("/")
            start = int(start)
        except ValueError:
            raise error(f"Invalid pagination token {values[token_name]!r}") from None
        if given != check:
            raise error("The pagination token belongs to a request with other parameters.")
    size = min(values.get(size_name) or default, account.settings["page_size"] or default)
    after = start + size
    token = base64.urlsafe_b64encode(f"{check}/{after}".encode()).decode() if after < len(entries) else None
    return entries[start:after], token


def page_answer(account, operation, values, member, entries, default=100):
    """The function returns the answer of a listing operation of SageMaker: a page and perhaps a NextToken."""
    page, token = cut_page(account, operation, values, entries, default)
    return {member: page} | ({"NextToken": token} if token else {})


def sort_entries(values, entries, keys, default_key, default_order):
    """The function sorts entries by SortBy and SortOrder, of which an operation may have one."""
    key = keys[values.get("SortBy", default_key)]
    descending = values.get("SortOrder", default_order) == "Descending"
    return sorted(entries, key=lambda entry: entry[key], reverse=descending)


def pick(source, *names):
    """The function returns the members that a dictionary has of those named, without empty ones."""
    return {name: source[name] for name in names if source.get(name) is not None}
