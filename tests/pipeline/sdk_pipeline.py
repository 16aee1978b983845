"""Builds the pipeline of pipeline.json with SageMaker's Python SDK, version 2, without asking AWS.

`.venv/pipeline/bin/python tests/pipeline/sdk_pipeline.py` prints the definition that the SDK writes.
"""

import json
import logging
from pathlib import Path

if __name__ == "__main__":
    from offline import forbid_aws

    forbid_aws()

import boto3
from sagemaker.debugger import ProfilerConfig, ProfilerRule, rule_configs
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.model import Model
from sagemaker.model_metrics import MetricsSource, ModelMetrics
from sagemaker.processing import ProcessingInput, ProcessingOutput, Processor
from sagemaker.workflow.condition_step import ConditionStep
from sagemaker.workflow.conditions import ConditionEquals, ConditionGreaterThanOrEqualTo
from sagemaker.workflow.execution_variables import ExecutionVariables
from sagemaker.workflow.fail_step import FailStep
from sagemaker.workflow.functions import Join, JsonGet
from sagemaker.workflow.model_step import ModelStep
from sagemaker.workflow.parameters import ParameterBoolean, ParameterFloat, ParameterInteger, ParameterString
from sagemaker.workflow.pipeline import Pipeline
from sagemaker.workflow.pipeline_context import PipelineSession
from sagemaker.workflow.properties import PropertyFile
from sagemaker.workflow.retry import (
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
)
from sagemaker.workflow.steps import CacheConfig, ProcessingStep, TrainingStep

ROOT = Path(__file__).parents[2]
# The image of the profiler's rules differs by region: this is the one of the parameter's default.
REGION = "us-east-2"
INPUT = "/opt/ml/processing/input"
OUTPUT = "/opt/ml/processing/output"
# Channel of train -> folder below the S3 place of Preprocess. No folder's name begins with another's, because a prefix of
# S3 is a text: .../train would take the objects of .../train_annotation too (aws/sagemaker-python-sdk#3612).
FOLDERS = {
    "train": "train/images",
    "train_annotation": "train/masks",
    "validation": "validation/images",
    "validation_annotation": "validation/masks",
    "test": "test/images",
    "test_annotation": "test/masks",
    "label_map": "label_map",
}
CHANNELS = ["train", "train_annotation", "validation", "validation_annotation", "label_map"]


def pipeline_session():
    # A bucket that is given is not looked up.
    return PipelineSession(boto3.Session(region_name=REGION), default_bucket="amzn-s3-demo-bucket")


def parameters(definition):
    """Makes the SDK's objects of the parameters that a definition declares, by their names."""
    kinds = {"String": ParameterString, "Integer": ParameterInteger, "Float": ParameterFloat, "Boolean": ParameterBoolean}
    made = {}
    for parameter in definition["Parameters"]:
        options = {"enum_values": parameter["EnumValues"]} if "EnumValues" in parameter else {}
        kind = kinds[parameter["Type"]]
        made[parameter["Name"]] = kind(parameter["Name"], default_value=parameter.get("DefaultValue"), **options)
    return made


def step_retries():
    exceptions = [StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING]
    return StepRetryPolicy(exceptions, interval_seconds=10, backoff_rate=2.0, max_attempts=5)


def job_retries():
    kinds = SageMakerJobExceptionTypeEnum
    return [
        step_retries(),
        SageMakerJobStepRetryPolicy([kinds.INTERNAL_ERROR], interval_seconds=60, backoff_rate=2.0, max_attempts=3),
        SageMakerJobStepRetryPolicy([kinds.CAPACITY_ERROR, kinds.RESOURCE_LIMIT], interval_seconds=300, backoff_rate=1.5,
                                    expire_after_mins=240),
    ]


