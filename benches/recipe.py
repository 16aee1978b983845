#!/usr/bin/env python3
"""Trains by torchvision's reference recipe for segmentation (references/segmentation/train.py), from given weights.

As there: SGD with momentum 0.9 and weight decay 1e-4, poly schedule per iteration with power 0.9, the auxiliary head's
loss at half weight and its learning rate tenfold, random resize by 0.5 to 2, horizontal flip, random crop with padding
that is ignored, normalization, batches of 8, the last short one dropped. As in the built-in algorithm, and so in
maskmaker, the longer side is what is scaled to base_size. Scores are those of whole validation images at their own size.

    recipe.py DATA WEIGHTS.safetensors --epochs 8 --rate 0.02 --base 128 --crop 96 --seed 1

Prints one line of JSON: the mean IoU of every epoch. Needs torch, torchvision, safetensors, numpy and pillow.
"""

import argparse
import json
import pathlib
import random
import sys

import numpy as np
import torch
import torchvision.transforms.v2.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from torchvision.models import resnet18
from torchvision.models.segmentation.fcn import FCN, FCNHead

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/golden"))
from make_golden import features  # noqa: E402

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IGNORED = 255


def pairs(root, channel):
    for path in sorted((root / channel).iterdir()):
        mask = np.array(Image.open(root / f"{channel}_annotation" / f"{path.stem}.png"))
        yield Image.open(path).convert("RGB"), Image.fromarray(mask)


def tensors(image, mask):
    image = F.normalize(F.to_dtype(F.to_image(image), torch.float32, scale=True), MEAN, DEVIATION)
    return image, torch.from_numpy(np.array(mask)).long()


class Augmented(torch.utils.data.Dataset):
    def __init__(self, root, base, crop):
        self.samples, self.base, self.crop = list(pairs(root, "train")), base, crop

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        image, mask = self.samples[index]
        longer = random.uniform(0.5, 2.0) * self.base
        size = [max(1, round(side * longer / max(image.size))) for side in reversed(image.size)]
        image = F.resize(image, size, antialias=True)
        mask = F.resize(mask, size, interpolation=F.InterpolationMode.NEAREST)
        if random.random() < 0.5:
            image, mask = F.horizontal_flip(image), F.horizontal_flip(mask)
        right, below = (max(0, self.crop - side) for side in image.size)
        image, mask = F.pad(image, [0, 0, right, below], fill=0), F.pad(mask, [0, 0, right, below], fill=IGNORED)
        left, top = (random.randint(0, side - self.crop) for side in image.size)
        return tensors(F.crop(image, top, left, self.crop, self.crop), F.crop(mask, top, left, self.crop, self.crop))


def mean_iou(model, samples, classes):
    matrix = torch.zeros(classes, classes, dtype=torch.long)
    model.eval()
    with torch.inference_mode():
        for image, mask in samples:
            predicted = model(image[None])["out"][0].argmax(0)
            counted = mask != IGNORED
            matrix += torch.bincount(mask[counted] * classes + predicted[counted], minlength=classes**2).view(classes, classes)
    union = matrix.sum(0) + matrix.sum(1) - matrix.diag()
    return (matrix.diag()[union > 0] / union[union > 0]).mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("weights")
    parser.add_argument("--classes", type=int, default=4)
    for name, kind in (("epochs", int), ("rate", float), ("base", int), ("crop", int), ("seed", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    given = parser.parse_args()
    random.seed(given.seed)
    torch.manual_seed(given.seed)

    model = FCN(features(resnet18(weights=None)), FCNHead(512, given.classes), FCNHead(256, given.classes))
    model.load_state_dict(load_file(given.weights))
    loader = torch.utils.data.DataLoader(Augmented(given.data, given.base, given.crop), 8, shuffle=True, drop_last=True)
    validation = [tensors(*pair) for pair in pairs(given.data, "validation")]
    optimizer = torch.optim.SGD(
        [{"params": [*model.backbone.parameters(), *model.classifier.parameters()]},
         {"params": model.aux_classifier.parameters(), "lr": 10 * given.rate}],
        lr=given.rate, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, len(loader) * given.epochs, power=0.9)
    scores = []
    for epoch in range(given.epochs):
        model.train()
        for images, masks in loader:
            output = model(images)
            loss = sum(share * cross_entropy(output[head], masks, ignore_index=IGNORED)
                       for head, share in (("out", 1.0), ("aux", 0.5)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        scores.append(mean_iou(model, validation, given.classes))
        print(f"seed {given.seed} epoch {epoch + 1}/{given.epochs} loss {loss.item():.4f} mIoU {scores[-1]:.4f}", file=sys.stderr)
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
