"""`maskmaker label-studio push` and `backend` with a real Label Studio: what it stores, shows next, and gives back."""

import json
import re
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from program import PROGRAM, Fetch, maskmaker
from server import own_environment

TASKS_PER_SOURCE = 2
TAGS = ["BrushLabels", "BitmaskLabels", "PolygonLabels"]
HYPERPARAMETERS = {
    "algorithm": "fcn", "backbone": "resnet-18", "use_pretrained_model": "False", "num_classes": "4", "epochs": "1",
    "mini_batch_size": "3", "base_size": "64", "crop_size": "32",
}
START_SECONDS = 60


class Model:
    """A model that the program trained for a second, the names of its classes, and images that it has not seen."""

    def __init__(self, root):
        self.root = root
        assert maskmaker("sample-data", root / "input/data", "--images", 8, "--size", 96, home=root).code == 0
        assert maskmaker("sample-data", root / "other", "--images", 8, "--size", 120, "--seed", 5, home=root).code == 0
        (root / "input/config").mkdir(parents=True)
        (root / "input/config/hyperparameters.json").write_text(json.dumps(HYPERPARAMETERS))
        trained = maskmaker("--ml-root", root, "train", home=root)
        assert trained.code == 0, trained
        self.folder = root / "model"
        labels = json.loads((self.folder / "labels.json").read_text())
        self.names = [labels[str(number)]["name"] for number in range(4)]
        self.images = sorted((root / "other/train").iterdir())

    def label_config(self, tag):
        """Returns a labeling configuration with one control for all classes, the background too."""
        labels = "".join(f'<Label value="{name}"/>' for name in self.names)
        return f'<View><Image name="image" value="$image"/><{tag} name="tag" toName="image">{labels}</{tag}></View>'

    def predict(self, images, folder):
        """Returns the masks of images as `maskmaker predict` writes them, by the images' names."""
        folder.mkdir()
        run = maskmaker("predict", self.folder, *images, "--output", folder, home=self.root)
        assert run.code == 0, run
        return {image.name: np.array(Image.open(folder / f"{image.stem}.mask.png")) for image in images}


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return Model(tmp_path_factory.mktemp("model"))


