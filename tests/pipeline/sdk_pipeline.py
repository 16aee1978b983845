"""Builds the pipelines of pipeline.json and pipelines/tuning.json with SageMaker's Python SDK, version 2, without asking AWS.

`.venv/pipeline/bin/python tests/pipeline/sdk_pipeline.py` prints the first as the SDK writes it, and the other one with its path.
"""

import json
import logging
import sys
from pathlib import Path

if __name__ == "__main__":
    from offline import forbid_aws

    forbid_aws()
    # The SDK logs on both outputs, from its import on.
    logging.disable()

import boto3
from sagemaker.debugger import ProfilerConfig, ProfilerRule, rule_configs
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.model import Model
from sagemaker.model_metrics import MetricsSource, ModelMetrics
from sagemaker.parameter import CategoricalParameter, ContinuousParameter
from sagemaker.processing import ProcessingInput, ProcessingOutput, Processor
from sagemaker.tuner import HyperparameterTuner
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
from sagemaker.workflow.steps import CacheConfig, ProcessingStep, TrainingStep, TuningStep

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
REPORT = PropertyFile("EvaluationReport", output_name="evaluation", path="evaluation.json")
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


class Parts:
    """The steps that the pipelines have in common, with the parameters of a definition.

    With `local` they are without what local mode refuses: images that are divided among instances. It does not know an image's
    own entrypoint either (aws/sagemaker-python-sdk#3422), so that it is named.
    """

    def __init__(self, file, session, local=False):
        self.session = session or pipeline_session()
        self.local = local
        self.declared = parameters(json.loads((ROOT / file).read_text()))
        self.given = self.declared.__getitem__

    def place(self, *path):
        """Gives a place below the execution's own folder."""
        return Join(on="/", values=[self.given("OutputRoot"), ExecutionVariables.PIPELINE_EXECUTION_ID, *path])

    def processor(self, instance_type, instance_count, **options):
        return Processor(
            image_uri=self.given("ImageUri"), role=self.given("RoleArn"), instance_count=instance_count,
            instance_type=self.given(instance_type), volume_size_in_gb=30, max_runtime_in_seconds=14400,
            entrypoint=["maskmaker"] if self.local else None, sagemaker_session=self.session, **options)

    def preprocess(self):
        processor = self.processor("ProcessingInstanceType", self.given("ProcessingInstanceCount"),
                                   env={"DATA_REVISION": self.given("DataRevision")})
        return ProcessingStep(
            "Preprocess",
            step_args=processor.run(
                arguments=["preprocess", "--train-test-split-ratio", "20", "--test-ratio", "10"],
                inputs=[
                    ProcessingInput(self.given("AnnotationsS3Uri"), f"{INPUT}/annotations", "annotations"),
                    ProcessingInput(self.given("ImagesS3Uri"), f"{INPUT}/images", "images",
                                    s3_data_distribution_type="FullyReplicated" if self.local else "ShardedByS3Key"),
                ],
                outputs=[ProcessingOutput(f"{OUTPUT}/{channel}", self.place("Preprocess", folder), channel)
                         for channel, folder in FOLDERS.items()]),
            display_name="Preprocess-annotations", cache_config=CacheConfig(True, "P30D"), retry_policies=job_retries())

    def estimator(self, step, hyperparameters, **options):
        """Gives the training job of a step. `hyperparameters` are added to those that all pipelines set."""
        settings = {
            "algorithm": self.given("Algorithm"),
            "use_pretrained_model": self.given("UsePretrainedModel"),
            "epochs": self.given("Epochs"),
            "mini_batch_size": self.given("MiniBatchSize"),
            "validation_mini_batch_size": "8",
            "base_size": self.given("BaseSize"),
            "crop_size": self.given("CropSize"),
            "lr_scheduler": "poly",
            "augmentations": self.given("Augmentations"),
        }
        return Estimator(
            image_uri=self.given("ImageUri"), role=self.given("RoleArn"), instance_count=self.given("TrainingInstanceCount"),
            instance_type=self.given("TrainingInstanceType"), volume_size=100, max_run=36000, output_path=self.place(step),
            hyperparameters=settings | hyperparameters, input_mode="File", debugger_hook_config=False,
            sagemaker_session=self.session, **options)

    def evaluate(self, preprocess, model_data):
        processor = self.processor("EvaluationInstanceType", 1)
        written = outputs(preprocess)
        return ProcessingStep(
            "Evaluate",
            step_args=processor.run(
                arguments=["evaluate", "--min-miou", self.given("MinMiou").to_string(), "--explain", "2"],
                inputs=[
                    ProcessingInput(model_data, "/opt/ml/processing/model", "model"),
                    *(ProcessingInput(written[channel].S3Output.S3Uri, f"{INPUT}/{channel}", channel)
                      for channel in ["test", "test_annotation", "label_map"]),
                ],
                outputs=[ProcessingOutput(OUTPUT, self.place("Evaluate"), "evaluation")]),
            display_name="Evaluate-model", property_files=[REPORT], retry_policies=job_retries())

    def check_quality(self, good_model):
        refuse = FailStep(
            "RefuseModel", display_name="Refuse-model",
            error_message=text("The model is not registered: its mIoU is ", read("segmentation_metrics.miou.value"),
                               ", the least is ", self.given("MinMiou"), " (", read("gate.reason"), ")"))
        return ConditionStep(
            "CheckQuality", display_name="Check-quality",
            conditions=[
                ConditionGreaterThanOrEqualTo(read("segmentation_metrics.miou.value"), self.given("MinMiou")),
                ConditionEquals(read("gate.passed"), True),
            ],
            if_steps=[good_model], else_steps=[refuse])

    def model(self, model_data):
        return Model(image_uri=self.given("ImageUri"), model_data=model_data, role=self.given("RoleArn"),
                     sagemaker_session=self.session)

    def register_model(self, evaluate, model_data, metadata):
        """Gives the step that registers a model. `metadata` are added to what all pipelines tell of it."""
        evaluation = outputs(evaluate)["evaluation"].S3Output.S3Uri

        def metrics_file(name):
            """Gives a file beside evaluation.json."""
            return MetricsSource("application/json", Join(on="/", values=[evaluation, name]))

        processors = ["ml.c5.xlarge", "ml.c5.2xlarge", "ml.m5.xlarge", "ml.m5.2xlarge"]
        gpus = ["ml.g4dn.xlarge", "ml.g5.xlarge"]
        return ModelStep(
            "RegisterModel",
            step_args=self.model(model_data).register(
                model_package_group_name=self.given("ModelPackageGroupName"),
                approval_status=self.given("ModelApprovalStatus"),
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
                    "MinMiou": self.given("MinMiou").to_string(),
                    "TrainImages": text(read("data.train_images")),
                    "ValidationImages": text(read("data.validation_images")),
                    "TestImages": text(read("segmentation_metrics.images")),
                    "SkippedTestImages": text(read("data.skipped")),
                    "DataRevision": self.given("DataRevision"),
                    "Algorithm": self.given("Algorithm"),
                    "PipelineExecutionId": ExecutionVariables.PIPELINE_EXECUTION_ID,
                    "ServerlessInference": "MemorySizeInMB 4096 MASKMAKER_ENDPOINT=serverless",
                } | metadata),
            display_name="Register-model", retry_policies=[step_retries()])

    def create_model(self, model_data):
        model = self.model(model_data)
        # Model.create looks for a slash in the role, which it does not find in a parameter.
        model.role = self.given("RoleArn").default_value
        return ModelStep("CreateModel", step_args=model.create(instance_type="local"))

    def pipeline(self, *steps):
        return Pipeline(name="maskmaker", parameters=list(self.declared.values()), steps=list(steps),
                        sagemaker_session=self.session)


