#!/usr/bin/env python3
"""Compares whole weights files of PyTorch, as maskmaker reads them, with what was written.

    pip install torch==2.10.0 torchvision==0.25.0 safetensors numpy
    python3 tests/golden/check_weights.py

Writes the state dicts of torchvision's resnet50 and fcn_resnet50 (random weights, seed 0) as zip and legacy .pth, inside
{"model": ...} and as .safetensors into a temporary folder, has `cargo run --example tensor_checksums` print every tensor's
type, shape and CRC-32, and compares them with PyTorch's. Exits with 1 if one differs or is missing.
"""
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torchvision.models import resnet50
from torchvision.models.segmentation import fcn_resnet50

sys.path.insert(0, str(Path(__file__).parent))
from make_weights import describe  # noqa: E402

ROOT = Path(__file__).parents[2]
EXAMPLE = ["cargo", "run", "-q", "--locked", "--example", "tensor_checksums", "--"]
LEGACY = {"_use_new_zipfile_serialization": False}
FORMS = {
    "zip .pth": lambda state, path: torch.save(state, path),
    "legacy .pth": lambda state, path: torch.save(state, path, **LEGACY),
    "wrapped zip .pth": lambda state, path: torch.save({"model": state, "epoch": 1}, path),
    "wrapped legacy .pth": lambda state, path: torch.save({"model": state, "epoch": 1}, path, **LEGACY),
    ".safetensors": save_file,
}


def expected(state):
    lines = {}
    for name, tensor in state.items():
        dtype, shape, _, checksum = describe(tensor)
        lines[name] = f"{dtype} {shape} {checksum:08x}"
    return lines


def main():
    torch.manual_seed(0)
    networks = {
        "resnet50": resnet50(weights=None),
        "fcn_resnet50": fcn_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True),
    }
    subprocess.run(["cargo", "build", "-q", "--locked", "--example", "tensor_checksums"], cwd=ROOT, check=True)
    wrong = 0
    for network, module in networks.items():
        state = module.state_dict()
        want = expected(state)
        for form, save in FORMS.items():
            with tempfile.NamedTemporaryFile() as file:
                save(state, file.name)
                size = Path(file.name).stat().st_size / 1e6
                start = time.monotonic()
                run = subprocess.run([*EXAMPLE, file.name], cwd=ROOT, capture_output=True, text=True)
                seconds = time.monotonic() - start
            if run.returncode:
                sys.exit(f"{network} as {form}: {run.stderr}")
            found = dict(line.split(" ", 1) for line in run.stdout.splitlines())
            equal = sum(found.get(name) == line for name, line in want.items())
            wrong += found != want
            print(f"{network} as {form}: {equal} of {len(want)} tensors equal, {len(found)} read "
                  f"({size:.0f} MB in {seconds:.1f} s)", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
