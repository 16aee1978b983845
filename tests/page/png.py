"""Reads PNG files of 8 bits: enough to hold the page's masks against the server's."""

import struct
import zlib

CHANNELS = {0: 1, 2: 3, 3: 1, 6: 4}  # Gray, RGB, palette, RGBA.


class Png:
    def __init__(self, data):
        if data[:8] != b"\x89PNG\r\n\x1a\n":
            raise ValueError("this is no PNG")
        at, packed, self.palette = 8, b"", []
        while at < len(data):
            (length,), name = struct.unpack(">I", data[at:at + 4]), data[at + 4:at + 8]
            body = data[at + 8:at + 8 + length]
            (crc,) = struct.unpack(">I", data[at + 8 + length:at + 12 + length])
            if crc != zlib.crc32(name + body):
                raise ValueError(f"the checksum of {name} is wrong")
            if name == b"IHDR":
                self.width, self.height, depth, self.color, _, _, interlaced = struct.unpack(">IIBBBBB", body)
                if depth != 8 or interlaced:
                    raise ValueError(f"depth {depth}, interlaced {interlaced}")
            elif name == b"PLTE":
                self.palette = [tuple(body[i:i + 3]) for i in range(0, length, 3)]
            elif name == b"IDAT":
                packed += body
            at += 12 + length
        self.channels = CHANNELS[self.color]
        self.rows = self._unfiltered(zlib.decompress(packed))

    def _unfiltered(self, data):
        stride, step = self.width * self.channels, self.channels
        rows, before = [], bytearray(stride)
        for y in range(self.height):
            kind = data[y * (stride + 1)]
            row = bytearray(data[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
            for x in range(stride if kind else 0):
                left = row[x - step] if x >= step else 0
                up, corner = before[x], before[x - step] if x >= step else 0
                if kind == 1:
                    guess = left
                elif kind == 2:
                    guess = up
                elif kind == 3:
                    guess = (left + up) // 2
                else:
                    guess = min((left, up, corner), key=lambda near: abs(left + up - corner - near))
                row[x] = (row[x] + guess) & 255
            rows.append(bytes(row))
            before = row
        return rows

    def at(self, x, y):
        pixel = self.rows[y][x * self.channels:(x + 1) * self.channels]
        return pixel[0] if self.channels == 1 else tuple(pixel)
