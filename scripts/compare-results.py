#!/usr/bin/env python3
"""Compares what two builds of maskmaker compute, byte by byte: a change that moves code must change no result.

    scripts/compare-results.py [--renamed colour=color]... OLD NEW      paths of two programs, debug or release

Each makes the same data, trains small jobs, predicts, exports, serves the same requests and preprocesses the annotations
of tests/fixtures. Prints a line for each file or answer that differs, then a count; exits with 1 if any differs.
Times, versions and paths are left out: of metrics.json and the logs nothing is compared. `--renamed` names a key of
JSON files, answers and ONNX metadata that has another name in NEW; the rest of the bytes must still be equal.
"""
import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
AUGMENTATIONS = "hflip,vflip,rotate,perspective,color_jitter,blur,noise,jpeg,cutout"
JOBS = {
    "fcn-fp32": {"algorithm": "fcn", "precision": "fp32", "augmentations": AUGMENTATIONS},
    "psp-bf16": {"algorithm": "psp", "precision": "bf16", "optimizer": "adamw", "loss": "dice,focal"},
    "deeplab-auto": {"algorithm": "deeplab", "optimizer": "sgd", "ema_decay": "0.9"},
}
ACCEPTS = ["image/png", "image/png;overlay=true", "application/json", "application/jsonlines", "application/x-npy",
           "application/x-npy;probabilities=true", "application/x-recordio-protobuf", "application/x-protobuf"]
# What depends on the code and the data alone.
MODEL = ["model.safetensors", "model.pt", "config.json", "labels.json"]


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stderr[-2000:]}")


# Old name and new name of keys, from the command line.
RENAMED = []


def with_new_keys(data):
    """Replaces renamed keys in JSON text, and in ONNX metadata (field 14 of ModelProto: a key, field 1, and a value)."""
    for old, new in RENAMED:
        data = data.replace(f'"{old}":'.encode(), f'"{new}":'.encode())
        key = re.compile(rb"\x72(.)" + re.escape(bytes([0x0A, len(old)]) + old.encode()), re.DOTALL)
        entry = bytes([0x0A, len(new)]) + new.encode()
        data = key.sub(lambda found: bytes([0x72, found[1][0] + len(new) - len(old)]) + entry, data)
    return data


def digest(data):
    data = with_new_keys(data)
    return hashlib.sha256(data).hexdigest()[:16]


def files_below(folder, results, name):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            results[f"{name}/{path.relative_to(folder)}"] = digest(path.read_bytes())


def ask(url, image, accept):
    request = urllib.request.Request(f"{url}/invocations", image, {"Content-Type": "image/jpeg", "Accept": accept})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as answer:
            return f"{answer.status} {digest(answer.read())}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {digest(error.read())}"


def serve(program, root, images, results, name):
    server = subprocess.Popen([program, "--ml-root", root, "serve", "--host", "127.0.0.1", "--port", "0"],
                              stderr=subprocess.PIPE, text=True)
    try:
        url = None
        for line in server.stderr:
            message = json.loads(line).get("message", "")
            url = message.removeprefix("listening on ") if message.startswith("listening on ") else url
            if "ready after" in message:
                break
        else:
            sys.exit(f"{program} serve ended before it was ready")
        for image in images:
            for accept in ACCEPTS:
                results[f"{name}/serve/{image.name}/{accept}"] = ask(url, image.read_bytes(), accept)
    finally:
        server.terminate()
        server.communicate()


def results_of(program, folder):
    results = {}
    run(program, "sample-data", folder / "pictures", "--images", "6", "--size", "320", "--seed", "3")
    images = sorted((folder / "pictures").rglob("*.jpg"))[:3]
    for name, settings in JOBS.items():
        job = folder / name
        run(program, "sample-data", job / "input/data", "--images", "10", "--size", "64", "--seed", "1")
        (job / "input/config").mkdir(parents=True)
        common = {"backbone": "resnet-18", "use_pretrained_model": "False", "num_classes": "4", "epochs": "2", "seed": "1",
                  "mini_batch_size": "2", "base_size": "64", "crop_size": "64", "learning_rate": "0.001"}
        (job / "input/config/hyperparameters.json").write_text(json.dumps(common | settings))
        run(program, "--ml-root", job, "train")
        for file in MODEL:
            results[f"{name}/{file}"] = digest((job / "model" / file).read_bytes())
        for precision in ["fp32", "bf16", "auto"]:
            output = job / precision
            output.mkdir()
            run(program, "predict", job / "model", *images, "--output", output, "--precision", precision)
            files_below(output, results, f"{name}/predict/{precision}")
        run(program, "export", job / "model", "--format", "onnx", "--output", job / "model.onnx")
        results[f"{name}/model.onnx"] = digest((job / "model.onnx").read_bytes())
        serve(program, job, images, results, name)
    annotations = folder / "annotations"
    annotations.mkdir()
    shutil.copy(FIXTURES / "annotations/labelstudio/seg_JSON.json", annotations)
    run(program, "preprocess", "--annotations", annotations, "--images", FIXTURES / "annotations/labelstudio/images",
        "--label-config", FIXTURES / "annotations/labelstudio/label_config_seg.xml", "--output", folder / "channels")
    for channel in sorted((folder / "channels").iterdir()):
        if channel.is_dir():
            files_below(channel, results, f"preprocess/{channel.name}")
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renamed", action="append", default=[], metavar="OLD=NEW", help="a key with a new name")
    parser.add_argument("programs", nargs=2, metavar="PROGRAM", help="OLD and NEW")
    arguments = parser.parse_args()
    RENAMED.extend(pair.split("=", 1) for pair in arguments.renamed)
    both = []
    for program in arguments.programs:
        with tempfile.TemporaryDirectory() as folder:
            both.append(results_of(str(Path(program).resolve()), Path(folder)))
    old, new = both
    differing = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    for name in differing:
        print(f"differs: {name}: {old.get(name, 'absent')} and {new.get(name, 'absent')}")
    print(f"{len(old.keys() | new.keys())} results compared, {len(differing)} differ")
    sys.exit(bool(differing))


main()
