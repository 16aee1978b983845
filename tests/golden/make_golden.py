#!/usr/bin/env python3
"""Golden numbers for the networks, the criterion and the optimizers, from PyTorch and torchvision.

    pip install torch==2.10.0 torchvision==0.25.0 numpy
    python3 tests/golden/make_golden.py

writes beside itself fcn.json, deeplab.json, psp.json, criterion.json, optimizers.json, schedules.json and
keys_ALGORITHM_resnet50.txt (the backbone's keys in fcn's only). The Rust tests build the same weights, pictures,
labels and gradients from the formulas below and compare, so that no weight file has to be carried. Every formula is
stated here once; arithmetic on hashes is mod 2^32.

Hash
    fnv1a(name)  h = 0x811C9DC5; for each byte b of name: h = (h XOR b) * 0x01000193
    fmix32(x)    x ^= x >> 16; x *= 0x85EBCA6B; x ^= x >> 13; x *= 0xC2B2AE35; x ^= x >> 16
    hash(name, i)  fmix32(i * 0x9E3779B1 + fnv1a(name))
    u(name, i)     hash(name, i) / 2^32 * 2 - 1, in float64: [-1, 1)

Weights: the tensor of state_dict key `name`, element of flat (row-major) index i, u = u(name, i);
computed in float64, cast to float32 last. The first line that fits holds:
    4 dimensions (convolution)                      u * sqrt(6 / fan_in), fan_in = shape[1] * shape[2] * shape[3]
    name ends in "num_batches_tracked"              0 (int64)
    name ends in "running_mean"                     0.2 u
    name ends in "running_var"                      1 + 0.3 u
    name ends in ".bn2.weight" or ".bn3.weight"     0.5 * (1 + 0.2 u)
    name ends in "weight" (any other BatchNorm)     1 + 0.2 u
    name ends in "classifier.4.bias"                0.5 u (the two convolutions with a bias; also aux_classifier's)
    name ends in "bias" (BatchNorm)                 0.2 u
The halved bn2 and bn3 keep the residual sums from growing: without them ResNet-101's logits reach the thousands.

Picture of H x W: byte of (y, x, channel) = fmix32((y * W + x) * 3 + channel + 12345) >> 24, then in float32
    (byte / 255 - mean[channel]) / std[channel], mean 0.485 0.456 0.406, std 0.229 0.224 0.225; shape [1, 3, H, W].

Networks (fcn.json): 4 classes, eval mode (aux is computed too), contiguous (NCHW), 2 threads. ResNet-50 and -101 are
torchvision's fcn_resnet50 and fcn_resnet101 with aux_loss. torchvision's BasicBlock takes no dilation, so ResNet-18
and -34 are its resnet18 and resnet34 with output stride 8 made the exact a-trous way:
    layer3: stride 1 everywhere; block 0: conv1 dilation 1, conv2 dilation 2; later blocks: both dilation 2
    layer4: stride 1 everywhere; block 0: conv1 dilation 2, conv2 dilation 4; later blocks: both dilation 4
    (padding = dilation; the downsampling 1x1 convolutions lose their stride), heads FCNHead(512, 4), aux FCNHead(256, 4).

deeplab.json: torchvision's deeplabv3_resnet50 and deeplabv3_resnet101 with aux_loss, and over the ResNet-18 above
    DeepLabHead(512, 4). psp.json: pspnet.py's head, which stands beside this file, over the same three backbones.

fcn.json, deeplab.json and psp.json, for each network, size and output, of the logits [1, 4, H, W]:
    max_abs, std (of all logits, unbiased off), class_sums (float64), argmax (pixels per class; ties to the lower class),
    close (pixels whose two best classes differ by less than 1e-4: the argmax may move by as many),
    noise (largest |float32 - float64| when the whole network runs in float64: what a tolerance must allow for),
    samples: logit of flat index (k * 7919) mod (4 * H * W) for k = 0, 1, ..., 199 (49 in deeplab.json and psp.json).
fcn.json "formula" holds a few values of the formulas themselves, to test an implementation of them.

criterion.json: logits [2, 4, 5, 7] = 3 u("criterion.out", i), aux = 3 u("criterion.aux", i); labels [2, 5, 7]:
    v = (hash("criterion.labels", i) >> 24) mod 5, 255 (ignored) where v = 4, else v.
    loss = out_loss + 0.5 * aux_loss, each the cross entropy averaged over the pixels whose label is not 255;
    gradients of loss by the logits of flat index (k * 23) mod 280, k = 0 .. 39.
    "all_ignored" is the same loss with every label 255 in PyTorch (0/0 = NaN, so null here).

optimizers.json: 6 float32 parameters, u("param", i) at first; gradient i of step s is u("grad", s * 6 + i);
    lr of step s = base * (1 - s / 20) ^ 0.9 in float64; the parameters after each of 20 steps.

schedules.json: the learning rate before each of 20 steps by torch.optim.lr_scheduler, from 0.05; with warm-up a
    LinearLR from 0.01 of the rate over 5 steps comes first, and the schedule has the steps that are left.
"""

