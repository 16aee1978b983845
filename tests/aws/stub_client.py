"""The module starts the stub and has Amazon's clients for it, for test_stub.py and test_stub_services.py."""

import http.server
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

ROOT = Path(__file__).parents[2]
ROLE = "arn:aws:iam::111122223333:role/service-role/SageMakerPipelineRole"
DEFINITION = (ROOT / "pipeline.json").read_text()
TOKEN = "0123456789abcdef0123456789abcdef"
REVISION = [{"Name": "DataRevision", "Value": "9f86d081884c7d65"}]


class Stub:
    """A stub is the running program, with the calls that only tests make."""

    def __init__(self, directory, s3):
        self.log = directory / "requests.jsonl"
        command = [sys.executable, Path(__file__).with_name("sagemaker_stub.py"), "--log", self.log, "--s3", s3]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data)) as answer:
            return json.load(answer)

    def control(self, **wanted):
        return self.ask("/_control", wanted)

    def client(self, service, retries=0, region="us-east-2", **keys):
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"} | keys
        config = Config(retries={"total_max_attempts": retries + 1, "mode": "standard"}, read_timeout=20)
        return boto3.client(service, region_name=region, endpoint_url=self.url, config=config, **keys)

    def raw(self, target, body, service="sagemaker", secret="testing", change=None, content_type=None):
        """The method signs what no client of Amazon would send, and returns the status and the body."""
        headers = {"X-Amz-Target": target, "Content-Type": content_type or "application/x-amz-json-1.1"}
        request = AWSRequest("POST", self.url + "/", data=body.encode(), headers=headers)
        SigV4Auth(Credentials("testing", secret), service, "us-east-2").add_auth(request)
        headers = dict(request.headers)
        if change:
            change(headers)
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + "/", body.encode(), headers)) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


class Objects(http.server.BaseHTTPRequestHandler):
    """The handler stands for S3: it answers one object, and demands that the request is signed."""

    def do_GET(self):
        good = self.path == "/amzn-s3-demo-bucket/pipelines/pipeline.json" and "Authorization" in self.headers
        self.send_response(200 if good else 404)
        self.end_headers()
        self.wfile.write(DEFINITION.encode() if good else b"")

    def log_message(self, *arguments):
        pass


def create(sagemaker, name="maskmaker", **more):
    return sagemaker.create_pipeline(PipelineName=name, RoleArn=ROLE, **({"PipelineDefinition": DEFINITION} | more))


def start(sagemaker, **more):
    return sagemaker.start_pipeline_execution(
        PipelineName="maskmaker", **({"PipelineParameters": REVISION} | more))["PipelineExecutionArn"]


def code_and_text(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    found = error.value.response["Error"]
    return found["Code"], found["Message"]


def run_to_end(sagemaker, arn, most=60):
    """The function polls an execution until it ends, and returns it, its steps by name, and what was seen."""
    seen = []
    for _ in range(most):
        steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn, SortOrder="Ascending")
        last = steps["PipelineExecutionSteps"][-1]
        seen.append((last["StepName"], last["StepStatus"]))
        execution = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        if execution["PipelineExecutionStatus"] not in ("Executing", "Stopping"):
            return execution, {step["StepName"]: step for step in steps["PipelineExecutionSteps"]}, seen
    raise AssertionError(seen)


def job_name(step):
    return next(iter(step["Metadata"].values()))["Arn"].rpartition("/")[2]
