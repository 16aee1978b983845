#!/usr/bin/env bash
# Times one forward pass of fcn with resnet-50 at 480x480, batch 1, in maskmaker, ONNX Runtime, OpenVINO and PyTorch: the
# same weights, each in a process of its own, taking turns pass by pass, so that a busy machine disturbs all alike.
#   benches/latency.sh [--rounds 5] [--runs 5] [--warmup 2] [--threads 2] [--by seconds|cpu_seconds] [--kinds KIND,...]
# Prints medians, how far the answers differ, and ratios; exits with 1 if maskmaker takes, in 32 bits, more than 1.03
# times the faster of ONNX Runtime and OpenVINO, or in bf16 more than 1.10 times OpenVINO's bf16. maskmaker's passes start
# from 8-bit pixels and end at class ids; the peers' from normalized floats to logits.
# --by cpu_seconds  by processor time instead; with --threads 1 it tells the same on a machine that is never idle
# --kinds           some of maskmaker, maskmaker_bf16 and the peers that benches/latency.py names
# MASKMAKER_BENCH_PYTHON   see benches/python.sh
# MASKMAKER_BENCH_LATENCY  where the model is made and kept (default target/bench-latency)
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=5 runs=5 warmup=2 threads=2 by=seconds
kinds=maskmaker,openvino,onnxruntime,frozen,channels_last,eager,maskmaker_bf16,openvino_bf16,weights_bf16,autocast_bf16
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2 ;;
    --runs) runs=$2 ;;
    --warmup) warmup=$2 ;;
    --threads) threads=$2 ;;
    --by) by=$2 ;;
    --kinds) kinds=$2 ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

. benches/python.sh

# In an environment of their own, complete or absent: neither needs PyTorch.
peers=.venv/latency packages="onnxruntime==1.31.1 openvino==2026.4.1 numpy==2.4.6"
if [ "$(cat "$peers/packages" 2>/dev/null)" != "$packages" ]; then
  echo "making $peers with $packages" >&2
  rm -rf "$peers"
  mkdir -p .venv
  scripts/setup.sh venv
  python3 -m venv "$peers"
  # shellcheck disable=SC2086  # one word each
  "$peers/bin/pip" install -q --disable-pip-version-check $packages
  echo "$packages" >"$peers/packages"
fi

target=${CARGO_TARGET_DIR:-target}/release
scripts/setup.sh assembler
cargo build --release --locked --bin maskmaker --example latency
folder=${MASKMAKER_BENCH_LATENCY:-target/bench-latency}
if [ ! -e "$folder/whole" ]; then
  rm -rf "$folder"
  "$python" benches/latency.py make "$folder"
  "$target/maskmaker" export "$folder" --format onnx
  touch "$folder/whole"
fi
rm -rf "$folder/logits" "$folder/ids"

flags="--warmup $warmup --threads $threads"
commands=()
for kind in ${kinds//,/ }; do
  case $kind in
    maskmaker) run="$target/examples/latency $folder --precision fp32" ;;
    maskmaker_bf16) run="$target/examples/latency $folder --precision bf16 --name maskmaker_bf16" ;;
    onnxruntime | openvino | openvino_bf16) run="$peers/bin/python benches/latency.py time $kind $folder" ;;
    *) run="$python benches/latency.py time $kind $folder" ;;
  esac
  commands+=("$kind=$run $flags")
done
echo "$rounds rounds of $runs passes after $((warmup + 1)) to warm up, $threads threads" >&2
# The settings of this machine are not what is compared.
exec env -u OMP_NUM_THREADS -u MKL_NUM_THREADS "$peers/bin/python" benches/latency.py turns "$folder" "${commands[@]}" \
  --rounds "$rounds" --runs "$runs" --by "$by"
