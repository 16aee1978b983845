"""BMP files of every kind that PIL reads: palettes, runs, bit fields, either order of rows."""
import struct
import numpy as np


def header(width, height, bits, compression, masks, palette, data, size):
    """The two headers, the masks, and the palette."""
    if size == 12:
        info = struct.pack('<IHHHH', 12, width, height, 1, bits)
        table = b''.join(bytes(color[::-1]) for color in palette)
    else:
        info = struct.pack('<IiiHHIIiiII', size, width, height, 1, bits, compression, len(data), 2835, 2835, len(palette), 0)
        if size > 40:
            info += struct.pack('<IIII', *(masks or (0, 0, 0, 0)))
            info += bytes(size - len(info))
        elif compression == 3:
            info += struct.pack('<III', *masks[:3])
        table = b''.join(bytes(color[::-1]) + b'\0' for color in palette)
    offset = 14 + len(info) + len(table)
    return b'BM' + struct.pack('<IHHI', offset + len(data), 0, 0, offset) + info + table


def rows(indices, bits):
    """Rows of palette indices, each padded to 4 bytes."""
    spread = (indices[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    packed = np.packbits(spread.reshape(indices.shape[0], -1).astype(np.uint8), axis=1)
    return np.pad(packed, ((0, 0), (0, -packed.shape[1] % 4))).tobytes()


def runs(indices, bits, rng):
    """Runs (RLE8 or RLE4), with literal runs. Some rows end early, where their last pixels have the first color."""
    out = b''
    for row in indices:
        at, row = 0, row.tolist()
        end = len(row)
        while end > 1 and row[end - 1] == 0 and rng.integers(2):
            end -= 1
        row = row[:end]
        while at < len(row):
            run = 1
            while at + run < len(row) and run < 255 and row[at + run] == row[at]:
                run += 1
            literal = row[at:at + 5]
            if run == 1 and len(literal) >= 3:
                if bits == 4:
                    pairs = literal + [0] * (len(literal) % 2)
                    data = bytes(a << 4 | b for a, b in zip(pairs[::2], pairs[1::2]))
                else:
                    data = bytes(literal)
                out += bytes([0, len(literal)]) + data + bytes(len(data) % 2)
                at += len(literal)
            else:
                out += bytes([run, row[at] << 4 | row[at] if bits == 4 else row[at]])
                at += run
        out += b'\0\0'
    return out + b'\0\1'


def make(rng):
    width, height = (int(rng.integers(1, 50)) for _ in range(2))
    kind = str(rng.choice(['1', '4', '8', 'rle4', 'rle8', '16', '565', '24', '32', 'fields']))
    size = 12 if kind in ('1', '4', '8', '24') and rng.integers(5) == 0 else 40
    top_down = size > 12 and not kind.startswith('rle') and bool(rng.integers(3) == 0)
    palette, masks, compression, bits = [], None, 0, 8
    if kind in ('1', '4', '8', 'rle4', 'rle8'):
        bits = {'1': 1, '4': 4, '8': 8, 'rle4': 4, 'rle8': 8}[kind]
        count = 1 << bits if size == 12 else int(rng.integers(2, (1 << bits) + 1))
        palette = rng.integers(0, 256, (count, 3)).tolist()
        indices = rng.integers(0, count, (height, width))
        if rng.integers(2): indices[:] = indices[:, :1]
        if rng.integers(3) == 0: indices[:, -int(rng.integers(1, 9)):] = 0
        if kind.startswith('rle'):
            data, compression = runs(indices, bits, rng), 1 if bits == 8 else 2
        else:
            data = rows(indices, bits)
    elif kind in ('24', '32'):
        bits = int(kind)
        samples = rng.integers(0, 256, (height, width, bits // 8), dtype=np.uint8).reshape(height, -1)
        data = np.pad(samples, ((0, 0), (0, -samples.shape[1] % 4))).tobytes()
    else:
        bits = 32 if kind == 'fields' else 16
        samples = rng.integers(0, 1 << bits, (height, width), dtype=np.uint64).astype(f'<u{bits // 8}').view(np.uint8).reshape(height, -1)
        data = np.pad(samples, ((0, 0), (0, -samples.shape[1] % 4))).tobytes()
        if kind == '565':
            masks, compression = (0xf800, 0x7e0, 0x1f, 0), 3
        if kind == 'fields':
            masks, compression = ((0xff0000, 0xff00, 0xff, 0), (0xff, 0xff00, 0xff0000, 0), (0xff000000, 0xff0000, 0xff00, 0))[int(rng.integers(3))], 3
            size = int(rng.choice([40, 56, 108, 124]))
            if size > 40 and rng.integers(2) and masks[0] != 0xff000000:
                masks = masks[:3] + (0xff000000,)
    name = kind + (', core header' if size == 12 else '') + (', top down' if top_down else '')
    return header(width, -height if top_down else height, bits, compression, masks, palette, data, size) + data, name
