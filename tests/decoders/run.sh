#!/usr/bin/env bash
# Generated and damaged JPEG, PNG, TIFF, WebP and BMP files, as we decode them and as PIL does (and OpenCV where PIL is wrong).
# `make test-decoders` calls it.
#   tests/decoders/run.sh [--count N] [--seed N] [--format NAME] [--keep FOLDER]
# MASKMAKER_DECODERS_PYTHON  a python with the packages of tests/decoders/requirements.txt; without it .venv/decoders is made
# Undamaged: PNG, TIFF, BMP and lossless WebP exact, JPEG within 2, lossy WebP within the bound in compare.py. Damaged: a refusal, or
# PIL's pixels. What we read and PIL refuses is counted by kind. Kinds that nobody need read (JPEGs of 12 bits, and some lossless
# ones) are refused by name. Where the packages cannot be had it says so, which is no failure; and where jpegtran is missing
# (Debian: libjpeg-turbo-progs), JPEGs with arithmetic coding are left out.
# Last line: "decoders: N passed, N failed, N skipped".
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${MASKMAKER_DECODERS_PYTHON:-.venv/decoders/bin/python}
if [ -z "${MASKMAKER_DECODERS_PYTHON:-}" ] && ! cmp -s tests/decoders/requirements.txt .venv/decoders/requirements.txt; then
  rm -rf .venv/decoders
  scripts/setup.sh venv
  python3 -m venv .venv/decoders
  if ! .venv/decoders/bin/pip install -q --disable-pip-version-check --no-cache-dir -r tests/decoders/requirements.txt; then
    echo "skipped: decoders: the packages of tests/decoders/requirements.txt could not be installed (PyPI)"
    echo "decoders: 0 passed, 0 failed, 1 skipped"
    exit 0
  fi
  cp tests/decoders/requirements.txt .venv/decoders/
fi
# Where it cannot be installed, the last line counts what is left out.
scripts/setup.sh jpegtran || true
# The profile of the tests, which optimizes decoders, so that nothing but the example is built after `make test`.
cargo build --locked $(cat .tools/cargo-options 2>/dev/null) --example decode_images
exec "$python" -B tests/decoders/compare.py "${CARGO_TARGET_DIR:-target}/debug/examples/decode_images" "$@"
