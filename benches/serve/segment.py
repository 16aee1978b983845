"""Image bytes in, mask bytes out: what the peers' handlers share, written as their users would. Pillow reads and writes,
PyTorch computes in eager mode, channels last, 32 bits, with as many threads as OMP_NUM_THREADS says."""

import io
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

CLASSES = 21
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def palette():
    """PASCAL VOC's colors: three bits of a class's number at a time become the next lower bits of red, green and blue."""
    values = []
    for number in range(256):
        bits = [[number >> 3 * place + channel & 1 for place in range(3)] for channel in range(3)]
        values += [high << 7 | middle << 6 | low << 5 for high, middle, low in bits]
    return values


PALETTE = palette()


def load(folder):
    weights = load_file(Path(folder) / "model.safetensors")
    if "weight" in weights:
        model = torch.nn.Conv2d(3, CLASSES, 1)
        model.load_state_dict(weights)
    else:
        from torchvision.models.segmentation import fcn_resnet50

        # Without memory at first: 33 million random numbers that nobody needs take longer than reading the file.
        with torch.device("meta"):
            model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=False)
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("aux_classifier.")}
        model.load_state_dict(weights, assign=True)
    return model.eval().to(memory_format=torch.channels_last)


def decode(body):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(body))).convert("RGB")
    return torch.from_numpy(np.array(image))


@torch.inference_mode()
def predict(model, pixels):
    # From [batch, height, width, 3], bytes, to [batch, height, width], class ids. Channels last is how they lie already.
    values = pixels.permute(0, 3, 1, 2).float().div_(255).sub_(MEAN).div_(DEVIATION)
    answer = model(values)
    logits = answer["out"] if isinstance(answer, dict) else answer
    return logits.argmax(1).to(torch.uint8)


def encode(ids):
    mask = Image.fromarray(ids.numpy())
    mask.putpalette(PALETTE)
    file = io.BytesIO()
    mask.save(file, "PNG")
    return file.getvalue()


class Stages:
    """Milliseconds of what a server is not blamed for, as a Server-Timing header."""

    def __init__(self):
        self.parts, self.last = [], time.perf_counter()

    def end(self, name):
        now = time.perf_counter()
        self.parts.append(f"{name};dur={1000 * (now - self.last):.3f}")
        self.last = now

    def __str__(self):
        return ", ".join(self.parts)
