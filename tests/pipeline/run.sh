#!/usr/bin/env bash
# pipeline.json and pipelines/ beside SageMaker's Python SDK, its API's model in botocore, and the schema of definitions.
# `make test-pipeline` calls it. Nothing is built, and AWS is not asked.
# Needs python3 with venv, and PyPI for the first run (300 MB into .venv/pipeline, from tests/pipeline/requirements.txt). What
# cannot be had is skipped and said.
# Last line: "pipeline: N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."

ends() { echo "pipeline: $1 passed, $2 failed, $3 skipped"; exit "$4"; }

# Complete or absent.
requirements=tests/pipeline/requirements.txt
if ! cmp -s $requirements .venv/pipeline/requirements.txt; then
  rm -rf .venv/pipeline
  scripts/setup.sh venv
  python3 -m venv .venv/pipeline \
    && .venv/pipeline/bin/pip install -q --disable-pip-version-check -r $requirements \
    && cp $requirements .venv/pipeline/requirements.txt \
    || { echo "skipped: its Python packages could not be installed (pip install -r $requirements)"; ends 0 0 1 0; }
fi

summary=$(mktemp)
trap 'rm -f "$summary"' EXIT
.venv/pipeline/bin/python -B -m pytest -q -p no:cacheprovider --tb=short -W ignore tests/pipeline --junitxml "$summary"
status=$?
if [ ! -s "$summary" ]; then
  echo "the tests did not run"
  ends 0 1 0 1
fi
count() { sed -n "s/.*<testsuite [^>]*$1=\"\([0-9]*\)\".*/\1/p" "$summary" | head -1; }
failed=$(($(count failures) + $(count errors))) skipped=$(count skipped)
ends $(($(count tests) - failed - skipped)) "$failed" "$skipped" "$status"
