#!/usr/bin/env bash
# Times training steps on one GPU: maskmaker beside torchvision's fcn_resnet50 with automatic mixed precision as PyTorch has it by
# default, with channels_last, and compiled (torch.compile, which needs a C compiler). In turn, in bf16, or in fp16 where the GPU
# has no bf16.
#   benches/gpu.sh [--rounds 2] [--shapes 480x4,480x8,480x16,480x32,240x4,240x8,240x16,240x32] [--compiled-shapes 480x16]
# Prints for each shape (SIDExIMAGES) images per second and the ratios of the medians, and for 480x16 if the goals are met: 1.3 times
# the plain peer, 1.0 times the compiled one, and 400 images per second on an H200. Takes about 5 minutes. Exits with 0 where there
# is no GPU, and says so.
# MASKMAKER_BENCH_PYTHON  a python with torch for CUDA, of the version that the program is built with, and torchvision (default python3)
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=2 shapes=480x4,480x8,480x16,480x32,240x4,240x8,240x16,240x32 compiled_shapes=480x16
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2 ;;
    --shapes) shapes=$2 ;;
    --compiled-shapes) compiled_shapes=$2 ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
python=${MASKMAKER_BENCH_PYTHON:-python3}
skip() { echo "skipped: $1"; exit 0; }

nvidia-smi -L >/dev/null 2>&1 || skip "no NVIDIA GPU (nvidia-smi -L names none)"
"$python" -c 'import torch, torchvision; assert torch.cuda.is_available()' 2>/dev/null \
  || skip "$python has no torch that can use the GPU, or no torchvision"
if command -v cargo >/dev/null; then
  scripts/setup.sh assembler
  cargo build --release --locked --example train_step
  ours=${CARGO_TARGET_DIR:-target}/release/examples/train_step
else
  ours=target/gpu-test-bundle/bin/train_step
  [ -x $ours ] || skip "neither cargo nor $ours is there; \`make test-gpu-bundle\` makes it on another machine"
  export LD_LIBRARY_PATH=$(tests/gpu/torch-libraries.sh "$python")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
precision=$("$python" -c 'import torch; print("bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16")')

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags=(--warmup 2 --steps 4 --steps-per-reading 5 --precision "$precision")
run() {
  case $1 in
    maskmaker) "$ours" "${flags[@]}" --device cuda --shapes "$shapes" ;;
    plain) "$python" benches/train_step.py "${flags[@]}" --device cuda --memory-format contiguous --shapes "$shapes" ;;
    channels_last) "$python" benches/train_step.py "${flags[@]}" --device cuda --shapes "$shapes" ;;
    compiled) "$python" benches/train_step.py "${flags[@]}" --device cuda --compile --shapes "$compiled_shapes" ;;
  esac >>"$out/$1" || echo "$1 failed at round $round" >&2
}
for ((round = 1; round <= rounds; round++)); do
  echo "round $round of $rounds, $precision" >&2
  order="maskmaker plain channels_last"
  [ $((round % 2)) = 1 ] || order="channels_last plain maskmaker"
  for who in $order; do run "$who"; done
done
if command -v "${CC:-cc}" >/dev/null; then run compiled; else echo "skipped: torch.compile: no C compiler"; fi

"$python" - "$out" <<'P'
import json, os, statistics, sys, torch

def images_per_second(who):
    times = {}
    if os.path.exists(f"{sys.argv[1]}/{who}"):
        for line in open(f"{sys.argv[1]}/{who}"):
            entry = json.loads(line)
            times.setdefault((entry["side"], entry["images"]), []).append(entry["seconds"])
    return {shape: shape[1] / statistics.median(seconds) for shape, seconds in times.items()}

name = torch.cuda.get_device_name()
print(f"{name}, torch {torch.__version__}")
speeds = {who: images_per_second(who) for who in ("maskmaker", "plain", "channels_last", "compiled")}
print(f"{'shape':>10}{'maskmaker':>12}" + "".join(f"{who:>22}" for who in ("plain", "channels_last", "compiled")) + "   images/s (ratio)")
for shape, ours in speeds["maskmaker"].items():
    line = f"{shape[0]}x{shape[1]}".rjust(10) + f"{ours:12.1f}"
    for who in ("plain", "channels_last", "compiled"):
        theirs = speeds[who].get(shape)
        line += f"{theirs:12.1f} ({ours / theirs:.2f} x)".rjust(22) if theirs else "-".rjust(22)
    print(line)
shape = (480, 16)
ours = speeds["maskmaker"].get(shape)
goals = [("plain", 1.3), ("compiled", 1.0)]
for who, goal in goals:
    if ours and shape in speeds[who]:
        ratio = ours / speeds[who][shape]
        print(f"480x16 beside {who}: {ratio:.2f} x, goal {goal:.1f}: {'met' if ratio >= goal else 'missed'}")
if not speeds["maskmaker"]:
    sys.exit("maskmaker timed no step")
if ours and "H200" in name:
    print(f"480x16 on an H200: {ours:.0f} images/s, goal 400: {'met' if ours >= 400 else 'missed'}")
P