class PredictedProject:
    """A project with tasks from three sources: uploads, a folder of the server, and a bucket."""

    numbers = iter(range(1000))

    def __init__(self, label_studio, s3, model, tag):
        number = next(self.numbers)
        self.label_studio = label_studio
        self.model = model
        self.tag = tag
        self.id = label_studio.create_project(f"Predicted {number}", model.label_config(tag))
        images = [model.images[start::3][:TASKS_PER_SOURCE] for start in range(3)]
        self.images = sum(images, [])
        label_studio.import_files(self.id, {image.name: image.read_bytes() for image in images[0]})
        folder = label_studio.documents / f"predicted {number}"
        folder.mkdir()
        for image in images[1]:
            (folder / image.name).write_bytes(image.read_bytes())
        label_studio.sync_local_files(self.id, folder)
        s3.put(f"predicted{number}", {f"images/{image.name}": image.read_bytes() for image in images[2]})
        label_studio.sync_s3(self.id, s3.url, f"predicted{number}", "images/")
        self.tasks = [task["id"] for task in label_studio.list_tasks(self.id)]
        assert len(self.tasks) == 3 * TASKS_PER_SOURCE

    def details(self):
        """Returns the project as Label Studio has it now."""
        return self.label_studio.ask("GET", f"/api/projects/{self.id}/")

    def assert_predicted(self, version):
        """Asserts that each task has one prediction of a version, whose regions Label Studio can show."""
        predictions = self.label_studio.list_predictions(self.id)
        assert sorted(prediction["task"] for prediction in predictions) == self.tasks
        for prediction in predictions:
            assert prediction["model_version"] == version
            assert 0 <= prediction["score"] <= 1
            assert prediction["result"]
            for region in prediction["result"]:
                assert region["type"] == self.tag.lower()
                assert region["from_name"] == "tag" and region["to_name"] == "image"
                assert set(region["value"][self.tag.lower()]) <= set(self.model.names)
        deadline = time.monotonic() + 30
        while self.details()["model_version"] != version:
            assert time.monotonic() < deadline, self.details()["model_version"]
            time.sleep(0.2)
        return predictions

    def assert_least_certain_is_next(self, predictions):
        """Asserts that uncertainty sampling shows the task with the lowest score."""
        self.label_studio.ask("PATCH", f"/api/projects/{self.id}/", json={"sampling": "Uncertainty sampling"})
        least = min(predictions, key=lambda prediction: prediction["score"])
        assert self.label_studio.next_task(self.id)["id"] == least["task"]

    def accept(self, predictions):
        """Submits all predictions as annotations, as an annotator who changes nothing does."""
        for prediction in predictions:
            self.label_studio.annotate(prediction["task"], prediction["result"])

    def preprocess(self, folder):
        """Fetches the project and makes masks of its annotations. Returns the masks by the images' names."""
        fetch = Fetch(folder, self.label_studio.url, self.id, self.label_studio.legacy_token)
        fetched = fetch.run()
        assert fetched.code == 0, fetched
        channels = folder / "channels"
        run = maskmaker(
            "preprocess", "--annotations", fetch.output / "annotations", "--images", fetch.output / "images",
            "--label-config", fetch.output / "label_config/label_config.xml", "--output", channels,
            "--train-test-split-ratio", "0",
            "--strict", home=folder,
        )
        assert run.code == 0, run
        masks = {}
        for path in (channels / "train_annotation").iterdir():
            # Label Studio writes 8 digits and a hyphen before the names of uploads.
            name = re.sub(r"^.*?([0-9a-f]{8}-)?([^/]+)\.png$", r"\2", path.name)
            masks[name] = np.array(Image.open(path))
        return masks


@pytest.fixture
def predicted_project(label_studio, s3, model):
    return lambda tag: PredictedProject(label_studio, s3, model, tag)


def push(project, token, *more):
    """Runs `label-studio push` for a project."""
    return maskmaker(
        "label-studio", "push", "--label-studio", project.label_studio.url, "--project", project.id, "--model",
        project.model.folder, "--allow-private-addresses", *more, home=project.model.root, LABEL_STUDIO_API_KEY=token,
    )


class RunningBackend:
    """The program's ML backend, with name and password."""

    def __init__(self, project, folder, *more):
        self.log = folder / "backend.log"
        command = [
            PROGRAM, "label-studio", "backend", "--host", "127.0.0.1", "--port", "0", "--label-studio",
            project.label_studio.url, "--model", project.model.folder, "--allow-private-addresses", *more,
        ]
        environment = own_environment(
            folder, LABEL_STUDIO_API_KEY=project.label_studio.personal_token, BASIC_AUTH_USER="lsuser",
            BASIC_AUTH_PASS="lspass",
        )
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(list(map(str, command)), stderr=log, env=environment)
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(r"listening on (http://127\.0\.0\.1:\d+)", self.log.read_text())):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.url = found[1]

    def connect(self, project):
        """Connects the backend to a project, as its page in Label Studio does."""
        return project.label_studio.connect_backend(
            project.id, self.url, auth_method="BASIC_AUTH", basic_auth_user="lsuser", basic_auth_pass="lspass",
        )

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture
def start_backend(tmp_path):
    backends = []

    def start(project, *more):
        backends.append(RunningBackend(project, tmp_path, *more))
        return backends[-1]

    yield start
    for backend in backends:
        backend.stop()


