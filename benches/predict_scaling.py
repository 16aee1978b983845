#!/usr/bin/env python3
"""Predicts how training speeds up with more GPUs, from figures that nobody has measured with maskmaker.

    python3 benches/predict_scaling.py

Of a step, T seconds on one GPU, two thirds are the backward pass, beside which gradients are averaged bucket by bucket. By rings
each GPU sends and receives 2 (N - 1) / N of the gradients' bytes over the links within a host; between H hosts each host's network
carries 2 (H - 1) / H of them. The slower of both takes X seconds. What does not fit beside the backward pass, and the last bucket,
delays the step. What the formula does not know (ranks that wait for the slowest one, launches, data) takes the share that is
missing from a published figure of NVIDIA's, 6.93 times the speed on 8 V100s, per doubling:

    efficiency(N) = T / (T + max(0, X - 2 T / 3) + X / buckets) * (6.93 / 8) ** (log2(N) / 3)
"""

import math

PARAMETERS = 35_322_218  # fcn_resnet50 with its auxiliary head and 21 classes, as torchvision counts
GRADIENT_BYTES = 4 * PARAMETERS
BUCKET_BYTES = 25 * 2**20  # DistributedDataParallel's, and ours
FLOPS_PER_IMAGE = 780e9  # forward and backward of 480 x 480 pixels: 6 times the multiplications of a forward pass
IMAGES_PER_GPU = 8
# Assumptions: peak of half precision and the share of it that training reaches, bus bandwidth of NCCL within a host, network of a
# host (75 % of its nominal rate). Sources of the peaks and rates: data sheets of NVIDIA's and AWS' pages of the instances.
INSTANCES = {
    "ml.p3.16xlarge (8 V100)": {"flops": 125e12 * 0.35, "inside": 120e9, "network": 25e9 / 8 * 0.75},
    "ml.p4d.24xlarge (8 A100)": {"flops": 312e12 * 0.35, "inside": 230e9, "network": 400e9 / 8 * 0.75},
    "ml.p5.48xlarge (8 H100)": {"flops": 989e12 * 0.30, "inside": 360e9, "network": 3200e9 / 8 * 0.75},
}
GPU_COUNTS = [1, 2, 4, 8, 16, 32, 64]


def step_seconds(instance):
    return IMAGES_PER_GPU * FLOPS_PER_IMAGE / instance["flops"]


def efficiency(instance, gpus):
    hosts = math.ceil(gpus / 8)
    inside = 2 * (gpus - 1) / gpus * GRADIENT_BYTES / instance["inside"]
    between = 2 * (hosts - 1) / hosts * GRADIENT_BYTES / instance["network"]
    exchange = max(inside, between)
    step = step_seconds(instance)
    buckets = math.ceil(GRADIENT_BYTES / BUCKET_BYTES)
    delay = max(0, exchange - step * 2 / 3) + exchange / buckets
    return step / (step + delay) * (6.93 / 8) ** (math.log2(gpus) / 3)


def main():
    print(f"gradients of a step: {GRADIENT_BYTES / 1e6:.0f} MB; {IMAGES_PER_GPU} images of 480 x 480 pixels per GPU and step")
    print("| instance | images/s of one GPU | " + " | ".join(f"{gpus} GPUs" for gpus in GPU_COUNTS[1:]) + " |")
    print("|---|---|" + "---|" * len(GPU_COUNTS[1:]))
    for name, instance in INSTANCES.items():
        cells = [f"{efficiency(instance, gpus):.0%}" for gpus in GPU_COUNTS[1:]]
        print(f"| `{name.split()[0]}` {name.split(' ', 1)[1]} | {IMAGES_PER_GPU / step_seconds(instance):.0f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
