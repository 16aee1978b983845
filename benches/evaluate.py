#!/usr/bin/env python3
"""The evaluation in PyTorch and torchvision that benches/evaluate.rs is measured against (benches/evaluate.sh has both take
turns): decode, forward, confusion matrix.

  evaluate.py cut SCENES DATA IMAGES   cuts scenes of `maskmaker sample-data --size 500` to DATA/test, 500x375 each
  evaluate.py time MODEL DATA          evaluates DATA/test, prints {"images", "work", "processor" (seconds), "matrix"}
  evaluate.py tune MODEL DATA          prints images per second for settings of `time`
  evaluate.py judge OUT ROUNDS         prints the table of what evaluate.sh wrote to OUT, exits with 1 below a limit

By processor time of one thread, `time` was fastest with its defaults: batch size 1 takes a tenth less than 4, channels_last a
sixth less in bf16, and either memory format as much in 32 bits. Its one worker decodes beside the network.
"""

import argparse
import itertools
import json
import pathlib
import resource
import statistics
import sys
import time

WIDTH, HEIGHT = 500, 375
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# At least so many times as many images per second as the peer.
LIMITS = {("auto", "fp32"): 2.0, ("fp32", "fp32"): 1.3}
# Pixel accuracies of both in 32 bits differ by at most this.
MOST_DIFFERENCE = 1e-3


def cut(scenes, data, count):
    from PIL import Image

    for name in ("test", "test_annotation"):
        (data / name).mkdir(parents=True)
    written = 0
    for path in sorted(scenes.glob("*/*.jpg")):
        mask_path = path.parent.with_name(path.parent.name + "_annotation") / (path.stem + ".png")
        image, mask = Image.open(path), Image.open(mask_path)
        if image.width < WIDTH or image.height < HEIGHT or written == count:
            continue
        box = (0, image.height - HEIGHT, WIDTH, image.height)
        image.crop(box).save(data / "test" / path.name, quality=90)
        mask.crop(box).save(data / "test_annotation" / mask_path.name)
        written += 1
    if written < count:
        sys.exit(f"{scenes} has {written} scenes of at least {WIDTH}x{HEIGHT}, {count} are needed")


def load_model(folder, channels_last):
    import torch
    from safetensors.torch import load_file
    from torchvision.models.segmentation import fcn_resnet50

    weights = load_file(folder / "model.safetensors")
    classes = weights["classifier.4.weight"].shape[0]
    model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=classes, aux_loss=True)
    model.load_state_dict(weights)
    # The masks are those of the main head.
    model.aux_classifier = None
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model.eval(), classes


def load_data(data, batch_size, workers, most):
    import numpy
    import torch
    from PIL import Image
    from torchvision.transforms import functional

    names = sorted(path.stem for path in (data / "test").iterdir())[:most]

    class Folder(torch.utils.data.Dataset):
        def __len__(self):
            return len(names)

        def __getitem__(self, index):
            image = Image.open(data / "test" / (names[index] + ".jpg")).convert("RGB")
            image = functional.convert_image_dtype(functional.pil_to_tensor(image), torch.float)
            mask = numpy.array(Image.open(data / "test_annotation" / (names[index] + ".png")))
            return functional.normalize(image, MEAN, DEVIATION), torch.as_tensor(mask, dtype=torch.int64)

    return torch.utils.data.DataLoader(Folder(), batch_size, num_workers=workers)


def evaluate(model, classes, loader, precision, channels_last):
    """Seconds from the first decode to the confusion matrix, seconds that processors (also those of the workers) spent on
    it, and the matrix, counted as torchvision's references/segmentation/utils.py does."""
    import torch

    start, start_of_processor = time.perf_counter(), processor_seconds()
    matrix = torch.zeros((classes, classes), dtype=torch.int64)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        for images, masks in loader:
            if channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            # The model enlarges its logits to the images' size.
            predicted = model(images)["out"].argmax(1).flatten()
            truth = masks.flatten()
            counted = (truth >= 0) & (truth < classes)
            pairs = classes * truth[counted] + predicted[counted]
            matrix += torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    return time.perf_counter() - start, processor_seconds() - start_of_processor, matrix


