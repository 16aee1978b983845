"""TIFF files with the tags that change what samples mean, and the colors that they mean."""
import struct, zlib
import numpy as np


def packbits(data):
    """PackBits: literal runs and repeats."""
    out, at = bytearray(), 0
    while at < len(data):
        run = 1
        while at + run < len(data) and run < 128 and data[at + run] == data[at]:
            run += 1
        if run > 1:
            out += bytes([257 - run, data[at]]); at += run
        else:
            end = at + 1
            while end < len(data) and end - at < 128 and not (end + 1 < len(data) and data[end] == data[end + 1]):
                end += 1
            out += bytes([end - at - 1]) + data[at:end]; at = end
    return bytes(out)


def lzw(data):
    """LZW as in TIFF 6.0: codes with the highest bit first, 'early change'."""
    bits, count, out = 0, 0, bytearray()
    table, width = {bytes([i]): i for i in range(256)}, 9

    def put(code):
        nonlocal bits, count
        bits, count = bits << width | code, count + width
        while count >= 8:
            count -= 8
            out.append(bits >> count & 255)
        bits &= (1 << count) - 1

    put(256)
    word = b''
    for byte in data:
        longer = word + bytes([byte])
        if longer in table:
            word = longer
            continue
        put(table[word])
        table[longer] = len(table) + 2
        if len(table) + 2 > 4093:
            put(256)
            table, width = {bytes([i]): i for i in range(256)}, 9
        elif len(table) + 2 >= (1 << width) - 1 + 1:
            width += 1
        word = bytes([byte])
    if word:
        put(table[word])
        if len(table) + 3 >= (1 << width):
            width = min(12, width + 1)
    put(257)
    if count:
        out.append(bits << (8 - count) & 255)
    return bytes(out)


COMPRESS = {1: bytes, 5: lzw, 8: lambda d: zlib.compress(d), 32946: lambda d: zlib.compress(d, 1), 32773: packbits}
REVERSED = bytes(int(f'{i:08b}'[::-1], 2) for i in range(256))


