"""Holds our decoder's pixels against PIL's (and the colors that a file was made from, and OpenCV's) on generated and
damaged files: compare.py PROGRAM --count N --seed N [--format NAME]. Prints seeds and counts, and what differs by kind."""
import argparse, collections, io, os, pathlib, re, subprocess, tempfile, warnings
os.environ['OPENCV_LOG_LEVEL'] = 'OFF'
import cv2, numpy as np
from PIL import Image, ImageOps
import make_bmp, make_jpeg, make_png, make_tiff, make_webp

warnings.simplefilter('ignore')
MAKERS = {'JPEG': make_jpeg.make, 'PNG': make_png.make, 'TIFF': make_tiff.make, 'WebP': make_webp.make, 'BMP': make_bmp.make}
# Largest allowed difference of a file's samples. JPEG: PIL's libjpeg-turbo may be another version. Lossy WebP differed nowhere
# when it was measured, so it has no bound of its own.
LIMITS = {'JPEG': 2, 'PNG': 0, 'TIFF': 0, 'WebP': 0, 'BMP': 0}
# Formats whose damaged files may look different, and why, with the largest part of them.
UNSPECIFIED = {'BMP': (0.005, 'no checksums, and runs that leave their row end elsewhere in each decoder'),
               'WebP': (0.02, 'no checksums, and what numbers out of range mean is each decoder\'s own affair')}
# The largest part of the files that damage may turn otherwise than PIL does: it takes no tag of EXIF data behind one whose values
# it cannot find, and we skip only that one.
TURNED = 0.001
# Kinds of undamaged files that we may refuse, and the words by which the refusal names the kind. It must, whatever PIL does.
REFUSALS = {'JPEG': [(r'12-bit', r'JPEG with 12 bits per sample'), (r'lossless (?!8 )', r'lossless JPEG with \d+ bits per sample'),
                     (r'lossless .* behind data', r'lossless JPEG .* extraneous bytes before marker'),
                     (r'arithmetic .* behind data', r'arithmetically coded JPEG .* extraneous bytes before marker')]}
# Beginnings of names whose outcomes are counted apart as well.
RARE = {'JPEG': re.compile(r'12-bit|lossless( 8 bits)?|arithmetic \w+')}


class Program:
    """The decoder's process, which takes paths and answers with pixels."""
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.file = pathlib.Path(tempfile.mkdtemp(prefix='decoders-')) / 'image'

    def decode(self, data):
        """An array, or the reason of a refusal."""
        self.file.write_bytes(data)
        self.process.stdin.write(str(self.file).encode() + b'\n')
        self.process.stdin.flush()
        words = self.process.stdout.readline().decode().rstrip('\n').split(' ', 1)
        if words[0] == 'refused':
            return words[1]
        width, height = map(int, words[1].split())
        return np.frombuffer(self.process.stdout.read(width * height * 3), np.uint8).reshape(height, width, 3)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.file.unlink(missing_ok=True)
        self.file.parent.rmdir()


def by_pil(data):
    """PIL's upright RGB, or the reason of a refusal."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith('I;16'):
            return np.repeat((np.array(image).astype(np.uint16) >> 8).astype(np.uint8)[..., None], 3, 2)
        if image.mode in ('PA', 'La'):
            image = image.convert('RGBA' if image.mode == 'PA' else 'LA')
        return np.array(image.convert('RGB'))
    except Exception as error:
        return f'{type(error).__name__}: {error}'


def by_opencv(data):
    file = np.frombuffer(data, np.uint8)
    image = cv2.imdecode(file, cv2.IMREAD_COLOR)
    if image is None and (gray := cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)) is not None:
        # It makes no colors of a lossless JPEG's grays.
        image = gray[..., None].repeat(3, 2)
    return None if image is None else image[..., ::-1]


def difference(a, b):
    """The largest difference of two arrays' samples; 256 for unlike sizes."""
    return 256 if a.shape != b.shape else int(np.abs(a.astype(int) - b.astype(int)).max(initial=0))


