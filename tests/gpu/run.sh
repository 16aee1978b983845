#!/usr/bin/env bash
# What needs an NVIDIA GPU, on the first one. `make test-gpu` calls it.
# Needs a driver, and libtorch_cuda.so with the libraries that it needs, of the version that the program is built with, in
# .libtorch/lib or on LD_LIBRARY_PATH. Without them it says what it skips. Last line: "gpu: N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."

skip() { echo "skipped: $1"; echo "gpu: 0 passed, 0 failed, 1 skipped"; exit 0; }

nvidia-smi -L >/dev/null 2>&1 || skip "no NVIDIA GPU (nvidia-smi -L names none)"
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

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Each line is marked, so that who adds up results finds each once. One at a time: they fill the GPU.
cargo test --locked $(cat .tools/cargo-options 2>/dev/null) --test it -- --ignored --test-threads 1 gpu:: 2>&1 | tee "$log" | sed 's/^/| /'
status=$?
count() { sed -n "s/^test result: .* \([0-9]*\) $1;.*/\1/p" "$log" | tail -1; }
passed=$(count passed) failed=$(count failed)
echo "gpu: ${passed:-0} passed, ${failed:-1} failed, 0 skipped"
exit "$status"
