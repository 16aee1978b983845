#!/usr/bin/env python3
"""What the servers are compared with, and whether they agree. benches/serve.sh calls it.

  make.py data FOLDER        pictures and models
  make.py check OURS THEIRS  the share of pixels whose class differs, over two folders of masks

FOLDER/pictures/WIDTHxHEIGHT/*.jpg
FOLDER/fcn/model            maskmaker's artifact: torchvision's fcn_resnet50 with 21 classes
FOLDER/conv/model           TorchScript alone: one convolution of 1x1, 3 to 21 channels
FOLDER/{fcn,conv}/peers     the same weights as model.safetensors, for the peers

The weights of fcn are random but behave like a trained network's: residual branches are small, BatchNorm has seen the
pictures, and the last convolution is fitted so that masks have regions (dark, middle, bright). Entirely random ones would
amplify every rounding of a pixel into another mask.
"""

import json
import sys
from pathlib import Path

SIZES = [(640, 480), (160, 120)]
PICTURES, CLASSES = 4, 21
# Classes that the masks have, by the light that they stand for.
CENTRES = {1: -2, 8: 0, 15: 2}
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def pictures(folder):
    import numpy as np
    from PIL import Image

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from loader import spectrum_noise

    for width, height in SIZES:
        place = folder / f"{width}x{height}"
        place.mkdir(parents=True)
        for number in range(PICTURES):
            rng = np.random.default_rng(number)
            light, color = spectrum_noise(rng, (height, width, 1), 1.2), spectrum_noise(rng, (height, width, 3), 1.4)
            pixels = np.clip(118 + 52 * light + 14 * color, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.jpg", quality=90)


def batch(folder, width, height):
    """Normalized images."""
    import numpy as np
    import torch
    from PIL import Image

    files = sorted((folder / f"{width}x{height}").glob("*.jpg"))
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files]))
    values = pixels.permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]


def fcn(folder):
    """The network, and how bfloat16 agrees with 32 bits as config.json says it."""
    import torch
    from torch.nn.functional import avg_pool2d
    from torchvision.models.resnet import Bottleneck
    from torchvision.models.segmentation import fcn_resnet50

    torch.manual_seed(7)
    model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)
    model = model.to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, Bottleneck):
            torch.nn.init.constant_(module.bn3.weight, 0.1)
        if isinstance(module, torch.nn.BatchNorm2d):
            # Statistics become the plain mean over what it sees.
            module.momentum = None
    images = [batch(folder, *size) for size in SIZES]
    small = images[-1]
    with torch.inference_mode():
        model.train()(small)
        seen = model.eval().backbone(small)["out"]
        *layers, last = model.classifier
        for layer in layers:
            seen = layer(seen)
        # Ridge regression of the light, of mean 0 and deviation 1, on the features; the class is the nearest center's.
        features = seen.permute(0, 2, 3, 1).flatten(0, 2).double()
        light = avg_pool2d(small.mean(1, keepdim=True), 8).flatten().double()
        light = (light - light.mean()) / light.std()
        middle = features.mean(0)
        features -= middle
        spread = features.T @ features
        spread += spread.diagonal().mean() * torch.eye(len(spread))
        direction = torch.linalg.solve(spread, features.T @ light)
        direction /= (features @ direction).std()
        last.weight.zero_()
        last.bias.fill_(-100)
        for number, center in CENTRES.items():
            last.weight[number, :, 0, 0] = 2 * center * direction
            last.bias[number] = -2 * center * (middle @ direction) - center**2
        differing = pixels = 0
        for values in images:
            exact = model(values)["out"].argmax(1)
            with torch.autocast("cpu", torch.bfloat16):
                rounded = model(values)["out"].argmax(1)
            differing += int((exact != rounded).sum())
            pixels += exact.numel()
    return model, {"differing": differing / pixels, "images": sum(map(len, images)), "pixels": pixels}


def data(folder):
    import torch
    from safetensors.torch import save_file

    pictures(folder / "pictures")
    for name in ("fcn/model", "fcn/peers", "conv/model", "conv/peers"):
        (folder / name).mkdir(parents=True)
    model, bf16 = fcn(folder / "pictures")
    print(f"in bf16 the class of {bf16['differing']:.2%} of the pixels is another than in fp32", file=sys.stderr)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "fcn/model/model.safetensors")
    save_file(weights, folder / "fcn/peers/model.safetensors")
    config = {"format_version": 1, "maskmaker_version": "0.1.0", "algorithm": "fcn", "backbone": "resnet-50"}
    config |= {"num_classes": CLASSES, "class_names": [f"class {number}" for number in range(CLASSES)]}
    config |= {"mean": MEAN, "std": DEVIATION, "bf16": bf16}
    (folder / "fcn/model/config.json").write_text(json.dumps(config))

    torch.manual_seed(7)
    model = torch.nn.Conv2d(3, CLASSES, 1).eval()
    save_file(model.state_dict(), folder / "conv/peers/model.safetensors")
    torch.jit.script(model).save(str(folder / "conv/model/model.pt"))


def check(ours, theirs):
    import numpy as np
    from PIL import Image

    differing = pixels = 0
    files = sorted(ours.iterdir())
    if [file.name for file in files] != sorted(file.name for file in theirs.iterdir()) or not files:
        sys.exit(f"{ours} and {theirs} hold other masks")
    for file in files:
        a, b = (np.asarray(Image.open(folder / file.name)) for folder in (ours, theirs))
        if a.shape != b.shape or a.ndim != 2:
            sys.exit(f"{file.name} is of shape {a.shape} in {ours}, {b.shape} in {theirs}; (height, width) is wanted")
        differing += int((a != b).sum())
        pixels += a.size
    print(differing / pixels)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["data", folder]:
            data(Path(folder))
        case ["check", ours, theirs]:
            check(Path(ours), Path(theirs))
        case _:
            sys.exit(__doc__)