def damage(data, rng):
    """The file with damage, and the name of its kind."""
    kind = int(rng.integers(6))
    at = int(rng.integers(min(8, len(data) - 1), len(data)))
    length = int(rng.integers(1, max(2, len(data) // 3)))
    if kind == 0: return data[:at], 'cut off'
    if kind == 1: return data[:at] + data[at + length:], 'bytes missing'
    if kind == 2: return data[:at] + rng.integers(0, 256, length, dtype=np.uint8).tobytes() + data[at + length:], 'overwritten'
    if kind == 3: return data[:at] + bytes([int(rng.choice([0, 255]))]) * length + data[at + length:], 'overwritten by one byte'
    if kind == 4: return data[:at] + rng.integers(0, 256, int(rng.integers(1, 9)), dtype=np.uint8).tobytes() + data[at:], 'bytes inserted'
    b = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        b[int(rng.integers(min(8, len(data) - 1), len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(b), 'bits flipped'


class Tally:
    def __init__(self, format):
        self.format, self.counts, self.kinds, self.failures = format, collections.Counter(), collections.defaultdict(collections.Counter), []
        self.unspecified = self.turned = 0

    def fail(self, seed, why):
        self.failures.append(f'{self.format} {seed}: {why}')

    def count(self, outcome, name):
        self.counts[outcome] += 1
        if self.format in RARE and (rare := RARE[self.format].match(name)):
            self.kinds['of rare kinds'][f'{rare[0]}: {outcome}'] += 1

    def undamaged(self, seed, name, ours, pil, truth, data):
        limit = LIMITS[self.format]
        if isinstance(ours, str):
            words = next((words for kind, words in REFUSALS.get(self.format, []) if re.match(kind, name)), None)
            if words and not re.search(words, ours):
                self.fail(seed, f'{name}: refused without the words "{words}": {ours}')
            elif isinstance(pil, str):
                self.count('both refuse', name)
                self.kinds['both refuse'][f'{pil[:40]} | {ours[:60]}'] += 1
            elif words:
                self.count('refused by name where PIL reads it', name)
                self.kinds['refused by name where PIL reads it'][f'{name}: {ours[:90]}'] += 1
            else:
                self.fail(seed, f'{name}: PIL reads it, we refuse it: {ours}')
            return
        if truth is not None:
            if difference(ours, truth):
                self.fail(seed, f'{name}: differs by {difference(ours, truth)} from the colors that it was made from')
                return
            if isinstance(pil, str) or difference(ours, pil):
                seen = by_opencv(data)
                referee = 'OpenCV agrees with us' if seen is not None and not difference(seen, truth) else 'OpenCV does not'
                self.kinds['PIL differs from the colors that the file was made from'][f'{name.split(", compression")[0]} ({referee})'] += 1
                self.count('right where PIL is not', name)
                return
        elif isinstance(pil, str):
            self.count('read where PIL refuses', name)
            self.kinds['read where PIL refuses'][f'{name}: {pil[:50]}'] += 1
            return
        apart = difference(ours, pil)
        self.kinds['differences from PIL'][apart] += 1
        if apart > limit:
            self.fail(seed, f'{name}: differs from PIL by {apart}, allowed {limit}')
        else:
            self.count('as PIL', name)

    def damaged(self, seed, name, kind, ours, pil, data):
        limit = LIMITS[self.format]
        if isinstance(ours, str):
            self.count('damaged, refused' + ('' if isinstance(pil, str) else ' where PIL shows something'), name)
            if 'cope' in ours: self.kinds['a panic of a decoder'][name] += 1
        elif isinstance(pil, str):
            self.count('damaged, read where PIL refuses', name)
            self.kinds['damaged, read where PIL refuses'][f'{kind}: {pil[:50]}'] += 1
        elif difference(ours, pil) <= limit:
            self.count('damaged, as PIL', name)
        elif (seen := by_opencv(data)) is not None and difference(ours, seen) <= limit:
            self.count('damaged, as OpenCV and not as PIL', name)
        elif any(difference(ours, make_tiff.turn(pil, orientation)) <= limit for orientation in range(2, 9)):
            self.count('damaged, turned otherwise than by PIL', name)
            self.kinds['damaged, turned otherwise than by PIL'][f'{name}, {kind}'] += 1
            self.turned += 1
        elif self.format in UNSPECIFIED:
            share, why = UNSPECIFIED[self.format]
            self.count(f'damaged, not as PIL ({why})', name)
            self.kinds['damaged, not as PIL'][f'{name}, {kind}: by {difference(ours, pil)}'] += 1
            self.unspecified += 1
        else:
            self.fail(seed, f'{name}, {kind}: differs from PIL by {difference(ours, pil)}')


def run(program, format, count, seed, keep):
    tally = Tally(format)
    for index in range(count):
        rng = np.random.default_rng([seed, index, *format.encode()])
        made = MAKERS[format](rng)
        data, name, truth = made if len(made) == 3 else (*made, None)
        is_damaged = rng.random() < 0.4
        if is_damaged and truth is not None:
            pil = by_pil(data)
            is_damaged = not isinstance(pil, str) and not difference(pil, truth)
        failures = len(tally.failures)
        if is_damaged:
            data, kind = damage(data, rng)
            tally.damaged(index, name, kind, program.decode(data), by_pil(data), data)
        else:
            tally.undamaged(index, name, program.decode(data), by_pil(data), truth, data)
        if keep and len(tally.failures) > failures:
            (pathlib.Path(keep) / f'{format}-{index}').write_bytes(data)
    if tally.unspecified > UNSPECIFIED.get(format, (0, ''))[0] * count:
        tally.fail('all', f'{tally.unspecified} damaged files differ from PIL')
    if tally.turned > 1 + TURNED * count:
        tally.fail('all', f'{tally.turned} damaged files are turned otherwise than by PIL')
    return tally


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('program')
    parser.add_argument('--count', type=int, default=2000)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--format', choices=list(MAKERS))
    parser.add_argument('--keep', help='folder for the files that fail')
    options = parser.parse_args()
    program, passed, failed, skipped = Program(options.program), 0, 0, 0
    if options.format in (None, 'JPEG') and not make_jpeg.JPEGTRAN:
        print('skipped: decoders: arithmetically coded JPEGs: jpegtran is missing (Debian has it in libjpeg-turbo-progs)')
        skipped = 1
    for format in [options.format] if options.format else MAKERS:
        tally = run(program, format, options.count, options.seed, options.keep)
        print(f'{format}: {options.count} files, seed {options.seed}, {len(tally.failures)} failed')
        for name, count in sorted(tally.counts.items()): print(f'  {count:6} {name}')
        for name, kinds in tally.kinds.items():
            print(f'  {name}:')
            for kind, count in kinds.most_common(40): print(f'    {count:6} {kind}')
        for line in tally.failures[:30]: print(f'  FAIL {line}')
        failed += len(tally.failures)
        passed += options.count - len(tally.failures)
    program.close()
    print(f'decoders: {passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed else 0


raise SystemExit(main())
