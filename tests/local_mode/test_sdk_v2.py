"""The image under SageMaker's Python SDK version 2 in local mode: fit, evaluate, deploy, predict, batch transform, a failing job."""

import json
import shutil
import tarfile

import boto3
import pytest
import sagemaker.local.image
from sagemaker.base_deserializers import BytesDeserializer
from sagemaker.base_serializers import IdentitySerializer
from sagemaker.estimator import Estimator
from sagemaker.local import LocalSession
from sagemaker.model import Model
from sagemaker.predictor import Predictor

import jobs
from conftest import ROLE
from jobs import IMAGE


@pytest.fixture(scope="session")
def session(tmp_path_factory, tidy):
    tidy(sagemaker.local.image._SageMakerContainer)
    local = LocalSession(boto3.Session(), default_bucket="not-used", disable_local_code=True)
    local.config = {"local": {"local_code": True, "container_root": str(tmp_path_factory.mktemp("containers"))}}
    return local


def estimator(session, output, hyperparameters, instances=1):
    return Estimator(image_uri=IMAGE, role=ROLE, instance_count=instances, instance_type="local", sagemaker_session=session,
                     output_path=f"file://{output}", hyperparameters=hyperparameters)


def channels(data):
    return {name: f"file://{data}/{name}" for name in jobs.CHANNELS}


@pytest.fixture(scope="session")
def fitted(session, data, tmp_path_factory):
    """A model folder as `Estimator.fit` leaves it: model.tar.gz, output.tar.gz, and here also what is in the archive."""
    output = tmp_path_factory.mktemp("fit")
    estimator(session, output, jobs.HYPERPARAMETERS).fit(channels(data))
    archive = next(output.rglob("model.tar.gz"))
    return archive


def test_fit_trains_a_good_model_by_the_built_ins_settings(fitted):
    metrics = jobs.check_archive(fitted)
    assert metrics["mIOU"] >= jobs.LEAST_MIOU and metrics["pixel_accuracy"] >= jobs.LEAST_PIXEL_ACCURACY, metrics
    print(f"Estimator.fit: mIOU {metrics['mIOU']:.3f}, pixel accuracy {metrics['pixel_accuracy']:.3f}")


@pytest.fixture(scope="session")
def expected(fitted, validation, tmp_path_factory):
    """The masks by `maskmaker predict`."""
    folder = tmp_path_factory.mktemp("model")
    with tarfile.open(fitted) as archive:
        archive.extractall(folder, filter="data")
    return jobs.predicted(folder, validation, tmp_path_factory.mktemp("masks"))


def test_deploy_and_predict_jpeg_in_png_out(session, fitted, validation, expected):
    # The SDK mounts the whole folder of the archive: model.tar.gz and output.tar.gz lie beside the model.
    model = Model(image_uri=IMAGE, model_data=f"file://{fitted}", role=ROLE, sagemaker_session=session, predictor_cls=Predictor)
    # Without `wait` the SDK still waits for /ping, but not 30 s more.
    predictor = model.deploy(1, "local", wait=False, serializer=IdentitySerializer("image/jpeg"),
                             deserializer=BytesDeserializer(accept="image/png"))
    try:
        served = {image.stem: predictor.predict(image.read_bytes()) for image in validation}
    finally:
        predictor.delete_endpoint()
    assert served == expected
    jobs.check_masks(served, validation)


def test_a_batch_transform_writes_a_mask_per_image(session, fitted, validation, expected, tmp_path):
    model = Model(image_uri=IMAGE, model_data=f"file://{fitted}", role=ROLE, sagemaker_session=session)
    transformer = model.transformer(1, "local", strategy="SingleRecord", accept="image/png", output_path=f"file://{tmp_path}")
    # Finished when the call returns; `wait` would ask CloudWatch.
    transformer.transform(f"file://{validation[0].parent}", content_type="image/jpeg", wait=False)
    written = {path.name.removesuffix(".jpg.out"): path.read_bytes() for path in tmp_path.rglob("*.out")}
    assert written == expected


def test_a_processing_job_evaluates_the_model_of_the_estimator(session, fitted, data, validation, tmp_path):
    # The SDK's Processor would upload these folders to S3 first; its client in local mode takes them as they are.
    def mounted(name, folder, path):
        s3 = {"S3Uri": f"file://{folder}", "LocalPath": f"/opt/ml/processing/{path}", "S3DataType": "S3Prefix",
              "S3InputMode": "File", "S3DataDistributionType": "FullyReplicated"}
        return {"InputName": name, "S3Input": s3}

    # Deploying unpacks the archive beside it, and a job of SageMaker gets the archive alone.
    model = tmp_path / "model"
    model.mkdir()
    shutil.copy(fitted, model)
    session.sagemaker_client.create_processing_job(
        ProcessingJobName="evaluate",
        AppSpecification={"ImageUri": IMAGE, "ContainerEntrypoint": ["maskmaker", "evaluate"]},
        ProcessingResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "local", "VolumeSizeInGB": 1}},
        ProcessingInputs=[
            mounted("model", model, "model"),
            mounted("test", data / "validation", "input/test"),
            mounted("masks", data / "validation_annotation", "input/test_annotation"),
        ],
        ProcessingOutputConfig={"Outputs": [{"OutputName": "evaluation", "S3Output": {
            "S3Uri": f"file://{tmp_path}/results", "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"}}]},
    )
    evaluation = json.loads(next((tmp_path / "results").rglob("evaluation.json")).read_text())
    metrics = evaluation["segmentation_metrics"]
    assert metrics["images"] == len(validation) and metrics["miou"]["value"] >= jobs.LEAST_MIOU, metrics
    assert evaluation["gate"]["passed"] and evaluation["data"]["leaks"]["in_validation"]["images"] == len(validation)
    assert evaluation["data"]["leaks"]["in_train"]["images"] == 0
    assert len(next((tmp_path / "results").rglob("images.jsonl")).read_text().splitlines()) == len(validation)


def test_two_instances_train_one_whole_model(session, data, tmp_path, capfd):
    # `fit` fails unless both containers end well.
    estimator(session, tmp_path, jobs.HYPERPARAMETERS | {"epochs": 2}, instances=2).fit(channels(data))
    metrics = jobs.check_archive(next(tmp_path.rglob("model.tar.gz")))
    assert len(metrics["epochs"]) == 2, metrics
    printed = capfd.readouterr().out
    assert "2 workers on 2 hosts: algo-1" in printed, printed
    assert "each of 2 workers computes 4 images of a step" in printed, printed


def test_a_failing_job_surfaces_with_our_reason(session, data, tmp_path, capfd):
    with pytest.raises(RuntimeError, match=r"[Ee]xited with code: 3"):
        estimator(session, tmp_path, jobs.HYPERPARAMETERS | {"num_classes": 1, "optimzer": "sgd"}).fit(channels(data))
    # Where SageMaker reads the FailureReason, and in what the SDK shows.
    with tarfile.open(next(tmp_path.rglob("output.tar.gz"))) as archive:
        name = next(name for name in archive.getnames() if name.split("/")[-1] == "failure")
        reason = archive.extractfile(name).read().decode()
    for part in ['num_classes is "1"', "2 to 254", 'optimzer is not a hyperparameter (did you mean "optimizer"?)']:
        assert part in reason, reason
    assert reason.splitlines()[0] in capfd.readouterr().out


