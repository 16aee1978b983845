#!/usr/bin/env python3
"""Label Studio's own converter beside `maskmaker preprocess` on the same JSON export. benches/preprocess.sh calls it.

  preprocess.py compare MASKMAKER [--tasks 1000] [--regions 4] [--rounds 3] [--cores 2] [--least 30]
  preprocess.py memory MASKMAKER [--few 1000] [--many 10000] [--allowed-mib 64]

The converter (BRUSH_TO_PNG, the only one of its formats that makes masks) writes a gray PNG per region and never opens an
image; maskmaker reads, verifies and delivers the images too and writes a PNG of class ids per image. Of polygons the
converter makes no masks: there the peer is what people write by hand, json.load and PIL's ImageDraw.
The converter's time begins when its modules are imported and ends with its last file; maskmaker's is that of the process.
Needs label-studio-sdk, numpy, pillow. The process that measures imports none of them, because Linux counts the
memory of a process from before its exec into its peak.
"""

import argparse
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WIDTH, HEIGHT = 1024, 768
LABELS = {"road": "#ff0000", "car": "#00ff00", "person": "#0000ff", "tree": "#ffa500"}
CONFIG = "<View>\n  <Image name=\"image\" value=\"$image\"/>\n{}</View>\n".format(
    "".join(
        f'  <{tag} name="{name}" toName="image">\n'
        + "".join(f'    <Label value="{label}" background="{color}"/>\n' for label, color in LABELS.items())
        + f"  </{tag}>\n"
        for tag, name in (("BrushLabels", "brush"), ("PolygonLabels", "poly"))
    )
)
# Distinct drawings and pictures; tasks combine them.
DRAWINGS, PICTURES = 40, 4


def blob(chance, corners, wobble):
    """An object's outline of so many corners, in shares of the width and the height."""
    waves = [(wave, chance.uniform(0, 0.6) / wave, chance.uniform(0, 2 * math.pi)) for wave in range(2, 7)]
    x, y, radius = chance.uniform(0.15, 0.85), chance.uniform(0.15, 0.85), chance.uniform(0.06, 0.22)
    points = []
    for corner in range(corners):
        angle = 2 * math.pi * corner / corners
        distance = radius * max(0.2, 1 + sum(size * math.sin(wave * angle + phase) for wave, size, phase in waves))
        distance += chance.gauss(0, wobble)
        points.append((x + distance * math.cos(angle), y + distance * math.sin(angle)))
    return points


def painted(chance, width, height):
    """The alpha in the frontend's canvas when somebody traced an object with a round brush by hand and filled it; edges are
    anti-aliased."""
    from PIL import Image, ImageDraw

    fine = 4
    canvas = Image.new("L", (width * fine, height * fine))
    draw = ImageDraw.Draw(canvas)
    points = [(x * canvas.width, y * canvas.height) for x, y in blob(chance, chance.randint(60, 140), 0.002)]
    radius = chance.uniform(0.004, 0.012) * canvas.width
    draw.polygon(points, fill=255)
    draw.line([*points, points[0]], fill=255, width=round(2 * radius))
    for x, y in points:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return canvas.reduce(fine)


def brush(chance, label, width, height):
    import numpy as np
    from label_studio_sdk.converter.brush import mask2rle

    value = {"format": "rle", "rle": mask2rle(np.asarray(painted(chance, width, height))), "brushlabels": [label]}
    return {"type": "brushlabels", "from_name": "brush", "value": value}


def polygon(chance, label, width, height):
    """Clicks around an object, in percent; the frontend keeps them inside the image."""
    points = [[min(100, max(0, 100 * share)) for share in point] for point in blob(chance, chance.randint(20, 60), 0)]
    value = {"points": points, "closed": True, "polygonlabels": [label]}
    return {"type": "polygonlabels", "from_name": "poly", "value": value}


def drawings(kind, width, height):
    """Regions, as text: encoding them anew for every task would take an hour."""
    chance = random.Random(7)
    texts = []
    for number in range(DRAWINGS):
        region = {"id": f"region{number:04}", "to_name": "image", "origin": "manual", "image_rotation": 0}
        region |= {"original_width": width, "original_height": height}
        region |= kind(chance, list(LABELS)[number % len(LABELS)], width, height)
        texts.append(json.dumps(region, separators=(",", ":")))
    return texts


