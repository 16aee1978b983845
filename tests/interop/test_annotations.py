"""Masks to and from Label Studio's own converter and pycocotools, in both directions."""
import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import maskmaker
from label_studio_sdk.converter import brush  # Prints what the rest of the converter would import.
from PIL import Image
from pycocotools import mask as coco

MASKS = Path(os.environ["INTEROP_MASKS"])
LABELS = {"road": "#ff0000", "car": "#00ff00", "árvore 树": "#0000ff"}
CONFIG = '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">{}</BrushLabels></View>'.format(
    "".join(f'<Label value="{label}" background="{color}"/>' for label, color in LABELS.items())
)


class Encoded:
    """A mask and its encodings, written by benches/interop_masks.rs."""

    def __init__(self, path):
        self.name = path.stem
        self.__dict__ |= json.loads(path.read_text())
        self.mask = np.asarray(Image.open(path.with_suffix(".png"))) > 0
        assert self.mask.shape == (self.height, self.width)

    @property
    def size(self):
        return [self.height, self.width]


@pytest.fixture(scope="module")
def encoded():
    masks = [Encoded(path) for path in sorted(MASKS.glob("*.json"))]
    assert len(masks) >= 30 and any(mask.mask.size > 2**18 for mask in masks)
    return masks


def even_odd(rings, width, height):
    """Which pixels' centers lie inside, by the parity of the edges to their right."""
    inside = np.zeros((height, width), bool)
    columns = np.arange(width) + 0.5
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1]):
            for row in range(max(0, int(np.ceil(min(y0, y1) - 0.5))), min(height, int(np.ceil(max(y0, y1) - 0.5)))):
                inside[row] ^= columns < x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    return inside


def rings(outlines):
    return [ring for part in outlines for ring in (part["outer"], *part["holes"])]


def near_border(mask, pixels=1):
    """Pixels that have the other side within so many rows and columns; outside of the image nothing is covered."""
    side = 2 * pixels + 1
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(mask > 0, pixels), (side, side))
    return windows.any(axis=(2, 3)) & ~windows.all(axis=(2, 3))


def test_label_studios_converter_decodes_our_brush_rle(encoded):
    for mask in encoded:
        values = brush.decode_rle(mask.brush).reshape(mask.height, mask.width, 4)
        # Alpha is the mask; the frontend and the converter have the same value in all four.
        for channel in range(4):
            assert np.array_equal(values[:, :, channel], mask.mask * 255), f"{mask.name}, channel {channel}"


def test_our_brush_rle_is_no_longer_than_the_converters(encoded):
    for mask in encoded:
        assert len(mask.brush) <= len(brush.mask2rle(mask.mask * np.uint8(255))), mask.name


def test_pycocotools_decodes_our_coco_rle(encoded):
    for mask in encoded:
        compressed = {"size": mask.size, "counts": mask.coco_text.encode()}
        assert np.array_equal(coco.decode(compressed), mask.mask), mask.name
        assert coco.area(compressed) == np.count_nonzero(mask.mask)
        plain = coco.frPyObjects({"size": mask.size, "counts": mask.coco_counts}, mask.height, mask.width)
        assert np.array_equal(coco.decode(plain), mask.mask), mask.name


def test_our_coco_rle_is_pycocotools_own_byte_for_byte(encoded):
    for mask in encoded:
        assert coco.encode(np.asfortranarray(mask.mask, np.uint8))["counts"].decode() == mask.coco_text, mask.name


def test_exact_outlines_give_the_mask_back(encoded):
    for mask in encoded:
        assert np.array_equal(even_odd(rings(mask.outlines), mask.width, mask.height), mask.mask), mask.name


def drawn(rings, mask):
    """What pycocotools' polygons cover together; they know no holes."""
    polygons = [np.ravel(ring).tolist() for ring in rings]
    return coco.decode(coco.merge(coco.frPyObjects(polygons, mask.height, mask.width))) > 0


