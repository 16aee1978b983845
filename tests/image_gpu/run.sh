#!/usr/bin/env bash
# Acceptance of the GPU image on a machine without a GPU. `make test-image-gpu` calls it.
# Builds both images without pretrained weights, and checks: the GPU image's size; that every library finds its libraries and names;
# that kernels for each generation of GPUs are there; what `doctor` says; that old drivers, and no others, get newer libraries; and
# that training, predicting and serving on the processor give the CPU image's bytes.
# Needs docker with BuildKit, python3 with pip, PyPI (some GB), and 25 GB of disk.
# Last line: "image-gpu: N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."

# SageMaker's hosts fetch the image before each job; Amazon's PyTorch training image has about 20 GB.
largest_bytes=4800000000
generations="sm_70 sm_75 sm_80 sm_86 sm_90"
passed=0 failed=0 skipped=0
ends() { echo "image-gpu: $passed passed, $failed failed, $skipped skipped"; }
skip() { echo "skipped: $1"; skipped=$((skipped + 1)); ends; exit 0; }
# Runs a function that checks one thing.
check() {
  if "$1"; then
    echo "ok: $1"
    passed=$((passed + 1))
  else
    echo "failed: $1"
    failed=$((failed + 1))
  fi
}

docker=$(scripts/image.sh client 2>&1) || skip "$docker"
"$docker" info >/dev/null 2>&1 || skip "no docker engine answers ($docker info)"
for base in debian:bookworm-slim rust:1.95-slim-bookworm; do
  "$docker" image inspect "$base" >/dev/null 2>&1 || "$docker" pull -q "$base" \
    || skip "$base cannot be pulled; scripts/base-images.sh makes a stand-in"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for kind in cpu gpu; do
  if ! PRETRAINED=none TAG=$kind-test scripts/image.sh build $kind >"$work/build.log" 2>&1; then
    tail -40 "$work/build.log"
    echo "failed: the image $kind does not build"
    failed=1
    ends
    exit 1
  fi
done
sed -n '/MB in all/p; / MB lib/p' "$work/build.log"
scripts/image.sh sizes gpu-test

size_is_within_the_limit() {
  local bytes
  bytes=$("$docker" image inspect --format '{{.Size}}' maskmaker:gpu-test)
  echo "maskmaker:gpu-test has $bytes bytes, at most $largest_bytes are allowed"
  [ "$bytes" -le $largest_bytes ]
}

# Only the driver's libraries, which NVIDIA's container toolkit adds, may be missing, and what they define. libtorch_cuda is loaded
# first, as the program does it: libtorch_nvshmem uses names of libraries that it does not ask for.
every_library_finds_its_libraries_and_names() {
  "$docker" run --rm --entrypoint bash maskmaker:gpu-test -c '
    cd /opt/maskmaker/lib
    for library in *.so*; do LD_LIBRARY_PATH=$PWD LD_PRELOAD=$PWD/libtorch_cuda.so ldd -r "$library" 2>&1 | sed "s|^|$library: |"; done' >"$work/ldd"
  grep -E 'not found|undefined symbol' "$work/ldd" | grep -vE 'libcuda\.so\.1|libnvidia-ml\.so\.1|undefined symbol: (cu|nvml)[A-Z]' >"$work/missing"
  head -20 "$work/missing"
  [ -s "$work/ldd" ] && [ ! -s "$work/missing" ]
}