def write_export(path, texts, tasks, regions):
    """As Label Studio's JSON export: one array, no line ends. `tasks` are their numbers."""
    with open(path, "w") as file:
        for place, task in enumerate(tasks):
            result = ",".join(texts[(task * regions + region) % len(texts)] for region in range(regions))
            moment = "2026-11-20T20:53:04.355938Z"
            annotation = (
                f'{{"id":{task},"completed_by":1,"result":[{result}],"was_cancelled":false,"ground_truth":false,'
                f'"created_at":"{moment}","updated_at":"{moment}","lead_time":12.5,"result_count":{regions},"task":{task}}}'
            )
            data = f'{{"image":"/data/upload/1/{task:08x}-picture-{task:05}.jpg"}}'
            file.write("[" if place == 0 else ",")
            file.write(
                f'{{"id":{task},"annotations":[{annotation}],"drafts":[],"predictions":[],"data":{data},"meta":{{}},'
                f'"created_at":"{moment}","updated_at":"{moment}","total_annotations":1,"cancelled_annotations":0,"project":1}}'
            )
        file.write("]")


def write_pictures(folder, width, height):
    import numpy as np
    from loader import spectrum_noise
    from PIL import Image

    folder.mkdir()
    for number in range(PICTURES):
        rng = np.random.default_rng(number)
        light, color = spectrum_noise(rng, (height, width, 1), 1.2), spectrum_noise(rng, (height, width, 3), 1.4)
        pixels = np.clip(118 + 52 * light + 14 * color, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=90)


def make(args):
    """config.xml; per kind of drawing a folder with the export, the images, and for two processes the export's halves."""
    folder = Path(args.folder)
    (folder / "config.xml").write_text(CONFIG)
    write_pictures(folder / "pictures", args.width, args.height)
    for kind in args.kinds.split(","):
        texts = drawings({"brush": brush, "polygon": polygon}[kind], args.width, args.height)
        for tasks in map(int, args.tasks.split(",")):
            place = folder / f"{kind}-{tasks}"
            (place / "annotations").mkdir(parents=True)
            write_export(place / "annotations/export.json", texts, range(1, tasks + 1), args.regions)
            for half in () if args.link else (0, 1):
                write_export(place / f"half-{half}.json", texts, range(1 + half, tasks + 1, 2), args.regions)
            (place / "images").mkdir()
            for task in range(1, tasks + 1):
                # Links for as many as memory is measured with: copies would fill a disk.
                give = os.link if args.link else shutil.copyfile
                give(folder / f"pictures/{task % PICTURES}.jpg", place / f"images/picture-{task:05}.jpg")


def convert(args):
    """Label Studio's converter, as its export and its command line call it; waits for a line between import and work."""
    from label_studio_sdk.converter.converter import Converter

    os.makedirs(args.output)
    print("ready", flush=True)
    sys.stdin.readline()
    Converter(args.config, project_dir=None, download_resources=False).convert(
        args.export, args.output, "BRUSH_TO_PNG", is_dir=False
    )
    print("done", flush=True)


def by_hand(args):
    """Polygons as people convert them themselves: a palette PNG of class ids per image, in region order."""
    from PIL import Image, ImageDraw

    os.makedirs(args.output)
    palette = [value for color in ("#000000", *LABELS.values()) for value in bytes.fromhex(color[1:])]
    print("ready", flush=True)
    sys.stdin.readline()
    with open(args.export) as file:
        tasks = json.load(file)
    for task in tasks:
        regions = task["annotations"][0]["result"]
        width, height = regions[0]["original_width"], regions[0]["original_height"]
        mask = Image.new("P", (width, height))
        mask.putpalette(palette)
        draw = ImageDraw.Draw(mask)
        for region in regions:
            points = [(x * width / 100, y * height / 100) for x, y in region["value"]["points"]]
            draw.polygon(points, fill=1 + list(LABELS).index(region["value"]["polygonlabels"][0]))
        mask.save(os.path.join(args.output, Path(task["data"]["image"]).stem + ".png"))
    print("done", flush=True)


