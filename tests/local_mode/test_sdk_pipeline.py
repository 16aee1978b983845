"""The pipeline of pipeline.json, built by SageMaker's Python SDK version 2, in local mode with moto's S3 on loopback.

Local mode refuses RegisterModel before anything runs, in both branches, so that CreateModel is in its place. It refuses
S3DataDistributionType ShardedByS3Key, spot instances and checkpoints in S3, too, and does not know an image's own entrypoint
(tests/pipeline/sdk_pipeline.py gives it none of the former, and the latter). It ignores:

- CacheConfig and RetryPolicies: every step runs each time, and once.
- StoppingCondition, VolumeSizeInGB, RoleArn: there is no limit of time or disk, and nobody's role.
- EnumValues of parameters.
- MetricDefinitions, ProfilerConfig and its rules.
- PipelineExperimentConfig.

It does see: types of parameters, property references, Std:Join, Std:JsonGet of property files, both conditions, the message
of the Fail step, the Environment of a processing job, and what each container reads and writes.
"""

import json
import logging
import os
import sys
from pathlib import Path

import boto3
import pytest
import sagemaker.local.image
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer
from sagemaker.workflow.pipeline_context import LocalPipelineSession

import jobs
from conftest import ROLE

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
from sdk_pipeline import build

BUCKET = "amzn-s3-demo-bucket"
# Without num_classes: train counts the classes that preprocess found.
HYPERPARAMETERS = {"base_size": "96", "crop_size": "64", "seed": "1"}


@pytest.fixture(scope="module")
def s3():
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    os.environ["AWS_ENDPOINT_URL_S3"] = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield client
    del os.environ["AWS_ENDPOINT_URL_S3"]
    server.stop()


@pytest.fixture(scope="module")
def session(s3, data, tmp_path_factory, tidy):
    # Masks are annotations, too. preprocess divides them anew.
    for channel in ["train", "validation"]:
        for folder, prefix in [(channel, "images"), (f"{channel}_annotation", "annotations")]:
            for file in (data / folder).iterdir():
                s3.upload_file(str(file), BUCKET, f"{prefix}/{file.name}")
    tidy(sagemaker.local.image._SageMakerContainer)
    local = LocalPipelineSession(boto3.Session(), default_bucket=BUCKET)
    local.config = {"local": {"container_root": str(tmp_path_factory.mktemp("containers"))}}
    return local


def execute(session, **parameters):
    """Runs the pipeline; gives its description, its steps by name and its folder below OutputRoot."""
    pipeline = build(session, local=True, register=False, hyperparameters=HYPERPARAMETERS)
    pipeline.create(ROLE)
    execution = pipeline.start({
        "ImageUri": jobs.IMAGE,
        "RoleArn": ROLE,
        "ProcessingInstanceType": "local",
        "TrainingInstanceType": "local",
        "EvaluationInstanceType": "local",
        "DataRevision": "sample-1",
        "Backbone": "resnet-18",
        "UsePretrainedModel": "False",
        "LearningRate": 0.0003,
        "MiniBatchSize": 8,
    } | parameters)
    steps = {step["StepName"]: step for step in execution.list_steps()["PipelineExecutionSteps"]}
    return execution.describe(), steps, f"maskmaker/{execution.pipeline_execution_name}"


def keys(s3, prefix):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [entry["Key"].removeprefix(prefix) for page in pages for entry in page.get("Contents", [])]


def read_json(s3, key):
    return json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())


def test_a_good_model_is_created(s3, session, data):
    description, steps, folder = execute(session, MinMiou=0.1, Epochs=8)
    assert description["PipelineExecutionStatus"] == "Succeeded", (description, steps)
    assert steps["CreateModel-CreateModel"]["StepStatus"] == "Succeeded", steps
    # Steps of the other branch are not listed.
    assert "RefuseModel" not in steps, steps
    evaluation = read_json(s3, f"{folder}/Evaluate/evaluation.json")
    assert evaluation["gate"]["passed"] and evaluation["segmentation_metrics"]["miou"]["value"] >= 0.1
    assert {"statistics.json", "constraints.json", "explainability.json", "report.html"} <= set(keys(s3, f"{folder}/Evaluate/"))
    # Every image is in one of the three parts, with its mask.
    images = [key for part in ["train", "validation", "test"] for key in keys(s3, f"{folder}/Preprocess/{part}/images/")]
    masks = [key for part in ["train", "validation", "test"] for key in keys(s3, f"{folder}/Preprocess/{part}/masks/")]
    assert sorted(key.removesuffix(".jpg") for key in images) == sorted(key.removesuffix(".png") for key in masks)
    assert len(images) == len(list((data / "train").iterdir())) + len(list((data / "validation").iterdir()))
    assert evaluation["data"]["leaks"]["in_train"]["images"] == 0
    print(f"pipeline in local mode: mIoU {evaluation['segmentation_metrics']['miou']['value']:.3f}")


def test_a_model_that_is_not_good_enough_ends_in_the_fail_step(s3, session):
    description, steps, folder = execute(session, MinMiou=0.99, Epochs=1)
    assert description["PipelineExecutionStatus"] == "Failed", (description, steps)
    assert steps["Evaluate"]["StepStatus"] == "Succeeded" and steps["RefuseModel"]["StepStatus"] == "Failed", steps
    miou = read_json(s3, f"{folder}/Evaluate/evaluation.json")["segmentation_metrics"]["miou"]["value"]
    for part in ["The model is not registered: its mIoU is ", str(miou)[:6], "the least is 0.99", "is below 0.99"]:
        assert part in steps["RefuseModel"]["FailureReason"], steps
    assert "CreateModel-CreateModel" not in steps, steps


def test_local_mode_refuses_register_model_before_anything_runs(session):
    # When this fails, RegisterModel needs no stand-in.
    pipeline = build(session, local=True)
    pipeline.create(ROLE)
    with pytest.raises(ClientError, match="Step type RegisterModel is not supported in local mode"):
        pipeline.start({"DataRevision": "sample-1"})
