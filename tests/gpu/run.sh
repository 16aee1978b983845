#!/usr/bin/env bash
# What needs an NVIDIA GPU, on the first one. `make test-gpu` calls it.
#   tests/gpu/run.sh
# Needs a driver, and one of these:
# - cargo, and libtorch_cuda.so with the libraries that it needs, of the version that the program is built with, in .libtorch/lib or
#   on LD_LIBRARY_PATH;
# - no cargo, a folder that `make test-gpu-bundle` made in target/gpu-test-bundle, and a python3 with torch 2.11.0 for CUDA.
# Without them it says what it skips. Each result is printed as it comes, the most important first. Last line: "gpu: N passed,
# N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."
bundle=target/gpu-test-bundle

skip() { echo "skipped: $1"; echo "gpu: 0 passed, 0 failed, 1 skipped"; exit 0; }

nvidia-smi -L >/dev/null 2>&1 || skip "no NVIDIA GPU (nvidia-smi -L names none)"
if command -v cargo >/dev/null; then
  found=
  IFS=: read -ra folders <<<"${LD_LIBRARY_PATH:-}"
  for folder in .libtorch/lib ${folders[@]+"${folders[@]}"}; do
    [ -e "$folder/libtorch_cuda.so" ] || continue
    found=$folder
    break
  done
  [ -n "$found" ] || skip "libtorch_cuda.so lies neither in .libtorch/lib nor on LD_LIBRARY_PATH"
  # By which GPUs exchange gradients; where it cannot be built the tests of it fail and name it.
  if [ -e "$found/../include/cuda/nccl.h" ] && command -v g++ >/dev/null; then
    scripts/nccl.sh "$found/.."
  fi
  command=(cargo test --locked $(cat .tools/cargo-options 2>/dev/null) --test it --)
else
  [ -x $bundle/bin/gpu-tests ] || skip "neither cargo nor $bundle is there; \`make test-gpu-bundle\` makes it on another machine"
  libraries=$(tests/gpu/torch-libraries.sh)
  [ -n "$libraries" ] || skip "the tests in $bundle are built against torch 2.11.0, which python3 does not have"
  export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export TEST_PROGRAM=$PWD/$bundle/bin/maskmaker
  command=("$bundle/bin/gpu-tests")
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# One at a time: they fill the GPU. Each line is marked, so that who adds up results finds each once.
"${command[@]}" --ignored --test-threads 1 gpu:: 2>&1 | tee "$log" | sed -u 's/^/| /'
status=$?
count() { sed -n "s/^test result: .* \([0-9]*\) $1;.*/\1/p" "$log" | tail -1; }
passed=$(count passed) failed=$(count failed)
echo "gpu: ${passed:-0} passed, ${failed:-1} failed, 0 skipped"
exit "$status"
