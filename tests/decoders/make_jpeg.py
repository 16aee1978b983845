"""JPEG files of many kinds, and the oddities that change no pixel."""
import io, shutil, struct, subprocess
import cv2, imagecodecs, numpy as np
from PIL import Image
from exif import exif_data
from make_tiff import turn

# Codes a JPEG's coefficients arithmetically. Without it other JPEGs take the place of these.
JPEGTRAN = shutil.which('jpegtran')


def picture(rng, channels):
    """Smooth colors with some noise, as photographs have."""
    height, width = (int(rng.integers(1, 90)) for _ in range(2))
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for _ in range(channels):
        a, b, c = rng.random(3)
        planes.append(128 + 90 * np.sin(x / (3 + 30 * a)) * np.cos(y / (3 + 30 * b)) + 30 * c)
    array = np.stack(planes, -1) + rng.normal(0, float(rng.choice([0, 5, 40])), (height, width, channels))
    return array.clip(0, 255).astype(np.uint8)


def segment(marker, content):
    return bytes([0xff, marker]) + struct.pack('>H', len(content) + 2) + content


def markers(jpeg):
    """Offsets of markers with their codes, those in a scan's data included."""
    at, found, in_scan = 2, [], False
    while at < len(jpeg) - 1:
        at = jpeg.index(b'\xff', at)
        code = jpeg[at + 1]
        if code in (0, 0xff):
            at += 1 if code else 2
            continue
        found.append((at, code))
        if code == 0xd9:
            return found
        at += 2 if 0xd0 <= code <= 0xd8 or code == 1 else 2 + int.from_bytes(jpeg[at + 2:at + 4], 'big')
    return found


def oddity(jpeg, rng):
    """The file with something odd that changes no pixel."""
    kind = int(rng.integers(7))
    places = markers(jpeg)
    if kind == 0:
        at = jpeg.find(b'JFIF\0')
        if at > 0:
            return jpeg[:at + 5] + bytes([int(rng.choice([0, 2, 3]))]) + jpeg[at + 6:], 'JFIF version'
        kind = 2
    if kind == 1:
        at = jpeg.find(b'Adobe')
        if at < 0 and b'JFIF\0' in jpeg:
            adobe = segment(0xee, b'Adobe\0\x64\0\0\0\0' + bytes([int(rng.integers(3, 200))]))
            return jpeg[:2] + adobe + jpeg[2:], 'Adobe transform'
        kind = 2
    if kind == 2:
        number = bytes(rng.integers(0, 4, 2, dtype=np.uint8))
        return jpeg[:2] + segment(0xe2, b'ICC_PROFILE\0' + number + b'xyz') + jpeg[2:], 'ICC part'
    if kind == 3:
        sequential = [c for _, c in places if c in (0xc0, 0xc1, 0xc9)]
        if sequential:
            numbers = rng.choice([0, 1, 17, 63, 64, 255], 3).astype(np.uint8).tobytes()
            for at, code in reversed(places):
                if code == 0xda:
                    end = at + 2 + int.from_bytes(jpeg[at + 2:at + 4], 'big')
                    jpeg = jpeg[:end - 3] + numbers + jpeg[end:]
            return jpeg, 'SOS numbers'
        kind = 4
    scan = next(i for i, (_, code) in enumerate(places) if code == 0xda)
    if kind == 4:
        at = places[int(rng.integers(0, scan + 1))][0]
        stray = rng.integers(0, 255, int(rng.integers(1, 60)), dtype=np.uint8).tobytes()
        return jpeg[:at] + stray + jpeg[at:], 'stray bytes between segments'
    at = places[int(rng.integers(scan + 1, len(places)))]
    if at[1] == 0xda or not (0xd0 <= at[1] <= 0xd9):
        at = places[-1]
    if kind == 5:
        return jpeg[:at[0]] + bytes(int(rng.integers(1, 40))) + jpeg[at[0]:], 'zeros behind data'
    few = rng.integers(0, 255, int(rng.integers(1, 9)), dtype=np.uint8).tobytes()
    return jpeg[:at[0]] + few + jpeg[at[0]:], 'few bytes behind data'


def make_lossy(kind, rng):
    """A file that PIL or OpenCV writes, its name, and that of its EXIF data."""
    b = io.BytesIO()
    options = {'quality': int(rng.integers(5, 101)), 'optimize': bool(rng.integers(2)),
               'progressive': bool(rng.integers(2))}
    if rng.integers(3) == 0:
        options['restart_marker_blocks' if rng.integers(2) else 'restart_marker_rows'] = int(rng.integers(1, 8))
    exif_form = ''
    if rng.integers(3) == 0:
        data, exif_form = exif_data(rng, int(rng.integers(1, 9)))
        options['exif'] = b'Exif\0\0' + data
    if kind == 0:
        name = 'gray'
        Image.fromarray(picture(rng, 1)[..., 0]).save(b, 'JPEG', **options)
    elif kind in (1, 2):
        options['subsampling'] = int(rng.integers(3))
        options['keep_rgb'] = kind == 2 and bool(rng.integers(2))
        if options['keep_rgb']:
            del options['subsampling']
        name = 'RGB' if options['keep_rgb'] else f'YCbCr {options["subsampling"]}'
        Image.fromarray(picture(rng, 3)).save(b, 'JPEG', **options)
    elif kind in (3, 4):
        name = 'CMYK'
        Image.fromarray(picture(rng, 4), 'CMYK').save(b, 'JPEG', **options)
    else:
        factor = int(rng.choice([0x411111, 0x221111, 0x211111, 0x121111, 0x111111]))
        name = f'YCbCr {factor:x}'
        exif_form = ''
        ok, data = cv2.imencode('.jpg', picture(rng, 3), [
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_QUALITY, options['quality'],
            cv2.IMWRITE_JPEG_PROGRESSIVE, int(options['progressive']), cv2.IMWRITE_JPEG_RST_INTERVAL,
            int(rng.choice([0, 0, 3]))])
        b.write(data.tobytes())
    jpeg = b.getvalue()
    if options['progressive']: name += ' progressive'
    if 'restart_marker_blocks' in options or 'restart_marker_rows' in options: name += ' restarts'
    if name.startswith('CMYK') and kind == 4:
        at = jpeg.find(b'Adobe')
        if at > 0:
            jpeg, name = jpeg[:at + 11] + b'\x02' + jpeg[at + 12:], name.replace('CMYK', 'YCCK')
    return jpeg, name, f', exif {exif_form}' if exif_form else ''


