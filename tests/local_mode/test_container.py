"""The image by plain `docker run`, as SageMaker starts it: train, serve, isolation, users, signals."""

import http.client
import json
import os
import statistics
import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest
from PIL import Image

import jobs
from jobs import IMAGE, docker

LABEL = "com.amazonaws.sagemaker.capabilities"


class Server:
    """A container that serves, on a free port of the loopback interface; removed at the end."""

    def __init__(self, model, *options, command=("serve",)):
        self.name = f"maskmaker-test-{uuid.uuid4().hex[:12]}"
        run = docker("run", "-d", "--name", self.name, "-p", "127.0.0.1::8080", "-v", f"{model}:/opt/ml/model:ro", *options,
                     IMAGE, *command)
        assert run.returncode == 0, run.stdout
        self.port = int(docker("port", self.name, "8080/tcp").stdout.split(":")[-1])

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def segment(self, jpeg):
        return self.request("POST", "/invocations", jpeg, {"Content-Type": "image/jpeg", "Accept": "image/png"})

    def wait_until_ready(self):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if self.request("GET", "/ping")[0] == 200:
                    return self
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.02)
        raise AssertionError(f"not ready within 60 s: {self.log()}")

    def log(self):
        return docker("logs", self.name).stdout

    def stop(self, seconds=30):
        docker("stop", "-t", seconds, self.name)
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", self.name).stdout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        docker("rm", "-f", self.name)


def inspect():
    return json.loads(docker("image", "inspect", IMAGE).stdout)[0]


def test_the_image_is_small():
    size = inspect()["Size"]
    history = docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", IMAGE).stdout
    binary = [int(line.split()[0]) for line in history.splitlines() if "release/maskmaker" in line]
    print(f"{IMAGE}: {size / 1e6:.1f} MB unpacked, the program's layer {binary[0] / 1e6:.1f} MB")
    assert size <= 700e6
    assert len(binary) == 1 and binary[0] <= 60e6


def test_labels_version_and_revision():
    labels = inspect()["Config"]["Labels"]
    assert labels[f"{LABEL}.multi-models"] == labels[f"{LABEL}.accept-bind-to-port"] == "true"
    version, revision = labels["org.opencontainers.image.version"], labels["org.opencontainers.image.revision"]
    assert revision not in ("", "unknown")
    assert docker("run", "--rm", IMAGE, "--version").stdout.strip() == f"maskmaker {version} ({revision})"


def test_the_program_is_found_by_every_name():
    bare = docker("run", "--rm", "--entrypoint", "maskmaker", IMAGE)
    assert bare.returncode == 2 and "Usage: maskmaker" in bare.stdout, bare.stdout
    for name in ["train", "serve"]:
        usage = docker("run", "--rm", "--entrypoint", name, IMAGE, "--help")
        assert usage.returncode == 0 and f"Usage: maskmaker {name}" in usage.stdout, usage.stdout
    # As a shell finds it, too.
    found = docker("run", "--rm", "--entrypoint", "sh", IMAGE, "-c", "command -v maskmaker && command -v train && command -v serve")
    assert len(found.stdout.split()) == 3, found.stdout


def test_a_container_without_argument_trains(ml_root):
    ml_root.configure({"epochs": 1})
    run = ml_root.train(arguments=())
    assert run.returncode == 0 and "validation mIOU: " in run.stdout, run.stdout
    assert ml_root.metrics["best_epoch"] == 1


def test_a_job_without_network_learns(isolated_job):
    root, log = isolated_job
    jobs.check_scores(log, root.metrics)


def test_a_bad_hyperparameter_fails_the_job_with_its_reason(ml_root):
    ml_root.configure({"num_classes": 1})
    run = ml_root.train()
    reason = (ml_root.folder / "output/failure").read_text()
    assert run.returncode == 3 and "num_classes is \"1\"" in reason and "2 to 254" in reason, reason
    assert reason.splitlines()[0] in run.stdout


def test_docker_stop_ends_a_training_job_well_and_the_next_one_goes_on(ml_root):
    """As the first process of its container, a program without a handler would not even notice SIGTERM."""
    ml_root.configure({"epochs": 40})
    name = f"maskmaker-test-{uuid.uuid4().hex[:12]}"
    run = docker("run", "-d", "--name", name, "-v", f"{ml_root.folder}:/opt/ml", "-v", f"{ml_root.data}:/opt/ml/input/data:ro",
                 IMAGE, "train")
    assert run.returncode == 0, run.stdout
    try:
        end = time.monotonic() + 300
        while "epoch 1/40 validation mIOU: " not in docker("logs", name).stdout:
            assert time.monotonic() < end, docker("logs", name).stdout
            time.sleep(0.2)
        # SageMaker's own patience.
        docker("stop", "-t", 120, name)
        log, code = docker("logs", name).stdout, int(docker("inspect", "--format", "{{.State.ExitCode}}", name).stdout)
    finally:
        docker("rm", "-f", name)
    assert code == 0 and "asked to stop in epoch " in log, log
    assert (ml_root.folder / "model/model.safetensors").stat().st_size > 1e6
    assert list((ml_root.folder / "checkpoints").glob("checkpoint-*.safetensors"))

    epochs = int(log.split("asked to stop in epoch ")[1].split("/")[0])
    ml_root.configure({"epochs": epochs})
    run = ml_root.train()
    assert run.returncode == 0 and "going on from the checkpoint at step " in run.stdout, run.stdout


