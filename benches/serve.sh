#!/usr/bin/env bash
# Compares `maskmaker serve` with TorchServe, the SageMaker inference toolkit (multi-model-server) and FastAPI with PyTorch,
# each installed here, started in turn, on the same machine with the same weights and pictures.
#   benches/serve.sh [--quick] [--rounds 3] [--seconds 15] [--clients 1,4,16] [--cases CASE,...] [--servers SERVER,...]
#                    [--data FOLDER] [--json FILE]
# Prints, per case and server, answers per second, p50 and p99 of the time at each number of clients, the server's time
# outside decode, queue, model and encode, the time from the start to the first mask, peak memory, and the targets with the
# ratios of medians. Exits with 1 if a target is missed or masks differ; --quick (one round, a second each, 1 and 4 clients)
# shows that everything runs and judges the masks alone.
# --cases    fcn-640x480, fcn-160x120 (fcn with resnet-50, 21 classes), conv-160x120 (one convolution)
# --servers  maskmaker-fp32, maskmaker-auto, fastapi, toolkit, torchserve (one worker, all cores), and where rates count
#            fastapi-xN, toolkit-xN, torchserve-xN (a worker for each of N cores), torchserve-b8 (batches of up to 8)
# --data     keeps the pictures and models there, or finds them there (300 MB)
# --json     writes every round's figures
# The peers' settings stand in benches/serve/compare.py and their handlers beside it. They are installed into .venv/serve
# (400 MB) and share one PyTorch.
# MASKMAKER_BENCH_PYTHON  see benches/python.sh
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,18s/^# \{0,1\}//p' "$0" >&2; exit 2; }
flags=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) flags+=("$1"); shift ;;
    --rounds | --seconds | --clients | --cases | --servers | --data | --json)
      [ $# -ge 2 ] || usage
      flags+=("$1" "$2")
      shift 2
      ;;
    *) usage ;;
  esac
done

# TorchServe and the toolkit need it.
scripts/setup.sh java
. benches/python.sh

# The peers' environments find PyTorch in that of $python: it is large, and one serves all.
shared=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
install() {
  local folder=.venv/serve/$1 packages
  packages="$shared ${*:2}"
  [ "$(cat "$folder/installed" 2>/dev/null)" != "$packages" ] || return 0
  echo "making $folder with ${*:2}" >&2
  rm -rf "$folder"
  scripts/setup.sh venv
  "$python" -m venv "$folder"
  echo "$shared" > "$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
  "$folder/bin/pip" install -q "${@:2}"
  echo "$packages" > "$folder/installed"
}
install fastapi fastapi==0.165.0 'uvicorn[standard]==0.54.0'
# Its worker imports yaml without asking for it.
install torchserve torchserve==0.12.0 pyyaml==6.0.3
install toolkit multi-model-server==1.1.11 sagemaker-inference==1.10.1

scripts/setup.sh assembler
cargo build --release --locked --bin maskmaker --example serve_load
built=${CARGO_TARGET_DIR:-target}/release
exec "$python" benches/serve/compare.py "$built/maskmaker" "$built/examples/serve_load" "$python" .venv/serve "${flags[@]}"