def outputs(step):
    """Gives the outputs of a processing step by their names."""
    return step.properties.ProcessingOutputConfig.Outputs


def channels(preprocess):
    return {
        channel: TrainingInput(
            outputs(preprocess)[channel].S3Output.S3Uri,
            content_type="application/json" if channel == "label_map" else "application/x-image")
        for channel in CHANNELS
    }


def read(path):
    """Gives a value of evaluation.json."""
    return JsonGet(step_name="Evaluate", property_file=REPORT, json_path=path)


def text(*parts):
    """Gives a text of parts that a run knows; numbers become texts so."""
    return Join(on="", values=list(parts))


def metric_definitions():
    return json.loads((ROOT / "hyperparameters/metric-definitions.json").read_text())


def build(session=None, local=False, register=True, hyperparameters=None):
    """Builds the pipeline of pipeline.json.

    With `local` it is without what local mode refuses: images that are divided among instances, spot instances and
    checkpoints in S3. It refuses RegisterModel too; without `register` CreateModel takes its place.
    `hyperparameters` are added to those of the definition.
    """
    parts = Parts("pipeline.json", session, local)
    given = parts.given
    spot = {} if local else {
        "use_spot_instances": given("UseSpotTraining"),
        "max_wait": given("MaxWaitTimeInSeconds"),
        "checkpoint_s3_uri": parts.place("Train", "checkpoints"),
        "checkpoint_local_path": "/opt/ml/checkpoints",
    }
    settings = {"backbone": given("Backbone"), "optimizer": given("Optimizer"), "learning_rate": given("LearningRate")}
    estimator = parts.estimator(
        "Train", settings | (hyperparameters or {}), metric_definitions=metric_definitions(),
        profiler_config=ProfilerConfig(s3_output_path=parts.place("Train", "profiler"), system_monitor_interval_millis=500),
        rules=[ProfilerRule.sagemaker(rule_configs.ProfilerReport(), name="ProfilerReport")], **spot)
    preprocess = parts.preprocess()
    train = TrainingStep("Train", step_args=estimator.fit(channels(preprocess)), display_name="Train-model",
                         retry_policies=job_retries())
    model_data = train.properties.ModelArtifacts.S3ModelArtifacts
    evaluate = parts.evaluate(preprocess, model_data)
    if register:
        good_model = parts.register_model(evaluate, model_data, {"Backbone": given("Backbone")})
    else:
        good_model = parts.create_model(model_data)
    return parts.pipeline(preprocess, train, evaluate, parts.check_quality(good_model))