def build(session=None, local=False, register=True, hyperparameters=None):
    """Builds the pipeline.

    With `local` it is without what local mode refuses: images that are divided among instances, spot instances and
    checkpoints in S3. Local mode does not know an image's own entrypoint either (aws/sagemaker-python-sdk#3422), so that
    it is named. It refuses RegisterModel too; without `register` CreateModel takes its place.
    `hyperparameters` are added to those of the definition.
    """
    session = session or pipeline_session()
    declared = parameters(json.loads((ROOT / "pipeline.json").read_text()))
    given = declared.__getitem__

    def place(*path):
        """Gives a place below the execution's own folder."""
        return Join(on="/", values=[given("OutputRoot"), ExecutionVariables.PIPELINE_EXECUTION_ID, *path])

    entrypoint = ["maskmaker"] if local else None
    processor = Processor(
        image_uri=given("ImageUri"), role=given("RoleArn"), instance_count=given("ProcessingInstanceCount"),
        instance_type=given("ProcessingInstanceType"), volume_size_in_gb=30, max_runtime_in_seconds=14400,
        env={"DATA_REVISION": given("DataRevision")}, entrypoint=entrypoint, sagemaker_session=session)
    preprocess = ProcessingStep(
        "Preprocess",
        step_args=processor.run(
            arguments=["preprocess", "--train-test-split-ratio", "20", "--test-ratio", "10"],
            inputs=[
                ProcessingInput(given("AnnotationsS3Uri"), f"{INPUT}/annotations", "annotations"),
                ProcessingInput(given("ImagesS3Uri"), f"{INPUT}/images", "images",
                                s3_data_distribution_type="FullyReplicated" if local else "ShardedByS3Key"),
            ],
            outputs=[ProcessingOutput(f"{OUTPUT}/{channel}", place("Preprocess", folder), channel)
                     for channel, folder in FOLDERS.items()]),
        display_name="Preprocess-annotations", cache_config=CacheConfig(True, "P30D"), retry_policies=job_retries())
    written = preprocess.properties.ProcessingOutputConfig.Outputs

    settings = {
        "algorithm": given("Algorithm"),
        "backbone": given("Backbone"),
        "use_pretrained_model": given("UsePretrainedModel"),
        "epochs": given("Epochs"),
        "mini_batch_size": given("MiniBatchSize"),
        "validation_mini_batch_size": "8",
        "base_size": given("BaseSize"),
        "crop_size": given("CropSize"),
        "optimizer": given("Optimizer"),
        "learning_rate": given("LearningRate"),
        "lr_scheduler": "poly",
        "augmentations": given("Augmentations"),
    }
    spot = {} if local else {
        "use_spot_instances": given("UseSpotTraining"),
        "max_wait": given("MaxWaitTimeInSeconds"),
        "checkpoint_s3_uri": place("Train", "checkpoints"),
        "checkpoint_local_path": "/opt/ml/checkpoints",
    }
    estimator = Estimator(
        image_uri=given("ImageUri"), role=given("RoleArn"), instance_count=given("TrainingInstanceCount"),
        instance_type=given("TrainingInstanceType"), volume_size=100, max_run=36000, output_path=place("Train"),
        hyperparameters=settings | (hyperparameters or {}),
        metric_definitions=json.loads((ROOT / "hyperparameters/metric-definitions.json").read_text()),
        input_mode="File", debugger_hook_config=False, sagemaker_session=session,
        profiler_config=ProfilerConfig(s3_output_path=place("Train", "profiler"), system_monitor_interval_millis=500),
        rules=[ProfilerRule.sagemaker(rule_configs.ProfilerReport(), name="ProfilerReport")], **spot)
    train = TrainingStep(
        "Train",
        step_args=estimator.fit({
            channel: TrainingInput(
                written[channel].S3Output.S3Uri,
                content_type="application/json" if channel == "label_map" else "application/x-image")
            for channel in CHANNELS
        }),
        display_name="Train-model", retry_policies=job_retries())
    model_data = train.properties.ModelArtifacts.S3ModelArtifacts

    report = PropertyFile("EvaluationReport", output_name="evaluation", path="evaluation.json")
    processor = Processor(
        image_uri=given("ImageUri"), role=given("RoleArn"), instance_count=1, instance_type=given("EvaluationInstanceType"),
        volume_size_in_gb=30, max_runtime_in_seconds=14400, entrypoint=entrypoint, sagemaker_session=session)
    evaluate = ProcessingStep(
        "Evaluate",
        step_args=processor.run(
            arguments=["evaluate", "--min-miou", given("MinMiou").to_string(), "--explain", "2"],
            inputs=[
                ProcessingInput(model_data, "/opt/ml/processing/model", "model"),
                *(ProcessingInput(written[channel].S3Output.S3Uri, f"{INPUT}/{channel}", channel)
                  for channel in ["test", "test_annotation", "label_map"]),
            ],
            outputs=[ProcessingOutput(OUTPUT, place("Evaluate"), "evaluation")]),
        display_name="Evaluate-model", property_files=[report], retry_policies=job_retries())
    evaluation = evaluate.properties.ProcessingOutputConfig.Outputs["evaluation"].S3Output.S3Uri

    def read(path):
        """Gives a value of evaluation.json."""
        return JsonGet(step_name="Evaluate", property_file=report, json_path=path)

    def metrics_file(name):
        """Gives a file beside evaluation.json."""
        return MetricsSource("application/json", Join(on="/", values=[evaluation, name]))

    def text(*parts):
        """Gives a text of parts that a run knows; numbers become texts so."""
        return Join(on="", values=list(parts))

    model = Model(image_uri=given("ImageUri"), model_data=model_data, role=given("RoleArn"), sagemaker_session=session)
    if register:
        processors = ["ml.c5.xlarge", "ml.c5.2xlarge", "ml.m5.xlarge", "ml.m5.2xlarge"]
        gpus = ["ml.g4dn.xlarge", "ml.g5.xlarge"]
        good_model = ModelStep(
            "RegisterModel",
            step_args=model.register(
                model_package_group_name=given("ModelPackageGroupName"),
                approval_status=given("ModelApprovalStatus"),
                description="Semantic segmentation by maskmaker: an image in, a mask of class ids out",
                content_types=["image/jpeg", "image/png", "image/webp", "image/tiff", "image/bmp", "application/x-image",
                               "application/octet-stream", "application/x-npy", "application/json", "application/jsonlines"],
                response_types=["image/png", "application/json", "application/jsonlines", "application/x-npy",
                                "application/x-recordio-protobuf", "application/x-protobuf"],
                inference_instances=processors + gpus, transform_instances=processors + gpus,
                model_metrics=ModelMetrics(
                    model_statistics=metrics_file("statistics.json"),
                    model_constraints=metrics_file("constraints.json"),
                    explainability=metrics_file("explainability.json")),
                customer_metadata_properties={
                    "mIoU": text(read("segmentation_metrics.miou.value")),
                    "MinMiou": given("MinMiou").to_string(),
                    "TrainImages": text(read("data.train_images")),
                    "ValidationImages": text(read("data.validation_images")),
                    "TestImages": text(read("segmentation_metrics.images")),
                    "SkippedTestImages": text(read("data.skipped")),
                    "DataRevision": given("DataRevision"),
                    "Algorithm": given("Algorithm"),
                    "Backbone": given("Backbone"),
                    "PipelineExecutionId": ExecutionVariables.PIPELINE_EXECUTION_ID,
                    "ServerlessInference": "MemorySizeInMB 4096 MASKMAKER_ENDPOINT=serverless",
                }),
            display_name="Register-model", retry_policies=[step_retries()])
    else:
        # Model.create looks for a slash in the role, which it does not find in a parameter.
        model.role = given("RoleArn").default_value
        good_model = ModelStep("CreateModel", step_args=model.create(instance_type="local"))

    refuse = FailStep(
        "RefuseModel", display_name="Refuse-model",
        error_message=text("The model is not registered: its mIoU is ", read("segmentation_metrics.miou.value"),
                           ", the least is ", given("MinMiou"), " (", read("gate.reason"), ")"))
    condition = ConditionStep(
        "CheckQuality", display_name="Check-quality",
        conditions=[
            ConditionGreaterThanOrEqualTo(read("segmentation_metrics.miou.value"), given("MinMiou")),
            ConditionEquals(read("gate.passed"), True),
        ],
        if_steps=[good_model], else_steps=[refuse])
    return Pipeline(name="maskmaker", parameters=list(declared.values()), steps=[preprocess, train, evaluate, condition],
                    sagemaker_session=session)


if __name__ == "__main__":
    # The SDK logs on both outputs.
    logging.disable()
    print(json.dumps(json.loads(build().definition()), indent=2))
