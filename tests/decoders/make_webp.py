"""WebP files, lossy and lossless, with and without alpha, with EXIF data."""
import io
import numpy as np
from PIL import Image
from exif import exif_data
from make_jpeg import picture


def make(rng):
    alpha, lossless = bool(rng.integers(2)), bool(rng.integers(2))
    options = {'lossless': lossless, 'quality': int(rng.integers(0, 101)), 'method': int(rng.integers(0, 5)), 'exact': bool(rng.integers(2))}
    name = ('lossless' if lossless else 'lossy') + (' alpha' if alpha else '')
    array = picture(rng, 4 if alpha else 3)
    if lossless and rng.integers(2):
        array = array // 64 * 64
    if rng.integers(3) == 0:
        data, form = exif_data(rng, int(rng.integers(1, 9)))
        options['exif'] = (b'Exif\0\0' if rng.integers(2) else b'') + data
        name += ', exif ' + form
    b = io.BytesIO()
    Image.fromarray(array).save(b, 'WEBP', **options)
    return b.getvalue(), name
