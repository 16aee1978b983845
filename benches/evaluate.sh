#!/usr/bin/env bash
# Evaluates fcn with resnet-50, 21 classes, on JPEG images of 500x375 with maskmaker and with PyTorch + torchvision in turn: the
# same weights and images, decoded, computed and counted in a confusion matrix on both sides.
#   benches/evaluate.sh [--rounds 3] [--images 100] [--threads 2] [--by work|processor]
# Prints images per second from the first decode to the confusion matrix and over the whole process, medians over the rounds,
# their ratios, and what each stage of maskmaker takes. Its time holds what it computes beside the matrix too: boundary F1,
# calibration, objects and the bootstrap; the report is in that of the whole process alone. Exits with 1 if the pixel
# accuracies differ by more than 0.001 in 32 bits, or if maskmaker evaluates fewer than 1.3 times as many images per second as
# PyTorch, both in 32 bits, or by --precision auto fewer than 2 times as many as PyTorch in 32 bits where the processor has
# bfloat16.
# --by processor  by processor time of the same work instead; with --threads 1 it tells the same on a machine that is never idle
#   benches/evaluate.sh --tune [--images 16]
# Prints PyTorch's images per second by batch size, workers and memory format.
#   benches/evaluate.sh --memory [--few 1000] [--many 10000] [--allowed-mb 50]
# Prints the peak memory of `maskmaker evaluate` (resnet-18, 64x64) by the number of images; exits with 1 if it grows by more.
# MASKMAKER_BENCH_PYTHON    see benches/python.sh; --memory needs none
# MASKMAKER_BENCH_EVALUATE  where models and images are made and kept (default target/bench-evaluate)
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,17s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mode=turns rounds=3 images='' threads=$(nproc) by=work few=1000 many=10000 allowed=50
case ${1:-} in --tune | --memory) mode=${1#--}; shift ;; esac
case $mode in
  turns) allows=:--rounds:--images:--threads:--by: ;;
  tune) allows=:--images:--threads: ;;
  memory) allows=:--few:--many:--allowed-mb: ;;
esac
while [ $# -gt 0 ]; do
  case $allows in *:"$1":*) [ $# -ge 2 ] || usage ;; *) usage ;; esac
  case $1 in
    --rounds) rounds=$2 ;;
    --images) images=$2 ;;
    --threads) threads=$2 ;;
    --by) by=$2 ;;
    --few) few=$2 ;;
    --many) many=$2 ;;
    --allowed-mb) allowed=$2 ;;
  esac
  shift 2
done

folder=${MASKMAKER_BENCH_EVALUATE:-target/bench-evaluate}
target=${CARGO_TARGET_DIR:-target}/release
maskmaker=$target/maskmaker
[ "$mode" = memory ] || . benches/python.sh
scripts/setup.sh assembler
cargo build --release --locked --bin maskmaker --example evaluate
mkdir -p "$folder"

# Trains a network on small scenes into $folder/NAME: train NAME BACKBONE CLASSES SIZE CROP EPOCHS. It must be trained until bf16
# gives nearly the masks of 32 bits, or auto would not choose bf16.
train() {
  local job=$folder/$1
  [ ! -e "$job/whole" ] || return 0
  echo "training $2" >&2
  rm -rf "$job"
  mkdir -p "$job/input/config"
  "$maskmaker" sample-data "$job/input/data" --images 60 --size "$4" --seed 1 >/dev/null
  cat > "$job/input/config/hyperparameters.json" <<J
{
  "algorithm": "fcn", "backbone": "$2", "use_pretrained_model": "False", "num_classes": "$3", "seed": "1", "epochs": "$6",
  "mini_batch_size": "4", "validation_mini_batch_size": "8", "base_size": "$4", "crop_size": "$5", "learning_rate": "0.0001",
  "optimizer": "rmsprop"
}
J
  "$maskmaker" --ml-root "$job" train > "$job/log" 2>&1 || { tail -n 20 "$job/log" >&2; exit 1; }
  touch "$job/whole"
}

if [ "$mode" = memory ]; then
  train small resnet-18 4 64 48 2
  exec python3 - "$maskmaker" "$folder/small" "$few" "$many" "$allowed" <<'P'
import os, pathlib, subprocess, sys, tempfile
program, job, allowed = sys.argv[1], pathlib.Path(sys.argv[2]), float(sys.argv[5])
peaks = []
with tempfile.TemporaryDirectory(dir=job) as place:
    for count in map(int, sys.argv[3:5]):
        data = pathlib.Path(place) / str(count)
        for kind, suffix in (("", ".jpg"), ("_annotation", ".png")):
            files = sorted((job / f"input/data/train{kind}").glob(f"*{suffix}"))
            (data / f"test{kind}").mkdir(parents=True)
            for number in range(count):
                (data / f"test{kind}/scene_{number:06}{suffix}").hardlink_to(files[number % len(files)])
        command = [program, "evaluate", "--model", job / "model", "--data", data, "--output", data / "results"]
        evaluation = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Usage of this one child: that of all children would hold the training before, too.
        _, status, usage = os.wait4(evaluation.pid, 0)
        if status != 0:
            sys.exit(f"maskmaker evaluate ended with {os.waitstatus_to_exitcode(status)}")
        peaks.append(usage.ru_maxrss * 1024 / 1e6)
        print(f"{count:6} images: peak {peaks[-1]:6.1f} MB", flush=True)
growth = peaks[1] - peaks[0]
print(f"growth: {growth:.1f} MB, allowed are {allowed:g}")
sys.exit(growth > allowed)
P
fi

[ -n "$images" ] || { images=100; [ "$mode" = turns ] || images=16; }
train large resnet-50 21 128 96 12
model=$folder/large/model data=$folder/images-$images
if [ ! -e "$data/whole" ]; then
  rm -rf "$data"
  # About every second scene is high enough.
  "$maskmaker" sample-data "$data/scenes" --images $((images * 3 + 20)) --size 500 --seed 2 >/dev/null
  "$python" benches/evaluate.py cut "$data/scenes" "$data" "$images"
  rm -rf "$data/scenes"
  touch "$data/whole"
fi
# The settings of this machine are not what is compared.
unset OMP_NUM_THREADS MKL_NUM_THREADS
[ "$mode" = turns ] || exec "$python" benches/evaluate.py tune "$model" "$data" --images "$images" \
  --threads "$threads"

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# Runs a program and writes its lines and the seconds of its whole process: run NAME PROGRAM...
TIMEFORMAT=%R LC_NUMERIC=C
run() {
  { time "${@:2}" > "$out/$1" 2> "$out/errors"; } 2> "$out/$1.seconds" || { cat "$out/errors" >&2; exit 1; }
}
for ((round = 1; round <= rounds; round++)); do
  echo "round $round of $rounds, load $(cut -d' ' -f1 /proc/loadavg)" >&2
  for precision in auto fp32; do
    results=$out/results_$precision
    run maskmaker_$precision.$round "$target/examples/evaluate" "$model" "$data" "$results" --precision $precision \
      --threads "$threads"
  done
  for precision in fp32 bf16; do
    run torch_$precision.$round "$python" benches/evaluate.py time "$model" "$data" --precision $precision \
      --threads "$threads"
  done
done
for precision in auto fp32; do
  "$target/examples/evaluate" "$model" "$data" "$out/parts" --precision $precision --threads "$threads" --parts \
    > "$out/parts_$precision"
done
"$python" benches/evaluate.py judge "$out" "$rounds" --by "$by"
