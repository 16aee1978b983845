#!/usr/bin/env bash
# Times a training step of maskmaker and of PyTorch in turn (A B A B ...), so that a busy machine disturbs both alike.
#   benches/train_step.sh [--rounds 5] [--steps 3] [--warmup 1] [--threads all] [--precision fp32|bf16|fp16]
# Prints the median step of each, the ratio of the medians (below 1: maskmaker is faster) and every round's ratio; exits with 1 if the ratio is above 1.05.
# MASKMAKER_BENCH_PYTHON  see benches/python.sh
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=5 steps=3 warmup=1 threads=$(nproc) precision=fp32
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2 ;;
    --steps) steps=$2 ;;
    --warmup) warmup=$2 ;;
    --threads) threads=$2 ;;
    --precision) precision=$2 ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

. benches/python.sh

scripts/setup.sh assembler
cargo build --release --locked --example train_step
ours=${CARGO_TARGET_DIR:-target}/release/examples/train_step

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags=(--steps "$steps" --warmup "$warmup" --threads "$threads" --precision "$precision")
echo "$rounds rounds of $steps steps after $warmup to warm up, $threads threads, $precision" >&2
for ((round = 1; round <= rounds; round++)); do
  echo "round $round of $rounds, load $(cut -d' ' -f1 /proc/loadavg)" >&2
  "$ours" "${flags[@]}" > "$out/ours.$round"
  "$python" benches/train_step.py "${flags[@]}" > "$out/theirs.$round"
done

"$python" - "$out" "$rounds" "$steps" <<'P'
import json, statistics, sys
out, rounds, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
limit = 1.05

def seconds(who, round):
    with open(f"{out}/{who}.{round}") as f:
        times = [json.loads(line)["seconds"] for line in f if line.strip()]
    if len(times) != steps:
        sys.exit(f"{who} printed {len(times)} steps in round {round}, {steps} were asked for")
    return times

ours = [seconds("ours", r) for r in range(1, rounds + 1)]
theirs = [seconds("theirs", r) for r in range(1, rounds + 1)]
ratios = [statistics.median(a) / statistics.median(b) for a, b in zip(ours, theirs)]
for number, (a, b, ratio) in enumerate(zip(ours, theirs, ratios), 1):
    print(f"round {number}: maskmaker {statistics.median(a):.3f} s, PyTorch {statistics.median(b):.3f} s, ratio {ratio:.3f}")
a, b = (statistics.median(t for times in runs for t in times) for runs in (ours, theirs))
print(f"median step: maskmaker {a:.3f} s, PyTorch {b:.3f} s")
print(f"ratio of medians {a / b:.3f}, median of the rounds' ratios {statistics.median(ratios):.3f}")
if a / b > limit:
    sys.exit(f"maskmaker's median step takes {a / b:.3f} times PyTorch's, at most {limit:.2f} is allowed")
P
