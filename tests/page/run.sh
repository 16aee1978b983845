#!/usr/bin/env bash
# The page at `/` in headless Chromium, against the server. `make test-page` calls it.
#   tests/page/run.sh [TEST]...             for example Page.test_a_dropped_image_is_segmented
# Needs python3, and Chromium with its driver: as root on Debian they are installed, elsewhere it says how and skips.
# MASKMAKER_BIN          the program (default target/debug/maskmaker)
# MASKMAKER_PAGE_MODEL   a folder as train leaves it in /opt/ml/model; without it a small one is trained, which takes a minute
# MASKMAKER_PAGE_SHOTS   a folder that keeps screenshots
# Last line: "page: N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."

ends() { echo "page: $1 passed, $2 failed, $3 skipped"; exit "$4"; }
skip() { echo "skipped: page: $1"; ends 0 0 1 0; }

export MASKMAKER_BIN=${MASKMAKER_BIN:-${CARGO_TARGET_DIR:-target}/debug/maskmaker}
[ -x "$MASKMAKER_BIN" ] || { echo "$MASKMAKER_BIN is not there: cargo build --locked --bin maskmaker"; ends 0 1 0 1; }
command -v python3 >/dev/null || skip "python3 is missing"

scripts/setup.sh chromium || skip "Chromium and its driver are missing (above: how to install them)"
CHROMIUM=$(command -v chromium || command -v google-chrome)
CHROMEDRIVER=$(command -v chromedriver)
export CHROMIUM CHROMEDRIVER

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MASKMAKER_PAGE_WORK=$work
if [ -z "${MASKMAKER_PAGE_MODEL:-}" ]; then
  mkdir -p "$work/job/input/config"
  cat >"$work/job/input/config/hyperparameters.json" <<'JSON'
{"backbone": "resnet-18", "algorithm": "fcn", "use_pretrained_model": "False", "num_classes": "4",
 "class_names": "background,disc,box,triangle", "epochs": "1", "learning_rate": "0.0001", "optimizer": "rmsprop",
 "mini_batch_size": "2", "base_size": "64", "crop_size": "64", "precision": "fp32", "seed": "1"}
JSON
  { "$MASKMAKER_BIN" sample-data "$work/job/input/data" --images 10 --size 64 --seed 1 \
    && "$MASKMAKER_BIN" --ml-root "$work/job" train; } >"$work/train.log" 2>&1 \
    || { tail -20 "$work/train.log"; echo "the model could not be made"; ends 0 1 0 1; }
  export MASKMAKER_PAGE_MODEL=$work/job/model
fi
"$MASKMAKER_BIN" sample-data "$work/pictures" --images 4 --size 320 --seed 3 >/dev/null || ends 0 1 0 1

python3 -B tests/page/test_page.py "$@" 2>&1 | tee "$work/tests.log" | sed 's/^/| /'
status=$?
count() { sed -n "s/^$1: \([0-9]*\)$/\1/p" "$work/tests.log" | tail -1; }
[ -n "$(count passed)" ] || { echo "the tests did not run"; ends 0 1 0 1; }
ends "$(count passed)" "$(count failed)" "$(count skipped)" "$status"