def build_search():
    """Builds the pipeline of pipelines/tuning.json."""
    parts = Parts("pipelines/tuning.json", None)
    preprocess = parts.preprocess()
    tuner = HyperparameterTuner(
        parts.estimator("Tune", {}), objective_metric_name="validation:mIOU", objective_type="Maximize", strategy="Bayesian",
        hyperparameter_ranges={
            "learning_rate": ContinuousParameter(0.00001, 0.01, "Logarithmic"),
            "optimizer": CategoricalParameter(["sgd", "adamw", "rmsprop"]),
            "backbone": CategoricalParameter(["resnet-50", "resnet-101"]),
        },
        # The tuner does not take them from the estimator.
        metric_definitions=metric_definitions(),
        max_jobs=parts.given("MaxTrainingJobs"), max_parallel_jobs=parts.given("MaxParallelTrainingJobs"),
        early_stopping_type="Auto", random_seed=1)
    tune = TuningStep("Tune", step_args=tuner.fit(channels(preprocess)), display_name="Tune-model",
                      retry_policies=job_retries())
    best = tune.properties.BestTrainingJob.TrainingJobName
    # A tuning job has no ModelArtifacts: the model lies where its training job wrote it, which is another execution's folder
    # if the step was taken from the cache.
    written = tune.properties.TrainingJobDefinition.OutputDataConfig.S3OutputPath
    model_data = Join(on="/", values=[written, best, "output/model.tar.gz"])
    evaluate = parts.evaluate(preprocess, model_data)
    good_model = parts.register_model(evaluate, model_data, {"TrainingJobName": best})
    return parts.pipeline(preprocess, tune, evaluate, parts.check_quality(good_model))


# File -> what builds its pipeline.
BUILDS = {"pipeline.json": build, "pipelines/tuning.json": build_search}


if __name__ == "__main__":
    file = sys.argv[1] if len(sys.argv) > 1 else "pipeline.json"
    print(json.dumps(json.loads(BUILDS[file]().definition()), indent=2))
