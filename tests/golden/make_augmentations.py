#!/usr/bin/env python3
"""Writes augmentations.json: what torchvision's transforms.v2 make of one picture. Needs torch and torchvision.

The picture is 24 x 18 pixels; channel c of pixel (x, y) is round(127.5 + 100 sin(0.31 x (c + 1)) cos(0.23 y (3 - c))).
Values are floats from 0 to 255, rounded to thousandths; the transforms get floats, so that none of theirs is rounding.
Of `perspective` only the pixels that torchvision does not blend with what is outside are given; the others are -1.
"""

import json
import math
import os

import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

WIDTH, HEIGHT = 24, 18


def value(x, y, c):
    return math.floor(127.5 + 100 * math.sin(0.31 * x * (c + 1)) * math.cos(0.23 * y * (3 - c)) + 0.5)


def main():
    picture = torch.tensor([[[value(x, y, c) for x in range(WIDTH)] for y in range(HEIGHT)] for c in range(3)]) / 255.0
    golden = {}

    def keep(name, result, known=None):
        result = result * 255 if known is None else torch.where(known, result * 255, -1.0)
        golden[name] = [round(v, 3) for v in result.permute(1, 2, 0).flatten().tolist()]

    for factor in (0.6, 1.3):
        keep(f"brightness {factor}", F.adjust_brightness(picture, factor))
        keep(f"contrast {factor}", F.adjust_contrast(picture, factor))
        keep(f"saturation {factor}", F.adjust_saturation(picture, factor))
    for factor in (-0.2, 0.07):
        keep(f"hue {factor}", F.adjust_hue(picture, factor))
    for sigma in (0.8, 2.0):
        keep(f"blur {sigma}", F.gaussian_blur(picture, 2 * math.ceil(3 * sigma) + 1, sigma))
    # Corners as edges of pixels, as torchvision's grid has them.
    start = [[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]]
    end = [[1.5, 0.5], [WIDTH - 0.5, 2.0], [WIDTH - 2.25, HEIGHT - 1.0], [0.0, HEIGHT - 0.75]]
    warped = lambda image: F.perspective(image, start, end, interpolation=InterpolationMode.BILINEAR, fill=0)
    keep("perspective", warped(picture), warped(torch.ones_like(picture)) > 0.99999)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "augmentations.json")
    with open(path, "w") as file:
        json.dump(golden, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