def check(args):
    """Holds our masks against theirs: what is not background is what any of the regions' alpha covers."""
    import numpy as np
    from PIL import Image

    for mask in masks_of(Path(args.ours))[:20]:
        regions = list(Path(args.theirs).glob(f"task-{int(mask.stem[-5:])}-annotation-*.png"))
        if len(regions) != args.regions:
            sys.exit(f"{mask.name}: the converter wrote {len(regions)} masks, {args.regions} regions were drawn")
        theirs = np.any([np.asarray(Image.open(region)) > 0 for region in regions], axis=0)
        ours = np.asarray(Image.open(mask))
        if ours.max() > len(LABELS) or not np.array_equal(ours > 0, theirs):
            sys.exit(f"{mask.name}: {np.count_nonzero((ours > 0) != theirs)} pixels differ from the converter's")


def masks_of(output):
    return sorted(mask for side in ("train", "validation") for mask in (output / f"{side}_annotation").rglob("*.png"))


def ended(process, what, log):
    """Waits; the process's peak in MiB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        log.seek(0)
        sys.exit(f"{what} ended with {process.returncode}: {log.read()}")
    return usage.ru_maxrss / 1024


def python_seconds(commands):
    """Runs them side by side from when all are ready; wall-clock seconds and the sum of the peaks."""
    with tempfile.TemporaryFile("w+") as log:
        runs = [
            subprocess.Popen(
                [sys.executable, __file__, *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            for command in commands
        ]
        # What an import prints is no signal.
        def wait_for(word):
            for run in runs:
                for line in run.stdout:
                    if line.strip() == word:
                        break
                else:
                    ended(run, "the peer", log)

        wait_for("ready")
        start = time.perf_counter()
        for run in runs:
            run.stdin.write("\n")
            run.stdin.flush()
        wait_for("done")
        seconds = time.perf_counter() - start
        return seconds, sum(ended(run, "the peer", log) for run in runs)


def our_seconds(maskmaker, data, place, output):
    """Wall-clock seconds of the whole process, and its peak."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MASKMAKER_", "SAGEMAKER_"))}
    command = [maskmaker, "preprocess", "--annotations", place / "annotations", "--images", place / "images"]
    command += ["--output", output, "--label-config", data / "config.xml", "--train-test-split-ratio", "20"]
    with tempfile.TemporaryFile("w+") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        peak = ended(process, "maskmaker preprocess", log)
        return time.perf_counter() - start, peak


def expect(found, wanted, who):
    if found != wanted:
        sys.exit(f"{who} wrote {found} masks, {wanted} were expected")


def pngs(*folders):
    return sum(len(list(folder.glob("*.png"))) for folder in folders)


def compare(args):
    cores = sorted(os.sched_getaffinity(0))[: args.cores]
    os.sched_setaffinity(0, cores)
    runs = {}
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        print(f"making {args.tasks} tasks of {args.regions} regions, {WIDTH}x{HEIGHT}", file=sys.stderr)
        options = ["--tasks", args.tasks, "--regions", args.regions, "--kinds", "brush,polygon"]
        subprocess.run([sys.executable, __file__, "make", data, *map(str, options)], check=True)
        size = (data / f"brush-{args.tasks}/annotations/export.json").stat().st_size
        print(f"{size / args.tasks / args.regions / 1000:.1f} kB of JSON per brush region", file=sys.stderr)
        for number in range(1, args.rounds + 1):
            load = os.getloadavg()[0]
            print(f"round {number} of {args.rounds}, load {load:.2f}", file=sys.stderr)
            for kind in ("brush", "polygon"):
                place = data / f"{kind}-{args.tasks}"
                job, parts = ("convert", 1) if kind == "brush" else ("by-hand", args.tasks)
                outputs = [data / f"theirs-{part}" for part in range(3)]
                one = [job, data / "config.xml", place / "annotations/export.json", outputs[0]]
                two = [[job, data / "config.xml", place / f"half-{half}.json", outputs[1 + half]] for half in (0, 1)]
                masks = args.tasks * args.regions if kind == "brush" else args.tasks
                runs.setdefault((kind, "1 process"), []).append(python_seconds([one]))
                expect(pngs(outputs[0]), masks, "the peer")
                runs.setdefault((kind, "2 processes"), []).append(python_seconds(two))
                expect(pngs(*outputs[1:]), masks, "the peer")
                ours = data / "ours"
                runs.setdefault((kind, "maskmaker"), []).append(our_seconds(args.maskmaker, data, place, ours))
                expect(len(masks_of(ours)), args.tasks, "maskmaker")
                if kind == "brush" and number == 1:
                    command = [sys.executable, __file__, "check", ours, outputs[0], "--regions", args.regions]
                    # It has said what differs.
                    if subprocess.run([*map(str, command)]).returncode != 0:
                        sys.exit(1)
                for output in (ours, *outputs):
                    shutil.rmtree(output)
    report(args, runs, len(cores))


