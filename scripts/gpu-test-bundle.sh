#!/usr/bin/env bash
# Builds the GPU tests for a machine that has a driver and a Python with torch 2.11.0, but neither cargo nor a compiler: the program,
# the tests, the benchmark of a training step and the library by which GPUs exchange gradients, against torch 2.11.0. That all of it
# builds and links is also what keeps the sources fit for that version. tests/gpu/run.sh and benches/gpu.sh run it there.
#   scripts/gpu-test-bundle.sh [OUT=target/gpu-test-bundle]
# Needs what building needs, g++, and PyPI (2 GB, once). Prints the sizes; fails above 64 MiB, which is what some machines take.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/gpu-test-bundle} largest_bytes=$((64 << 20))

scripts/setup.sh compile assembler
scripts/libtorch.sh 2.11.0 .libtorch.2.11
scripts/libtorch.sh 2.11.0 .libtorch.nccl-2.11.0 nccl
scripts/nccl.sh .libtorch.nccl-2.11.0

# tch is of torch 2.10, and its calls are those of 2.11, too. A folder of its own, so that the other builds stay as they are.
export LIBTORCH=$PWD/.libtorch.2.11 LIBTORCH_BYPASS_VERSION_CHECK=1 CARGO_TARGET_DIR=$PWD/target/torch-2.11
options=(--release --locked $(cat .tools/cargo-options 2>/dev/null || true))
cargo build "${options[@]}" --bin maskmaker --example train_step
tests=$(cargo test "${options[@]}" --no-run --test it --message-format json \
  | sed -n 's/.*"executable":"\([^"]*\/it-[^"]*\)".*/\1/p' | tail -1)

rm -rf "$out"
mkdir -p "$out/bin" "$out/lib"
strip -o "$out/bin/maskmaker" "$CARGO_TARGET_DIR/release/maskmaker"
strip -o "$out/bin/gpu-tests" "$tests"
strip -o "$out/bin/train_step" "$CARGO_TARGET_DIR/release/examples/train_step"
strip -o "$out/lib/libmaskmaker_nccl.so" .libtorch.nccl-2.11.0/lib/libmaskmaker_nccl.so
# Every name must be found in that libtorch; the linker of a program checks this, that of a library does not.
LD_LIBRARY_PATH=$LIBTORCH/lib "$out/bin/maskmaker" --version
bytes=$(du -sb "$out" | cut -f1)
(cd "$out" && find . -type f -exec ls -l {} +)
echo "$out: $bytes bytes, at most $largest_bytes are allowed"
[ "$bytes" -le $largest_bytes ]