def test_serves_read_only_as_any_user(model, validation, tmp_path):
    expected = jobs.predicted(model, validation, tmp_path)
    options = ["--read-only", "--tmpfs", "/tmp", "--user", "12345", "--cap-drop", "ALL"]
    with Server(model, *options).wait_until_ready() as server:
        served = {}
        for image in validation:
            status, served[image.stem] = server.segment(image.read_bytes())
            assert status == 200, served[image.stem]
        assert server.stop() == 0, server.log()
    assert served == expected
    jobs.check_masks(served, validation)


def test_the_time_from_docker_run_to_the_first_mask(model, validation):
    """Printed, not judged: the machine may be busy."""
    body = validation[0].read_bytes()
    seconds = []
    for _ in range(5):
        begun = time.monotonic()
        with Server(model).wait_until_ready() as server:
            assert server.segment(body)[0] == 200
            seconds.append(time.monotonic() - begun)
    print(f"docker run to the first mask: median {statistics.median(seconds):.2f} s of {[round(s, 2) for s in seconds]}")


def test_docker_stop_answers_the_requests_in_flight(model, validation, tmp_path):
    # Large enough that the model is still busy with them when the signal comes.
    large = tmp_path / "large.jpg"
    Image.open(validation[0]).resize((1200, 900)).save(large, quality=90)
    body = large.read_bytes()
    answers = []
    with Server(model).wait_until_ready() as server:
        threads = [threading.Thread(target=lambda: answers.append(server.segment(body)[0])) for _ in range(3)]
        for thread in threads:
            thread.start()
        # Bodies of this size take milliseconds on loopback, the model more than this for each.
        time.sleep(0.3)
        in_flight = 3 - len(answers)
        code = server.stop()
        for thread in threads:
            thread.join()
        log = server.log()
    assert in_flight > 0, "none was in flight, so that nothing was tested"
    assert answers == [200, 200, 200], log
    assert code == 0 and "SIGTERM" in log, log


@pytest.mark.parametrize("options", [["--port", "9000"], []], ids=["flag", "variable"])
def test_binds_to_the_port_it_is_told(model, options):
    """In an inference pipeline SageMaker gives each container its port."""
    name = f"maskmaker-test-{uuid.uuid4().hex[:12]}"
    run = docker("run", "-d", "--name", name, "-e", "SAGEMAKER_BIND_TO_PORT=9000", "-p", "127.0.0.1::9000",
                 "-v", f"{model}:/opt/ml/model:ro", IMAGE, "serve", *options)
    assert run.returncode == 0, run.stdout
    try:
        server = Server.__new__(Server)
        server.name, server.port = name, int(docker("port", name, "9000/tcp").stdout.split(":")[-1])
        server.wait_until_ready()
    finally:
        subprocess.run([jobs.DOCKER, "rm", "-f", name], stdout=subprocess.DEVNULL, check=False)


def test_weights_of_other_content_never_get_into_an_image(tmp_path):
    script = Path(__file__).parents[2] / "scripts/pretrained.sh"

    def fetch(names, url):
        return subprocess.run([script, names, tmp_path / "out"], env=os.environ | {"PRETRAINED_URL": url},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    (tmp_path / "resnet50-0676ba61.pth").write_bytes(b"something else")
    other = fetch("resnet50", tmp_path.as_uri())
    assert other.returncode != 0 and "expected 0676ba61b6795bbe" in other.stdout, other.stdout
    absent = fetch("resnet101", tmp_path.as_uri())
    assert absent.returncode != 0 and "PRETRAINED=none" in absent.stdout, absent.stdout
    unknown = fetch("resnet50,vgg16", tmp_path.as_uri())
    assert unknown.returncode != 0 and "unknown backbone 'vgg16'" in unknown.stdout, unknown.stdout
    assert fetch("none", "").returncode == 0
    assert list((tmp_path / "out").iterdir()) == []


def test_a_multi_model_host_loads_asks_and_unloads(model, validation, tmp_path):
    options = ["-e", "SAGEMAKER_MULTI_MODEL=true", "-v", f"{model}:/opt/ml/models/shapes/model:ro"]
    expected = jobs.predicted(model, validation[:1], tmp_path)
    with Server(model, *options).wait_until_ready() as server:
        load = json.dumps({"model_name": "shapes", "url": "/opt/ml/models/shapes/model"})
        kind = {"Content-Type": "application/json"}
        assert server.request("POST", "/models", load, kind)[0] == 200, server.log()
        assert server.request("POST", "/models", load, kind)[0] == 409
        assert b'"shapes"' in server.request("GET", "/models")[1]
        headers = {"Content-Type": "image/jpeg", "Accept": "image/png"}
        status, mask = server.request("POST", "/models/shapes/invoke", validation[0].read_bytes(), headers)
        assert (status, mask) == (200, expected[validation[0].stem]), mask
        assert server.request("DELETE", "/models/shapes")[0] == 200
        assert server.request("POST", "/models/shapes/invoke", validation[0].read_bytes(), headers)[0] == 404