def processor_seconds():
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(args):
    import torch

    torch.set_num_threads(args.threads)
    model, classes = load_model(args.model, args.channels_last)
    loader = load_data(args.data, args.batch_size, args.workers, None)
    work, processor, matrix = evaluate(model, classes, loader, args.precision, args.channels_last)
    seconds = {"work": round(work, 4), "processor": round(processor, 4)}
    print(json.dumps({"images": len(loader.dataset), **seconds, "matrix": matrix.tolist()}))


def tune(args):
    import torch

    torch.set_num_threads(args.threads)
    for channels_last, precision in itertools.product((False, True), ("fp32", "bf16")):
        model, classes = load_model(args.model, channels_last)
        for batch_size, workers in itertools.product((1, 4, 8), (0, 1, 2)):
            loader = load_data(args.data, batch_size, workers, args.images)
            work, processor, _ = evaluate(model, classes, loader, precision, channels_last)
            form = "channels_last" if channels_last else "contiguous"
            images = len(loader.dataset)
            print(f"{precision} {form:13} batch size {batch_size}, workers {workers}: {images / work:.3f} images/s, "
                  f"{images / processor:.3f} images/processor-s", flush=True)


def read_matrix(path):
    """The confusion matrix of an evaluation.json, the true class first."""
    rows = json.loads(path.read_text())["multiclass_classification_metrics"]["confusion_matrix"]
    return [[rows[truth][str(predicted)] for predicted in range(len(rows))] for truth in sorted(rows, key=int)]


def pixel_accuracy(matrix):
    return sum(matrix[number][number] for number in range(len(matrix))) / sum(map(sum, matrix))


def read_runs(out, who, rounds):
    """The JSON lines of a program's rounds, each with the seconds of its whole process as "process"."""
    runs = []
    for number in range(1, rounds + 1):
        run = json.loads((out / f"{who}.{number}").read_text())
        run["process"] = float((out / f"{who}.{number}.seconds").read_text())
        runs.append(run)
    return runs


def judge(out, rounds, by):
    ours = {precision: read_runs(out, f"maskmaker_{precision}", rounds) for precision in ("auto", "fp32")}
    theirs = {precision: read_runs(out, f"torch_{precision}", rounds) for precision in ("fp32", "bf16")}
    chosen = ours["auto"][0]["precision"]
    rate = {}
    second = {"work": "s", "processor": "processor-s"}[by]
    print(f"{'':24} {f'images/{second}':>20} {'spread':>18} {'with start and end':>20}")
    for who, runs in [("maskmaker auto", ours["auto"]), ("maskmaker fp32", ours["fp32"]),
                      ("PyTorch fp32", theirs["fp32"]), ("PyTorch bf16 autocast", theirs["bf16"])]:
        rates = [run["images"] / run[by] for run in runs]
        rate[who] = statistics.median(rates)
        process = statistics.median(run["images"] / run["process"] for run in runs)
        name = f"{who} ({chosen})" if who == "maskmaker auto" else who
        spread = f"{min(rates):.3f} to {max(rates):.3f}"
        print(f"{name:24} {rate[who]:20.3f} {spread:>18} {process:20.3f}")
    failed = []
    for our, their in (("auto", "fp32"), ("auto", "bf16"), ("fp32", "fp32")):
        pairs = list(zip(ours[our], theirs[their]))
        by_round = [their_run[by] / our_run[by] for our_run, their_run in pairs]
        by_process = statistics.median(t["process"] for _, t in pairs) / statistics.median(o["process"] for o, _ in pairs)
        their_name = "PyTorch fp32" if their == "fp32" else "PyTorch bf16 autocast"
        ratio = rate[f"maskmaker {our}"] / rate[their_name]
        limit = LIMITS.get((our, their))
        if (our, their) == ("auto", "fp32") and not has_bf16():
            limit = None
        wanted = f", at least {limit} is wanted" if limit else ""
        print(f"maskmaker {our} / {their_name}: {ratio:.2f} by medians{wanted}; by round "
              f"{', '.join(f'{one:.2f}' for one in by_round)}; {by_process:.2f} with start and end")
        if limit and ratio < limit:
            failed.append(f"maskmaker {our} has {ratio:.2f} times the images/s of {their_name}, at least {limit} is wanted")
    if is_auto_bf16() and chosen != "bf16":
        failed.append(f"auto chose {chosen}: training found that bf16 gives other masks, so the model is of no use here")
    print_stages(ours)
    for precision in ("auto", "fp32"):
        parts = json.loads((out / f"parts_{precision}").read_text())
        print(f"maskmaker {precision}, ms of an image: {', '.join(f'{name} {ms}' for name, ms in parts.items())}")
    failed += compare_matrices(out)
    if failed:
        sys.exit("\n".join(failed))