# cuobjdump, which lists kernels, lies in the wheel of triton that torch 2.10.0 asks for; it stays out of the image.
kernels_of_every_generation_are_there() {
  python3 -m pip --disable-pip-version-check download -q --no-deps --no-cache-dir --only-binary=:all: --implementation cp \
    --python-version 3.11 --abi cp311 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --require-hashes \
    -d "$work/wheels" -r /dev/stdin <<<"triton==3.6.0 --hash=sha256:e8e323d608e3a9bfcc2d9efcc90ceefb764a82b99dea12a86d643c72539ad5d3" || return 1
  (cd "$work" && python3 -m zipfile -e wheels/*.whl triton) || return 1
  local dump=$work/triton/triton/backends/nvidia/bin/cuobjdump library generation kernels
  chmod +x "$dump"
  for library in libtorch_cuda.so libcudnn_engines_precompiled.so.9 libcublas.so.12 libcublasLt.so.12 libnccl.so.2; do
    # In the container: the libraries are too large to copy.
    "$docker" run --rm -v "$dump:/cuobjdump:ro" --entrypoint /cuobjdump maskmaker:gpu-test --list-elf "/opt/maskmaker/lib/$library" 2>"$work/dump.log" \
      | grep -oE 'sm_[0-9]+' | sort | uniq -c >"$work/kernels"
    echo "$library: $(awk '{ printf "%s: %s, ", $2, $1 }' "$work/kernels")"
    for generation in $generations; do
      # Kernels of 7.0 run on 7.5, too, and those of 8.0 on 8.6: within a major version on all that are later.
      case $generation in
        sm_75) kernels='sm_7[05]' ;;
        sm_86) kernels='sm_8[06]' ;;
        *) kernels=$generation ;;
      esac
      grep -qwE "$kernels" "$work/kernels" || { echo "$library has no kernels for $generation"; tail -5 "$work/dump.log"; return 1; }
    done
  done
}

doctor_says_what_is_missing() {
  "$docker" run --rm maskmaker:gpu-test doctor >"$work/doctor" 2>&1
  local code=$?
  cat "$work/doctor"
  [ $code = 0 ] && grep -q 'with its GPU part, for CUDA 12.8' "$work/doctor" && grep -q "NVIDIA's driver is not there" "$work/doctor" || return 1
  # Where a GPU is asked for, it is a problem.
  "$docker" run --rm maskmaker:gpu-test doctor --device cuda >"$work/doctor" 2>&1
  code=$?
  [ $code = 3 ] && grep -q 'problem  device' "$work/doctor" && grep -q -- '--gpus all' "$work/doctor"
}

# What the driver's kernel module says is mounted over /proc/driver. The library of the driver is not there, so nothing starts.
#   run_with_driver VERSION DEVICE COMMAND...    DEVICE: a file that is made, such as /dev/nvidia0
run_with_driver() {
  local folder=$work/driver.$1 version=$1 device=$2
  shift 2
  mkdir -p "$folder/nvidia"
  echo "NVRM version: NVIDIA UNIX x86_64 Kernel Module  $version  Thu May  2 14:37:44 UTC 2024" >"$folder/nvidia/version"
  "$docker" run --rm --cap-add SYS_ADMIN --security-opt apparmor=unconfined -v "$folder:/driver" --entrypoint bash maskmaker:gpu-test -c '
    mount --bind /driver /proc/driver && touch "$0" && exec "$@"' "$device" "$@"
}

an_old_driver_gets_the_newer_libraries_and_no_other_does() {
  local used="with the libraries of 535" version device said
  while read -r version device said; do
    run_with_driver "$version" "$device" maskmaker doctor >"$work/doctor" 2>&1
    grep 'driver  ' "$work/doctor"
    grep -q -- "$said" "$work/doctor" || { cat "$work/doctor"; echo "$version: '$said' is not said"; return 1; }
    [ "$said" = "$used" ] || ! grep -q "$used" "$work/doctor" || { echo "$version: the libraries are used"; return 1; }
  done <<TABLE
470.256.02 /dev/nvidia0 $used
470.256.02 /dev/null driver is not there
550.163.01 /dev/nvidia0 driver is not there
418.226.00 /dev/nvidia0 driver 418.226.00 is too old for CUDA 12
nonsense /dev/nvidia0 version of NVIDIA's driver cannot be read
TABLE
  # Started again, the program is still what it was called, with its arguments.
  run_with_driver 470.256.02 /dev/nvidia0 train --help >"$work/help" && grep -q 'Usage: maskmaker train' "$work/help" || return 1
  run_with_driver 470.256.02 /dev/nvidia0 maskmaker doctor --json >"$work/findings.json" 2>/dev/null
  python3 -m json.tool <"$work/findings.json" >/dev/null
}

training_and_predicting_on_the_processor_give_the_cpu_images_bytes() {
  local kind
  for kind in cpu gpu; do
    mkdir -p "$work/$kind/input/config"
    echo '{"num_classes": "4", "epochs": "2", "mini_batch_size": "3", "use_pretrained_model": "False", "backbone": "resnet-18",
      "crop_size": "64"}' >"$work/$kind/input/config/hyperparameters.json"
    "$docker" run --rm -v "$work/$kind:/opt/ml" maskmaker:$kind-test sample-data /opt/ml/input/data --images 12 --size 64 >/dev/null \
      && "$docker" run --rm -v "$work/$kind:/opt/ml" maskmaker:$kind-test train >"$work/$kind.log" 2>&1 \
      && "$docker" run --rm -v "$work/$kind:/opt/ml" maskmaker:$kind-test predict /opt/ml/model --output /opt/ml/output/masks \
        "/opt/ml/input/data/train/$(ls "$work/$kind/input/data/train" | head -1)" >/dev/null || { cat "$work/$kind.log"; return 1; }
  done
  cmp "$work/cpu/model/model.safetensors" "$work/gpu/model/model.safetensors" && diff -rq "$work/cpu/output/masks" "$work/gpu/output/masks"
}

# Needs what the check before it left.
serving_on_the_processor_gives_the_cpu_images_bytes() {
  local kind
  for kind in cpu gpu; do
    # The client is bash inside the container, since an engine need not have a network. What follows the empty line is the answer.
    timeout 120 "$docker" run --rm -i -v "$work/$kind:/opt/ml" --entrypoint bash maskmaker:$kind-test 2>"$work/$kind.log" <<'BASH' || { cat "$work/$kind.log"; return 1; }
serve >&2 &
until exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /ping HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' >&3 && grep -q ' 200 ' <&3; do sleep 0.2; done 2>/dev/null
for image in /opt/ml/input/data/train/*; do
  exec 3<>/dev/tcp/127.0.0.1/8080
  printf 'POST /invocations HTTP/1.1\r\nHost: test\r\nContent-Type: image/%s\r\nContent-Length: %s\r\nConnection: close\r\n\r\n' \
    "${image##*.}" "$(stat -c %s "$image")" >&3
  cat "$image" >&3
  cat <&3 >/tmp/reply
  head -1 /tmp/reply | grep ' 200 ' >&2 || exit 1
  LC_ALL=C sed '1,/^\r$/d' /tmp/reply | sha256sum
done >/opt/ml/output/answers
BASH
  done
  [ "$(sort -u "$work/cpu/output/answers" | wc -l)" -gt 3 ] && cmp "$work/cpu/output/answers" "$work/gpu/output/answers"
}

check size_is_within_the_limit
check every_library_finds_its_libraries_and_names
check doctor_says_what_is_missing
check an_old_driver_gets_the_newer_libraries_and_no_other_does
check training_and_predicting_on_the_processor_give_the_cpu_images_bytes
check serving_on_the_processor_gives_the_cpu_images_bytes
check kernels_of_every_generation_are_there
ends
[ $failed = 0 ]
