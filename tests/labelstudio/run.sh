#!/usr/bin/env bash
# What maskmaker does with a real Label Studio, which is installed from PyPI and started on loopback, with moto's server as S3.
#   tests/labelstudio/run.sh [PYTEST ARGUMENTS]     for example -k killed
# Needs python3 with venv, and PyPI for the first run (1.1 GB into .venv/label-studio, from tests/labelstudio/requirements.txt).
# MASKMAKER_BIN  the program (default target/debug/maskmaker)
# Says what it skips and why: packages that cannot be had are no failure. Last line: "labelstudio: N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."

ends() { echo "labelstudio: $1 passed, $2 failed, $3 skipped"; exit "$4"; }
skip() { echo "skipped: labelstudio: $1"; ends 0 0 1 0; }

export MASKMAKER_BIN=${MASKMAKER_BIN:-${CARGO_TARGET_DIR:-target}/debug/maskmaker}
[ -x "$MASKMAKER_BIN" ] || { echo "$MASKMAKER_BIN is not there: cargo build --locked --bin maskmaker"; ends 0 1 0 1; }
export LD_LIBRARY_PATH=$PWD/.libtorch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# Complete or absent.
environment() {
  local folder=.venv/label-studio requirements=tests/labelstudio/requirements.txt free
  cmp -s $requirements $folder/requirements.txt && return
  mkdir -p .venv && free=$(df -Pm .venv | awk 'NR == 2 { print $4 }')
  [ "$free" -ge 2000 ] || { echo "$PWD has $free MB free, the packages take 2000 MB"; return 1; }
  rm -rf $folder
  scripts/setup.sh venv
  python3 -m venv $folder \
    && $folder/bin/pip install -q --disable-pip-version-check --no-cache-dir -r $requirements \
    && cp $requirements $folder/requirements.txt
}
environment || skip "the packages of tests/labelstudio/requirements.txt could not be installed (python3 with venv and pip, PyPI, 2 GB)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
summary=$work/summary.xml
.venv/label-studio/bin/python -B -m pytest -q -p no:cacheprovider --tb=short -W ignore --basetemp "$work/pytest" \
  tests/labelstudio "$@" --junitxml "$summary"
status=$?
if [ ! -s "$summary" ]; then
  echo "the tests did not run"
  ends 0 1 0 1
fi
count() { sed -n "s/.*<testsuite [^>]*$1=\"\([0-9]*\)\".*/\1/p" "$summary" | head -1; }
failed=$(($(count failures) + $(count errors))) skipped=$(count skipped)
ends $(($(count tests) - failed - skipped)) "$failed" "$skipped" "$status"