import json
import math
import pathlib

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models import resnet18, resnet34, resnet50, resnet101
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import BasicBlock
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101, fcn_resnet50, fcn_resnet101
from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3
from torchvision.models.segmentation.fcn import FCN, FCNHead

from pspnet import PSPHead, PSPNet

HERE = pathlib.Path(__file__).resolve().parent
CLASSES = 4
# Neither is a multiple of the output stride 8 in both sides; 37 x 53 is smaller than deeplab's dilations.
SIZES = {"fcn": [(97, 131), (240, 240)], "deeplab": [(97, 131), (37, 53)], "psp": [(97, 131), (37, 53)]}
SAMPLES, SAMPLE_STRIDE = {"fcn": 200, "deeplab": 50, "psp": 50}, 7919
CLOSE = 1e-4


def fnv1a(name):
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    return h


def fmix32(x):
    x = np.asarray(x, dtype=np.uint32)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def hashes(name, count):
    return fmix32(np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(fnv1a(name)))


def u(name, count):
    return hashes(name, count).astype(np.float64) / 2.0**32 * 2.0 - 1.0


def weight(name, shape):
    values = u(name, math.prod(shape))
    if len(shape) == 4:
        values = values * math.sqrt(6.0 / (shape[1] * shape[2] * shape[3]))
    elif name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    elif name.endswith("running_mean"):
        values = 0.2 * values
    elif name.endswith("running_var"):
        values = 1.0 + 0.3 * values
    elif name.endswith((".bn2.weight", ".bn3.weight")):
        values = 0.5 * (1.0 + 0.2 * values)
    elif name.endswith("weight"):
        values = 1.0 + 0.2 * values
    elif name.endswith("classifier.4.bias"):
        values = 0.5 * values
    elif name.endswith("bias"):
        values = 0.2 * values
    else:
        raise ValueError(f"no formula for {name}")
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def pixels(height, width):
    """The picture's bytes, [H, W, 3]."""
    flat = fmix32(np.arange(height * width * 3, dtype=np.uint32) + np.uint32(12345)) >> np.uint32(24)
    return flat.astype(np.uint8).reshape(height, width, 3)


def picture(height, width):
    image = torch.from_numpy(pixels(height, width)).permute(2, 0, 1).contiguous().float() / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return ((image - mean) / std).unsqueeze(0)


def features(backbone):
    """A ResNet of BasicBlocks with output stride 8 (see the docstring), or an untouched one, as a backbone."""
    for layer, first, rest in ((backbone.layer3, 1, 2), (backbone.layer4, 2, 4)):
        for index, block in enumerate(layer):
            if not isinstance(block, BasicBlock):
                continue
            for conv, dilation in ((block.conv1, first if index == 0 else rest), (block.conv2, rest)):
                conv.stride, conv.dilation, conv.padding = (1, 1), (dilation, dilation), (dilation, dilation)
            if index == 0:
                block.downsample[0].stride = (1, 1)
    return IntermediateLayerGetter(backbone, {"layer4": "out", "layer3": "aux"})


def bottlenecks(make):
    return features(make(weights=None, replace_stride_with_dilation=[False, True, True]))


def networks(algorithm):
    plain = {"weights": None, "weights_backbone": None, "num_classes": CLASSES, "aux_loss": True}
    small = lambda make: features(make(weights=None))
    if algorithm == "fcn":
        yield "resnet-18", FCN(small(resnet18), FCNHead(512, CLASSES), FCNHead(256, CLASSES))
        yield "resnet-34", FCN(small(resnet34), FCNHead(512, CLASSES), FCNHead(256, CLASSES))
        yield "resnet-50", fcn_resnet50(**plain)
        yield "resnet-101", fcn_resnet101(**plain)
    elif algorithm == "deeplab":
        yield "resnet-18", DeepLabV3(small(resnet18), DeepLabHead(512, CLASSES), FCNHead(256, CLASSES))
        yield "resnet-50", deeplabv3_resnet50(**plain)
        yield "resnet-101", deeplabv3_resnet101(**plain)
    else:
        yield "resnet-18", PSPNet(small(resnet18), PSPHead(512, CLASSES), FCNHead(256, CLASSES))
        for name, make in (("resnet-50", resnet50), ("resnet-101", resnet101)):
            yield name, PSPNet(bottlenecks(make), PSPHead(2048, CLASSES), FCNHead(1024, CLASSES))