def test_pycocotools_draws_our_exact_outlines_to_the_same_mask(encoded):
    for mask in encoded:
        covered = np.zeros_like(mask.mask)
        for part in mask.outlines:
            # Per part: another one may lie in its hole.
            alone = drawn([part["outer"]], mask)
            if part["holes"]:
                alone &= ~drawn(part["holes"], mask)
            covered |= alone
        assert np.array_equal(covered, mask.mask), mask.name


def test_simplified_outlines_are_shorter_and_stay_within_two_pixels(encoded):
    for mask in encoded:
        if mask.name not in ("disc", "star", "target"):
            continue
        few, many = (sum(map(len, rings(outlines))) for outlines in (mask.simplified, mask.outlines))
        assert 0 < few < many / 3, f"{mask.name}: {few} of {many} points"
        different = even_odd(rings(mask.simplified), mask.width, mask.height) != mask.mask
        # Off by the tolerance of one pixel, from edges of pixels to centers.
        assert not np.any(different & ~near_border(mask.mask, 2)), mask.name


def labeled(count):
    """Masks of class ids 0 to 3 of odd sizes: each class a random blob or noise, a later one over an earlier one."""
    for number in range(count):
        rng = np.random.default_rng(number)
        height, width = (1, 1) if number == 0 else rng.integers(1, 120, 2)
        ids = np.zeros((height, width), np.uint8)
        y, x = np.mgrid[:height, :width]
        for label in range(1, 4):
            if number % 2:
                ids[rng.random((height, width)) < 0.1] = label
            else:
                ids[np.hypot(x - rng.integers(width), y - rng.integers(height)) < rng.integers(1, 40)] = label
        yield f"picture {number:02} 树", ids


def pictures(folder, masks):
    folder.mkdir()
    for name, ids in masks.items():
        Image.fromarray(np.repeat(ids[:, :, None], 3, axis=2) * np.uint8(80)).save(folder / f"{name}.png")


def preprocessed(root, masks, document):
    """What the program makes of a document: masks by the picture's name."""
    (root / "annotations").mkdir()
    (root / "annotations/document.json").write_text(json.dumps(document))
    (root / "config.xml").write_text(CONFIG)
    pictures(root / "images", masks)
    folders = ("--annotations", root / "annotations", "--images", root / "images", "--output", root / "output")
    maskmaker("preprocess", *folders, "--label-config", root / "config.xml", "--train-test-split-ratio", 40)
    names = json.loads((root / "output/label_map/labels.json").read_text())
    assert [names[str(label)]["name"] for label in range(1, 4)] == list(LABELS)
    found = {}
    for side in ("train", "validation"):
        images = {path.stem for path in (root / "output" / side).iterdir()}
        masks_there = sorted((root / f"output/{side}_annotation").glob("*.png"))
        assert images == {path.stem for path in masks_there}
        for path in masks_there:
            picture = Image.open(path)
            assert picture.mode == "P" and path.stem not in found
            assert picture.getpalette()[3:12] == [255, 0, 0, 0, 255, 0, 0, 0, 255]
            found[path.stem] = np.asarray(picture)
    return found


def assert_same(found, masks):
    assert found.keys() == masks.keys()
    for name, ids in masks.items():
        assert np.array_equal(found[name], ids), name


def brush_task(number, name, ids, encode):
    height, width = ids.shape
    result = [
        {
            "id": f"region{number}-{label}",
            "type": "brushlabels",
            "from_name": "brush",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": encode(ids == label), "brushlabels": [text]},
        }
        for label, text in enumerate(LABELS, start=1)
        if np.any(ids == label)
    ]
    annotations = [{"id": 100 + number, "result": result, "was_cancelled": False, "ground_truth": False}]
    return {"id": number, "data": {"image": f"s3://bucket/pictures/{name}.png"}, "annotations": annotations}


def any_alpha(mask):
    """Every alpha but 0, as at the edges that a brush leaves, and other values in the channels before it."""
    rng = np.random.default_rng(mask.size)
    values = rng.integers(0, 256, (*mask.shape, 4), np.uint8)
    values[:, :, 3] = np.where(mask, rng.integers(1, 256, mask.shape), 0)
    return brush.encode_rle(values.ravel())


