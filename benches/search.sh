#!/usr/bin/env bash
# Compares searches for hyperparameters: our sampler with random values and with Optuna's TPE on three functions, then real ones.
#   benches/search.sh [--seeds 31] [--trials 8] [--epochs 6] [--skip-trainings]
# Functions: 60 trials per search and seed, the same first 10 random ones on both sides; prints medians and two-sided rank tests.
# Exits with 1 unless our medians are below those of random values, and p > 0.05 against Optuna.
# Trainings: one search of so many trials on sample data (60 images of 96 pixels, resnet-18 from random weights) beside one job with
# the default hyperparameters; prints the trials as a table, and exits with 1 unless the best trial is above the defaults.
# MASKMAKER_BENCH_OPTUNA  a python with optuna 5.0.0 and scipy; without it .venv/optuna is made with them
# MASKMAKER_BENCH_SEARCH  where the results are written (default target/bench-search); emptied first
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
seeds=31 trials=8 epochs=6 trainings=yes
while [ $# -gt 0 ]; do
  case $1 in
    --skip-trainings) trainings=; shift; continue ;;
    --seeds | --trials | --epochs) [ $# -ge 2 ] || usage ;;
    *) usage ;;
  esac
  case $1 in
    --seeds) seeds=$2 ;;
    --trials) trials=$2 ;;
    --epochs) epochs=$2 ;;
  esac
  shift 2
done

folder=${MASKMAKER_BENCH_SEARCH:-target/bench-search}
target=${CARGO_TARGET_DIR:-target}/release
python=${MASKMAKER_BENCH_OPTUNA:-.venv/optuna/bin/python}
if [ -z "${MASKMAKER_BENCH_OPTUNA:-}" ] && ! "$python" -c 'import optuna, scipy' 2>/dev/null; then
  scripts/setup.sh venv
  python3 -m venv .venv/optuna
  .venv/optuna/bin/pip install -q optuna==5.0.0 scipy
fi
scripts/setup.sh assembler
cargo build --release --locked --bin maskmaker --example search_functions
export LD_LIBRARY_PATH=$PWD/.libtorch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
rm -rf "$folder"
mkdir -p "$folder"

status=0
echo "== functions, $seeds seeds"
"$target/examples/search_functions" "$folder/startup.json" "$seeds" >"$folder/ours.jsonl"
"$python" benches/search_functions.py "$folder/startup.json" >"$folder/optuna.jsonl"
"$python" benches/search_compare.py "$folder/ours.jsonl" "$folder/optuna.jsonl" || status=1
[ -n "$trainings" ] || exit $status

echo "== trainings, $trials trials of at most $epochs epochs"
root=$folder/ml
"$target/maskmaker" sample-data "$root/input/data" --images 60 --size 96 --seed 5
mkdir -p "$root/input/config"
cat >"$root/input/config/hyperparameters.json" <<JSON
{"backbone": "resnet-18", "use_pretrained_model": "False", "num_classes": "4", "epochs": "$epochs", "mini_batch_size": "6",
 "base_size": "96", "crop_size": "64", "seed": "3"}
JSON
cat >"$folder/ranges.json" <<'JSON'
{"ContinuousParameterRanges": [{"Name": "learning_rate", "MinValue": "0.0001", "MaxValue": "0.05", "ScalingType": "Logarithmic"}],
 "CategoricalParameterRanges": [{"Name": "optimizer", "Values": ["sgd", "adam", "rmsprop"]}]}
JSON
"$target/maskmaker" --ml-root "$root" train >"$folder/defaults.log" 2>&1
"$target/maskmaker" --ml-root "$root" search "$folder/ranges.json" --output "$folder/search" --trials "$trials" 2>"$folder/search.log"
python3 - "$folder" <<'P' || status=1
import json, pathlib, re, sys

folder = pathlib.Path(sys.argv[1])
scores = re.findall(r"validation mIOU: (\S+)", (folder / "defaults.log").read_text())
defaults = max(map(float, scores))
print("trial  state      epochs  best mIOU  hyperparameters")
best = 0.0
for path in sorted((folder / "search/trials").glob("*/trial.json")):
    record = json.loads(path.read_text())
    score = max((value for value in record["reports"].values() if value is not None), default=0.0)
    if record["state"] == "Completed":
        best = max(best, score)
    values = ", ".join(f"{name} {value}" for name, value in record["hyperparameters"].items())
    print(f"{record['trial']:5}  {record['state']:<9}  {len(record['reports']):6}  {score:9.4f}  {values}")
print(f"defaults: {defaults:.4f}; best trial: {best:.4f}")
sys.exit(best <= defaults)
P
exit $status
