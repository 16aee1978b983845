"""Fixtures: sample data and a trained model, made once per run; containers and networks that tests start are removed."""

import json
import os
import tempfile
import time
import uuid
from pathlib import Path

import pytest

import jobs

# Of AWS nothing is used: every service's address is a closed port, the names and keys are nobody's, and the SDKs report
# no usage. Set before a test imports an SDK.
CONFIG = Path(tempfile.mkdtemp()) / "config.yaml"
CONFIG.write_text("SchemaVersion: '1.0'\nSageMaker:\n  PythonSDK:\n    Modules:\n      TelemetryOptOut: true\n")
os.environ |= {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_SECRET_ACCESS_KEY": "none",
    "SAGEMAKER_USER_CONFIG_OVERRIDE": str(CONFIG),
}
ROLE = "arn:aws:iam::123456789012:role/service-role/nobody"


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    return jobs.sample_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def validation(data) -> list[Path]:
    return sorted((data / "validation").glob("*.jpg"))


class MlRoot:
    """An /opt/ml on this machine."""

    def __init__(self, folder: Path, data: Path):
        self.folder = folder
        self.data = data
        for sub in ["input/config", "model", "output"]:
            (folder / sub).mkdir(parents=True)
        self.configure()

    def configure(self, hyperparameters=None, hosts=("algo-1",), interface="eth0"):
        texts = {key: str(value) for key, value in (jobs.HYPERPARAMETERS | (hyperparameters or {})).items()}
        config = self.folder / "input/config"
        (config / "hyperparameters.json").write_text(json.dumps(texts))
        (config / "inputdataconfig.json").write_text(json.dumps({name: {"TrainingInputMode": "File"} for name in jobs.CHANNELS}))
        (config / "resourceconfig.json").write_text(
            json.dumps({"current_host": hosts[0], "hosts": list(hosts), "network_interface_name": interface}))

    def train(self, *options, arguments=("train",)):
        return jobs.docker("run", "--rm", "-v", f"{self.folder}:/opt/ml", "-v", f"{self.data}:/opt/ml/input/data:ro",
                           *options, jobs.IMAGE, *arguments)

    @property
    def metrics(self) -> dict:
        return json.loads((self.folder / "model/metrics.json").read_text())


@pytest.fixture
def ml_root(tmp_path, data):
    return MlRoot(tmp_path / "ml", data)


@pytest.fixture(scope="session")
def isolated_job(tmp_path_factory, data):
    """A job that trained without any network, as under EnableNetworkIsolation, with its log."""
    root = MlRoot(tmp_path_factory.mktemp("isolated") / "ml", data)
    # As SageMaker's own names are, and an interface that this container lacks.
    root.configure(hosts=["algo-1-x4k2q"], interface="ethwe")
    begun = time.monotonic()
    run = root.train("--network", "none")
    print(f"docker run --network none ... train: {time.monotonic() - begun:.0f} s")
    assert run.returncode == 0, run.stdout
    return root, run.stdout


@pytest.fixture(scope="session")
def model(isolated_job) -> Path:
    """Its model folder, with what else may lie in one: SageMaker's SDK leaves archives there, file systems theirs."""
    folder = isolated_job[0].folder / "model"
    for name in ["model.tar.gz", "output.tar.gz", ".DS_Store", "notes.txt"]:
        (folder / name).write_bytes(b"not a model")
    (folder / "lost+found").mkdir()
    (folder / "code").mkdir()
    (folder / "code/inference.py").write_text("raise SystemExit('not ours')\n")
    return folder


@pytest.fixture(scope="session")
def tidy():
    """Makes an SDK's class for containers publish ports on 127.0.0.1 alone, and removes what it leaves behind."""
    names = []

    def watch(container):
        create = container._create_docker_host

        def create_docker_host(self, *arguments, **options):
            host = create(self, *arguments, **options)
            host["container_name"] = f"maskmaker-test-{uuid.uuid4().hex[:12]}"
            host["ports"] = [f"127.0.0.1:{port}" for port in host.get("ports", [])]
            names.append(host["container_name"])
            return host

        container._create_docker_host = create_docker_host

    yield watch
    networks = {
        network
        for name in names
        for network in jobs.docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.NetworkID}} {{end}}", name).stdout.split()
    }
    for name in names:
        jobs.docker("rm", "-f", name)
    for network in networks:
        jobs.docker("network", "rm", network)
