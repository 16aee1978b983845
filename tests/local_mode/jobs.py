"""What the acceptance tests of the image share: sample data, ready hyperparameters, plain `docker run`."""

import io
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

import numpy
from PIL import Image

IMAGE = os.environ["MASKMAKER_IMAGE"]
DOCKER = os.environ["DOCKER"]
CHANNELS = ["train", "train_annotation", "validation", "validation_annotation"]

# A ResNet-18 that learns the sample data in less than a minute on 2 cores. A classifier by color alone scores below
# 0.20 on such data (benches/color_classifier.py), so that LEAST_MIOU shows that shapes were learned.
HYPERPARAMETERS = {
    "backbone": "resnet-18",
    "use_pretrained_model": "False",
    "num_classes": 4,
    "class_names": "background,disc,box,triangle",
    "epochs": 10,
    "learning_rate": 0.0003,
    "optimizer": "rmsprop",
    "mini_batch_size": 8,
    "base_size": 96,
    "crop_size": 64,
    "seed": 1,
}
LEAST_MIOU = 0.30
LEAST_PIXEL_ACCURACY = 0.55


def docker(*arguments, **options):
    """Runs the docker client; a string of what it printed on both outputs is in `stdout`."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 600} | options
    return subprocess.run([DOCKER, *map(str, arguments)], **options)


def sample_data(folder: Path) -> Path:
    """The four channels, written by the image itself."""
    folder.mkdir(parents=True, exist_ok=True)
    run = docker("run", "--rm", "-v", f"{folder}:/data", IMAGE, "sample-data", "/data/channels",
                 "--images", 80, "--size", 96, "--seed", 1)
    assert run.returncode == 0, run.stdout
    return folder / "channels"


def check_scores(log: str, metrics: dict):
    """The metric lines of a job's log hold what metrics.json says, and it is good."""
    def values(regex):
        return [float(value) for value in re.findall(regex, log)]

    miou, accuracy = values(r"validation mIOU: (\S+)"), values(r"pixel_accuracy: (\S+)")
    assert len(values(r"train loss: (\S+)")) == len(miou) == len(accuracy) == HYPERPARAMETERS["epochs"], log
    best = metrics["best_epoch"] - 1
    assert abs(miou[best] - metrics["mIOU"]) < 1e-6 and miou[best] == max(miou)
    assert abs(accuracy[best] - metrics["pixel_accuracy"]) < 1e-6
    assert metrics["mIOU"] >= LEAST_MIOU, metrics
    assert metrics["pixel_accuracy"] >= LEAST_PIXEL_ACCURACY, metrics


def check_archive(path: Path) -> dict:
    """model.tar.gz holds a whole model; gives its metrics."""
    with tarfile.open(path) as archive:
        names = {name.lstrip("./") for name in archive.getnames()}
        assert {"model.safetensors", "config.json", "metrics.json"} <= names, names
        member = next(name for name in archive.getnames() if name.lstrip("./") == "metrics.json")
        return json.load(archive.extractfile(member))


def predicted(model: Path, images: list[Path], folder: Path) -> dict[str, bytes]:
    """The masks that `maskmaker predict` in the image writes, by the images' stems."""
    folder.mkdir(parents=True, exist_ok=True)
    run = docker("run", "--rm", "-v", f"{model}:/model:ro", "-v", f"{images[0].parent}:/images:ro", "-v", f"{folder}:/out",
                 IMAGE, "predict", "/model", *[f"/images/{image.name}" for image in images], "--output", "/out")
    assert run.returncode == 0, run.stdout
    return {image.stem: (folder / f"{image.stem}.mask.png").read_bytes() for image in images}


def check_mask(png: bytes, image: Path) -> float:
    """A served mask has the image's size and classes in range; gives its pixel accuracy against the annotation."""
    mask = Image.open(io.BytesIO(png))
    assert mask.size == Image.open(image).size
    ids = numpy.array(mask)
    assert ids.ndim == 2 and ids.max() < HYPERPARAMETERS["num_classes"]
    truth = numpy.array(Image.open(image.parent.parent / f"{image.parent.name}_annotation" / f"{image.stem}.png"))
    counted = truth != 255
    return float((ids == truth)[counted].mean())


def check_masks(masks: dict[str, bytes], images: list[Path]):
    """Masks are right for their images: the mean pixel accuracy is that of a model that learned."""
    accuracies = [check_mask(masks[image.stem], image) for image in images]
    mean = sum(accuracies) / len(accuracies)
    print(f"mean pixel accuracy of {len(images)} served masks: {mean:.3f}")
    assert mean >= LEAST_PIXEL_ACCURACY, accuracies
