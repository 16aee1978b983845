#!/usr/bin/env python3
"""How far color alone gets on a data set: a Bayes classifier of single pixels.

Counts the classes of every RGB bin over the training pixels, gives each validation pixel the
likeliest class of its bin, and scores that: mean IoU over the classes that occur in truth or
prediction, from a confusion matrix without the pixels marked 255. Once with the classes as
frequent as they are, and once as if they were equally frequent.

The sample data must score at most 0.40 here, or a network could pass by learning colors; the
exit code is 1 if a result is above that.

    maskmaker sample-data DIR && benches/color_classifier.py DIR

Needs numpy and pillow.
"""

import argparse
import pathlib
import sys

import numpy as np
from PIL import Image

IGNORED = 255
LIMIT = 0.40


def pixels(root, channel, bins):
    """Yields (bin of every pixel, class of every pixel), image by image, ignored pixels left out."""
    for path in sorted((root / channel).iterdir()):
        mask_path = root / f"{channel}_annotation" / f"{path.stem}.png"
        image = np.asarray(Image.open(path).convert("RGB"), dtype=np.int64)
        mask = np.asarray(Image.open(mask_path))
        index = image * bins // 256
        index = (index[..., 0] * bins + index[..., 1]) * bins + index[..., 2]
        counted = mask != IGNORED
        yield index[counted], mask[counted].astype(np.int64)


def mean_iou(confusion):
    hits = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    return hits / np.maximum(union, 1), (hits[union > 0] / union[union > 0]).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=pathlib.Path, help="the data set's folder")
    parser.add_argument("--bins", type=int, nargs="+", default=[16, 32], help="per channel")
    parser.add_argument("--classes", type=int, default=4)
    options = parser.parse_args()
    best = 0.0
    for bins in options.bins:
        histogram = np.zeros((bins**3, options.classes))
        for index, truth in pixels(options.root, "train", bins):
            flat = np.bincount(index * options.classes + truth, minlength=histogram.size)
            histogram += flat.reshape(histogram.shape)
        frequency = histogram.sum(0)
        # A bin without training pixels falls back to the classes' own frequencies.
        likelihood = (histogram + 1e-3 * frequency / frequency.sum()) / frequency
        for name, prior in [("as counted", frequency), ("balanced", np.ones_like(frequency))]:
            choice = (likelihood * prior).argmax(1)
            confusion = np.zeros((options.classes, options.classes), dtype=np.int64)
            for index, truth in pixels(options.root, "validation", bins):
                flat = np.bincount(truth * options.classes + choice[index],
                                   minlength=confusion.size)
                confusion += flat.reshape(confusion.shape)
            each, mean = mean_iou(confusion)
            per_class = " ".join(f"{value:.3f}" for value in each)
            best = max(best, mean)
            print(f"{bins}^3 bins, priors {name}: mIoU {mean:.3f} (per class {per_class})")
    if best > LIMIT:
        sys.exit(f"color alone reaches mIoU {best:.3f}, at most {LIMIT:.2f} is allowed: color gives the classes away")


if __name__ == "__main__":
    main()
