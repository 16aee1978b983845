#!/usr/bin/env python3
"""torchvision's DataLoader at the built-in algorithm's defaults: the peer that benches/loader.rs is measured against.

  loader.py make DIR WIDTH HEIGHT COUNT    write a data set of pictures with the spectrum of photographs
  loader.py time DIR pil|tensor|all [...]  load batches, print {"images": n, "wall": seconds, "processor": seconds}

Both recipes scale the longer side to 520 times 0.5 to 2, mirror, pad with black and 255, cut 240 x 240, and normalize.
pil     torchvision's references/segmentation: PIL decodes and scales, then tensors
tensor  torchvision.io decodes JPEG to a tensor, transforms.v2 scale it; palette masks are still read by PIL, since
        torchvision.io expands palettes to colors
all     the same with every augmentation that maskmaker has, by transforms.v2 at maskmaker's default strengths, on the crop
Processor seconds are user and system time of the process and its workers. Needs torch, torchvision, numpy, pillow.
"""

import argparse
import json
import os
import random
import resource
import time
import warnings

import numpy as np
from PIL import Image

BASE, CROP = 520, 240


def spectrum_noise(rng, shape, exponent):
    """Noise whose amplitude falls with frequency to the given power, of mean 0 and deviation 1."""
    height, width = shape[:2]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal(shape), axes=(0, 1)) / frequency[:, :, None] ** exponent
    noise = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    return (noise - noise.mean((0, 1))) / noise.std((0, 1))