@pytest.mark.parametrize(("tag", "kind"), zip(TAGS, ["legacy", "personal", "personal"]))
def test_push_stores_one_prediction_per_task(tag, kind, predicted_project, label_studio):
    project = predicted_project(tag)
    token = {"legacy": label_studio.legacy_token, "personal": label_studio.personal_token}[kind]
    run = push(project, token)
    assert run.code == 0, run
    assert run.stdout.startswith(f"{len(project.tasks)} predictions stored"), run
    version = label_studio.list_predictions(project.id)[0]["model_version"]
    predictions = project.assert_predicted(version)
    assert token not in run.stdout + run.stderr

    again = push(project, token)
    assert again.code == 0 and again.stdout.startswith("0 predictions stored"), again
    assert len(label_studio.list_predictions(project.id)) == len(predictions)
    project.assert_least_certain_is_next(predictions)


@pytest.mark.parametrize("tag", TAGS)
def test_accepted_predictions_come_back_pixel_by_pixel(tag, predicted_project, label_studio, model, tmp_path):
    project = predicted_project(tag)
    run = push(project, label_studio.legacy_token, "--tolerance", "0", "--max-regions", "10000")
    assert run.code == 0, run
    project.accept(label_studio.list_predictions(project.id))
    masks = project.preprocess(tmp_path)
    expected = model.predict(project.images, tmp_path / "predicted")
    assert masks.keys() == {image.stem for image in project.images}
    for image in project.images:
        # The configuration has a label for class 0 too, and labels count from 1.
        assert np.array_equal(masks[image.stem], expected[image.name] + 1), image


def test_polygons_at_the_default_tolerance_are_near(predicted_project, label_studio, model, tmp_path):
    project = predicted_project("PolygonLabels")
    assert push(project, label_studio.legacy_token, "--max-regions", "10000").code == 0
    project.accept(label_studio.list_predictions(project.id))
    masks = project.preprocess(tmp_path)
    expected = model.predict(project.images, tmp_path / "predicted")
    intersection = union = 0
    for image in project.images:
        for number in range(len(model.names)):
            found, wanted = masks[image.stem] == number + 1, expected[image.name] == number
            intersection += np.count_nonzero(found & wanted)
            union += np.count_nonzero(found | wanted)
    print(f"IoU of polygons at the default tolerance: {intersection / union:.4f}")
    assert intersection / union >= 0.98


@pytest.mark.parametrize("tag", TAGS)
def test_label_studio_stores_what_the_backend_answers(tag, predicted_project, label_studio, start_backend):
    project = predicted_project(tag)
    backend = start_backend(project)
    connected = backend.connect(project)
    assert connected["state"] == "CO", connected
    label_studio.retrieve_predictions(project.id)
    version = label_studio.list_predictions(project.id)[0]["model_version"]
    predictions = project.assert_predicted(version)
    label_studio.retrieve_predictions(project.id)
    assert len(label_studio.list_predictions(project.id)) == len(predictions)
    project.assert_least_certain_is_next(predictions)
    log = backend.log.read_text()
    for secret in [label_studio.legacy_token, label_studio.personal_token, "lspass"]:
        assert secret not in log


def test_a_round_that_takes_too_long_loses_nothing_and_doubles_nothing(
    predicted_project, label_studio, model, start_backend
):
    project = predicted_project("BrushLabels")
    # Large, and so slow; each another one.
    files = {}
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (700, 700, 3), np.uint8)
        path = model.root / f"large-{number}.png"
        Image.fromarray(noise).save(path, compress_level=1)
        files[path.name] = path.read_bytes()
    label_studio.import_files(project.id, files)
    tasks = {task["id"] for task in label_studio.list_tasks(project.id)}
    backend = start_backend(project, "--max-round", "1", "--parallel-images", "2")
    backend.connect(project)
    label_studio.retrieve_predictions(project.id)
    assert "TakesTooLong" in backend.log.read_text()
    deadline = time.monotonic() + 240
    while len(label_studio.list_predictions(project.id)) < len(tasks):
        assert time.monotonic() < deadline, "\n".join(line for line in backend.log.read_text().splitlines() if "path" not in line)
        time.sleep(1)
        label_studio.retrieve_predictions(project.id)
    time.sleep(2)
    predictions = label_studio.list_predictions(project.id)
    assert sorted(prediction["task"] for prediction in predictions) == sorted(tasks)
