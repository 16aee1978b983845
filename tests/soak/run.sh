#!/usr/bin/env bash
# Drives `maskmaker serve` with good, bad and abandoned requests, ends it by SIGTERM and holds it to limits.
#   tests/soak/run.sh [--minutes 10] [--clients 64] [--seed 1] [--leave-out PART,...] [-- ARGUMENTS OF serve]
# Prints what came of every kind of request and then one line per limit; exits with 1 if one is not kept: no 5xx but 503
# from a full queue, good requests 200, bad ones their 4xx, memory (VmRSS in /proc) flat after the first quarter, /ping
# fast, nothing lost at SIGTERM, the process gone within 30 s.
# --leave-out    leaves out requests whose name has one of these parts in it, to find out which kind is to blame
# MASKMAKER_BIN  the program (default: target/release/maskmaker, built first)
# SOAK_MODEL     a folder with model/ of sample-data's four classes (default target/soak, made by a short training)
set -euo pipefail
cd "$(dirname "$0")/../.."

case ${1:-} in -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

target=${CARGO_TARGET_DIR:-target}
scripts/setup.sh compile assembler
cargo build --release --locked --example soak
if [ -z "${MASKMAKER_BIN:-}" ]; then
  cargo build --release --locked --bin maskmaker
fi
program=${MASKMAKER_BIN:-$target/release/maskmaker}
[ -x "$program" ] || { echo "soak: $program is not there; leave MASKMAKER_BIN out to have it built" >&2; exit 2; }

# Settings of this machine would be the server's.
for name in $(compgen -e | grep -E '^(SAGEMAKER_|MASKMAKER_)' || true); do unset "$name"; done

folder=${SOAK_MODEL:-$target/soak}
if [ ! -e "$folder/model/model.safetensors" ]; then
  echo "making a model (fcn, resnet-18) in $folder" >&2
  rm -rf "$folder"
  mkdir -p "$folder/input/config"
  "$program" sample-data "$folder/input/data" --images 8 --size 64 --seed 3
  cat >"$folder/input/config/hyperparameters.json" <<'J'
{"algorithm": "fcn", "backbone": "resnet-18", "use_pretrained_model": "False", "num_classes": "4", "epochs": "1",
 "mini_batch_size": "3", "base_size": "64", "crop_size": "32"}
J
  "$program" --ml-root "$folder" train >"$folder/train.log" 2>&1 || { cat "$folder/train.log" >&2; exit 2; }
fi

# 4 MB, so that bodies over the limit cost little; a queue that the clients can fill.
export MASKMAKER_MAX_BODY_MB=4 MASKMAKER_QUEUE_DEPTH=${SOAK_QUEUE_DEPTH:-48}
exec "$target/release/examples/soak" --maskmaker "$program" --ml-root "$folder" "$@"
