#!/usr/bin/env bash
# Measures what share of an audit's processor time the digests take by which a restarted job knows its images and masks.
#   benches/audit_digests.sh [--images 10000]
# Makes so many training images of 256 pixels (3 to 75000), and prints a JSON line with seconds of processor time and the bytes
# that the list of samples adds to a checkpoint. Exits with 1 if the digests take more than 2 percent of the audit.
set -euo pipefail
cd "$(dirname "$0")/.."

images=10000
while [ $# -gt 0 ]; do
  case $1 in
    --images) images=$2 ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

scripts/setup.sh assembler
cargo build --release --locked --bin maskmaker --example audit_digests
target=${CARGO_TARGET_DIR:-target}/release
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
# A quarter of sample data is for validation.
"$target/maskmaker" sample-data "$data" --images $((images * 4 / 3)) --size 256 --seed 1 >/dev/null
"$target/examples/audit_digests" "$data"
