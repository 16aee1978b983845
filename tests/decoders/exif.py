"""EXIF data with an orientation, in the forms that cameras and editors write."""
import struct


def exif_data(rng, orientation):
    """EXIF data and the name of their form."""
    big = bool(rng.integers(2))
    order = '>' if big else '<'
    kind = int(rng.choice([3, 4]))
    value = struct.pack(order + ('HH' if kind == 3 else 'I'), *((orientation, 0) if kind == 3 else (orientation,)))
    entries = [struct.pack(order + 'HHI', 0x112, kind, 1) + value]
    if rng.integers(2):
        entries.insert(0, struct.pack(order + 'HHII', 0x10f, 2, 6, 60))
    if rng.integers(2):
        entries.append(struct.pack(order + 'HHII', 0x8769, 4, 1, 70))
    head = (b'MM\0*\0\0\0\x08' if big else b'II*\0\x08\0\0\0') + struct.pack(order + 'H', len(entries))
    data = head + b''.join(entries) + b'\0\0\0\0'
    data += bytes(60 - len(data)) + b'maker\0' + bytes(20) if len(data) < 60 else bytes(20)
    return data, f'{"big" if big else "little"} {"SHORT" if kind == 3 else "LONG"} {orientation}'


def raw_profile(data):
    """A profile as ImageMagick writes it."""
    digits = data.hex()
    lines = [digits[i:i + 72] for i in range(0, len(digits), 72)]
    return f'\nexif\n{len(data):8}\n'.encode() + '\n'.join(lines).encode() + b'\n'
