"""PNG files of every color type, depth and filter, interlaced or not, with EXIF data in every form."""
import struct, zlib
import numpy as np
from exif import exif_data, raw_profile

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(name, data):
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def rows(samples, depth, rng):
    """Filtered rows of samples, an array of rows, columns and channels."""
    height, width, channels = samples.shape
    if not height or not width:
        return b''
    flat = samples.reshape(height, -1)
    if depth == 16:
        data = flat.astype('>u2').view(np.uint8).reshape(height, -1)
    elif depth == 8:
        data = flat.astype(np.uint8)
    else:
        bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        data = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    step = max(1, channels * depth // 8)
    out, above = [], np.zeros(data.shape[1], np.int64)
    for row in data.astype(np.int64):
        left = np.concatenate([np.zeros(step, np.int64), row])[:len(row)]
        corner = np.concatenate([np.zeros(step, np.int64), above])[:len(row)]
        kind = int(rng.integers(5))
        estimate = left + above - corner
        a, b, c = abs(estimate - left), abs(estimate - above), abs(estimate - corner)
        paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, above, corner))
        guess = (0, left, above, (left + above) // 2, paeth)[kind]
        out.append(bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes())
        above = row
    return b''.join(out)


def make(rng):
    color = int(rng.choice([0, 2, 3, 4, 6]))
    depth = int(rng.choice(DEPTHS[color]))
    width, height = (int(rng.integers(1, 40)) for _ in range(2))
    interlaced = bool(rng.integers(2))
    count = 1 << depth
    palette = None
    if color == 3:
        palette = rng.integers(0, 256, (int(rng.integers(1, count + 1)), 3), dtype=np.uint8)
        count = len(palette)
    samples = rng.integers(0, count, (height, width, CHANNELS[color]))
    if rng.integers(2):
        samples = samples[:1, :1] * np.ones_like(samples)
    name = f'color {color}, depth {depth}' + (', interlaced' if interlaced else '')
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in PASSES] if interlaced else [samples]
    data = zlib.compress(b''.join(rows(part, depth, rng) for part in parts), int(rng.integers(0, 10)))
    chunks = [chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, color, 0, 0, interlaced))]
    late = []
    if rng.integers(3) == 0:
        orientation = int(rng.integers(1, 9))
        exif, form = exif_data(rng, orientation)
        kind = int(rng.integers(5))
        if kind == 0: extra = chunk(b'eXIf', exif)
        elif kind == 1: extra = chunk(b'eXIf', b'Exif\0\0' + exif)
        elif kind == 2: extra = chunk(b'tEXt', b'Raw profile type exif\0' + raw_profile(b'Exif\0\0' + exif))
        elif kind == 3: extra = chunk(b'zTXt', b'Raw profile type exif\0\0' + zlib.compress(raw_profile(b'Exif\0\0' + exif)))
        else: extra = chunk(b'iTXt', b'Raw profile type exif\0\0\0\0\0' + raw_profile(exif))
        name += f', exif {form} in form {kind}'
        (chunks if rng.integers(2) else late).append(extra)
    if palette is not None:
        chunks.append(chunk(b'PLTE', palette.tobytes()))
        if rng.integers(2):
            chunks.append(chunk(b'tRNS', rng.integers(0, 256, int(rng.integers(1, len(palette) + 1)), dtype=np.uint8).tobytes()))
    elif color in (0, 2) and rng.integers(3) == 0:
        chunks.append(chunk(b'tRNS', b''.join(struct.pack('>H', int(v)) for v in samples[0, 0])))
    if rng.integers(4) == 0:
        chunks.append(chunk(b'gAMA', struct.pack('>I', 45455)))
    cuts = sorted(rng.integers(0, len(data) + 1, int(rng.integers(0, 3))).tolist())
    for start, end in zip([0] + cuts, cuts + [len(data)]):
        chunks.append(chunk(b'IDAT', data[start:end]))
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunks + late) + chunk(b'IEND', b''), name
