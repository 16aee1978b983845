#!/usr/bin/env python3
"""Golden vectors for COCO's RLE, from pycocotools.

    pip install pycocotools==2.0.11 numpy==2.4.6
    python3 tests/golden/make_coco_rle.py

writes coco_rle.json beside itself: masks of several kinds and sizes as rows of 0 and 1, with the compressed text that
pycocotools encodes them to, and the counts that it compresses to the same text.
"""

import json
import pathlib

import numpy as np
from pycocotools import mask as coco


def counts_of(mask):
    pixels = np.concatenate([[0], mask.ravel("F"), [2]])
    return np.diff(np.concatenate([[0], np.flatnonzero(np.diff(pixels))])).tolist()


def masks():
    random = np.random.default_rng(7)
    yield "one pixel off", np.zeros((1, 1))
    yield "one pixel on", np.ones((1, 1))
    yield "nothing", np.zeros((5, 7))
    yield "everything", np.ones((7, 5))
    yield "a row", random.integers(0, 2, (1, 33))
    yield "a column", random.integers(0, 2, (33, 1))
    yield "rows in turn", np.arange(12)[:, None] % 2 * np.ones((1, 9))
    yield "columns in turn", np.arange(9)[None, :] % 2 * np.ones((12, 1))
    for share in (0.05, 0.5, 0.95):
        yield f"noise {share}", random.random((13, 17)) < share
    y, x = np.mgrid[0:60, 0:80]
    yield "ring", abs(np.hypot(x - 41, y - 28) - 18) < 6
    tall = np.zeros((400, 300))
    tall[:399, 10:290] = 1
    yield "long counts", tall
    wide = np.zeros((2, 40000))
    wide[:, -1] = 1
    yield "a long first count", wide


vectors = []
for name, mask in masks():
    mask = np.asfortranarray(mask.astype(np.uint8))
    height, width = mask.shape
    counts, text = counts_of(mask), coco.encode(mask)["counts"]
    assert coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"] == text
    # The large ones without their rows, which the counts say as well.
    rows = ["".join(map(str, row)) for row in mask] if mask.size < 5000 else None
    vector = {"name": name, "height": height, "width": width, "counts": counts, "text": text.decode(), "rows": rows}
    vectors.append(json.dumps(vector))

path = pathlib.Path(__file__).with_name("coco_rle.json")
path.write_text("[\n" + ",\n".join(vectors) + "\n]\n")