def print_stages(ours):
    for precision, runs in ours.items():
        median = {key: statistics.median(run[key] for run in runs) for key in runs[0] if key != "precision"}
        print(f"maskmaker {precision}, seconds: {median['work']:.2f} to all scores (first images decoded "
              f"{median['until_first_call']:.2f}, network {median['in_engine']:.2f}, comparing and waiting "
              f"{median['between_calls']:.2f}, last images and bootstrap {median['after_last_call']:.2f}), then the report "
              f"{median['report']:.2f}")


def compare_matrices(out):
    failed = []
    for our, their in (("fp32", "fp32"), ("auto", "bf16")):
        one = read_matrix(out / f"results_{our}" / "evaluation.json")
        other = json.loads((out / f"torch_{their}.1").read_text())["matrix"]
        accuracy = [pixel_accuracy(one), pixel_accuracy(other)]
        moved = sum(abs(a - b) for rows in zip(one, other) for a, b in zip(*rows)) / 2 / sum(map(sum, one))
        print(f"pixel accuracy: maskmaker {our} {accuracy[0]:.6f}, PyTorch {their} {accuracy[1]:.6f}; {moved:.1e} of the pixels "
              "lie in other cells of the confusion matrix")
        if sum(map(sum, one)) != sum(map(sum, other)):
            failed.append(f"maskmaker {our} and PyTorch {their} counted different numbers of pixels")
        if (our, their) == ("fp32", "fp32") and abs(accuracy[0] - accuracy[1]) > MOST_DIFFERENCE:
            failed.append(f"the pixel accuracies differ by more than {MOST_DIFFERENCE}")
    return failed


def has_bf16():
    """True where the processor multiplies bfloat16 itself."""
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def is_auto_bf16():
    """True where maskmaker computes in bfloat16 by itself, because that is faster."""
    processor = set(pathlib.Path("/proc/cpuinfo").read_text().split())
    return "amx_bf16" in processor or {"avx512_bf16", "AuthenticAMD"} <= processor


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    todo = parser.add_subparsers(dest="todo", required=True)
    command = todo.add_parser("cut")
    command.add_argument("scenes", type=pathlib.Path)
    command.add_argument("data", type=pathlib.Path)
    command.add_argument("images", type=int)
    command.set_defaults(run=lambda a: cut(a.scenes, a.data, a.images))
    for name, run in (("time", measure), ("tune", tune)):
        command = todo.add_parser(name)
        command.add_argument("model", type=pathlib.Path)
        command.add_argument("data", type=pathlib.Path)
        command.add_argument("--threads", type=int, default=2)
        command.set_defaults(run=run)
        if name == "tune":
            command.add_argument("--images", type=int, default=16)
            continue
        command.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
        command.add_argument("--batch-size", type=int, default=1)
        command.add_argument("--workers", type=int, default=1)
        command.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True)
    command = todo.add_parser("judge")
    command.add_argument("out", type=pathlib.Path)
    command.add_argument("rounds", type=int)
    command.add_argument("--by", choices=("work", "processor"), default="work", help="the seconds that are compared")
    command.set_defaults(run=lambda a: judge(a.out, a.rounds, a.by))
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
