#!/usr/bin/env bash
# The whole round on synthetic pictures: annotations in Label Studio's format, the pipeline of pipeline.json on this machine, a
# registered and approved model, a server of it, one picture through that, the scores.
#   scripts/demo.sh            (`make demo` builds the program first)
# Fails if the model scores below a test mIoU of 0.60.
# DEMO_DIR   where everything goes (default demo-out); emptied at the start if an earlier demo made it
# MASKMAKER  the program (default target/release/maskmaker)
set -euo pipefail

images=200
size=144
seed=1
least_miou=0.60
group=maskmaker
ready_within=60 # seconds until the server must have loaded the model

cd "$(dirname "$0")/.."
dir=${DEMO_DIR:-demo-out}
maskmaker=${MASKMAKER:-${CARGO_TARGET_DIR:-target}/release/maskmaker}

die() { echo "demo: $1" >&2; exit 1; }
say() { printf '\n== %s\n' "$1"; }

[ -x "$maskmaker" ] || die "$maskmaker is not there; \`make demo\` builds it"
command -v python3 >/dev/null || die "python3 is missing"

# Only what an earlier demo made is thrown away; its finished jobs would otherwise be found and not run again.
if [ -e "$dir" ] && [ ! -e "$dir/.maskmaker-demo" ] && [ -n "$(ls -A "$dir")" ]; then
  die "$dir holds files that no demo made; give another folder in DEMO_DIR"
fi
rm -rf "$dir"
mkdir -p "$dir/pictures"
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

say "annotations: $images pictures, longer side $size"
"$maskmaker" sample-data "$dir/data" --annotations --images "$images" --size "$size" --seed "$seed"

say "pipeline: preprocess, train, evaluate, register"
registry=$dir/local/registry
"$maskmaker" pipeline run --local pipeline.json --root "$dir/local" \
  --map "s3://amzn-s3-demo-bucket/annotations=$dir/data/annotations" \
  --map "s3://amzn-s3-demo-bucket/images=$dir/data/images" \
  --parameter DataRevision=demo --parameter Backbone=resnet-18 --parameter UsePretrainedModel=False \
  --parameter Epochs=13 --parameter MiniBatchSize=8 --parameter BaseSize=136 --parameter CropSize=96 \
  --parameter Optimizer=adam --parameter LearningRate=0.0005 --parameter Augmentations=none \
  --parameter "MinMiou=$least_miou" --parameter "ModelPackageGroupName=$group"

say "approve"
"$maskmaker" registry approve "$group" 1 --registry "$registry" --description "the demo's own decision"
package=$registry/$group/1

say "serve"
log=$dir/serve.log
: > "$log"
"$maskmaker" --ml-root "$package" serve --host 127.0.0.1 --port 0 2> "$log" &
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

# A picture that the model was tested on, and not trained.
execution=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["PipelineExecutionId"])' "$package/package.json")
written=$dir/local/s3/amzn-s3-demo-bucket/maskmaker/$execution
image=$(find "$written/Preprocess/test/images" -type f -name '*.jpg' | sort | head -1)
[ -n "$image" ] || die "there is no picture in $written/Preprocess/test/images"
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
"$maskmaker" predict "$package/model" "$image" --output "$dir/pictures"
cmp "$served" "$dir/pictures/$name.mask.png" || die "the served mask and predict's differ"
echo "the served mask and predict's are the same, byte for byte"

say "scores ($written/Evaluate/evaluation.json)"
python3 - "$written/Evaluate/evaluation.json" "$least_miou" <<'P'
import json, sys
path, least = sys.argv[1], float(sys.argv[2])
with open(path) as f:
    metrics = json.load(f)["segmentation_metrics"]
def score(value):
    if value["value"] is None:
        return "absent"
    return f"{value['value']:.4f}" + (f" ({value['interval'][0]:.4f} to {value['interval'][1]:.4f})" if value.get("interval") else "")
print(f"test mIoU {score(metrics['miou'])}, pixel accuracy {score(metrics['pixel_accuracy'])}, {metrics['images']} images")
for a_class in metrics["classes"]:
    print(f"  IoU of {a_class['name']}: {score(a_class['iou'])}")
# The pipeline refuses such a model; an absent score and NaN are not enough either.
if not (metrics["miou"]["value"] or 0) >= least:
    sys.exit(f"demo: test mIoU is {score(metrics['miou'])}, at least {least:.2f} is expected: training is broken")
P

say "done in $SECONDS s"
echo "picture  $image"
echo "mask     $dir/pictures/$name.mask.png"
echo "overlay  $dir/pictures/$name.overlay.png"
echo "report   $written/Evaluate/report.html"
echo "model    $package"
