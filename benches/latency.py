#!/usr/bin/env python3
"""The peers that benches/latency.rs is measured against, and who drives them all (benches/latency.sh says how).

  latency.py make FOLDER          writes an artifact (docs/artifact.md): fcn, resnet-50, 21 classes, weights by chance
  latency.py time KIND FOLDER     times forward passes of one normalized 480x480 image to logits [1, 21, 480, 480]
  latency.py turns FOLDER KIND=COMMAND...  starts the commands, has them take turns pass by pass, and prints the table

KIND: eager, channels_last, frozen (torch.jit.trace, freeze, optimize_for_inference), autocast_bf16 (eager, channels_last),
weights_bf16 (channels_last, the weights themselves bfloat16, frozen), onnxruntime, openvino, openvino_bf16. `time`, as
benches/latency.rs, warms up, prints "ready", and then answers every line that it reads with one pass and the JSON line
{"seconds": s, "cpu_seconds": c}; it writes the first logits to FOLDER/logits/KIND.npy. With one thread the processor time
is nearly the same on a busy machine as on an idle one (threads that wait for each other spin).
"""

import argparse
import contextlib
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
import time

import numpy

SIDE, CLASSES = 480, 21
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# No slower than this beside the faster of the peers, by medians.
LIMITS = {
    "maskmaker": (("onnxruntime", "openvino"), 1.03),
    "maskmaker_bf16": (("openvino_bf16",), 1.10),
}
F32 = ("maskmaker", "onnxruntime", "openvino", "frozen", "channels_last", "eager")
BF16 = ("maskmaker_bf16", "openvino_bf16", "weights_bf16", "autocast_bf16")


def pixels():
    """[1, 480, 480, 3], smooth with a little noise, by arithmetic that latency.rs repeats exactly."""
    y, x, c = numpy.meshgrid(numpy.arange(SIDE), numpy.arange(SIDE), numpy.arange(3), indexing="ij")
    wave = (x * (c + 1) // 3 + y * (3 - c) // 3 + (x // 60) * (y // 60) * 7) % 256
    noise = (x * 7919 + y * 104729 + c * 1299709) % 31
    return ((wave + noise) % 256).astype(numpy.uint8)[None]


def image():
    normalized = (pixels().astype(numpy.float32) / 255 - numpy.float32(MEAN)) / numpy.float32(DEVIATION)
    return numpy.ascontiguousarray(normalized.transpose(0, 3, 1, 2))


def make(folder):
    import torch
    from safetensors.torch import save_file
    from torchvision.models.segmentation import fcn_resnet50

    torch.manual_seed(7)
    model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)
    # BatchNorm as after a training, or activations would grow from block to block.
    # Each block adds little to its input: trained networks are so, and with blocks by chance rounding would grow without end.
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
            if name.endswith("bn3"):
                torch.nn.init.constant_(layer.weight, 0.2)
    with torch.no_grad():
        model.train()(torch.from_numpy(image()).expand(2, -1, -1, -1))
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")
    config = {
        "format_version": 1,
        "maskmaker_version": "0.1.0",
        "algorithm": "fcn",
        "backbone": "resnet-50",
        "num_classes": CLASSES,
        "class_names": [f"class {number}" for number in range(CLASSES)],
        "mean": MEAN,
        "std": DEVIATION,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def pytorch(kind, folder, threads):
    import torch
    from safetensors.torch import load_file
    from torchvision.models.segmentation import fcn_resnet50

    class Out(torch.nn.Module):
        """What is traced must return a tensor."""

        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, batch):
            return self.model(batch)["out"]

    torch.set_num_threads(threads)
    model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    # Logits are of the main head; nobody else computes the auxiliary one.
    model.aux_classifier = None
    model.eval()
    batch = torch.from_numpy(image())
    run = model
    if kind != "eager":
        model, batch = model.to(memory_format=torch.channels_last), batch.contiguous(memory_format=torch.channels_last)
    if kind == "weights_bf16":
        model, batch = model.bfloat16(), batch.bfloat16()
    if kind in ("frozen", "weights_bf16"):
        with torch.no_grad():
            traced = torch.jit.trace(Out(model), batch)
            run = torch.jit.optimize_for_inference(torch.jit.freeze(traced.eval()))

    def once():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast_bf16"):
            logits = run(batch)
            logits = logits["out"] if isinstance(logits, dict) else logits
            return logits.float().contiguous().numpy()

    return once


