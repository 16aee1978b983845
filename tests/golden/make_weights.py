#!/usr/bin/env python3
"""Small files of torch.save with everything that a reader can trip over, and what is in them.

    pip install torch==2.10.0 numpy
    python3 tests/golden/make_weights.py

writes tests/fixtures/weights/*.pth (a few kB each) and tests/golden/weights.json: for each tensor its type and shape, the
sum of its elements in float64, and the CRC-32 of its elements in row-major order, little-endian.
check_weights.py does the same with whole networks of torchvision, which are too large to carry.
"""
import argparse
import json
import zlib
from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent
OUT = HERE.parent / "fixtures/weights"
DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
          torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


def describe(tensor):
    """What the reader must find: [type, shape, sum, checksum]."""
    tensor = tensor.detach().contiguous()
    raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return [DTYPES[tensor.dtype], list(tensor.shape), tensor.double().sum().item(), zlib.crc32(raw)]


def state_dict():
    torch.manual_seed(1)
    base, image = torch.randn(24), torch.randn(2, 3, 4, 5)
    state = OrderedDict(
        plain=torch.randn(2, 3),
        scalar=torch.tensor(0.5),
        empty=torch.empty(0, 3),
        parameter=torch.nn.Parameter(torch.randn(3)),
        counter=torch.tensor(1234567890123),
        negative=torch.tensor([-1, 2]),
        channels_last=image.to(memory_format=torch.channels_last),
        expanded=torch.randn(1).expand(3),
        frozen=torch.nn.Parameter(torch.randn(2), requires_grad=False),
        same=base,
    )
    # Views of one storage, which is written once.
    state["view.middle"] = base[5:9]
    state["view.strided"] = base[1::3]
    state["view.transposed"] = base.view(4, 6).t()
    state["view.block"] = base.view(2, 3, 4)[:, 1:, ::2]
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        state[str(dtype)] = torch.randn(5).to(dtype)
    for dtype in (torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool):
        state[str(dtype)] = torch.tensor([0, 1, 3]).to(dtype)
    state._metadata = OrderedDict({"": {"version": 1}})
    return state


def training():
    """What torchvision's references/segmentation/train.py saves beside the weights."""
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([{"params": [weight]}], lr=0.02, momentum=0.9, weight_decay=1e-4)
    main = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=20, power=0.9)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=5)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, schedulers=[warmup, main], milestones=[5])
    weight.sum().backward()
    optimizer.step()
    scheduler.step()
    return {"optimizer": optimizer.state_dict(), "lr_scheduler": scheduler.state_dict(),
            "scaler": torch.amp.GradScaler("cpu").state_dict()}


class Harmful:
    def __reduce__(self):
        import os
        return os.system, ("echo harm",)


def main():
    OUT.mkdir(exist_ok=True)
    state = state_dict()
    legacy = {"_use_new_zipfile_serialization": False}
    wrapped = {"model": state, **training(), "epoch": 3,
               "args": argparse.Namespace(model="fcn_resnet50", lr=0.02, amp=False, device="cpu", resume=None)}
    torch.save(state, OUT / "zip.pth")
    torch.save(state, OUT / "legacy.pth", **legacy)
    torch.save(wrapped, OUT / "wrapped.pth")
    torch.save(wrapped, OUT / "wrapped_legacy.pth", **legacy)
    torch.save(dict(state), OUT / "protocol_4.pth", pickle_protocol=4)
    torch.serialization.set_crc32_options(False)
    torch.save(state, OUT / "without_checksums.pth")
    torch.serialization.set_crc32_options(True)
    torch.save({"weight": torch.ones(2), "extra": Harmful()}, OUT / "harmful.pth")
    torch.save({"weight": torch.ones(2), "extra": Harmful()}, OUT / "harmful_legacy.pth", **legacy)
    torch.save(torch.nn.Linear(2, 1), OUT / "module.pth")
    torch.save([1, 2], OUT / "list.pth")
    torch.save({"epoch": 3}, OUT / "no_tensors.pth")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), OUT / "torchscript.pth")
    golden = {name: describe(tensor) for name, tensor in state.items()}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(what)}" for name, what in golden.items())
    (HERE / "weights.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
