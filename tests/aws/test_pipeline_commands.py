"""The tests drive `maskmaker pipeline upsert|start|status|stop|logs` and the account's registry against the stub of SageMaker and
moto's S3. Every request that the program sends is checked by the stub against the service's own model."""

import json
import os
import re
import signal
import subprocess

import boto3
import pytest

from stub_client import ROLE, ROOT, Stub

PROGRAM = os.environ.get("MASKMAKER_BIN", str(ROOT / "target/debug/maskmaker"))
S3_URL = os.environ.get("MASKMAKER_TEST_S3")
BUCKET = "amzn-s3-demo-bucket"
ARN = "arn:aws:sagemaker:us-east-2:111122223333:pipeline/pipeline"
VALUES = ["--parameter", f"RoleArn={ROLE}"]


@pytest.fixture(scope="module")
def s3():
    if not S3_URL:
        pytest.skip("moto's server is not there")
    client = boto3.client("s3", endpoint_url=S3_URL, region_name="us-east-1", aws_access_key_id="testing",
                          aws_secret_access_key="testing")
    client.create_bucket(Bucket=BUCKET)
    for name in ("annotations/a.json", "annotations/b.json", "images/a.jpg"):
        client.put_object(Bucket=BUCKET, Key=name, Body=name.encode())
    return client


