#!/usr/bin/env bash
# Trains side by side with torchvision's reference recipe: same data, same initial weights, same settings, several seeds.
#   benches/recipe.sh [--seeds 3] [--epochs 8] [--rate 0.02] [--images 160]
# Prints each seed's best mean IoU of both, the means and the spreads; exits with 1 if maskmaker's mean is more than 0.02 below.
# MASKMAKER_BENCH_PYTHON  see benches/python.sh
set -euo pipefail
cd "$(dirname "$0")/.."

seeds=3 epochs=8 rate=0.02 images=160
size=128 base=128 crop=96
while [ $# -gt 0 ]; do
  case $1 in
    --seeds) seeds=$2 ;;
    --epochs) epochs=$2 ;;
    --rate) rate=$2 ;;
    --images) images=$2 ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

. benches/python.sh

scripts/setup.sh assembler
cargo build --release --locked --bin maskmaker --example initial_weights
target=${CARGO_TARGET_DIR:-target}/release

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$target/maskmaker" sample-data "$out/data" --images "$images" --size "$size" --seed 1
for ((seed = 1; seed <= seeds; seed++)); do
  root=$out/seed-$seed
  mkdir -p "$root/input/config"
  ln -s "$out/data" "$root/input/data"
  cat >"$root/input/config/hyperparameters.json" <<J
{"backbone": "resnet-18", "algorithm": "fcn", "use_pretrained_model": "False", "num_classes": "4", "epochs": "$epochs",
 "optimizer": "sgd", "learning_rate": "$rate", "momentum": "0.9", "weight_decay": "0.0001", "lr_scheduler": "poly",
 "mini_batch_size": "8", "base_size": "$base", "crop_size": "$crop", "seed": "$seed", "precision": "fp32"}
J
  echo "seed $seed: maskmaker" >&2
  "$target/maskmaker" --ml-root "$root" train >"$root/log" 2>&1 || { cat "$root/log" >&2; exit 1; }
  grep mIOU "$root/log" >&2
  "$target/examples/initial_weights" fcn resnet-18 4 "$seed" "$root/initial.safetensors"
  echo "seed $seed: torchvision" >&2
  "$python" benches/recipe.py "$out/data" "$root/initial.safetensors" --epochs "$epochs" --rate "$rate" --base "$base" \
    --crop "$crop" --seed "$seed" >"$root/theirs"
done

"$python" - "$out" "$seeds" <<'P'
import json, statistics, sys
out, seeds = sys.argv[1], int(sys.argv[2])
allowed = 0.02
ours, theirs = [], []
for seed in range(1, seeds + 1):
    with open(f"{out}/seed-{seed}/model/metrics.json") as f:
        ours.append(json.load(f)["mIOU"])
    with open(f"{out}/seed-{seed}/theirs") as f:
        theirs.append(max(json.load(f)))
    print(f"seed {seed}: best validation mIoU: maskmaker {ours[-1]:.4f}, torchvision {theirs[-1]:.4f}")
for name, scores in (("maskmaker", ours), ("torchvision", theirs)):
    print(f"{name}: mean {statistics.mean(scores):.4f}, spread {min(scores):.4f} to {max(scores):.4f}")
difference = statistics.mean(ours) - statistics.mean(theirs)
print(f"difference of the means {difference:+.4f}")
if difference < -allowed:
    sys.exit(f"maskmaker's mean is more than {allowed} below")
P
