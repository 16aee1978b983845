#!/usr/bin/env bash
# What other programs make of ours: PyTorch, torchvision, ONNX Runtime, TensorBoard, Label Studio's converter and pycocotools.
# `make test-interop` calls it.
#   tests/interop/run.sh [PYTEST ARGUMENTS]     for example -k onnx
# MASKMAKER_INTEROP_PYTHON  a python with the packages of tests/interop/requirements*.txt; without it .venv/interop is made
#                           with them (for Linux the index has PyTorch with CUDA only: 7 GB on disk)
# Says what it skips and why: packages that cannot be had are no failure. Last line: "interop: N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."

passed=0 failed=0 skipped=0
ends() { echo "interop: $passed passed, $failed failed, $skipped skipped"; }
skip() { echo "skipped: interop: $1"; skipped=$((skipped + 1)); ends; exit 0; }

# Complete or absent.
environment() {
  local folder=.venv/interop requirements=tests/interop/requirements.txt alone=tests/interop/requirements-no-deps.txt
  cat "$requirements" "$alone" | cmp -s - "$folder/requirements.txt" && return
  local free
  mkdir -p .venv && free=$(df -Pm .venv | awk 'NR == 2 { print $4 }')
  [ "$free" -ge 16000 ] || { echo "$PWD has $free MB free, fetching and unpacking takes 16000 MB"; return 1; }
  rm -rf "$folder"
  scripts/setup.sh venv
  python3 -m venv "$folder" \
    && "$folder/bin/pip" install -q --disable-pip-version-check --no-cache-dir -r "$requirements" \
    && "$folder/bin/pip" install -q --disable-pip-version-check --no-cache-dir --no-deps -r "$alone" \
    && cat "$requirements" "$alone" >"$folder/requirements.txt"
}

python=${MASKMAKER_INTEROP_PYTHON:-.venv/interop/bin/python}
if [ -z "${MASKMAKER_INTEROP_PYTHON:-}" ]; then
  environment || skip "the packages of tests/interop/requirements*.txt could not be installed (python3 with venv and pip, PyPI, 16 GB)"
fi

if ! cargo build --locked $(cat .tools/cargo-options 2>/dev/null) --bin maskmaker --example interop_models --example interop_masks; then
  echo "the program does not build"
  failed=1
  ends
  exit 1
fi
target=${CARGO_TARGET_DIR:-target}/debug
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export INTEROP_MODELS=$work/models INTEROP_MASKS=$work/masks INTEROP_MASKMAKER=$target/maskmaker
if ! "$target/examples/interop_models" "$INTEROP_MODELS"; then
  echo "the models could not be written"
  failed=1
  ends
  exit 1
fi
if ! "$target/examples/interop_masks" "$INTEROP_MASKS"; then
  echo "the masks could not be written"
  failed=1
  ends
  exit 1
fi

summary=$work/summary.xml
"$python" -m pytest -q -rP -p no:cacheprovider --tb=short -W ignore --basetemp "$work/pytest" tests/interop "$@" --junitxml "$summary" \
  || [ -s "$summary" ] || failed=$((failed + 1))
count() { sed -n "s/.*<testsuite [^>]*$1=\"\([0-9]*\)\".*/\1/p" "$summary" 2>/dev/null | head -1; }
if [ -s "$summary" ]; then
  passed=$(($(count tests) - $(count failures) - $(count errors) - $(count skipped)))
  failed=$((failed + $(count failures) + $(count errors)))
  skipped=$(count skipped)
fi
ends
[ "$failed" = 0 ]
