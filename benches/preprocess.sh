#!/usr/bin/env bash
# Turns the same Label Studio export into masks with Label Studio's own converter and with `maskmaker preprocess` in turn.
#   benches/preprocess.sh [--tasks 1000] [--regions 4] [--rounds 3] [--cores 2] [--least 30]
# Prints masks (= regions) and images per second, medians over the rounds, peak memory, and the ratios of the medians, for
# brush regions and for polygons. Exits with 1 if maskmaker makes, of brush regions, fewer than 30 times as many masks per
# second on 2 cores as one process of the converter does.
#   benches/preprocess.sh --memory [--few 1000] [--many 10000] [--allowed-mib 64]
# Prints maskmaker's peak memory at 1,000 and at 10,000 tasks; exits with 1 if it grows by more than that.
# MASKMAKER_BENCH_PYTHON  a python (3.11 or newer) with the packages below in these versions; without it .venv/preprocess is
#                         made with them (500 MB)
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

# The peer and the packages in which it spends its time. Other versions give other ratios.
packages=(label-studio-sdk==2.1.2 numpy==2.2.6 pillow==13.0.0 ijson==3.6.0 ujson==6.1.0)
# Fails and names the packages that are missing or have another version.
check_packages() {
  "$1" - "${packages[@]}" <<'P'
import sys
from importlib.metadata import PackageNotFoundError, version

wrong = []
for package in sys.argv[1:]:
    name, wanted = package.split("==")
    try:
        found = version(name)
    except PackageNotFoundError:
        found = "none"
    if found != wanted:
        wrong.append(f"{name} {wanted} (found: {found})")
if wrong:
    sys.exit(f"{sys.executable} needs {', '.join(wrong)}")
P
}

python=${MASKMAKER_BENCH_PYTHON:-.venv/preprocess/bin/python}
if [ -z "${MASKMAKER_BENCH_PYTHON:-}" ] && ! check_packages "$python" 2>/dev/null; then
  echo "making .venv/preprocess with ${packages[*]} (500 MB)" >&2
  scripts/setup.sh venv
  rm -rf .venv/preprocess
  python3 -m venv .venv/preprocess
  .venv/preprocess/bin/pip install -q "${packages[@]}"
fi
check_packages "$python"

scripts/setup.sh assembler
cargo build --release --locked --bin maskmaker
exec "$python" benches/preprocess.py $mode "${CARGO_TARGET_DIR:-target}/release/maskmaker" "${flags[@]}"