def report(args, runs, cores):
    print(f"{cores} cores; a mask is one region; medians of {args.rounds} rounds")
    print(f"{'':9}{'':24}{'masks/s':>9}{'spread':>20}{'images/s':>10}{'peak MiB':>10}{'maskmaker is':>15}")
    names = {
        "1 process": {"brush": "converter, 1 process", "polygon": "PIL by hand, 1 process"},
        "2 processes": {"brush": "converter, 2 processes", "polygon": "PIL by hand, 2 processes"},
    }
    ratios = {}
    for (kind, who), times in runs.items():
        rates = [args.tasks * args.regions / seconds for seconds, _ in times]
        rate, peak = statistics.median(rates), max(peak for _, peak in times)
        ours = statistics.median(args.tasks * args.regions / seconds for seconds, _ in runs[kind, "maskmaker"])
        ratios[kind, who] = ours / rate
        spread = f"{min(rates):.0f} to {max(rates):.0f}"
        print(
            f"{kind:9}{names.get(who, {}).get(kind, who):24}{rate:9.0f}{spread:>20}{rate / args.regions:10.1f}{peak:10.0f}"
            + ("" if who == "maskmaker" else f"{ours / rate:13.1f} x")
        )
    if ratios["brush", "1 process"] < args.least:
        sys.exit(f"{ratios['brush', '1 process']:.1f} times the converter's rate, at least {args.least:g} is wanted")


def memory(args):
    peaks = []
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        print(f"making {args.few} and {args.many} tasks of 6 regions", file=sys.stderr)
        # Of the many, the bytes of RLE alone (90 MiB) would be more than is allowed; as text they are four times that.
        options = ["--tasks", f"{args.few},{args.many}", "--regions", 6, "--kinds", "brush", "--link"]
        options += ["--width", WIDTH // 2, "--height", HEIGHT // 2]
        subprocess.run([sys.executable, __file__, "make", data, *map(str, options)], check=True)
        for tasks in (args.few, args.many):
            place, ours = data / f"brush-{tasks}", data / "ours"
            seconds, peak = our_seconds(args.maskmaker, data, place, ours)
            expect(len(masks_of(ours)), tasks, "maskmaker")
            shutil.rmtree(ours)
            peaks.append(peak)
            size = (place / "annotations/export.json").stat().st_size / 2**20
            print(f"{tasks:6} tasks, an export of {size:4.0f} MiB: peak {peak:6.1f} MiB, {seconds:.1f} s", flush=True)
    growth = peaks[1] - peaks[0]
    print(f"growth: {growth:.1f} MiB, allowed are {args.allowed_mib:g}")
    sys.exit(growth > args.allowed_mib)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)

    def command(name, run, arguments, **options):
        sub = commands.add_parser(name)
        for argument in arguments:
            sub.add_argument(argument)
        for option, default in options.items():
            flag = f"--{option.replace('_', '-')}"
            sub.add_argument(flag, action="store_true") if default is False else sub.add_argument(
                flag, type=type(default), default=default
            )
        sub.set_defaults(run=run)

    command("compare", compare, ["maskmaker"], tasks=1000, regions=4, rounds=3, cores=2, least=30.0)
    command("memory", memory, ["maskmaker"], few=1000, many=10000, allowed_mib=64.0)
    # What they start.
    command("make", make, ["folder"], tasks="200", regions=4, kinds="brush", width=WIDTH, height=HEIGHT, link=False)
    command("convert", convert, ["config", "export", "output"])
    command("by-hand", by_hand, ["config", "export", "output"])
    command("check", check, ["ours", "theirs"], regions=4)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
