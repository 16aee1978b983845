#!/usr/bin/env bash
# Jobs that read S3, and `fetch` with Secrets Manager, against moto's server on loopback; commands of pipelines in SageMaker, against
# sagemaker_stub.py, which checks every request by the service's own model. `make test-aws` calls it.
# Needs moto's server: `moto_server` on the PATH with what else tests/aws/requirements.txt names, or python3 with venv and PyPI for
# the first run (into .venv/aws). What cannot be had is skipped and said; what is there and fails is a failure.
# Last line: "aws: N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."

ends() { echo "aws: $1 passed, $2 failed, $3 skipped"; exit "$4"; }
skip() { echo "skipped: $1"; ends 0 0 1 0; }

work=$(mktemp -d)
servers=()
finish() {
  [ ${#servers[@]} = 0 ] || kill "${servers[@]}" 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT

server=$(command -v moto_server)
if [ -z "$server" ] || ! "$(dirname "$server")/python3" -c 'import boto3, botocore, pytest' 2>/dev/null; then
  # Complete or absent.
  if ! cmp -s tests/aws/requirements.txt .venv/aws/requirements.txt; then
    rm -rf .venv/aws
    scripts/setup.sh venv
    python3 -m venv .venv/aws \
      && .venv/aws/bin/pip install -q --disable-pip-version-check -r tests/aws/requirements.txt \
      && cp tests/aws/requirements.txt .venv/aws/requirements.txt \
      || skip "moto's server could not be installed (pip install -r tests/aws/requirements.txt)"
  fi
  server=.venv/aws/bin/moto_server
fi

# On a free port, which its log names. Two of them: in one, permissions are enforced later on.
start() {
  "$server" -H 127.0.0.1 -p 0 >"$work/$1.log" 2>&1 &
  servers+=($!)
}
url() {
  local found
  for _ in $(seq 240); do
    found=$(grep -o 'http://127.0.0.1:[0-9]*' "$work/$1.log" | head -1)
    [ -z "$found" ] || { echo "$found"; return; }
    sleep 0.5
  done
  cat "$work/$1.log" >&2
  return 1
}
start open
start guarded
MASKMAKER_TEST_S3=$(url open) && MASKMAKER_TEST_S3_IAM=$(url guarded) || ends 0 1 0 1
export MASKMAKER_TEST_S3 MASKMAKER_TEST_S3_IAM

# Each line is marked, so that who adds up results finds each once.
cargo test --locked $(cat .tools/cargo-options 2>/dev/null) --test it -- --ignored --test-threads 2 moto:: 2>&1 | tee "$work/tests.log" | sed 's/^/| /'
status=$?
count() { sed -n "s/^test result: .* \([0-9]*\) $1;.*/\1/p" "$work/tests.log" | tail -1; }
passed=$(count passed) failed=$(count failed)
if [ -z "$passed" ] || [ "$passed" = 0 ] && [ "$failed" = 0 ]; then
  echo "the tests did not run"
  ends 0 1 0 1
fi

# The stub and the commands, in this environment or in the one in which moto's server was found.
python=$(dirname "$server")/python3
export MASKMAKER_BIN=${CARGO_TARGET_DIR:-target}/debug/maskmaker
[[ $MASKMAKER_BIN = /* ]] || MASKMAKER_BIN=$PWD/$MASKMAKER_BIN
export LD_LIBRARY_PATH=$PWD/.libtorch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
summary=$work/commands.xml
"$python" -m pytest -q -p no:cacheprovider --tb=short tests/aws --junitxml "$summary" || status=1
count_commands() { sed -n "s/.*<testsuite [^>]*$1=\"\([0-9]*\)\".*/\1/p" "$summary" | head -1; }
if [ ! -s "$summary" ]; then
  echo "the tests of the commands did not run"
  ends "$passed" "$((failed + 1))" 0 1
fi
skipped=$(count_commands skipped) bad=$(($(count_commands failures) + $(count_commands errors)))
passed=$((passed + $(count_commands tests) - bad - skipped)) failed=$((failed + bad))
ends "$passed" "$failed" "$skipped" "$status"
