#!/usr/bin/env bash
# Trains the same job without and with the augmentation noise, and scores both models on disturbed images.
#   benches/robustness.sh [--noise 0.3] [--seed 1] [--epochs 20] [--rate 0.02] [--images 160] [--backbone resnet-18]
# Prints each model's mIoU on 30 test images as they are, and the share of it that is left under noise of each strength; then the
# mean share that is left under each disturbance. Exits with 1 unless the model that was trained with noise keeps a higher share
# at every strength of noise.
set -euo pipefail
cd "$(dirname "$0")/.."

noise=0.3 seed=1 epochs=20 rate=0.02 images=160 backbone=resnet-18
while [ $# -gt 0 ]; do
  case $1 in
    --noise) noise=$2 ;;
    --seed) seed=$2 ;;
    --epochs) epochs=$2 ;;
    --rate) rate=$2 ;;
    --images) images=$2 ;;
    --backbone) backbone=$2 ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

scripts/setup.sh assembler
cargo build --release --locked --bin maskmaker
maskmaker=${CARGO_TARGET_DIR:-target}/release/maskmaker

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$maskmaker" sample-data "$out/data" --images "$images" --size 96 --seed 1 >&2
# Scenes of another seed, which neither training nor its choice of the best epoch has seen.
"$maskmaker" sample-data "$out/other" --images 80 --size 96 --seed 2 >&2
mkdir "$out/test"
ln -s "$out/other/train" "$out/test/test"
ln -s "$out/other/train_annotation" "$out/test/test_annotation"

# Trains a job and evaluates its model: train_and_evaluate ROOT AUGMENTATIONS.
train_and_evaluate() {
  mkdir -p "$1/input/config"
  ln -s "$out/data" "$1/input/data"
  cat >"$1/input/config/hyperparameters.json" <<J
{"backbone": "$backbone", "algorithm": "fcn", "use_pretrained_model": "False", "num_classes": "4", "epochs": "$epochs",
 "optimizer": "sgd", "learning_rate": "$rate", "lr_scheduler": "poly", "mini_batch_size": "8", "base_size": "96",
 "crop_size": "64", "seed": "$seed", "augmentations": "$2"}
J
  "$maskmaker" --ml-root "$1" train >"$1/log" 2>&1 &&
    "$maskmaker" evaluate --model "$1/model" --data "$out/test" --output "$1/results" --robustness --robustness-images 30 \
      >>"$1/log" 2>&1
}

# Both jobs run side by side with one thread each, and so the figures do not depend on the number of cores.
export OMP_NUM_THREADS=1 MASKMAKER_THREADS=1
train_and_evaluate "$out/plain" hflip &
train_and_evaluate "$out/noisy" "hflip,noise=$noise" || { cat "$out/noisy/log" >&2; wait; exit 1; }
wait $! || { cat "$out/plain/log" >&2; exit 1; }

python3 - "$out" "$noise" <<'P'
import json, sys
out, strength = sys.argv[1:]
models = {}
for name, folder in (("without noise", "plain"), (f"with noise={strength}", "noisy")):
    with open(f"{out}/{folder}/results/evaluation.json") as f:
        models[name] = json.load(f)["robustness"]
plain, noisy = models.values()
amounts = plain["perturbations"][0]["amounts"]
shares = []
print(f"{'trained':<17}    mIoU  share left under noise of" + "".join(f"{amount:8.2f}" for amount in amounts))
for name, model in models.items():
    shares.append([miou / model["miou"] for miou in model["perturbations"][0]["miou"]])
    print(f"{name:<17}  {model['miou']:.4f}" + " " * 27 + "".join(f"{share:8.3f}" for share in shares[-1]))
print(f"{'mean share left':<17}  without noise  with noise")
for kinds in zip(plain["perturbations"], noisy["perturbations"]):
    left = [1 - kind["relative_drop"] for kind in kinds]
    print(f"  {kinds[0]['name']:<15}  {left[0]:13.3f}  {left[1]:10.3f}")
if plain["perturbations"][0]["name"] != "noise" or not all(more > less for less, more in zip(*shares)):
    sys.exit("the model that was trained with noise does not keep a higher share of its mIoU at every strength of noise")
P
