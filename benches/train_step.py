#!/usr/bin/env python3
"""One training step in PyTorch: the peer that benches/train_step.rs is measured against.

torchvision's fcn_resnet50 with aux head, 4 classes, eager, with the criterion and the
optimizer of torchvision's references/segmentation. Prints one JSON line per timed step: {"step": i, "seconds": s}.
A step is what train_one_epoch does between two batches: forward, loss, zero_grad, backward, optimizer step, loss read.
With --world-size it is one of several processes of DistributedDataParallel over Gloo. benches/gpu.sh runs it on a GPU.
"""

import argparse
import json
import os
import time

import torch
import torch.distributed
from torch import nn
from torchvision.models.segmentation import fcn_resnet50

CLASSES, IGNORED = 4, 255


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3, help="timed steps")
    parser.add_argument("--warmup", type=int, default=1, help="steps before the clock starts")
    parser.add_argument("--images", type=int, default=4, help="images of a batch, over all processes")
    parser.add_argument("--side", type=int, default=240, help="side of the images, in pixels")
    parser.add_argument("--shapes", default="", help="comma list of SIDExIMAGES, timed with the same network")
    parser.add_argument("--steps-per-reading", type=int, default=1, help="steps between two readings of the loss")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network with its loss")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--memory-format",
        choices=("channels_last", "contiguous"),
        default="channels_last",
        help="channels_last is the faster of the two on CPUs, so it is the fair peer",
    )
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="by torch.autocast")
    parser.add_argument("--world-size", type=int, default=1, help="processes that share each batch")
    parser.add_argument("--rank", type=int, default=0, help="number of this process")
    parser.add_argument("--port", type=int, default=29500, help="port of 127.0.0.1 by which they find each other")
    return parser.parse_args()


def criterion(outputs, target):
    loss = nn.functional.cross_entropy(outputs["out"], target, ignore_index=IGNORED)
    return loss + 0.5 * nn.functional.cross_entropy(outputs["aux"], target, ignore_index=IGNORED)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    layout = torch.channels_last if args.memory_format == "channels_last" else torch.contiguous_format
    device = torch.device(args.device)
    # As torchvision's references/segmentation/train.py does with its default flags.
    torch.backends.cudnn.benchmark = True
    model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)
    model = model.to(device, memory_format=layout).train()
    if args.world_size > 1:
        address = f"tcp://127.0.0.1:{args.port}"
        torch.distributed.init_process_group("gloo", init_method=address, world_size=args.world_size, rank=args.rank)
        # Gradients as views of the buckets save a copy, as they do in maskmaker.
        model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
        # The others' images.
        torch.manual_seed(args.rank)
        args.images //= args.world_size
    if args.compile:
        model = torch.compile(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[args.precision]
    scaler = torch.amp.GradScaler(args.device, enabled=args.precision == "fp16")

    def run_step(image, target):
        with torch.autocast(args.device, dtype=dtype, enabled=args.precision != "fp32"):
            loss = criterion(model(image), target)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    shapes = [tuple(map(int, shape.split("x"))) for shape in args.shapes.split(",") if shape]
    for side, images in shapes or [(args.side, args.images)]:
        image = torch.randn(images, 3, side, side).to(device, memory_format=layout)
        target = torch.randint(0, CLASSES, (images, side, side))
        target[torch.rand(target.shape) < 0.05] = IGNORED
        target = target.to(device)
        for reading in range(-args.warmup, args.steps):
            start = time.perf_counter()
            for _ in range(args.steps_per_reading):
                loss = run_step(image, target)
            loss.item()
            seconds = (time.perf_counter() - start) / args.steps_per_reading
            if reading >= 0:
                line = {"side": side, "images": images, "step": reading, "seconds": round(seconds, 6)}
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