def pack(samples, bits, order):
    """Rows of samples as bytes, each row padded to whole bytes."""
    height = samples.shape[0]
    flat = samples.reshape(height, -1)
    if bits == 16:
        return flat.astype(order + 'u2').view(np.uint8).reshape(height, -1)
    if bits == 8:
        return flat.astype(np.uint8)
    spread = (flat[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(spread.reshape(height, -1).astype(np.uint8), axis=1)


def encode(samples, bits, order, predictor, compression, fill_order):
    """One strip or tile, an array of rows, columns and channels."""
    if predictor == 2:
        samples = samples.copy()
        samples[:, 1:] = (samples[:, 1:] - samples[:, :-1]) % (1 << bits)
    rows = pack(samples, bits, order)
    if compression == 32773:
        data = b''.join(packbits(row.tobytes()) for row in rows)
    else:
        data = COMPRESS[compression](rows.tobytes())
    return data.translate(REVERSED) if fill_order == 2 else data


def make(rng):
    """A file, its name, and its colors before the orientation."""
    photometric = int(rng.choice([0, 1, 1, 2, 2, 2, 3, 5]))
    bits = int(rng.choice({0: [1, 2, 4, 8, 16], 1: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 5: [8, 16]}[photometric]))
    base = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4}[photometric]
    extra = []
    if bits >= 8 and photometric in (1, 2, 3, 5) and rng.integers(2):
        extra = [int(rng.choice([0, 1, 2] if photometric in (1, 2) else [0]))]
        if photometric == 2:
            extra += [0] * int(rng.integers(0, 3))
    width, height = (int(rng.integers(1, 50)) for _ in range(2))
    top = (1 << bits) - 1
    samples = rng.integers(0, top + 1, (height, width, base + len(extra)))
    if rng.integers(2):
        samples = samples // max(1, (top + 1) // 4) * max(1, (top + 1) // 4)
    order = '<' if rng.integers(2) else '>'
    compression = int(rng.choice(list(COMPRESS)))
    predictor = 2 if bits >= 8 and compression in (5, 8, 32946) and rng.integers(3) == 0 else 1
    planar = 2 if samples.shape[2] > 1 and rng.integers(3) == 0 else 1
    fill_order = 2 if rng.integers(4) == 0 else 1
    tiled = bool(rng.integers(3) == 0)
    narrow = (samples >> 8 if bits == 16 else samples).astype(np.int64)
    if extra[:1] == [1]:
        # Colors that are multiplied by alpha are never larger than alpha.
        alpha = samples[..., base:base + 1]
        samples[..., :base] = samples[..., :base] * alpha // top
        narrow = (samples >> 8 if bits == 16 else samples).astype(np.int64)
        alpha = narrow[..., base:base + 1]
        narrow[..., :base] = np.where(alpha > 0, np.minimum(255, narrow[..., :base] * 255 // np.maximum(alpha, 1)), 0)
    palette, map_bits = None, 16
    if photometric == 3:
        map_bits = int(rng.choice([8, 16, 16]))
        palette = rng.integers(0, 256, (3, top + 1))
        palette[0, 0] = 200
        colors = palette.T[narrow[..., 0]]
    elif photometric in (0, 1):
        gray = narrow[..., :1] * (255 // (top if bits < 8 else 255))
        colors = (255 - gray if photometric == 0 else gray).repeat(3, 2)
    elif photometric == 2:
        colors = narrow[..., :3]
    else:
        nk = 255 - narrow[..., 3:4]
        product = narrow[..., :3] * nk + 128
        colors = np.clip(nk - ((product >> 8) + product >> 8), 0, 255)
    orientation = int(rng.integers(1, 9)) if rng.integers(3) == 0 else 1
    chunks, tags = [], {}
    side = (int(rng.choice([16, 32])), int(rng.choice([16, 32]))) if tiled else (width, int(rng.integers(1, height + 1)))
    planes = [samples[..., i:i + 1] for i in range(samples.shape[2])] if planar == 2 else [samples]
    for plane in planes:
        for y in range(0, height, side[1]):
            for x in range(0, width, side[0]):
                part = plane[y:y + side[1], x:x + side[0]]
                if tiled:
                    part = np.pad(part, ((0, side[1] - part.shape[0]), (0, side[0] - part.shape[1]), (0, 0)), 'edge')
                chunks.append(encode(part, bits, order, predictor, compression, fill_order))
    tags[256], tags[257] = (4, [width]), (int(rng.choice([3, 4])), [height])
    tags[258] = (3, [bits] * samples.shape[2])
    tags[259], tags[262] = (3, [compression]), (3, [photometric])
    if fill_order == 2 or rng.integers(4) == 0: tags[266] = (3, [fill_order])
    tags[277] = (3, [samples.shape[2]])
    if planar == 2 or rng.integers(2): tags[284] = (3, [planar])
    if orientation != 1: tags[274] = (int(rng.choice([3, 4])), [orientation])
    if predictor == 2: tags[317] = (3, [2])
    if palette is not None: tags[320] = (3, (palette if map_bits == 8 else palette * 257).reshape(-1).tolist())
    if extra: tags[338] = (3, extra)
    lengths = [len(c) for c in chunks]
    if tiled: tags[322], tags[323], tags[325] = (3, [side[0]]), (3, [side[1]]), (4, lengths)
    else: tags[278], tags[279] = (3, [side[1]]), (4, lengths)
    tags[324 if tiled else 273] = (4, None)
    name = f'photometric {photometric}, {bits} bits'
    if extra: name += f', extra {extra}'
    if planar == 2: name += ', planes'
    if fill_order == 2: name += ', fill order 2'
    if tiled: name += ', tiles'
    if predictor == 2: name += ', predictor'
    if palette is not None and map_bits == 8: name += ', 8-bit color map'
    if orientation != 1: name += f', orientation {orientation}'
    if compression != 1: name += f', compression {compression}'
    return write(chunks, tags, order, tiled), name, turn(colors.astype(np.uint8), orientation)


def write(chunks, tags, order, tiled):
    """The file: a header, the data, the directory, and the values that do not fit into it."""
    offsets, at = [], 8
    for c in chunks:
        offsets.append(at); at += len(c) + len(c) % 2
    tags[324 if tiled else 273] = (4, offsets)
    data = b''.join(c + bytes(len(c) % 2) for c in chunks)
    outside, entries = b'', b''
    start = at + 2 + 12 * len(tags) + 4
    for tag in sorted(tags):
        kind, values = tags[tag]
        packed = struct.pack(order + ('H' if kind == 3 else 'I') * len(values), *values)
        if len(packed) > 4:
            entries += struct.pack(order + 'HHII', tag, kind, len(values), start + len(outside))
            outside += packed + bytes(len(packed) % 2)
        else:
            entries += struct.pack(order + 'HHI', tag, kind, len(values)) + packed.ljust(4, b'\0')
    head = (b'II*\0' if order == '<' else b'MM\0*') + struct.pack(order + 'I', at)
    return head + data + struct.pack(order + 'H', len(tags)) + entries + bytes(4) + outside


def turn(a, orientation):
    """Turns stored pixels upright."""
    if orientation >= 5: a = a.transpose(1, 0, 2)
    if orientation in (2, 3, 7, 6): a = a[:, ::-1]
    if orientation in (3, 4, 7, 8): a = a[::-1]
    return np.ascontiguousarray(a)
