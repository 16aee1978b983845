"""The tests drive the stub's faults, its checks, its model registry and its logs with Amazon's own clients."""

import json
import urllib.error

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from stub_client import TOKEN, code_and_text, create, job_name, start


# Tokens and faults.

def test_the_same_token_starts_one_execution(stub, sagemaker):
    create(sagemaker, ClientRequestToken=TOKEN)
    create(sagemaker, ClientRequestToken=TOKEN)
    assert code_and_text(create, sagemaker=sagemaker, name="other", ClientRequestToken=TOKEN)[0] == "ConflictException"
    assert start(sagemaker, ClientRequestToken=TOKEN) == start(sagemaker, ClientRequestToken=TOKEN)
    assert start(sagemaker) != start(sagemaker)
    changed = [{"Name": "DataRevision", "Value": "2"}]
    assert code_and_text(start, sagemaker=sagemaker, ClientRequestToken=TOKEN,
                         PipelineParameters=changed)[0] == "ConflictException"
    assert len(stub.ask("/_state")["executions"]) == 3


def test_a_lost_answer_is_asked_for_again_with_the_same_token(stub, sagemaker):
    create(sagemaker)
    stub.control(fail={"operation": "StartPipelineExecution", "times": 2, "drop_after_commit": True})
    arn = start(stub.client("sagemaker", retries=2))
    assert list(stub.ask("/_state")["executions"]) == [arn]
    assert [entry["status"] for entry in stub.ask("/_log")][1:] == [None, None, 200]
    stub.control(fail={"operation": "StartPipelineExecution", "drop": True})
    with pytest.raises(ConnectionClosedError):
        start(sagemaker)
    assert len(stub.ask("/_state")["executions"]) == 1


def test_faults_are_met_as_often_as_asked_for(stub, sagemaker):
    stub.control(fail=[{"operation": "ListPipelines", "times": 3, "code": "ThrottlingException",
                        "message": "Rate exceeded", "skip": 1}])
    sagemaker.list_pipelines()
    for _ in range(3):
        assert code_and_text(sagemaker.list_pipelines) == ("ThrottlingException", "Rate exceeded")
    assert sagemaker.list_pipelines()["PipelineSummaries"] == []
    stub.control(fail={"operation": "CreatePipeline", "code": "AccessDeniedException"})
    assert code_and_text(create, sagemaker=sagemaker, name="x") == (
        "AccessDeniedException",
        "User: arn:aws:sts::111122223333:assumed-role/annotator/me is not authorized to perform: "
        "sagemaker:CreatePipeline on resource: arn:aws:sagemaker:us-east-2:111122223333:pipeline/x because no "
        "identity-based policy allows the sagemaker:CreatePipeline action")
    stub.control(fail={"operation": "CreatePipeline", "code": "ResourceLimitExceeded", "message": "at most 500"})
    with pytest.raises(sagemaker.exceptions.ResourceLimitExceeded, match="at most 500"):
        create(sagemaker)
    stub.control(fail={"operation": "*", "html": True})
    with pytest.raises(ClientError) as error:
        sagemaker.list_pipelines()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 502
    assert stub.ask("/_state")["faults"] == [] and stub.ask("/_state")["pipelines"] == {}


# Signatures and the check of requests.

def test_only_known_keys_and_right_signatures_pass(stub):
    def refusal(**keys):
        code, _ = code_and_text(stub.client("sagemaker", **keys).list_pipelines)
        return code
    assert refusal(aws_secret_access_key="wrong") == "InvalidSignatureException"
    assert refusal(aws_access_key_id="AKIDEXAMPLE") == "UnrecognizedClientException"
    assert refusal(aws_session_token="expired") == "ExpiredTokenException"
    assert refusal(region="eu-west-1") == "InvalidSignatureException"
    stub.client("sagemaker", aws_session_token="any").list_pipelines()
    role = {"aws_access_key_id": "ASIAROLE", "aws_secret_access_key": "s/+"}
    stub.control(credentials={"ASIAROLE": {"secret": "s/+", "session_token": "t=="}})
    stub.client("sagemaker", **role, aws_session_token="t==").list_pipelines()
    assert refusal(**role) == "UnrecognizedClientException"
    target = "SageMaker.ListPipelines"
    assert stub.raw(target, "{}")[0] == 200
    assert stub.raw(target, "{}", service="logs")[1]["__type"] == "InvalidSignatureException"

    def unsigned(headers):
        headers["X-Amz-Extra"] = "1"
    assert stub.raw(target, "{}", change=unsigned)[0] == 403
    status, body = stub.raw(target, "{}", change=lambda headers: headers.pop("Authorization"))
    assert (status, body["__type"]) == (403, "MissingAuthenticationTokenException")


