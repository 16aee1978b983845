#!/usr/bin/env bash
# Builds, measures and pushes the image. `make image-cpu` and `make push` call it.
#   scripts/image.sh build [KIND=cpu]            builds maskmaker:KIND from Dockerfile.KIND
#   scripts/image.sh sizes [TAG=cpu]             prints the image's size and that of its layers
#   scripts/image.sh client                      prints the docker client that can build
#   scripts/image.sh push REPOSITORY [KIND=cpu]  pushes to a repository of ECR, made if absent; prints the URI
# TAG         another tag than KIND
# PRETRAINED  backbones in the image: resnet50,resnet101 (default) or none
# STUBS       libraries that the GPU image leaves out (default, all, none): see scripts/runtime-libraries.sh
# DRIVER_LIBRARIES  535 (default) or none: libraries in the GPU image for hosts with an older driver: see scripts/driver-libraries.sh
# EFA         0 (default) or 1: AWS' plugin for Elastic Fabric Adapters in the GPU image: see scripts/efa.sh
# DOCKER      the client (default: the first that can build with BuildKit)
# AWS_REGION  the region of ECR (default: the AWS command line's)
set -euo pipefail
cd "$(dirname "$0")/.."

die() { echo "image.sh: $1" >&2; exit 1; }
usage() { sed -n '2,14s/^# \{0,1\}//p' "$0"; }

# A newer client wants the buildx plugin for BuildKit; Debian's own does without.
find_docker() {
  local client
  for client in ${DOCKER:-docker /usr/bin/docker}; do
    command -v "$client" >/dev/null || continue
    if "$client" buildx version >/dev/null 2>&1 || [[ $("$client" version --format '{{.Client.Version}}' 2>/dev/null) == 20.* ]]; then
      echo "$client"
      return
    fi
  done
  die "no docker client that can build with BuildKit; install docker (with its buildx plugin), or name one in DOCKER"
}

version() { sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1; }
revision() { git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown; }

build() {
  DOCKER_BUILDKIT=1 "$docker" build --progress=plain -f "Dockerfile.$kind" -t "maskmaker:$tag" \
    --build-arg VERSION="$(version)" --build-arg REVISION="$(revision)" \
    --build-arg PRETRAINED="${PRETRAINED:-resnet50,resnet101}" --build-arg STUBS="${STUBS:-default}" \
    --build-arg DRIVER_LIBRARIES="${DRIVER_LIBRARIES:-535}" \
    --build-arg EFA="${EFA:-0}" .
  # The build goes on without the plugin where its sources cannot be had, and says so among much else, or, from its cache, not at all.
  if [ "$kind-${EFA:-0}" = gpu-1 ] && ! "$docker" run --rm --entrypoint test "maskmaker:$tag" -e /opt/maskmaker/efa/lib/libnccl-net.so; then
    echo "image.sh: warning: EFA=1, but github.com could not be reached, so AWS' plugin for Elastic Fabric Adapters is not in the image;" \
      "for another try run \`$docker builder prune\` first" >&2
  fi
  sizes
}

sizes() {
  "$docker" image inspect --format '{{.Size}}' "maskmaker:$tag" | awk -v name="maskmaker:$tag" '{ printf "%s: %.1f MB unpacked\n", name, $1 / 1e6 }'
  "$docker" history --no-trunc --human=false --format '{{.Size}} {{.CreatedBy}}' "maskmaker:$tag" | awk '
    $1 > 0 { size = $1; $1 = ""; sub(/^.*#\(nop\) */, ""); printf "%9.1f MB %s\n", size / 1e6, substr($0, 1, 100) }'
}

push() {
  command -v aws >/dev/null || die "the AWS command line (aws) is missing; https://aws.amazon.com/cli/ says how to install it"
  local region account registry uri
  region=${AWS_REGION:-$(aws configure get region || true)}
  [ -n "$region" ] || die "no region; set AWS_REGION, or \`aws configure set region ...\`"
  # Version 1 of the command line reads this one alone.
  export AWS_DEFAULT_REGION=$region
  "$docker" image inspect "maskmaker:$kind" >/dev/null 2>&1 || die "there is no image maskmaker:$kind; \`make image-$kind\` builds it"
  account=$(aws sts get-caller-identity --query Account --output text) || die "AWS refuses the credentials; \`aws sts get-caller-identity\` shows why"
  registry=$account.dkr.ecr.$region.amazonaws.com
  [[ $region != cn-* ]] || registry=$registry.cn
  aws ecr describe-repositories --repository-names "$repository" >/dev/null 2>&1 \
    || aws ecr create-repository --repository-name "$repository" >/dev/null
  aws ecr get-login-password | "$docker" login --username AWS --password-stdin "$registry"
  # The moving tag for people, one per revision for pipelines.
  for tag in "$kind" "$kind-$(version)-$(revision)"; do
    uri=$registry/$repository:$tag
    "$docker" tag "maskmaker:$kind" "$uri"
    "$docker" push "$uri"
  done
  echo "$uri"
}

[ $# -ge 1 ] || { usage >&2; exit 2; }
command=$1
shift
repository=
if [ "$command" = push ]; then
  repository=${1:?the ECR repository is missing}
  shift
fi
kind=${1:-cpu} tag=${TAG:-${1:-cpu}}
docker=$(find_docker) || exit 1
[ "$command" != build ] || [ -f "Dockerfile.$kind" ] || die "there is no Dockerfile.$kind"
case $command in
  client) echo "$docker" ;;
  build | sizes | push) "$command" ;;
  *) usage >&2; exit 2 ;;
esac
