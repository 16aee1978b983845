#!/usr/bin/env bash
# Trains the same jobs in fp32 and in bf16, in turn, with several seeds.
#   benches/precision.sh [--seeds 3] [--epochs 20] [--rate 0.02] [--images 160] [--backbone resnet-18]
# Prints each job's best mean IoU and median images per second of its epochs, the means and the ratio of the medians. Exits
# with 1 if bf16's mean is more than 0.02 below, or if it is less than 1.6 times as fast on a processor with
# amx_bf16, or on AMD's with avx512_bf16, where `auto` is bf16.
set -euo pipefail
cd "$(dirname "$0")/.."

seeds=3 epochs=20 rate=0.02 images=160 backbone=resnet-18
while [ $# -gt 0 ]; do
  case $1 in
    --seeds) seeds=$2 ;;
    --epochs) epochs=$2 ;;
    --rate) rate=$2 ;;
    --images) images=$2 ;;
    --backbone) backbone=$2 ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

scripts/setup.sh assembler
cargo build --release --locked --bin maskmaker
maskmaker=${CARGO_TARGET_DIR:-target}/release/maskmaker

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$maskmaker" sample-data "$out/data" --images "$images" --size 192 --seed 1
for ((seed = 1; seed <= seeds; seed++)); do
  for precision in fp32 bf16; do
    root=$out/$precision-$seed
    mkdir -p "$root/input/config"
    ln -s "$out/data" "$root/input/data"
    cat >"$root/input/config/hyperparameters.json" <<J
{"backbone": "$backbone", "algorithm": "fcn", "use_pretrained_model": "False", "num_classes": "4", "epochs": "$epochs",
 "optimizer": "sgd", "learning_rate": "$rate", "lr_scheduler": "poly", "mini_batch_size": "8", "base_size": "192",
 "crop_size": "128", "seed": "$seed", "precision": "$precision"}
J
    echo "seed $seed, $precision" >&2
    "$maskmaker" --ml-root "$root" train >"$root/log" 2>&1 || { cat "$root/log" >&2; exit 1; }
    grep mIOU "$root/log" >&2
  done
done

python3 - "$out" "$seeds" "$(grep -m 1 ^flags /proc/cpuinfo) $(grep -m 1 ^vendor_id /proc/cpuinfo)" <<'P'
import json, statistics, sys
out, seeds, processor = sys.argv[1], int(sys.argv[2]), sys.argv[3].split()
is_bf16_faster = "amx_bf16" in processor or {"avx512_bf16", "AuthenticAMD"} <= set(processor)
scores, speeds = {}, {}
for precision in ("fp32", "bf16"):
    runs = []
    for seed in range(1, seeds + 1):
        with open(f"{out}/{precision}-{seed}/model/metrics.json") as f:
            runs.append(json.load(f))
        speed = statistics.median(epoch["train_throughput"] for epoch in runs[-1]["epochs"])
        print(f"{precision}, seed {seed}: best mIoU {runs[-1]['mIOU']:.4f}, {speed:.2f} images/s")
    scores[precision] = statistics.mean(run["mIOU"] for run in runs)
    speeds[precision] = statistics.median(epoch["train_throughput"] for run in runs for epoch in run["epochs"])
for precision in scores:
    print(f"{precision}: mean mIoU {scores[precision]:.4f}, median {speeds[precision]:.2f} images/s")
ratio = speeds["bf16"] / speeds["fp32"]
lost = scores["fp32"] - scores["bf16"]
print(f"bf16 is {ratio:.2f} times as fast, and its mIoU {lost:+.4f} lower")
if lost > 0.02:
    sys.exit("bf16's mean mIoU is more than 0.02 below fp32's")
if not is_bf16_faster:
    print("this processor has neither amx_bf16 nor AMD's avx512_bf16: the speed is not judged")
elif ratio < 1.6:
    sys.exit("bf16 is less than 1.6 times as fast")
P
