"""Pictures of noise and masks for them, and the annotations that Label Studio's brush makes of such masks."""

import io

import numpy as np
from label_studio_sdk.converter import brush
from PIL import Image

COLORS = {"road": "#ff0000", "car": "#00ff00", "árvore 树": "#0000ff"}
LABELS = list(COLORS)
LABEL_CONFIG = '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">{}</BrushLabels></View>'.format(
    "".join(f'<Label value="{label}" background="{color}"/>' for label, color in COLORS.items())
)


class Picture:
    """A picture, its mask of class ids, and the name that it has in its storage.

    Noise does not compress: a picture has about 100 kB, so that a slow network can be cut in its middle.
    """

    def __init__(self, seed, name):
        rng = np.random.default_rng(seed)
        height, width = rng.integers(150, 230, 2)
        self.name = name
        self.ids = _random_ids(rng, height, width)
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(file, "png")
        self.data = file.getvalue()

    def regions(self):
        """Returns the picture's brush regions as Label Studio's editor submits them."""
        height, width = map(int, self.ids.shape)
        regions = []
        for number, label in enumerate(LABELS, start=1):
            if not np.any(self.ids == number):
                continue
            rle = brush.mask2rle((self.ids == number) * np.uint8(255))
            regions.append({
                "id": f"region{number}", "type": "brushlabels", "from_name": "brush", "to_name": "image", "origin": "manual",
                "original_width": width, "original_height": height, "image_rotation": 0,
                "value": {"format": "rle", "rle": rle, "brushlabels": [label]},
            })
        return regions


def _random_ids(rng, height, width):
    """Draws a disc for each class, and scatters single pixels of all classes, which are hard to encode."""
    ids = np.zeros((height, width), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for number in range(1, len(LABELS) + 1):
        distance = np.hypot(columns - rng.integers(width), rows - rng.integers(height))
        ids[distance < rng.integers(10, 60)] = number
    scattered = rng.random((height, width)) < 0.02
    ids[scattered] = rng.integers(0, len(LABELS) + 1, np.count_nonzero(scattered))
    return ids
