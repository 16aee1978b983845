#!/usr/bin/env bash
# Turns the same Label Studio export into masks with Label Studio's own converter and with `maskmaker preprocess` in turn.
#   benches/preprocess.sh [--tasks 1000] [--regions 4] [--rounds 3] [--cores 2] [--least 30]
# Prints masks (= regions) and images per second, medians over the rounds, peak memory, and the ratios of the medians, for
# brush regions and for polygons. Exits with 1 if maskmaker makes, of brush regions, fewer than 30 times as many masks per
# second on 2 cores as one process of the converter does.
#   benches/preprocess.sh --memory [--few 1000] [--many 10000] [--allowed-mib 64]
# Prints maskmaker's peak memory at 1,000 and at 10,000 tasks; exits with 1 if it grows by more than that.
# MASKMAKER_BENCH_PYTHON  a python with label-studio-sdk 2.1.2, numpy and pillow; without it .venv/preprocess is made with
#                         them (500 MB)
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mode=compare flags=() allowed=--tasks:--regions:--rounds:--cores:--least
[ "${1:-}" != --memory ] || { mode=memory allowed=--few:--many:--allowed-mib; shift; }
while [ $# -gt 0 ]; do
  case :$allowed: in *:"$1":*) [ $# -ge 2 ] || usage ;; *) usage ;; esac
  flags+=("$1" "$2")
  shift 2
done

python=${MASKMAKER_BENCH_PYTHON:-.venv/preprocess/bin/python}
if [ -z "${MASKMAKER_BENCH_PYTHON:-}" ] && ! "$python" -c 'import label_studio_sdk, numpy, PIL' 2>/dev/null; then
  echo "making .venv/preprocess with label-studio-sdk 2.1.2 (500 MB)" >&2
  scripts/setup.sh venv
  python3 -m venv .venv/preprocess
  .venv/preprocess/bin/pip install -q label-studio-sdk==2.1.2 numpy pillow
fi
"$python" - <<'P'
import sys
from importlib.metadata import PackageNotFoundError, version
try:
    import numpy, PIL
    found = version("label-studio-sdk")
except (ImportError, PackageNotFoundError) as error:
    sys.exit(f"{sys.executable}: {error}: label-studio-sdk 2.1.2, numpy and pillow are needed")
if found != "2.1.2":
    sys.exit(f"the peer is label-studio-sdk 2.1.2, this python has {found}")
P

scripts/setup.sh assembler
cargo build --release --locked --bin maskmaker
exec "$python" benches/preprocess.py $mode "${CARGO_TARGET_DIR:-target}/release/maskmaker" "${flags[@]}"
