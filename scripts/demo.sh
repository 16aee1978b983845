#!/usr/bin/env bash
# The whole loop on synthetic pictures: make data, train, serve, segment one picture twice, show the scores.
#   scripts/demo.sh            (`make demo` builds the program first)
# Fails if the model scores below a validation mIOU of 0.60.
# DEMO_DIR   where everything goes (default demo-out); emptied at the start if an earlier demo made it
# MASKMAKER  the program (default target/release/maskmaker)
set -euo pipefail

images=200
size=192
seed=1
least_miou=0.60
ready_within=60 # seconds until the server must have loaded the model

cd "$(dirname "$0")/.."
dir=${DEMO_DIR:-demo-out}
maskmaker=${MASKMAKER:-${CARGO_TARGET_DIR:-target}/release/maskmaker}

die() { echo "demo: $1" >&2; exit 1; }
say() { printf '\n== %s\n' "$1"; }

[ -x "$maskmaker" ] || die "$maskmaker is not there; \`make demo\` builds it"
command -v python3 >/dev/null || die "python3 is missing"

# Only what an earlier demo made is thrown away; a finished job there would otherwise be found and not trained again.
if [ -e "$dir" ] && [ ! -e "$dir/.maskmaker-demo" ] && [ -n "$(ls -A "$dir")" ]; then
  die "$dir holds files that no demo made; give another folder in DEMO_DIR"
fi
rm -rf "$dir"
mkdir -p "$dir/input/config" "$dir/pictures"
touch "$dir/.maskmaker-demo"

server=
stop_server() {
  [ -z "$server" ] || kill -TERM "$server" 2>/dev/null || true
  [ -z "$server" ] || wait "$server" 2>/dev/null || true
  server=
}
trap stop_server EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "data: $images pictures, longer side $size"
"$maskmaker" sample-data "$dir/input/data" --images "$images" --size "$size" --seed "$seed"
cp hyperparameters/demo.json "$dir/input/config/hyperparameters.json"
python3 - "$dir/input/config/inputdataconfig.json" <<'P'
import json, sys
channels = ["train", "train_annotation", "validation", "validation_annotation"]
channel = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
with open(sys.argv[1], "w") as f:
    json.dump({name: channel for name in channels}, f, indent=2)
P

say "train"
"$maskmaker" --ml-root "$dir" train

say "serve"
log=$dir/serve.log
: > "$log"
"$maskmaker" --ml-root "$dir" serve --host 127.0.0.1 --port 0 2> "$log" &
server=$!
for ((tenth = 0; ; tenth++)); do
  ! grep -q '"ready after' "$log" || break
  kill -0 "$server" 2>/dev/null || { cat "$log" >&2; server=; die "the server ended before it was ready"; }
  [ "$tenth" -lt $((ready_within * 10)) ] || { cat "$log" >&2; die "the server was not ready within $ready_within s"; }
  sleep 0.1
done
url=$(sed -n 's/.*"listening on \(http:[^ "]*\).*/\1/p' "$log" | head -1)
[ -n "$url" ] || { cat "$log" >&2; die "the server did not say where it listens"; }
cat "$log"

image=$(find "$dir/input/data/validation" -type f -name '*.jpg' | sort | head -1)
[ -n "$image" ] || die "there is no picture in $dir/input/data/validation"
name=$(basename "$image" .jpg)
served=$dir/pictures/$name.served.png
python3 - "$url/invocations" "$image" "$served" <<'P'
import sys, time, urllib.error, urllib.request
url, image, mask = sys.argv[1:]
with open(image, "rb") as f:
    request = urllib.request.Request(url, f.read(), {"Content-Type": "image/jpeg", "Accept": "image/png"})
# A proxy in the environment is not for a server on this machine.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
start = time.perf_counter()
try:
    with opener.open(request, timeout=60) as answer:
        body = answer.read()
except urllib.error.HTTPError as error:
    sys.exit(f"demo: {url} answered {error.code}: {error.read().decode(errors='replace')}")
with open(mask, "wb") as f:
    f.write(body)
print(f"POST {url} ({image}): {answer.status}, {len(body)} bytes in {time.perf_counter() - start:.3f} s")
P

kill -TERM "$server"
status=0
wait "$server" || status=$?
server=
[ "$status" = 0 ] || { cat "$log" >&2; die "the server ended with exit code $status after SIGTERM"; }

say "predict"
"$maskmaker" predict "$dir/model" "$image" --output "$dir/pictures"
cmp "$served" "$dir/pictures/$name.mask.png" || die "the served mask and predict's differ"
echo "the served mask and predict's are the same, byte for byte"

say "scores ($dir/model/metrics.json)"
python3 - "$dir/model/metrics.json" "$least_miou" <<'P'
import json, sys
path, least = sys.argv[1], float(sys.argv[2])
with open(path) as f:
    metrics = json.load(f)
score = lambda value: "absent" if value is None else f"{value:.4f}"
print(f"validation mIOU {score(metrics['mIOU'])}, pixel accuracy {score(metrics['pixel_accuracy'])}, epoch {metrics['best_epoch']}")
for a_class in metrics["classes"]:
    print(f"  IoU of {a_class['name']}: {score(a_class['iou'])}")
# An absent score and NaN are not enough either.
if not (metrics["mIOU"] or 0) >= least:
    sys.exit(f"demo: validation mIOU is {score(metrics['mIOU'])}, at least {least:.2f} is expected: training is broken")
P

say "done in $SECONDS s"
echo "picture  $image"
echo "mask     $dir/pictures/$name.mask.png"
echo "overlay  $dir/pictures/$name.overlay.png"
