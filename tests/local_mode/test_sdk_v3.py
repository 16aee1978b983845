"""The image under SageMaker's Python SDK version 3 in local mode. It starts the container without `train`, and names a
network interface that the container lacks."""

import pytest
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData
from sagemaker.train.local import local_container
from sagemaker.train.model_trainer import Mode

import jobs
from conftest import ROLE


@pytest.fixture(scope="session", autouse=True)
def containers(tidy):
    tidy(local_container._LocalContainer)


def trainer(folder, hyperparameters):
    return ModelTrainer(
        training_mode=Mode.LOCAL_CONTAINER,
        training_image=jobs.IMAGE,
        role=ROLE,
        compute=Compute(instance_type="local_cpu", instance_count=1),
        hyperparameters=hyperparameters,
        local_container_root=str(folder),
    )


def channels(data):
    return [InputData(channel_name=name, data_source=f"{data}/{name}") for name in jobs.CHANNELS]


def test_model_trainer_trains_a_good_model(data, tmp_path):
    trainer(tmp_path, jobs.HYPERPARAMETERS).train(channels(data), wait=True)
    metrics = jobs.check_archive(next(tmp_path.rglob("model.tar.gz")))
    assert metrics["mIOU"] >= jobs.LEAST_MIOU and metrics["pixel_accuracy"] >= jobs.LEAST_PIXEL_ACCURACY, metrics
    print(f"ModelTrainer.train: mIOU {metrics['mIOU']:.3f}, pixel accuracy {metrics['pixel_accuracy']:.3f}")


def test_a_failing_job_surfaces_with_our_reason(data, tmp_path, capfd):
    with pytest.raises(RuntimeError, match=r"[Ee]xited with code: 3"):
        trainer(tmp_path, jobs.HYPERPARAMETERS | {"num_classes": 1}).train(channels(data), wait=True)
    assert 'num_classes is "1"' in capfd.readouterr().out
