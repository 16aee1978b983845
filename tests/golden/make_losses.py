#!/usr/bin/env python3
"""Golden numbers for the losses, from PyTorch and segmentation_models_pytorch.

    pip install torch==2.10.0 numpy segmentation-models-pytorch==0.6.0
    python3 tests/golden/make_losses.py

writes losses.json beside itself: each loss of criterion.json's `out` logits [2, 4, 5, 7] and labels (the formulas stand in
make_golden.py), and its gradients by the logits of flat index (k * 23) mod 280, k = 0 .. 39. In the second half the labels
have no pixel of class 2: it becomes class 1.
"""

import json
import math
import pathlib

import numpy as np
import segmentation_models_pytorch
import torch
from make_golden import digits, hashes, text, u
from segmentation_models_pytorch.losses import DiceLoss, FocalLoss, LovaszLoss
from torch import nn

SHAPE = (2, 4, 5, 7)
WEIGHTS = [0.25, 1.0, 2.0, 0.0]
LOSSES = {
    "cross_entropy": nn.CrossEntropyLoss(ignore_index=255),
    "cross_entropy weighted": nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS), ignore_index=255),
    "dice": DiceLoss("multiclass", ignore_index=255),
    "focal": FocalLoss("multiclass", gamma=2.0, ignore_index=255),
    "focal gamma 3.5": FocalLoss("multiclass", gamma=3.5, ignore_index=255),
    "lovasz": LovaszLoss("multiclass", ignore_index=255),
}


def run(loss, labels):
    values = (3.0 * u("criterion.out", math.prod(SHAPE))).astype(np.float32)
    logits = torch.from_numpy(values).reshape(SHAPE).requires_grad_()
    result = loss(logits, labels)
    result.backward()
    index = (torch.arange(40) * 23) % math.prod(SHAPE)
    return {"loss": digits([result.item()])[0], "gradients": digits(logits.grad.flatten()[index].numpy())}


def main():
    labels = (hashes("criterion.labels", 70) >> np.uint32(24)) % 5
    labels = np.where(labels == 4, 255, labels).astype(np.int64)
    absent = np.where(labels == 2, 1, labels)
    golden = {
        "made_with": {
            "torch": torch.__version__.split("+")[0],
            "segmentation_models_pytorch": segmentation_models_pytorch.__version__,
        },
        "class_weights": WEIGHTS,
        "gradient_stride": 23,
    }
    for name, ids in (("all", labels), ("class 2 absent", absent)):
        ids = torch.from_numpy(ids).reshape(2, 5, 7)
        golden[name] = {loss: run(LOSSES[loss], ids) for loss in LOSSES}
    path = pathlib.Path(__file__).parent / "losses.json"
    path.write_text(text(golden) + "\n")
    print(json.dumps({loss: golden["all"][loss]["loss"] for loss in LOSSES}))


if __name__ == "__main__":
    main()