def with_exif(jpeg, rng):
    """A third of the files with EXIF data, its name, and the orientation."""
    if rng.integers(3):
        return jpeg, '', 1
    orientation = int(rng.integers(1, 9))
    data, form = exif_data(rng, orientation)
    return jpeg[:2] + segment(0xe1, b'Exif\0\0' + data) + jpeg[2:], ', exif ' + form, orientation


def squeezed(array):
    """The array without the last axis of a gray picture."""
    return array[..., 0] if array.shape[-1] == 1 else array


def make_12_bit(rng):
    """A file with 12 bits per sample (SOF1), which PIL's library does not read for it."""
    channels = int(rng.choice([1, 3, 4]))
    array = picture(rng, channels).astype(np.uint16) * 16 + int(rng.integers(16))
    sampling = str(rng.choice(['444', '422', '420', '411', '440']))
    jpeg = imagecodecs.jpeg8_encode(squeezed(array), int(rng.integers(5, 101)), bitspersample=12, subsampling=sampling)
    return bytes(jpeg), '12-bit ' + {1: 'gray', 3: 'YCbCr ' + sampling, 4: 'CMYK'}[channels]


def make_lossless(rng):
    """A lossless file (SOF3), its name, and its colors if it has 8 bits and no inks."""
    channels = int(rng.choice([1, 1, 3, 3, 4]))
    bits = 8 if rng.integers(4) else int(rng.choice([2, 5, 7, 9, 10, 12, 14, 16]))
    array = picture(rng, channels)
    if bits != 8:
        array = (array.astype(np.uint16) << 8 >> (16 - bits)).astype(np.uint8 if bits < 8 else np.uint16)
    elif rng.integers(4) == 0:
        array = rng.integers(0, 256, array.shape, dtype=np.uint8)
    name = f'lossless {bits} bits ' + {1: 'gray', 3: 'RGB', 4: 'CMYK'}[channels]
    if channels == 1 and bits >= 8 and rng.integers(2):
        jpeg, name = bytes(imagecodecs.ljpeg_encode(array[..., 0], bitspersample=bits)), name + ' by lj92'
    else:
        predictor = int(rng.integers(1, 8))
        jpeg = bytes(imagecodecs.jpeg8_encode(squeezed(array), lossless=True, predictor=predictor, bitspersample=bits))
        name += f' predictor {predictor}'
    if channels == 3 and rng.integers(2):
        # As in DICOM: components 1, 2 and 3, and no marker that tells colors.
        at = jpeg.index(b'\xff\xee')
        jpeg = jpeg[:at] + jpeg[at + 16:]
        jpeg = jpeg.replace(b'R\x11\0G\x11\0B\x11\0', b'\1\x11\0\2\x11\0\3\x11\0', 1)
        jpeg, name = jpeg.replace(b'\3R\0G\0B\0', b'\3\1\0\2\0\3\0', 1), name + ' without marker'
    return jpeg, name, array.repeat(3 // channels, 2) if bits == 8 and channels < 4 else None


def arithmetic(jpeg, name, rng):
    """The file with its coefficients coded arithmetically (SOF9, SOF10), and its name."""
    command = [JPEGTRAN, '-copy', 'all', '-arithmetic'] + ['-progressive'] * ('progressive' in name)
    if 'restarts' in name:
        command += ['-restart', f'{rng.integers(1, 8)}' + 'B' * int(rng.integers(2))]
    done = subprocess.run(command, input=jpeg, capture_output=True, check=True)
    return done.stdout, 'arithmetic ' + name


def make(rng):
    """A file, its name, and its colors where these are known exactly."""
    kind = int(rng.integers(9))
    colors = None
    if kind == 6:
        jpeg, name = make_12_bit(rng)
        jpeg, exif, _ = with_exif(jpeg, rng)
    elif kind == 7:
        jpeg, name, colors = make_lossless(rng)
        jpeg, exif, orientation = with_exif(jpeg, rng)
        colors = None if colors is None else turn(colors, orientation)
    else:
        jpeg, name, exif = make_lossy(int(rng.integers(6)) if kind == 8 else kind, rng)
        if kind == 8 and JPEGTRAN:
            jpeg, name = arithmetic(jpeg, name, rng)
    name += exif
    if rng.integers(3) == 0:
        jpeg, odd = oddity(jpeg, rng)
        name += ', odd: ' + odd
    return jpeg, name, colors