def make(folder, width, height, count):
    """Amplitudes near 1/f, as in photographs; 500 x 375 at quality 90 gives about 90 kB, as in Pascal VOC."""
    images, masks = os.path.join(folder, "train"), os.path.join(folder, "train_annotation")
    os.makedirs(images, exist_ok=True)
    os.makedirs(masks, exist_ok=True)
    palette = np.random.default_rng(0).integers(0, 256, 768).tolist()
    for number in range(count):
        rng = np.random.default_rng(number)
        light = spectrum_noise(rng, (height, width, 1), 1.2)
        color = spectrum_noise(rng, (height, width, 3), 1.4)
        pixels = np.clip(118 + 52 * light + 14 * color, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(os.path.join(images, f"{number:04}.jpg"), quality=90)
        ids = spectrum_noise(rng, (height, width, 6), 1.8).argmax(2).astype(np.uint8)
        mask = Image.fromarray(ids, mode="P")
        mask.putpalette(palette)
        mask.save(os.path.join(masks, f"{number:04}.png"))


def scaled_size(width, height):
    scale = BASE * random.uniform(0.5, 2.0) / max(width, height)
    return max(1, round(height * scale)), max(1, round(width * scale))


def data_set(folder, recipe):
    import torch
    from torchvision import tv_tensors
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F1
    from torchvision.transforms import v2
    from torchvision.transforms.v2 import functional as F2

    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    names = sorted(name[:-4] for name in os.listdir(os.path.join(folder, "train")))

    def corner(height, width):
        return random.randint(0, height - CROP), random.randint(0, width - CROP)

    def pil(image, mask):
        image, mask = Image.open(image).convert("RGB"), Image.open(mask)
        size = scaled_size(*image.size)
        image = F1.resize(image, size, antialias=True)
        mask = F1.resize(mask, size, interpolation=InterpolationMode.NEAREST)
        if random.random() < 0.5:
            image, mask = F1.hflip(image), F1.hflip(mask)
        right, below = max(0, CROP - size[1]), max(0, CROP - size[0])
        if right or below:
            image, mask = F1.pad(image, (0, 0, right, below), fill=0), F1.pad(mask, (0, 0, right, below), fill=255)
        top, left = corner(max(size[0], CROP), max(size[1], CROP))
        image, mask = F1.crop(image, top, left, CROP, CROP), F1.crop(mask, top, left, CROP, CROP)
        image = F1.normalize(F1.convert_image_dtype(F1.pil_to_tensor(image), torch.float), mean, deviation)
        return image, torch.as_tensor(np.array(mask), dtype=torch.int64)

    def tensor(image, mask, augment=None):
        image = decode_jpeg(read_file(image), mode=ImageReadMode.RGB)
        mask = tv_tensors.Mask(torch.from_numpy(np.array(Image.open(mask)))[None])
        size = scaled_size(image.shape[2], image.shape[1])
        image, mask = F2.resize(image, size, antialias=True), F2.resize(mask, size)
        if not augment and random.random() < 0.5:
            image, mask = F2.horizontal_flip(image), F2.horizontal_flip(mask)
        right, below = max(0, CROP - size[1]), max(0, CROP - size[0])
        if right or below:
            image, mask = F2.pad(image, [0, 0, right, below], fill=0), F2.pad(mask, [0, 0, right, below], fill=255)
        top, left = corner(max(size[0], CROP), max(size[1], CROP))
        image, mask = F2.crop(image, top, left, CROP, CROP), F2.crop(mask, top, left, CROP, CROP)
        if augment:
            image, mask = augment(image, mask)
        image = F2.normalize(F2.to_dtype(image, torch.float, scale=True), mean, deviation)
        return image, torch.as_tensor(mask[0], dtype=torch.int64)

    warnings.filterwarnings("ignore", "RandomErasing")  # It leaves the mask, as is meant here.
    outside = {tv_tensors.Image: 0, tv_tensors.Mask: 255}
    flips = [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
    warps = [
        v2.RandomRotation(10, InterpolationMode.BILINEAR, fill=outside),
        v2.RandomPerspective(0.3, 0.5, InterpolationMode.BILINEAR, fill=outside),
    ]
    colors = [
        v2.ColorJitter(0.3, 0.3, 0.3, 0.075),
        v2.RandomApply([v2.GaussianBlur(13, (0.01, 2.0))], 0.5),
        v2.RandomApply([v2.Compose([v2.ToDtype({tv_tensors.Image: torch.float, "others": None}, scale=True),
                                    v2.GaussianNoise(sigma=0.025),
                                    v2.ToDtype({tv_tensors.Image: torch.uint8, "others": None}, scale=True)])], 0.5),
        v2.RandomApply([v2.JPEG((30, 100))], 0.5),
        v2.RandomErasing(0.5, scale=(0.01, 0.04)),
    ]
    augment = v2.Compose(flips + warps + colors)

    def every(image, mask):
        return tensor(image, mask, lambda image, mask: augment(tv_tensors.Image(image), tv_tensors.Mask(mask)))

    transform = {"pil": pil, "tensor": tensor, "all": every}[recipe]

    class Folder(torch.utils.data.Dataset):
        def __len__(self):
            return len(names)

        def __getitem__(self, index):
            name = names[index % len(names)]
            parts = ("train", name + ".jpg"), ("train_annotation", name + ".png")
            return transform(*(os.path.join(folder, *part) for part in parts))

    return Folder()


def processor_seconds():
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(args):
    import torch

    torch.set_num_threads(1)
    data = data_set(args.data, args.recipe)
    for _ in range(args.warmup):
        data[0]
    # As many epochs' samples as batches are asked for; the workers end with the loop, so that their time is known.
    chosen = [i % len(data) for i in range(args.batches * args.batch_size)]
    sampler = torch.utils.data.Subset(data, chosen)
    start, start_processor = time.perf_counter(), processor_seconds()
    images = 0
    loader = torch.utils.data.DataLoader(sampler, args.batch_size, shuffle=True, num_workers=args.workers, drop_last=True)
    for image, mask in loader:
        images += len(image)
    del loader
    wall, processor = time.perf_counter() - start, processor_seconds() - start_processor
    print(json.dumps({"images": images, "wall": round(wall, 4), "processor": round(processor, 4)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    maker = commands.add_parser("make")
    maker.add_argument("folder")
    for name in ("width", "height", "count"):
        maker.add_argument(name, type=int)
    maker.set_defaults(run=lambda a: make(a.folder, a.width, a.height, a.count))
    timer = commands.add_parser("time")
    timer.add_argument("data")
    timer.add_argument("recipe", choices=("pil", "tensor", "all"))
    timer.add_argument("--batches", type=int, default=20)
    timer.add_argument("--warmup", type=int, default=5)
    timer.add_argument("--batch-size", type=int, default=16)
    timer.add_argument("--workers", type=int, default=0, help="0: in the process itself, which costs least per image")
    timer.set_defaults(run=measure)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