@pytest.fixture
def program(stub, tmp_path):
    """The fixture returns a function that runs the program, and finds no request that the service would refuse for its form."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_REGION": "us-east-2",
                 "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_MAX_ATTEMPTS": "4",
                 "AWS_ENDPOINT_URL_SAGEMAKER": stub.url, "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": stub.url,
                 "AWS_ENDPOINT_URL_S3": S3_URL or stub.url, "AWS_EC2_METADATA_DISABLED": "true",
                 "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}

    def run(*arguments, code=0, **more):
        environment = {name: value for name, value in (variables | more).items() if value is not None}
        result = subprocess.run([PROGRAM, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
        assert "panicked" not in result.stderr, result.stderr
        return result

    run.variables = variables
    # Two calls of each look move an execution on, so that fewer looks are waited for.
    stub.control(settings={"poll_operations": ["DescribePipelineExecution", "ListPipelineExecutionSteps"]})
    yield run
    assert [entry for entry in stub.ask("/_log") if entry["violations"]] == []


def calls(stub, operation):
    return [entry for entry in stub.ask("/_log") if entry["operation"] == operation]


def upsert(program, *more, **options):
    return program("pipeline", "upsert", "pipeline.json", *VALUES, *more, **options)


def start(program, *more, **options):
    return program("pipeline", "start", "--parameter", "DataRevision=r1", *more, **options).stdout.strip()


# --- upsert ---


def test_a_second_upsert_changes_nothing(stub, program):
    assert upsert(program).stdout == f"{ARN} created\n"
    sent = calls(stub, "CreatePipeline")[0]["input"]
    tags = {tag["Key"]: tag["Value"] for tag in sent["Tags"]}
    assert tags["maskmaker:version"] == "0.1.0" and re.fullmatch("[0-9a-f]{64}", tags["maskmaker:revision"])
    definition = json.loads(sent["PipelineDefinition"])
    defaults = {entry["Name"]: entry.get("DefaultValue") for entry in definition["Parameters"]}
    assert defaults["RoleArn"] == ROLE
    assert upsert(program).stdout == f"{ARN} unchanged\n"
    assert calls(stub, "UpdatePipeline") == [] and calls(stub, "AddTags") == []


def test_equal_definitions_are_sent_as_equal_bytes(stub, program, tmp_path):
    upsert(program)
    other = tmp_path / "pipeline.json"
    document = json.loads((ROOT / "pipeline.json").read_text())
    other.write_text(json.dumps(dict(reversed(list(document.items()))), indent=7))
    program("pipeline", "upsert", str(other), "--name", "other", *VALUES)
    first, second = [entry["input"] for entry in calls(stub, "CreatePipeline")]
    assert first["PipelineDefinition"] == second["PipelineDefinition"]


def test_a_pipeline_that_was_deleted_is_made_again(stub, program, sagemaker):
    upsert(program)
    sagemaker.delete_pipeline(PipelineName="pipeline", ClientRequestToken="d" * 32)
    assert upsert(program).stdout == f"{ARN} created\n"
    assert program("pipeline", "start", "--parameter", "DataRevision=r").stdout


def test_a_changed_definition_is_updated_and_told(stub, program):
    upsert(program)
    result = upsert(program, "--parameter", "Epochs=7", "--description", "seven", "--tag", "team=labels")
    assert result.stdout == f"{ARN} updated\n"
    assert "Parameters[Epochs].DefaultValue: " in result.stderr and "-> 7" in result.stderr
    tags = {tag["Key"]: tag["Value"] for tag in calls(stub, "AddTags")[-1]["input"]["Tags"]}
    assert tags["team"] == "labels" and re.fullmatch("[0-9a-f]{64}", tags["maskmaker:revision"])
    # The description stays if none is given.
    assert upsert(program, "--parameter", "Epochs=7", "--tag", "team=labels").stdout == f"{ARN} unchanged\n"


def test_a_pipeline_of_someone_else_is_not_replaced(stub, program, sagemaker):
    document = json.loads((ROOT / "pipelines/two-steps.json").read_text())
    sagemaker.create_pipeline(PipelineName="pipeline", RoleArn=ROLE, PipelineDefinition=json.dumps(document))
    error = upsert(program, code=3).stderr
    assert "another program made it" in error and "Steps[Evaluate]: nothing -> " in error
    assert calls(stub, "UpdatePipeline") == []
    assert upsert(program, "--force").stdout == f"{ARN} updated\n"
    # A person changes it in the console.
    document = json.loads(sagemaker.describe_pipeline(PipelineName="pipeline")["PipelineDefinition"])
    document["Parameters"][0]["Description"] = "changed by hand"
    sagemaker.update_pipeline(PipelineName="pipeline", PipelineDefinition=json.dumps(document))
    error = upsert(program, "--parameter", "Epochs=3", code=3).stderr
    assert "was changed after the last upsert" in error and "changed by hand" in error


@pytest.mark.parametrize("operation, skip", [("AddTags", 0), ("UpdatePipeline", 0), ("AddTags", 1)])
def test_an_interrupted_update_is_completed_or_followed_by_another(stub, program, operation, skip):
    upsert(program)
    stub.control(fail={"operation": operation, "skip": skip, "times": 9, "code": "AccessDeniedException"})
    error = upsert(program, "--parameter", "Epochs=7", code=3).stderr
    assert f"needs sagemaker:{operation} on arn:aws:sagemaker:us-east-2" in error
    stub.control(clear_faults=True)
    outcome = "tagged" if skip else "updated"
    assert upsert(program, "--parameter", "Epochs=7").stdout == f"{ARN} {outcome}\n"
    stub.control(fail={"operation": operation, "skip": skip, "times": 9, "code": "AccessDeniedException"})
    upsert(program, "--parameter", "Epochs=8", code=3)
    stub.control(clear_faults=True)
    assert upsert(program, "--parameter", "Epochs=9").stdout == f"{ARN} updated\n"
    assert upsert(program, "--parameter", "Epochs=9").stdout == f"{ARN} unchanged\n"


@pytest.fixture
def stub_with_s3(tmp_path, s3):
    stub = Stub(tmp_path, S3_URL)
    yield stub
    stub.process.terminate()


def test_a_large_definition_goes_through_s3(stub_with_s3, program, s3, tmp_path):
    stub = stub_with_s3
    document = json.loads((ROOT / "pipeline.json").read_text())
    for parameter in document["Parameters"]:
        parameter["Description"] = "long " * 900
    large = tmp_path / "pipeline.json"
    large.write_text(json.dumps(document))
    command = ["pipeline", "upsert", str(large), *VALUES]
    there = {"AWS_ENDPOINT_URL_SAGEMAKER": stub.url}
    assert program(*command, **there).stdout == f"{ARN} created\n"
    place = calls(stub, "CreatePipeline")[0]["input"]["PipelineDefinitionS3Location"]
    body = s3.get_object(Bucket=place["Bucket"], Key=place["ObjectKey"])["Body"].read()
    sent = json.loads(body)
    assert {step["Name"] for step in sent["Steps"]} == {step["Name"] for step in document["Steps"]}
    # The place of the parameter OutputRoot.
    assert place["ObjectKey"].startswith("maskmaker/definitions/pipeline-") and len(body) > 100 * 1024
    assert program(*command, **there).stdout == f"{ARN} unchanged\n"
    moved = [*command, "--parameter", "Epochs=7", "--definitions", f"s3://{BUCKET}/own"]
    assert program(*moved, **there).stdout == f"{ARN} updated\n"
    place = calls(stub, "UpdatePipeline")[0]["input"]["PipelineDefinitionS3Location"]
    assert place["ObjectKey"].startswith("own/pipeline-")
    for parameter in document["Parameters"]:
        if parameter["Name"] == "OutputRoot":
            parameter["DefaultValue"] = "none"
    large.write_text(json.dumps(document))
    nowhere = program("pipeline", "upsert", str(large), "--name", "other", *VALUES, code=3, **there)
    assert "--definitions s3://BUCKET/PREFIX/" in nowhere.stderr or "OutputRoot" in nowhere.stderr


def test_a_wrong_definition_is_not_sent(stub, program, tmp_path):
    document = json.loads((ROOT / "pipeline.json").read_text())
    document["Steps"][0]["Type"] = "Procesing"
    wrong = tmp_path / "pipeline.json"
    wrong.write_text(json.dumps(document))
    assert "did you mean \"Processing\"" in program("pipeline", "upsert", str(wrong), *VALUES, code=3).stderr
    assert calls(stub, "CreatePipeline") == []


# --- start ---


def test_one_token_is_one_execution(stub, program):
    upsert(program)
    token = "generation-7-of-project-3-at-label-studio"
    first = start(program, "--token", token)
    assert first.startswith(f"{ARN}/execution/")
    assert start(program, "--token", token) == first
    assert start(program) != first
    # The answer is lost after the execution began, and the call is tried again.
    stub.control(fail={"operation": "StartPipelineExecution", "times": 1, "drop_after_commit": True})
    before = len(stub.ask("/_state")["executions"])
    start(program)
    assert len(stub.ask("/_state")["executions"]) == before + 1
    assert "32 to 128" in program("pipeline", "start", "--token", "short", code=2).stderr


def test_a_token_is_one_execution_though_the_data_changed(stub, program, s3):
    upsert(program, "--parameter", "DataRevision=a default is no revision")
    token = ["--token", "generation-8-of-project-3-at-label-studio"]
    first = program("pipeline", "start", *token).stdout
    s3.put_object(Bucket=BUCKET, Key="images/late.jpg", Body=b"late")
    assert program("pipeline", "start", *token).stdout == first
    sent = calls(stub, "StartPipelineExecution")
    assert len(sent) == 1
    values = {entry["Name"]: entry["Value"] for entry in sent[0]["input"]["PipelineParameters"]}
    assert re.fullmatch("[0-9a-f]{64}", values["DataRevision"])
    s3.delete_object(Bucket=BUCKET, Key="images/late.jpg")


def test_an_answer_that_never_comes_tells_how_to_go_on(stub, program):
    upsert(program)
    stub.control(fail={"operation": "StartPipelineExecution", "times": 99, "drop_after_commit": True})
    error = program("pipeline", "start", "--parameter", "DataRevision=r1", code=3).stderr
    token = re.search("--token ([0-9a-f]{64})", error)[1]
    stub.control(clear_faults=True)
    start(program, "--token", token)
    assert len(stub.ask("/_state")["executions"]) == 1


def test_the_revision_is_a_hash_of_keys_and_etags(stub, program, s3):
    upsert(program)
    revisions = []

    def start_with_revision():
        result = program("pipeline", "start", "--parameter", "Epochs=2")
        sent = calls(stub, "StartPipelineExecution")[-1]["input"]["PipelineParameters"]
        values = {entry["Name"]: entry["Value"] for entry in sent}
        assert values["Epochs"] == "2" and re.fullmatch("[0-9a-f]{64}", values["DataRevision"])
        assert values["DataRevision"] in result.stderr
        revisions.append(values["DataRevision"])

    start_with_revision()
    start_with_revision()
    s3.put_object(Bucket=BUCKET, Key="images/b.jpg", Body=b"new")
    start_with_revision()
    s3.put_object(Bucket=BUCKET, Key="images/b.jpg", Body=b"changed")
    start_with_revision()
    s3.delete_object(Bucket=BUCKET, Key="images/b.jpg")
    start_with_revision()
    # Another place, whose name only begins alike.
    s3.put_object(Bucket=BUCKET, Key="images-old/b.jpg", Body=b"old")
    start_with_revision()
    assert revisions.pop() == revisions[0]
    first, again, added, changed, removed = revisions
    assert first == again == removed and len({first, added, changed}) == 3


def test_data_that_are_not_there_start_nothing(stub, program, s3):
    upsert(program)
    error = program("pipeline", "start", "--parameter", f"AnnotationsS3Uri=s3://{BUCKET}/anotations", code=3).stderr
    assert f"s3://{BUCKET}/anotations: there are no objects" in error
    assert calls(stub, "StartPipelineExecution") == []


def test_wrong_parameters_are_told_together(stub, program):
    upsert(program)
    error = program("pipeline", "start", "--parameter", "Epoch=3", "--parameter", "MinMiou=high",
                    "--parameter", "DataRevision=r", code=3).stderr
    assert "did you mean \"Epochs\"?" in error and "--parameter MinMiou" in error
    assert "there is no pipeline other in us-east-2" in program("pipeline", "start", "--name", "other", code=3).stderr


# --- status, stop, logs ---


def test_a_followed_execution_ends_as_it_ended(stub, program):
    stub.control(steps={"Train": {"metrics": {"validation:mIOU": 0.71}, "polls": 2},
                        "Evaluate": {"exit_message": "passes: mIoU 0.71"}})
    upsert(program)
    result = program("pipeline", "start", "--parameter", "DataRevision=r1", "--follow", "--interval", "1")
    lines = result.stderr.splitlines()
    text = "\n".join(lines)
    for line in ("Preprocess: running", "Preprocess: succeeded", "Train: running", "validation:mIOU 0.71",
                 "passes: mIoU 0.71"):
        assert line in text, (line, text)
    status = program("pipeline", "status").stdout
    assert status.splitlines()[0].endswith(": Succeeded")
    assert re.search(r"Train +succeeded +\d+ s  .*validation:mIOU 0.71", status), status
    assert re.search(r"RegisterModel\S* +succeeded .* version 1", status), status
    # The branch that was not taken.
    assert re.search(r"\S+ +not run", status), status


def test_a_fail_step_is_exit_code_4_with_its_message(stub, program):
    stub.control(steps={"CheckQuality": {"outcome": "False"}},
                 property_files={"EvaluationReport": {"segmentation_metrics": {"miou": {"value": 0.41}}}})
    upsert(program)
    arn = start(program)
    result = program("pipeline", "status", "--execution", arn, "--follow", "--interval", "1", code=4)
    assert "0.41" in result.stderr, result.stderr
    assert "CheckQuality: succeeded" in result.stderr and "does not hold" in result.stderr


def test_the_reason_of_a_failed_job_is_told(stub, program):
    for code, reason in ((3, "no mask for a.jpg, exit code: 3"), (1, "a bug, exit code: 1")):
        stub.control(steps={"Train": {"status": "Failed", "failure_reason": "ClientError: see the job",
                                      "job_failure_reason": f"AlgorithmError: {reason}"}})
        upsert(program)
        start(program)
        result = program("pipeline", "status", "--follow", "--interval", "1", code=code)
        assert f"step Train: AlgorithmError: {reason}" in result.stderr


def test_descriptions_that_are_denied_leave_the_states(stub, program):
    stub.control(fail=[{"operation": "DescribeTrainingJob", "times": 99, "code": "AccessDeniedException"}])
    upsert(program)
    start(program)
    result = program("pipeline", "status", "--follow", "--interval", "1")
    assert result.stderr.count("no metrics and messages of jobs") == 1
    assert "needs sagemaker:DescribeTrainingJob" in result.stderr and "Train: succeeded" in result.stderr
    assert "needs sagemaker:DescribeTrainingJob" in program("pipeline", "status").stderr


def test_an_execution_is_stopped_once(stub, program):
    stub.control(settings={"stop_polls": 2, "polls": 1000})
    upsert(program)
    assert "has no execution" in program("pipeline", "stop", code=3).stderr
    arn = start(program)
    program("pipeline", "status")
    assert program("pipeline", "stop").stdout == f"{arn} is stopping\n"
    assert program("pipeline", "stop", "--execution", arn.rsplit("/")[-1]).stdout == f"{arn} is stopping\n"
    assert len(calls(stub, "StopPipelineExecution")) == 1
    result = program("pipeline", "status", "--follow", "--interval", "1", code=1)
    assert "has stopped" in result.stderr, result.stderr
    assert "has ended: Stopped" in program("pipeline", "stop", code=3).stderr


def test_a_signal_ends_following_and_not_the_execution(stub, program):
    stub.control(settings={"polls": 1000})
    upsert(program)
    start(program)
    command = [PROGRAM, "pipeline", "status", "--follow"]
    process = subprocess.Popen(command, env=program.variables, stderr=subprocess.PIPE, text=True)
    while "Preprocess: running" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 1 and "the execution goes on" in process.stderr.read()
    assert stub.ask("/_state")["executions"] and "Executing" in program("pipeline", "status").stdout


def test_the_log_of_several_hosts_is_whole_and_in_order(stub, program):
    upsert(program)
    stub.control(settings={"polls": 3, "empty_log_pages": True, "page_size": 3},
                 steps={"Train": {"log": ["own first", "own second"], "polls": 4}})
    arn = start(program)
    result = program("pipeline", "logs", "Train", "--follow", "--interval", "1")
    assert [line for line in result.stdout.splitlines() if "own" in line] == ["own first", "own second"]
    job = next(step["Metadata"]["TrainingJob"]["Arn"] for step in
               stub.client("sagemaker").list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
               if step["StepName"] == "Train").rsplit("/")[-1]
    for host in ("algo-2", "algo-3"):
        stub.control(logs=[{"group": "/aws/sagemaker/TrainingJobs", "stream": f"{job}/{host}-1700000000",
                            "events": [f"line {number}" for number in range(10)]}])
    lines = program("pipeline", "logs", "Train").stdout.splitlines()
    for host in ("algo-2", "algo-3"):
        assert [line for line in lines if line.startswith(host)] == [f"{host}: line {number}" for number in range(10)]
    assert "did you mean \"Train\"" in program("pipeline", "logs", "Trian", "--follow", code=3).stderr
    program("pipeline", "status", "--follow", "--interval", "1")
    assert "has no job with a log" in program("pipeline", "logs", "CheckQuality", code=3).stderr


# --- faults ---


def test_throttled_calls_are_tried_again(stub, program):
    stub.control(fail={"operation": "CreatePipeline", "times": 2, "code": "ThrottlingException", "message": "Rate exceeded"})
    assert upsert(program).stdout == f"{ARN} created\n"
    stub.control(fail={"operation": "*", "times": 99, "code": "ThrottlingException", "message": "Rate exceeded"})
    error = program("pipeline", "status", code=3).stderr
    assert "throttles" in error and "AWS_MAX_ATTEMPTS" in error


@pytest.mark.parametrize("fault, texts", [
    ({"code": "AccessDeniedException"}, ["the role annotator needs sagemaker:CreatePipeline on arn:aws:sagemaker"]),
    ({"code": "ResourceLimitExceeded", "message": "The limit 'pipelines' is 100."}, ["a quota", "Service Quotas", "is 100"]),
    ({"html": True}, ["answered 502 and no error of the service"]),
])
def test_refusals_name_what_helps(stub, program, fault, texts):
    stub.control(fail={"operation": "CreatePipeline", "times": 99} | fault)
    error = upsert(program, code=3).stderr
    for text in texts:
        assert text in error, error


def test_credentials_that_expired_or_are_unknown_are_named(stub, program):
    stub.control(credentials={"ASIAEXPIRED": {"secret": "secret", "session_token": "token", "expired": True}})
    error = program("pipeline", "status", code=3, AWS_ACCESS_KEY_ID="ASIAEXPIRED", AWS_SECRET_ACCESS_KEY="secret",
                    AWS_SESSION_TOKEN="token").stderr
    assert "credentials have expired" in error and "aws sso login" in error
    error = program("pipeline", "status", code=3, AWS_ACCESS_KEY_ID="AKIAUNKNOWN").stderr
    assert "does not take the credentials" in error
    error = program("pipeline", "status", code=3, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="").stderr
    assert "no AWS credentials" in error
    # A wrong secret is a wrong signature, which the stub counts as a violation of the form; the key decides above.


def test_a_profile_with_a_credential_process_is_taken(stub, program, tmp_path):
    config = tmp_path / "config"
    answer = json.dumps({"Version": 1, "AccessKeyId": "testing", "SecretAccessKey": "testing"})
    script = tmp_path / "credentials.sh"
    script.write_text(f"#!/bin/sh\necho '{answer}'\n")
    script.chmod(0o755)
    config.write_text(f"[profile work]\nregion = us-east-2\ncredential_process = {script}\n")
    error = program("pipeline", "status", code=3, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_REGION=None,
                    AWS_CONFIG_FILE=str(config), AWS_PROFILE="work").stderr
    assert "there is no pipeline pipeline in us-east-2" in error


# --- registry ---


def add_packages(stub, statuses, **more):
    container = {"Image": "111122223333.dkr.ecr.us-east-2.amazonaws.com/maskmaker:0.1.0",
                 "ModelDataUrl": f"s3://{BUCKET}/models/1/model.tar.gz"}
    for number, status in enumerate(statuses, 1):
        stub.control(packages=[{"ModelPackageGroupName": "maskmaker", "ModelApprovalStatus": status,
                                "CustomerMetadataProperties": {"mIoU": f"0.{number}"},
                                "InferenceSpecification": {"Containers": [container],
                                                           "SupportedContentTypes": ["image/jpeg"],
                                                           "SupportedResponseMIMETypes": ["image/png"]}} | more])


def test_a_local_run_does_not_take_the_account_for_a_folder(program):
    error = program("pipeline", "run", "--local", "pipeline.json", code=3, MASKMAKER_REGISTRY="sagemaker").stderr
    assert "registers its model in a folder" in error and not (ROOT / "sagemaker").exists()


def test_the_accounts_registry_is_listed_and_decided_on(stub, program):
    registry = ["--registry", "sagemaker"]
    assert "the registry has no models" in program("registry", "list", *registry).stdout
    stub.control(settings={"page_size": 2})
    add_packages(stub, ["Approved", "Rejected", "PendingManualApproval"])
    lines = program("registry", "list", *registry).stdout.splitlines()
    assert len(lines) == 3 and re.match(r"maskmaker  3  PendingManualApproval  \S+Z  mIoU 0.3", lines[2]), lines
    assert program("registry", "approve", "maskmaker", "3", "--description", "better", *registry).stdout.split()[2] == "Approved"
    shown = json.loads(program("registry", "show", "maskmaker", "3", *registry).stdout)
    assert shown["ModelApprovalStatus"] == "Approved" and shown["ApprovalDescription"] == "better"
    assert "it has 1, 2, 3" in program("registry", "show", "maskmaker", "9", *registry, code=3).stderr
    assert "did you mean \"maskmaker\"" in program("registry", "list", "maskmakr", *registry, code=3).stderr


def test_evaluate_compares_with_the_last_approved_model_of_the_account(stub, program, s3, tmp_path):
    data, root = tmp_path / "data", tmp_path / "ml"
    program("sample-data", str(root / "input/data"), "--images", "8", "--size", "64", "--seed", "3")
    (root / "input/config").mkdir(parents=True)
    (root / "input/config/hyperparameters.json").write_text(json.dumps(
        {"backbone": "resnet-18", "use_pretrained_model": "False", "epochs": "1", "mini_batch_size": "2", "base_size": "48",
         "crop_size": "48", "num_classes": "4"}))
    program("--ml-root", str(root), "train")
    data.mkdir()
    (data / "test").symlink_to(root / "input/data/validation")
    (data / "test_annotation").symlink_to(root / "input/data/validation_annotation")
    s3.upload_file(str(archive(root / "model", tmp_path)), BUCKET, "models/1/model.tar.gz")
    evaluate = ["evaluate", "--model", str(root / "model"), "--data", str(data), "--registry", "sagemaker",
                "--compare", "registry:maskmaker", "--output"]
    result = program(*evaluate, str(tmp_path / "none"))
    assert "no approved version of maskmaker" in result.stderr
    add_packages(stub, ["Approved", "Rejected"])
    program(*evaluate, str(tmp_path / "one"))
    comparison = json.loads((tmp_path / "one/evaluation.json").read_text())["comparison"]
    assert comparison["other_model"].endswith("model-package/maskmaker/1"), comparison
    # It is the same model.
    assert comparison["miou"]["difference"]["value"] == 0, comparison


def archive(model, folder):
    path = folder / "model.tar.gz"
    subprocess.run(["tar", "-czf", path, "-C", model, "."], check=True)
    return path


# --- all requests ---


def test_moto_takes_a_pipeline_and_an_execution(program, s3):
    there = {"AWS_ENDPOINT_URL_SAGEMAKER": S3_URL}
    assert upsert(program, **there).stdout.endswith(":pipeline/pipeline created\n")
    assert upsert(program, **there).stdout.endswith(":pipeline/pipeline unchanged\n")
    assert upsert(program, "--parameter", "Epochs=7", **there).stdout.endswith(":pipeline/pipeline updated\n")
    arn = program("pipeline", "start", **there).stdout.strip()
    client = boto3.client("sagemaker", endpoint_url=S3_URL, region_name="us-east-2", aws_access_key_id="testing",
                          aws_secret_access_key="testing")
    values = client.list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)["PipelineParameters"]
    assert [entry["Name"] for entry in values] == ["DataRevision"]


def test_every_request_of_the_program_was_checked(stub):
    """The test comes last: it finds each request that the program knows among those that the stub took and checked."""
    known = set(re.findall(r"^    (\w+) -> ", (ROOT / "src/aws/sagemaker_api.rs").read_text(), re.M))
    known |= set(re.findall(r"JsonRequest for (\w+)", (ROOT / "src/aws/logs_api.rs").read_text()))
    entries = [json.loads(line) for line in stub.log.read_text().splitlines()]
    if len(entries) < 200:
        pytest.skip("the other tests of this file did not run")
    # Amazon's own client sends some of them, too; its requests hold what it adds by itself.
    taken = {entry["operation"] for entry in entries if entry["status"] == 200 and not entry["violations"]}
    assert len(known) > 15 and known <= taken, known - taken