@pytest.mark.parametrize("target, body, where", [
    ("SageMaker.DescribePipeline", {}, "pipelineName"),
    ("SageMaker.DescribePipeline", {"PipelineName": "-x"}, "regular expression"),
    ("SageMaker.DescribePipeline", {"PipelineName": "x", "Name": "y"}, "'name'"),
    ("SageMaker.ListPipelines", {"MaxResults": 101}, "less than or equal to 100"),
    ("SageMaker.ListPipelines", {"MaxResults": True}, "type integer"),
    ("SageMaker.ListPipelines", {"SortOrder": "Up"}, "enum value set"),
    ("SageMaker.ListPipelines", {"CreatedAfter": "2024-01-01"}, "type timestamp"),
    ("SageMaker.StartPipelineExecution", {"PipelineName": "x", "ClientRequestToken": "short"}, "clientRequestToken"),
    ("SageMaker.StartPipelineExecution", {"PipelineName": "x", "ClientRequestToken": TOKEN, "PipelineParameters": [
        {"Name": "a", "Value": 1}]}, "pipelineParameters.1.member.value"),
    ("SageMaker.AddTags", {"ResourceArn": "arn:aws:sagemaker:us-east-2:111122223333:pipeline/x", "Tags": [
        {"Key": "a\n", "Value": ""}]}, "tags.1.member.key"),
    ("Logs_20140328.GetLogEvents", {"logGroupName": "g"}, "logStreamName"),
])
def test_requests_outside_the_service_model_are_refused_and_logged(stub, target, body, where):
    service = "logs" if target.startswith("Logs") else "sagemaker"
    status, answer = stub.raw(target, json.dumps(body), service)
    assert status == 400 and where in answer["message"]
    assert answer["__type"] == ("InvalidParameterException" if service == "logs" else "ValidationException")
    entry = stub.ask("/_log")[-1]
    assert where in entry["violations"][0] and entry["input"] == body and entry["status"] == 400
    assert json.loads(stub.log.read_text().splitlines()[-1]) == entry
    assert stub.ask("/_state")["violations"] == 1


def test_other_protocols_and_operations_are_refused(stub):
    assert stub.raw("SageMaker.ListPipes", "{}")[1]["__type"] == "UnknownOperationException"
    assert stub.raw("SageMaker.ListPipelines", "{")[1]["__type"] == "SerializationException"
    found = stub.raw("SageMaker.ListPipelines", "{}", content_type="application/json")
    assert found[1]["__type"] == "SerializationException"
    assert stub.raw("SageMaker.ListEndpoints", "{}")[0] == 501


def test_wrong_controls_are_refused(stub):
    for wanted in [{"plans": []}, {"settings": {"pages": 1}}, {"fail": {"op": "x"}}, {"packages": [{}]}]:
        with pytest.raises(urllib.error.HTTPError) as error:
            stub.control(**wanted)
        assert error.value.code == 400


# The model registry.

def test_a_model_package_is_found_and_approved(stub, sagemaker):
    stub.control(groups=[{"name": "maskmaker", "description": "masks"}])
    container = {"Image": "image", "ModelDataUrl": "s3://amzn-s3-demo-bucket/m/model.tar.gz"}
    inference = {"Containers": [container], "SupportedContentTypes": ["image/jpeg"],
                 "SupportedResponseMIMETypes": ["image/png"]}
    added = stub.control(packages=[{
        "ModelPackageGroupName": "maskmaker", "InferenceSpecification": inference,
        "CustomerMetadataProperties": {"mIoU": "0.7"}}, {"ModelPackageGroupName": "maskmaker"}])["packages"]
    assert added[0] == "arn:aws:sagemaker:us-east-2:111122223333:model-package/maskmaker/1"
    assert sagemaker.describe_model_package_group(ModelPackageGroupName="maskmaker")["ModelPackageGroupDescription"]
    updated = sagemaker.update_model_package(ModelPackageArn=added[0], ModelApprovalStatus="Approved",
                                             ApprovalDescription="looks good",
                                             CustomerMetadataProperties={"by": "me"})
    assert updated["ModelPackageArn"] == added[0]
    package = sagemaker.describe_model_package(ModelPackageName=added[0])
    assert (package["ModelApprovalStatus"], package["ApprovalDescription"]) == ("Approved", "looks good")
    assert package["InferenceSpecification"]["Containers"] == [container]
    assert package["CustomerMetadataProperties"] == {"mIoU": "0.7", "by": "me"}

    def versions(**arguments):
        found = sagemaker.list_model_packages(**arguments)["ModelPackageSummaryList"]
        return [summary["ModelPackageVersion"] for summary in found]
    assert versions(ModelPackageGroupName="maskmaker") == [1, 2]
    assert versions(ModelPackageGroupName="maskmaker", SortBy="CreationTime", SortOrder="Descending") == [2, 1]
    assert versions(ModelPackageGroupName="maskmaker", ModelApprovalStatus="Approved") == [1]
    assert versions(ModelPackageType="Versioned") == [1, 2] and versions() == []
    for call, arguments in [(sagemaker.describe_model_package, {"ModelPackageName": added[0] + "9"}),
                            (sagemaker.list_model_packages, {"ModelPackageGroupName": "none"}),
                            (sagemaker.describe_model_package_group, {"ModelPackageGroupName": "none"})]:
        code, text = code_and_text(call, **arguments)
        assert code == "ValidationException" and text.endswith("does not exist.")