@pytest.mark.parametrize("encode", [lambda mask: brush.mask2rle(mask * np.uint8(255)), any_alpha], ids=["mask2rle", "any alpha"])
def test_what_the_converter_encodes_becomes_the_same_masks(tmp_path, encode):
    masks = dict(labeled(24))
    tasks = [brush_task(number, name, ids, encode) for number, (name, ids) in enumerate(masks.items(), start=1)]
    assert_same(preprocessed(tmp_path, masks, tasks), masks)


def compressed(mask):
    rle = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def uncompressed(mask):
    values = mask.ravel(order="F")
    borders = np.flatnonzero(values[1:] != values[:-1]) + 1
    lengths = np.diff([0, *borders, values.size]).tolist()
    # Counts begin with what is not covered.
    return {"size": list(mask.shape), "counts": [0, *lengths] if values[0] else lengths}


def coco_document(masks, segmentation):
    images, annotations = [], []
    # Ids as they come, neither dense nor in order.
    numbers = {label: 90 - 7 * place for place, label in enumerate(LABELS)}
    for number, (name, ids) in enumerate(masks.items(), start=1):
        height, width = map(int, ids.shape)
        images.append({"id": 1000 - number, "file_name": f"{name}.png", "width": width, "height": height})
        for label, text in enumerate(LABELS, start=1):
            if np.any(ids == label):
                annotation = {"id": len(annotations) + 1, "image_id": 1000 - number, "category_id": numbers[text]}
                annotations.append(annotation | {"segmentation": segmentation(ids == label), "iscrowd": 1})
    categories = [{"id": number, "name": text} for text, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.mark.parametrize("segmentation", [compressed, uncompressed])
def test_coco_rle_of_pycocotools_becomes_the_same_masks(tmp_path, segmentation):
    masks = dict(labeled(24))
    for ids in masks.values():
        for label in (1, 2, 3):
            rle = segmentation(ids == label)
            rle = coco.frPyObjects(rle, *rle["size"]) if isinstance(rle["counts"], list) else rle
            assert np.array_equal(coco.decode(rle), ids == label)  # of the test itself
    assert_same(preprocessed(tmp_path, masks, coco_document(masks, segmentation)), masks)


def test_coco_polygons_become_pycocotools_masks_but_for_their_borders(tmp_path):
    masks, polygons = {}, {}
    for number in range(12):
        rng = np.random.default_rng(number)
        width, height = map(int, rng.integers(60, 200, 2))
        corners = rng.integers(4, 30)
        angles = (np.arange(corners) + rng.uniform(0, 0.7, corners)) * 2 * np.pi / corners
        # Past the image too; no spikes, whose tips are matter of the rule.
        radii = min(width, height) * rng.uniform(0.4, 0.55, corners)
        points = np.stack([width / 2 + radii * np.cos(angles), height / 2 + radii * np.sin(angles)], axis=1)
        polygon = [points.round(2).ravel().tolist()]
        name = f"polygon {number:02}"
        masks[name] = (coco.decode(coco.merge(coco.frPyObjects(polygon, height, width))) > 0).astype(np.uint8)
        polygons[masks[name].tobytes()] = polygon
    document = coco_document(masks, lambda mask: polygons[mask.astype(np.uint8).tobytes()])
    found = preprocessed(tmp_path, masks, document)
    assert found.keys() == masks.keys()
    for name, expected in masks.items():
        ring = np.reshape(polygons[expected.tobytes()], (-1, 2)).tolist()
        assert np.array_equal(found[name] > 0, even_odd([ring], *expected.shape[::-1])), name
        # pycocotools rounds to a fifth of a pixel, and its rule is another than pixel centers.
        different = found[name] != expected
        assert not np.any(different & ~near_border(expected, 2)), name
        assert np.count_nonzero(different) <= 0.05 * np.count_nonzero(near_border(expected)), name
