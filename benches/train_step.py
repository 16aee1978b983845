#!/usr/bin/env python3
"""One training step in PyTorch: the peer that benches/train_step.rs is measured against.

torchvision's fcn_resnet50 with aux head, 4 classes, eager, with the criterion and the
optimizer of torchvision's references/segmentation. Prints one JSON line per timed step: {"step": i, "seconds": s}.
A step is what train_one_epoch does between two batches: forward, loss, zero_grad, backward, optimizer step, loss read.
With --world-size it is one of several processes of DistributedDataParallel over Gloo.
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
    model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)
    model = model.to(memory_format=layout).train()
    if args.world_size > 1:
        address = f"tcp://127.0.0.1:{args.port}"
        torch.distributed.init_process_group("gloo", init_method=address, world_size=args.world_size, rank=args.rank)
        # Gradients as views of the buckets save a copy, as they do in maskmaker.
        model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
        # The others' images.
        torch.manual_seed(args.rank)
        args.images //= args.world_size
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    image = torch.randn(args.images, 3, args.side, args.side).contiguous(memory_format=layout)
    target = torch.randint(0, CLASSES, (args.images, args.side, args.side))
    target[torch.rand(target.shape) < 0.05] = IGNORED
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[args.precision]
    scaler = torch.amp.GradScaler("cpu", enabled=args.precision == "fp16")
    for step in range(-args.warmup, args.steps):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=dtype, enabled=args.precision != "fp32"):
            loss = criterion(model(image), target)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        loss.item()
        seconds = time.perf_counter() - start
        if step >= 0:
            print(json.dumps({"step": step, "seconds": round(seconds, 6)}), flush=True)


if __name__ == "__main__":
    main()
