#!/usr/bin/env bash
# Holds the memory of a training job flat: trains a small resnet-18 for 1,000 steps (100 epochs with validation) and prints
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

cargo build --release --locked
maskmaker=${CARGO_TARGET_DIR:-target}/release/maskmaker
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# 50 pictures: 40 to train on, 10 steps of 4.
"$maskmaker" sample-data "$root/input/data" --images 50 --size 320 --seed 1 >/dev/null
mkdir -p "$root/input/config"
cat > "$root/input/config/hyperparameters.json" <<'J'
{
  "algorithm": "fcn", "backbone": "resnet-18", "use_pretrained_model": "False", "num_classes": "4", "seed": "1",
  "epochs": "100", "mini_batch_size": "4", "validation_mini_batch_size": "4", "base_size": "96", "crop_size": "64"
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
for line in job.stdout:
    steps = re.search(r"\((\d+) steps of", line)
    if steps:
        per_epoch = int(steps[1])
    # The line before the validation's: the process is alive, however late this is read.
    epoch = re.match(r"epoch (\d+)/100 train loss", line)
    if epoch and int(epoch[1]) * per_epoch in (per_epoch, 200, 500, 1000):
        seen[int(epoch[1]) * per_epoch] = resident()
        print(f"step {int(epoch[1]) * per_epoch:5}: {resident():7.1f} MiB", flush=True)
if job.wait() != 0 or 1000 not in seen:
    sys.exit(f"the job ended with {job.returncode}, and steps {sorted(seen)} were seen")
growth = seen[1000] - seen[200]
print(f"growth from step 200 to 1000: {growth:.1f} MiB, allowed are {allowed:.0f}")
sys.exit(growth > allowed)
P
