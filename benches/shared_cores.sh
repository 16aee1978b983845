#!/usr/bin/env bash
# Times training steps of one process and of two on the same cores, of maskmaker and of PyTorch, in turn.
#   benches/shared_cores.sh [--rounds 3] [--seconds 15] [--images 4] [--side 96]
# Prints a table: throughput, busy cores, threads that waited for one, and switches of threads.
# MASKMAKER_BENCH_PYTHON  see benches/python.sh
set -euo pipefail
cd "$(dirname "$0")/.."

. benches/python.sh

scripts/setup.sh assembler
cargo build --release --locked --example train_step
exec "$python" benches/shared_cores.py --ours "${CARGO_TARGET_DIR:-target}/release/examples/train_step" "$@"
