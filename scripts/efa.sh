#!/bin/sh
# Builds AWS' plugin by which NCCL uses Elastic Fabric Adapters between hosts (aws-ofi-nccl, with libfabric and rdma-core).
#   scripts/efa.sh 0|1 OUT
# With 0 OUT is empty, and with 1, too, where the sources cannot be fetched: a message says so, and the exit code is 0. OUT gets
# lib/, share/ (the hosts' topologies) and licenses/ for /opt/maskmaker/efa: the plugin looks for share/ there and nowhere else.
# EFA_SOURCES  the address of the git repositories (default https://github.com)
# Needs Debian 12 with root, scripts/libtorch.sh, Debian's server and PyPI.
set -eu
choice=${1:?"0 or 1"} out=${2:?"a folder"}

die() { echo "efa.sh: $1; EFA=0 leaves the plugin out" >&2; exit 1; }
mkdir -p "$out"
case $choice in
  0) exit 0 ;;
  1) ;;
  *) die "0 or 1, not $choice" ;;
esac

folder=/opt/maskmaker/efa
base=${EFA_SOURCES:-https://github.com}
scripts=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$out" && pwd)
# Debian 12's own rdma-core (44) does not know that an adapter can write into another host's memory, without which the plugin
# refuses to work on p5; its own libfabric (1.17) is too old for the plugin (1.22).
sources="aws/aws-ofi-nccl v1.21.1 2475c4c736907e68ebeadb3848f31231ee4a44d0
ofiwg/libfabric v2.6.0 5de2d6a2df83595bcc38531cb91bf59495559495
linux-rdma/rdma-core v63.1 1803b1b0b94e0513dccba37bf2d66c1e35331ea0"

install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null || die "Debian's packages $* cannot be had"
}
apt-get -q update >/dev/null || true
install ca-certificates git

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

leave_out() {
  echo "efa.sh: AWS' plugin for Elastic Fabric Adapters is left out of the image: $1. Between hosts NCCL will use sockets. Docker" \
    "keeps this empty layer: before another try, run \`docker builder prune\`" >&2
  exit 0
}
# A commit's number is a hash of its files, so another server can give no others.
fetch() {
  git init -q --bare "$work/git"
  timeout 300 git -C "$work/git" -c http.lowSpeedLimit=1000 -c http.lowSpeedTime=20 fetch -q --depth 1 "$base/$1" "$3" \
    || leave_out "$base/$1 $2 ($3) cannot be fetched"
  mkdir "$work/${1#*/}"
  git -C "$work/git" archive "$3" | tar -x -C "$work/${1#*/}"
  rm -rf "$work/git"
}
timeout 20 git ls-remote -q "$base/aws/aws-ofi-nccl" HEAD >/dev/null || leave_out "$base cannot be reached (git's words, if any, stand above)"
while read -r repository tag commit; do fetch "$repository" "$tag" "$commit"; done <<LIST
$sources
LIST

install autoconf automake cmake g++ libhwloc-dev libtool make patchelf pkg-config python3-pip

# The headers of CUDA, in the versions that scripts/libtorch.sh names, and that of NVIDIA's management library.
{
  grep -E '^nvidia-cuda-(runtime|nvcc)-cu12==' "$scripts/libtorch.sh"
  echo nvidia-nvml-dev-cu12==12.8.90 --hash=sha256:051ea91b21d08447d1c6bb0f6f7b3c50339e79d45ef60ae1f71ac800ca0b2f6e
} >"$work/requirements.txt"
python3 -m pip --disable-pip-version-check download -q --no-deps --no-cache-dir --require-hashes --only-binary=:all: -d "$work/wheels" \
  --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2010_x86_64 -r "$work/requirements.txt" \
  || die "the wheels with CUDA's headers cannot be fetched from PyPI"
for wheel in "$work"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$work/wheels"; done
mkdir -p "$work/cuda/include" "$work/cuda/lib64"
cp -r "$work"/wheels/nvidia/*/include/. "$work/cuda/include"
cp "$work/wheels/nvidia/cuda_runtime/lib/libcudart.so.12" "$work/cuda/lib64/libcudart.so"

# Runs a command whose output matters only if it fails.
quietly() { "$@" >"$work/log" 2>&1 || { tail -30 "$work/log" >&2; die "$1 failed in $PWD"; }; }

# Without neighbours, which adapters for Ethernet want, rdma-core needs no other library.
cd "$work/rdma-core"
quietly cmake -B build -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=$folder -DENABLE_RESOLVE_NEIGH=0 -DNO_PYVERBS=1 -DNO_MAN_PAGES=1
quietly make -C build -j"$(nproc)" ibverbs efa

cd "$work/libfabric"
quietly ./autogen.sh
quietly ./configure --prefix=$folder --enable-only --enable-efa="$work/rdma-core/build" --with-cuda="$work/cuda" --enable-cuda-dlopen \
  --disable-static
quietly make -j"$(nproc)"
quietly make install DESTDIR="$work/installed"

cd "$work/aws-ofi-nccl"
# Its build asks git for the version where this file is not there.
echo "$sources" | sed -n 's/^aws.* v\(.*\) .*/\1/p' >.release_version
quietly ./autogen.sh
quietly ./configure --prefix=$folder --with-libfabric="$work/installed$folder" --with-cuda="$work/cuda" --enable-cudart-dynamic \
  --enable-platform-aws --disable-tests
quietly make -j"$(nproc)"
quietly make install DESTDIR="$work/installed"

mkdir "$out/lib" "$out/share" "$out/licenses"
libraries=/usr/lib/x86_64-linux-gnu
cp -L "$work/installed$folder/lib/libnccl-net.so" "$work/installed$folder/lib/libfabric.so.1" "$work/rdma-core/build/lib/libibverbs.so.1" \
  "$work/rdma-core/build/lib/libefa.so.1" $libraries/libhwloc.so.15 "$out/lib"
cp -r "$work/installed$folder/share/aws-ofi-nccl" "$out/share"
for library in "$out"/lib/*; do
  strip --strip-unneeded "$library"
  patchelf --set-rpath '$ORIGIN' "$library"
done
for library in "$out"/lib/*; do
  ! ldd -r "$library" 2>&1 | grep -E 'not found|undefined symbol' >&2 || die "$library does not find all that it uses"
done
# The plugin and libfabric open CUDA's runtime by this name; it lies beside libtorch.
ln -s ../../lib/libcudart.so.12 "$out/lib/libcudart.so"
# Parts that are others' have their own.
cd "$work"
find aws-ofi-nccl libfabric rdma-core -type f \( -name 'LICENSE*' -o -name NOTICE -o -name 'COPYING*' \) -exec cp --parents {} "$out/licenses" \;
mkdir "$out/licenses/hwloc"
cp /usr/share/doc/libhwloc15/copyright "$out/licenses/hwloc"
ls -l "$out/lib"