# CloudWatch Logs.

GROUP = "/aws/sagemaker/TrainingJobs"


def messages(answer):
    return [event["message"] for event in answer["events"]]


def test_log_events_are_read_in_pages_until_the_token_stays(stub, logs):
    stub.control(logs=[{"group": GROUP, "stream": "job/algo-1-1", "events": [f"line {n}" for n in range(5)]}])
    where = {"logGroupName": GROUP, "logStreamName": "job/algo-1-1"}
    assert messages(logs.get_log_events(**where, limit=2)) == ["line 3", "line 4"]
    found, token = [], {}
    while True:
        answer = logs.get_log_events(**where, limit=2, startFromHead=True, **token)
        found.append(messages(answer))
        if token.get("nextToken") == answer["nextForwardToken"]:
            break
        token = {"nextToken": answer["nextForwardToken"]}
    assert found == [["line 0", "line 1"], ["line 2", "line 3"], ["line 4"], []]
    stub.control(logs=[{"group": GROUP, "stream": "job/algo-1-1", "events": ["line 5"]}])
    assert messages(logs.get_log_events(**where, startFromHead=True, **token)) == ["line 5"]
    back = logs.get_log_events(**where, limit=2)["nextBackwardToken"]
    assert messages(logs.get_log_events(**where, limit=3, nextToken=back)) == ["line 1", "line 2", "line 3"]
    assert code_and_text(logs.get_log_events, **where, **token)[0] == "InvalidParameterException"


def test_empty_pages_do_not_end_a_log(stub, logs):
    stub.control(settings={"empty_log_pages": True, "page_size": 1},
                 logs=[{"group": GROUP, "stream": "s", "events": ["a", "b"]}])
    found, token = [], {}
    while True:
        answer = logs.get_log_events(logGroupName=GROUP, logStreamName="s", startFromHead=True, **token)
        found.append(messages(answer))
        if token.get("nextToken") == answer["nextForwardToken"]:
            break
        token = {"nextToken": answer["nextForwardToken"]}
    assert found == [[], ["a"], [], ["b"], [], []]


def test_log_streams_and_filtered_events_have_pages(stub, logs):
    stub.control(settings={"page_size": 2}, logs=[
        {"group": GROUP, "stream": f"job{n}/algo-1", "events": [{"timestamp": 1000 + n, "message": f"error {n} here"}]}
        for n in range(5)])

    def paged(operation, member, name, **arguments):
        pages = list(logs.get_paginator(operation).paginate(logGroupName=GROUP, **arguments))
        return [entry[name] for page in pages for entry in page[member]]
    assert paged("describe_log_streams", "logStreams", "logStreamName") == [f"job{n}/algo-1" for n in range(5)]
    assert paged("describe_log_streams", "logStreams", "logStreamName", logStreamNamePrefix="job3") == ["job3/algo-1"]
    newest = paged("describe_log_streams", "logStreams", "logStreamName", orderBy="LastEventTime", descending=True)
    assert newest[0] == "job4/algo-1"
    assert paged("filter_log_events", "events", "timestamp") == [1000, 1001, 1002, 1003, 1004]
    assert paged("filter_log_events", "events", "message", logStreamNamePrefix="job2") == ["error 2 here"]
    assert paged("filter_log_events", "events", "timestamp", filterPattern='error "3 here"', startTime=1001) == [1003]
    code, text = code_and_text(logs.describe_log_streams, logGroupName="/none")
    assert (code, text) == ("ResourceNotFoundException", "The specified log group does not exist.")
    code, text = code_and_text(logs.get_log_events, logGroupName=GROUP, logStreamName="none")
    assert (code, text) == ("ResourceNotFoundException", "The specified log stream does not exist.")


def test_the_log_of_a_step_grows_while_it_runs(stub, sagemaker, logs):
    create(sagemaker)
    stub.control(steps={"Preprocess": {"polls": 2, "log": ["one", "two", "three", "four"]}})
    arn = start(sagemaker)
    found = []
    for _ in range(4):
        steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
        if "Metadata" in steps[0]:
            group = "/aws/sagemaker/ProcessingJobs"
            streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=job_name(steps[0]) + "/")
            stream = streams["logStreams"][0]["logStreamName"]
            found.append(messages(logs.get_log_events(logGroupName=group, logStreamName=stream)))
    assert found == [["one"], ["one", "two"], ["one", "two", "three", "four"]]
