#!/usr/bin/env bash
# Holds the memory of a training job flat: trains a small resnet-18 for 1,000 steps (112 epochs with validation) and prints
# its resident memory (RSS) at the first epoch's end and after 200, 500 and 1,000 steps.
#   benches/memory.sh [--allowed-mib 24]
# Exits with 1 if it grows by more than that from step 200, when every buffer has had its largest size, to step 1,000.
set -euo pipefail
cd "$(dirname "$0")/.."

allowed=24
while [ $# -gt 0 ]; do
  case $1 in
    --allowed-mib) allowed=$2 ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

scripts/setup.sh assembler
cargo build --release --locked
# Waiting threads of libtorch sleep: on a busy machine they would spin against the others for minutes.
export GOMP_SPINCOUNT=0
maskmaker=${CARGO_TARGET_DIR:-target}/release/maskmaker
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# About 38 of them to train on: 9 steps of 4 an epoch.
"$maskmaker" sample-data "$root/input/data" --images 50 --size 128 --seed 1 >/dev/null
mkdir -p "$root/input/config"
cat > "$root/input/config/hyperparameters.json" <<'J'
{
  "algorithm": "fcn", "backbone": "resnet-18", "use_pretrained_model": "False", "num_classes": "4", "seed": "1",
  "epochs": "112", "mini_batch_size": "4", "validation_mini_batch_size": "4", "base_size": "96", "crop_size": "64"
}
J
python3 - "$maskmaker" "$root" "$allowed" <<'P'
import re, subprocess, sys
program, root, allowed = sys.argv[1], sys.argv[2], float(sys.argv[3])
job = subprocess.Popen([program, "--ml-root", root, "train"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

def resident():
    with open(f"/proc/{job.pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) / 1024

per_epoch, seen = None, {}
wanted = [1, 200, 500, 1000]
for line in job.stdout:
    steps = re.search(r"\((\d+) steps of", line)
    if steps:
        per_epoch = int(steps[1])
    # An epoch's first line; the job goes on with validation meanwhile.
    epoch = re.match(r"epoch (\d+)/\d+ train loss", line)
    if epoch and wanted and int(epoch[1]) * per_epoch >= wanted[0]:
        seen[wanted[0]] = resident()
        print(f"step {int(epoch[1]) * per_epoch:5}: {seen[wanted.pop(0)]:7.1f} MiB", flush=True)
if job.wait() != 0 or wanted:
    sys.exit(f"the job ended with {job.returncode} before step {wanted[0] if wanted else 'none'}")
growth = seen[1000] - seen[200]
print(f"growth from step 200 to 1000: {growth:.1f} MiB, allowed are {allowed:.0f}")
sys.exit(growth > allowed)
P
