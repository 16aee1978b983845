#!/usr/bin/env bash
# Acceptance of the image: by plain `docker run`, and by SageMaker's own Python SDKs in local mode. `make test-image` calls it.
#   tests/local_mode/run.sh [all|container|sdk-v2|sdk-v3|sdk-pipeline]...
# Says what it skips and why; what cannot be had (an engine, compose, an SDK) is no failure, what is there and fails is.
# Needs docker with BuildKit; for the SDKs docker compose, python3 with venv, and PyPI for the first run (into .venv/).
# Last line: "image: N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."

export MASKMAKER_IMAGE=maskmaker:cpu-test
passed=0 failed=0 skipped=0
ends() { echo "image: $passed passed, $failed failed, $skipped skipped"; }
skip() { echo "skipped: $1: $2"; skipped=$((skipped + 1)); }

parts=${*:-all}
[ "$parts" != all ] || parts="container sdk-v2 sdk-v3 sdk-pipeline"

if ! docker=$(scripts/image.sh client 2>&1); then
  skip "$parts" "$docker"
  ends
  exit 0
fi
export DOCKER=$docker
if ! "$docker" info >/dev/null 2>&1; then
  skip "$parts" "no docker engine answers ($docker info); start one, on Debian as root: scripts/base-images.sh engine"
  ends
  exit 0
fi

for base in debian:bookworm-slim rust:1.95-slim-bookworm; do
  if ! "$docker" image inspect "$base" >/dev/null 2>&1 && ! "$docker" pull -q "$base"; then
    skip "$parts" "$base cannot be pulled; scripts/base-images.sh makes a stand-in from Debian's packages and this machine's Rust"
    ends
    exit 0
  fi
done

# Without pretrained weights: nothing here needs them.
echo "building $MASKMAKER_IMAGE"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! PRETRAINED=none TAG=cpu-test scripts/image.sh build cpu >"$log" 2>&1; then
  tail -40 "$log"
  echo "the image does not build"
  failed=1
  ends
  exit 1
fi
scripts/image.sh sizes cpu-test

compose() { "$docker" compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null; }

# An environment of its own per SDK: version 3 removed what version 2 is used by. Complete or absent.
environment() {
  local folder=.venv/$1 requirements=tests/local_mode/requirements-$1.txt
  if ! cmp -s "$requirements" "$folder/requirements.txt"; then
    rm -rf "$folder"
    scripts/setup.sh venv
    python3 -m venv "$folder" \
      && "$folder/bin/pip" install -q --disable-pip-version-check -r "$requirements" \
      && cp "$requirements" "$folder/requirements.txt"
  fi
}

run_part() {
  local part=$1 summary count
  case $part in
    container) environment container ;;
    sdk-v2 | sdk-v3 | sdk-pipeline)
      compose || scripts/setup.sh compose || { skip "$part" "neither \`docker compose\` nor docker-compose is here"; return; }
      environment "$part"
      ;;
    *) echo "unknown part $part; known: all, container, sdk-v2, sdk-v3, sdk-pipeline"; failed=$((failed + 1)); return ;;
  esac || { skip "$part" "its Python packages could not be installed (tests/local_mode/requirements-$part.txt)"; return; }
  summary=$(mktemp)
  ".venv/$part/bin/python" -m pytest -q -s -p no:cacheprovider --tb=short -W ignore "tests/local_mode/test_${part//-/_}.py" --junitxml "$summary" \
    || [ -s "$summary" ] || failed=$((failed + 1))
  count() { sed -n "s/.*<testsuite [^>]*$1=\"\([0-9]*\)\".*/\1/p" "$summary" | head -1; }
  passed=$((passed + $(count tests) - $(count failures) - $(count errors) - $(count skipped)))
  failed=$((failed + $(count failures) + $(count errors)))
  skipped=$((skipped + $(count skipped)))
  rm -f "$summary"
}

for part in $parts; do
  echo "== $part"
  run_part "$part"
done
ends
[ "$failed" = 0 ]