def digits(values):
    """Enough digits that each number reads back as the same float32."""
    return [float(f"{v:.9g}") for v in np.asarray(values, dtype=np.float64).ravel()]


def describe(logits, precise, samples):
    _, classes, height, width = logits.shape
    total = classes * height * width
    best = logits.topk(2, dim=1).values
    flat = logits.flatten()
    index = (torch.arange(samples) * SAMPLE_STRIDE) % total
    return {
        "max_abs": float(f"{flat.abs().max().item():.9g}"),
        "std": float(f"{flat.double().std(correction=0).item():.9g}"),
        "class_sums": [float(f"{s:.12g}") for s in logits.double().sum(dim=(0, 2, 3)).tolist()],
        "argmax": torch.bincount(logits.argmax(dim=1).flatten(), minlength=classes).tolist(),
        "close": int((best[:, 0] - best[:, 1] < CLOSE).sum()),
        "noise": float(f"{(logits.double() - precise).abs().max().item():.2g}"),
        "samples": digits(flat[index].numpy()),
    }


def network_golden(algorithm):
    cases = []
    for name, model in networks(algorithm):
        state = {key: weight(key, tuple(value.shape)) for key, value in model.state_dict().items()}
        model.load_state_dict(state)
        model.eval()
        if name == "resnet-50":
            # The backbone's keys are the same for every head.
            kept = [key for key in state if algorithm == "fcn" or not key.startswith("backbone.")]
            lines = [f"{key} {list(state[key].shape)}\n" for key in kept]
            (HERE / f"keys_{algorithm}_resnet50.txt").write_text("".join(lines))
        for height, width in SIZES[algorithm]:
            image = picture(height, width)
            with torch.inference_mode():
                outputs = model(image)
                precise = model.double()(image.double())
                model.float()
            case = {"backbone": name, "height": height, "width": width}
            for output in ("out", "aux"):
                case[output] = describe(outputs[output], precise[output], SAMPLES[algorithm])
                short = {k: v for k, v in case[output].items() if k != "samples"}
                print(algorithm, name, f"{height}x{width}", output, short)
            cases.append(case)
    golden = {"sample_stride": SAMPLE_STRIDE, "cases": cases}
    return {"formula": formula_golden(), **golden} if algorithm == "fcn" else golden


def formula_golden():
    return {
        "fnv1a": {name: fnv1a(name) for name in ("", "param", "backbone.layer1.0.conv1.weight")},
        "fmix32": {str(x): int(fmix32([x])[0]) for x in (0, 1, 12345, 0xFFFFFFFF)},
        "u_param": u("param", 6).tolist(),
        "pixels_97x131": pixels(97, 131).ravel()[:12].tolist(),
        "weights": {
            name: digits(weight(name, shape).numpy().ravel()[:4])
            for name, shape in (
                ("backbone.conv1.weight", (64, 3, 7, 7)),
                ("backbone.bn1.weight", (64,)),
                ("backbone.layer1.0.bn2.weight", (64,)),
                ("backbone.bn1.bias", (64,)),
                ("backbone.bn1.running_mean", (64,)),
                ("backbone.bn1.running_var", (64,)),
                ("classifier.1.bias", (128,)),
                ("classifier.4.bias", (4,)),
                ("aux_classifier.4.bias", (4,)),
            )
        },
    }


def criterion_golden():
    shape = (2, CLASSES, 5, 7)

    def logits(name):
        values = (3.0 * u(name, math.prod(shape))).astype(np.float32)
        return torch.from_numpy(values).reshape(shape).requires_grad_()

    out, aux = logits("criterion.out"), logits("criterion.aux")
    labels = (hashes("criterion.labels", 2 * 5 * 7) >> np.uint32(24)) % 5
    labels = torch.from_numpy(np.where(labels == 4, 255, labels).astype(np.int64)).reshape(2, 5, 7)
    out_loss = nn.functional.cross_entropy(out, labels, ignore_index=255)
    aux_loss = nn.functional.cross_entropy(aux, labels, ignore_index=255)
    loss = out_loss + 0.5 * aux_loss
    loss.backward()
    index = (torch.arange(40) * 23) % math.prod(shape)
    ignored = nn.functional.cross_entropy(out.detach(), torch.full_like(labels, 255), ignore_index=255).item()
    return {
        "shape": list(shape),
        "labels": labels.flatten().tolist(),
        "counted": int((labels != 255).sum()),
        "out_loss": digits([out_loss.item()])[0],
        "aux_loss": digits([aux_loss.item()])[0],
        "loss": digits([loss.item()])[0],
        "all_ignored": None if math.isnan(ignored) else ignored,
        "gradient_stride": 23,
        "out_gradients": digits(out.grad.flatten()[index].numpy()),
        "aux_gradients": digits(aux.grad.flatten()[index].numpy()),
    }


