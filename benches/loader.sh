#!/usr/bin/env bash
# Loads training batches with maskmaker and with torchvision's DataLoader in turn, so that a busy machine disturbs all alike.
#   benches/loader.sh [--rounds 5] [--batches 20] [--workers 0] [--sizes 500x375,1280x960,4000x3000]
# Prints images per core-second (by processor time, of all threads and workers) and per second of wall-clock time, medians
# over the rounds, and the ratios of the medians; at the first size also with every augmentation at its default strength,
# beside transforms.v2's; then what decoding a JPEG costs. Exits with 1 if maskmaker is, at the
# first size, less than 3 times as fast as the PIL recipe or 1.5 times as fast as the tensor transforms.
# --workers  of the DataLoader; 0, the default, loads in the process itself, which costs the least processor time
# MASKMAKER_BENCH_PYTHON  see benches/python.sh
# MASKMAKER_BENCH_DATA    where the pictures are made and kept (default target/bench-loader)
set -euo pipefail
cd "$(dirname "$0")/.."

every=hflip,vflip,rotate,perspective,color_jitter,blur,noise,jpeg,cutout
rounds=5 batches=20 workers=0 sizes=500x375,1280x960,4000x3000
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2 ;;
    --batches) batches=$2 ;;
    --workers) workers=$2 ;;
    --sizes) sizes=$2 ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

. benches/python.sh

scripts/setup.sh assembler
cargo build --release --locked --example loader
ours=${CARGO_TARGET_DIR:-target}/release/examples/loader
data=${MASKMAKER_BENCH_DATA:-target/bench-loader}

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for size in ${sizes//,/ }; do
  width=${size%x*} height=${size#*x}
  # About the same number of bytes at every size, and enough files that none is always the same.
  count=$((64 * 500 * 375 / (width * height))); [ $count -ge 4 ] || count=4
  if [ ! -e "$data/$size/whole" ]; then
    rm -rf "${data:?}/$size"
    "$python" benches/loader.py make "$data/$size" "$width" "$height" "$count"
    touch "$data/$size/whole"
  fi
  timed=$((batches * 500 * 375 / (width * height))); [ $timed -ge 2 ] || timed=2
  for ((round = 1; round <= rounds; round++)); do
    echo "$size: round $round of $rounds, load $(cut -d' ' -f1 /proc/loadavg)" >&2
    # Ours loads a few batches ahead, unseen by the clock: they must be few beside those that are timed.
    "$ours" "$data/$size" --batches $((timed > 10 ? timed * 3 : 30)) >> "$out/$size.maskmaker"
    "$python" benches/loader.py time "$data/$size" pil --batches $timed --workers "$workers" >> "$out/$size.pil"
    "$python" benches/loader.py time "$data/$size" tensor --batches $timed --workers "$workers" >> "$out/$size.tensor"
    [ "$size" = "${sizes%%,*}" ] || continue
    "$ours" "$data/$size" --batches $((timed > 10 ? timed * 3 : 30)) --augmentations $every >> "$out/$size.maskmaker-all"
    "$python" benches/loader.py time "$data/$size" all --batches $timed --workers "$workers" >> "$out/$size.all"
  done
  "$ours" "$data/$size" --decoders > "$out/$size.decoders"
done

"$python" - "$out" "$sizes" <<'P'
import glob, json, statistics, sys
out, sizes = sys.argv[1], sys.argv[2].split(",")
least = {"pil": 3.0, "tensor": 1.5}
failed = []
print(f"{'':12}{'':14}{'img/core-s':>12}{'spread':>20}{'img/s':>10}{'maskmaker is':>16}")
for size in sizes:
    rates = {}
    every = ("maskmaker-all", "all") if size == sizes[0] else ()
    for who in ("maskmaker", "pil", "tensor", *every):
        with open(f"{out}/{size}.{who}") as f:
            runs = [json.loads(line) for line in f]
        rates[who] = [run["images"] / run["processor"] for run in runs]
        median, wall = statistics.median(rates[who]), statistics.median(run["images"] / run["wall"] for run in runs)
        peer = "maskmaker-all" if who == "all" else "maskmaker"
        ratio = statistics.median(rates[peer]) / median
        spread = f"{min(rates[who]):.1f} to {max(rates[who]):.1f}"
        print(f"{size:12}{who:14}{median:12.1f}{spread:>20}{wall:10.1f}" + ("" if who == "maskmaker" else f"{ratio:11.2f} x"))
        if size == sizes[0] and ratio < least.get(who, 0):
            failed.append(f"{ratio:.2f} times the rate of {who}, at least {least[who]} is wanted")
    with open(f"{out}/{size}.decoders") as f:
        print("".join(f"{size:12}  {line}" for line in f), end="")
if failed:
    sys.exit("; ".join(failed))
P
