#!/usr/bin/env python3
"""Compares what two builds of maskmaker compute, byte by byte: a change that moves code must change no result.

    scripts/compare-results.py OLD NEW      paths of two programs, debug or release

Each makes the same data, trains small jobs, predicts, exports, serves the same requests and preprocesses the annotations
of tests/fixtures. Prints a line for each file or answer that differs, then a count; exits with 1 if any differs.
Times, versions and paths are left out: of metrics.json and the logs nothing is compared.
"""
import hashlib
import json
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


def digest(data):
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
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    both = []
    for program in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            both.append(results_of(str(Path(program).resolve()), Path(folder)))
    old, new = both
    differing = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    for name in differing:
        print(f"differs: {name}: {old.get(name, 'absent')} and {new.get(name, 'absent')}")
    print(f"{len(old.keys() | new.keys())} results compared, {len(differing)} differ")
    sys.exit(bool(differing))


main()
