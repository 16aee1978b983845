# Sourced by the benchmarks: sets `python` to one that has the peers.
# MASKMAKER_BENCH_PYTHON  a python with torch 2.10.0, torchvision 0.25.0, safetensors, numpy and pillow; without it .venv is
#                         made with them
python=${MASKMAKER_BENCH_PYTHON:-.venv/bin/python}
if [ -z "${MASKMAKER_BENCH_PYTHON:-}" ] && ! "$python" -c 'import torch, torchvision, safetensors, numpy, PIL' 2>/dev/null; then
  echo "making .venv with torch 2.10.0 and torchvision 0.25.0 (several GB)" >&2
  scripts/setup.sh venv
  python3 -m venv .venv
  .venv/bin/pip install -q torch==2.10.0 torchvision==0.25.0 safetensors numpy pillow
fi
"$python" - <<'P'
import sys
try:
    import numpy, PIL, safetensors, torch, torchvision
except ImportError as error:
    sys.exit(f"{sys.executable}: {error}")
found = torch.__version__.split("+")[0], torchvision.__version__.split("+")[0]
if found != ("2.10.0", "0.25.0"):
    sys.exit(f"the peer is torch 2.10.0 with torchvision 0.25.0, this python has {found[0]} and {found[1]}")
P