def onnxruntime(folder, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    batch = image()
    return lambda: session.run(["out"], {"input": batch})[0]


def openvino(kind, folder, threads):
    import openvino

    core = openvino.Core()
    model = core.read_model(folder / "model.onnx")
    # Its best case: one fixed size.
    model.reshape([1, 3, SIDE, SIDE])
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if kind == "openvino_bf16" else "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    batch = image()
    return lambda: request.infer([batch], share_inputs=True, share_outputs=True)[0]


def measure(kind, folder, args):
    if kind == "onnxruntime":
        once = onnxruntime(folder, args.threads)
    elif kind.startswith("openvino"):
        once = openvino(kind, folder, args.threads)
    else:
        once = pytorch(kind, folder, args.threads)
    logits = numpy.asarray(once(), dtype=numpy.float32)
    assert logits.shape == (1, CLASSES, SIDE, SIDE), logits.shape
    (folder / "logits").mkdir(exist_ok=True)
    numpy.save(folder / "logits" / f"{kind}.npy", logits)
    for _ in range(args.warmup):
        once()
    print("ready", flush=True)
    for _ in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        once()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(json.dumps({"seconds": round(seconds, 6), "cpu_seconds": round(cpu, 6)}), flush=True)


def turns(commands, args):
    """{kind: [seconds of each round]}. All processes of a round live at once, and between two passes of one every other has
    one pass, so that what else the machine does meets all alike; a round has new processes, because where one's memory
    came to lie stays with it."""
    times = {kind: [] for kind in commands}
    for number in range(1, args.rounds + 1):
        print(f"round {number} of {args.rounds}", file=sys.stderr, flush=True)
        with contextlib.ExitStack() as stack:
            running = {}
            for kind, command in commands.items():
                pipe = subprocess.PIPE
                running[kind] = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1))
                if running[kind].stdout.readline() != "ready\n":
                    sys.exit(f"{kind} did not start: {shlex.join(command)}")
                times[kind].append([])
            for _ in range(args.runs):
                for kind, process in running.items():
                    # Threads of the last one that still wait for work get the time to go to sleep.
                    time.sleep(0.2)
                    process.stdin.write("\n")
                    times[kind][-1].append(json.loads(process.stdout.readline())[args.by])
    return times


def difference(folder, kind, truth):
    """How far an answer is from the one of eager PyTorch in 32 bits."""
    classes = truth.argmax(1)
    if kind.startswith("maskmaker"):
        ids = numpy.fromfile(folder / "ids" / kind, numpy.uint8).reshape(classes.shape)
        return f"another class in {(ids != classes).mean():.2%} of the pixels"
    logits = numpy.load(folder / "logits" / f"{kind}.npy")
    off = numpy.abs(logits - truth).max() / numpy.abs(truth).max()
    return f"another class in {(logits.argmax(1) != classes).mean():.2%} of the pixels; logits off by {off:.1e} of the largest"


def judge(times, folder):
    every = {kind: [s for seconds in rounds for s in seconds] for kind, rounds in times.items()}
    median = {kind: statistics.median(seconds) for kind, seconds in every.items()}
    truth = numpy.load(folder / "logits" / "eager.npy") if "eager" in every else None
    print(f"{'':16} {'median':>8} {'fastest':>8} {'passes':>6}  beside eager f32")
    for group in (F32, BF16):
        for kind in (kind for kind in group if kind in every):
            beside = "" if truth is None else difference(folder, kind, truth)
            print(f"{kind:16} {median[kind] * 1e3:5.0f} ms {min(every[kind]) * 1e3:5.0f} ms {len(every[kind]):6}  {beside}")
    failed = []
    for ours, (peers, limit) in LIMITS.items():
        peers = [peer for peer in peers if peer in every]
        if ours not in every or not peers:
            continue
        best = min(peers, key=median.get)
        ratio = median[ours] / median[best]
        rounds = [statistics.median(a) / statistics.median(b) for a, b in zip(times[ours], times[best])]
        print(f"{ours} / {best}: {ratio:.3f} by medians, at most {limit:.2f}; {min(every[ours]) / min(every[best]):.3f} by the fastest; "
              f"by round {', '.join(f'{r:.3f}' for r in rounds)}")
        if ratio > limit:
            failed.append(f"{ours} takes {ratio:.3f} times {best}, at most {limit:.2f} is allowed")
    if failed:
        sys.exit("\n".join(failed))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    todo = parser.add_subparsers(dest="todo", required=True)
    for name in ("make", "time", "turns"):
        command = todo.add_parser(name)
        if name == "time":
            command.add_argument("kind")
            command.add_argument("--warmup", type=int, default=2)
            command.add_argument("--threads", type=int, default=2)
        command.add_argument("folder", type=pathlib.Path)
        if name == "turns":
            command.add_argument("commands", nargs="+", metavar="KIND=COMMAND")
            command.add_argument("--rounds", type=int, default=5)
            command.add_argument("--runs", type=int, default=5, help="passes of each in a round")
            command.add_argument("--by", choices=("seconds", "cpu_seconds"), default="seconds", help="the clock")
    args = parser.parse_args()
    if args.todo == "make":
        make(args.folder)
    elif args.todo == "time":
        measure(args.kind, args.folder, args)
    else:
        commands = {kind: shlex.split(command) for kind, _, command in (one.partition("=") for one in args.commands)}
        judge(turns(commands, args), args.folder)


if __name__ == "__main__":
    main()
