"""What the checks share: models of the program's own making, with what it computes itself."""
import json
import os
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

MODELS = Path(os.environ["INTEROP_MODELS"])
MASKMAKER = Path(os.environ["INTEROP_MASKMAKER"]).resolve()
NAMES = [f"{algorithm}-{backbone}" for algorithm in ("fcn", "psp", "deeplab") for backbone in ("resnet-18", "resnet-50")]


class Model:
    """A folder that benches/interop_models.rs wrote."""

    def __init__(self, name):
        self.name = name
        self.folder = MODELS / name
        self.weights = load_file(self.folder / "model.safetensors")
        answers = load_file(self.folder / "answers.safetensors")
        # Three odd sizes: {"65x72": {"pixels": ..., "input": ..., "out": ..., "aux": ...}}
        self.answers = {}
        for key, tensor in answers.items():
            size, what = key.split(".")
            self.answers.setdefault(size, {})[what] = tensor
        assert len(self.answers) == 3


@pytest.fixture(params=NAMES)
def model(request):
    return Model(request.param)


@pytest.fixture
def fcn50():
    return Model("fcn-resnet-50")


def maskmaker(*arguments):
    """Runs the program, without this machine's own settings, and expects success."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MASKMAKER_", "SAGEMAKER_"))}
    run = subprocess.run([MASKMAKER, *map(str, arguments)], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="session")
def job(tmp_path_factory):
    """An /opt/ml in which a job trained fcn on resnet-50, the network that torchvision has too."""
    root = tmp_path_factory.mktemp("job")
    maskmaker("sample-data", root / "input/data", "--images", 8, "--size", 64)
    settings = {
        "algorithm": "fcn", "backbone": "resnet-50", "use_pretrained_model": "False", "num_classes": "4",
        "class_names": "background,disc,box,triangle", "epochs": "1", "mini_batch_size": "3", "base_size": "64", "crop_size": "32",
    }
    config = root / "input/config"
    config.mkdir()
    (config / "hyperparameters.json").write_text(json.dumps(settings))
    maskmaker("--ml-root", root, "train")
    return root


def relative_difference(got, expected):
    """The largest difference in units of the largest expected value."""
    assert got.shape == expected.shape
    return ((got - expected).abs().max() / expected.abs().max()).item()
