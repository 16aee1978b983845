#!/usr/bin/env bash
# Times training steps of two processes of one thread each: maskmaker's workers beside PyTorch's DistributedDataParallel over
# Gloo, and one maskmaker process with two threads. fcn with resnet-50, 240 x 240 pixels, 4 images in all.
#   benches/scaling.sh [--blocks 6] [--steps 5] [--warmup 1]
# A block runs each of the three once; every other block in the opposite order. Prints each block's ratio of medians, their
# median and spread; exits with 1 if two workers take more than 1.05 times as long as PyTorch's two processes.
# MASKMAKER_BENCH_PYTHON  see benches/python.sh
set -euo pipefail
cd "$(dirname "$0")/.."

blocks=6 steps=5 warmup=1
while [ $# -gt 0 ]; do
  case $1 in
    --blocks) blocks=$2 ;;
    --steps) steps=$2 ;;
    --warmup) warmup=$2 ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

. benches/python.sh

scripts/setup.sh assembler
cargo build --release --locked --example train_step
ours=${CARGO_TARGET_DIR:-target}/release/examples/train_step

out=$(mktemp -d)
trap 'rm -rf "$out"; kill $(jobs -p) 2>/dev/null || true' EXIT
# Runs a program as two ranks, and keeps the times of the first.
#   two_ranks FILE PROGRAM...
two_ranks() {
  local file=$1 port
  shift
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  local flags=(--steps "$steps" --warmup "$warmup" --threads 1 --world-size 2 --port "$port")
  OMP_NUM_THREADS=1 "$@" "${flags[@]}" --rank 1 >/dev/null &
  OMP_NUM_THREADS=1 "$@" "${flags[@]}" --rank 0 >"$file"
  wait
}
run() {
  case $1 in
    workers) two_ranks "$out/workers.$2" "$ours" ;;
    ddp) two_ranks "$out/ddp.$2" "$python" benches/train_step.py ;;
    alone) "$ours" --steps "$steps" --warmup "$warmup" --threads 2 >"$out/alone.$2" ;;
  esac
}
for ((block = 1; block <= blocks; block++)); do
  echo "block $block of $blocks, load $(cut -d' ' -f1 /proc/loadavg)" >&2
  order="workers ddp alone"
  [ $((block % 2)) = 1 ] || order="alone ddp workers"
  for who in $order; do run "$who" "$block"; done
done

"$python" - "$out" "$blocks" "$steps" <<'P'
import json, statistics, sys
out, blocks, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
limit = 1.05

def median(who, block):
    with open(f"{out}/{who}.{block}") as f:
        times = [json.loads(line)["seconds"] for line in f if line.startswith("{")]
    if len(times) != steps:
        sys.exit(f"{who} printed {len(times)} steps in block {block}, {steps} were asked for")
    return statistics.median(times)

beside_ddp, beside_alone = [], []
for block in range(1, blocks + 1):
    workers, ddp, alone = (median(who, block) for who in ("workers", "ddp", "alone"))
    beside_ddp.append(workers / ddp)
    beside_alone.append(workers / alone)
    print(f"block {block}: two workers {workers:.3f} s, PyTorch's two processes {ddp:.3f} s (ratio {workers / ddp:.3f}), one process with two threads {alone:.3f} s (ratio {workers / alone:.3f})")
for name, ratios in (("PyTorch's DistributedDataParallel", beside_ddp), ("one process with two threads", beside_alone)):
    print(f"two workers beside {name}: median ratio {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")
if statistics.median(beside_ddp) > limit:
    sys.exit(f"two workers take {statistics.median(beside_ddp):.3f} times as long as PyTorch's, at most {limit:.2f} is allowed")
P