def optimizer_run(make, base, steps=20, size=6):
    param = torch.from_numpy(u("param", size).astype(np.float32)).requires_grad_()
    grads = u("grad", steps * size).astype(np.float32).reshape(steps, size)
    optimizer = make([param])
    after = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = base * (1 - step / steps) ** 0.9
        param.grad = torch.from_numpy(grads[step].copy())
        optimizer.step()
        after.append(digits(param.detach().numpy()))
    return after


def optimizers_golden():
    sgd, decay = {"momentum": 0.9, "weight_decay": 1e-2}, {"weight_decay": 1e-2}
    runs = [
        ("sgd", torch.optim.SGD, 0.05, {"momentum": 0.9, "weight_decay": 1e-4}, {}),
        ("sgd", torch.optim.SGD, 0.05, sgd, {}),
        ("nag", torch.optim.SGD, 0.05, sgd, {"nesterov": True}),
        ("rmsprop", torch.optim.RMSprop, 0.01, {"alpha": 0.9, "momentum": 0.9}, {"eps": 1e-8}),
        ("rmsprop", torch.optim.RMSprop, 0.01, {"alpha": 0.99, "momentum": 0.0}, {"eps": 1e-8}),
        ("adam", torch.optim.Adam, 0.01, {}, {"betas": (0.9, 0.999), "eps": 1e-8}),
        ("adamw", torch.optim.AdamW, 0.01, decay, {"betas": (0.9, 0.999), "eps": 1e-8}),
        ("adagrad", torch.optim.Adagrad, 0.05, {}, {"eps": 1e-10}),
    ]
    return {
        "runs": [
            {
                "optimizer": name,
                "learning_rate": base,
                **settings,
                "after": optimizer_run(lambda p: kind(p, lr=base, **settings, **fixed), base),
            }
            for name, kind, base, settings, fixed in runs
        ]
    }


def schedule_rates(kind, warmup, steps=20, base=0.05, factor=0.3, milestones=(6, 12, 17)):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    lr = torch.optim.lr_scheduler
    if kind == "poly":
        main = lr.PolynomialLR(optimizer, total_iters=steps - warmup, power=0.9)
    elif kind == "cosine":
        main = lr.CosineAnnealingLR(optimizer, T_max=steps - warmup)
    else:
        main = lr.MultiStepLR(optimizer, milestones=[at - warmup for at in milestones], gamma=factor)
    if warmup:
        first = lr.LinearLR(optimizer, start_factor=0.01, total_iters=warmup)
        main = lr.SequentialLR(optimizer, [first, main], milestones=[warmup])
    rates = []
    for _ in range(steps):
        rates.append(float(f"{optimizer.param_groups[0]['lr']:.15g}"))
        optimizer.step()
        main.step()
    return rates


def schedules_golden():
    return {
        "runs": [
            {"lr_scheduler": kind, "warmup": warmup, "rates": schedule_rates(kind, warmup)}
            for kind in ("poly", "cosine", "step")
            for warmup in (0, 5)
        ]
    }


def text(value, depth=0):
    """JSON with one line per innermost list, so that a changed number is a short diff."""
    pad = " " * (depth + 1)
    if isinstance(value, dict):
        inner = [f"{pad}{json.dumps(key)}: {text(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner) + "\n" + " " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        return "[\n" + ",\n".join(pad + text(item, depth + 1) for item in value) + "\n" + " " * depth + "]"
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def main():
    torch.set_num_threads(2)
    made_with = {"torch": torch.__version__.split("+")[0], "torchvision": torchvision.__version__.split("+")[0]}
    for name, golden in (
        ("optimizers.json", optimizers_golden()),
        ("criterion.json", criterion_golden()),
        ("schedules.json", schedules_golden()),
        ("fcn.json", network_golden("fcn")),
        ("deeplab.json", network_golden("deeplab")),
        ("psp.json", network_golden("psp")),
    ):
        path = HERE / name
        path.write_text(text({"made_with": made_with, **golden}) + "\n")
        print(f"{name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
