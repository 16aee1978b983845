#!/bin/sh
# Fetches the libraries of a newer NVIDIA driver (branch 535: libcuda and the compiler of PTX), with which hosts whose driver is of
# branch 470 run CUDA 12 (src/torch/forward_compatibility.rs), from the non-free part of Debian 12, which signs them.
#   scripts/driver-libraries.sh 535|none OUT
# With `none` OUT is empty.
set -eu
choice=${1:?"535 or none"} out=${2:?"a folder"}

die() { echo "driver-libraries.sh: $1; DRIVER_LIBRARIES=none leaves the driver's libraries out" >&2; exit 1; }
mkdir -p "$out"
case $choice in
  none) exit 0 ;;
  535) ;;
  *) die "535 or none, not $choice" ;;
esac

sources=/etc/apt/sources.list.d/debian.sources
[ -e $sources ] || die "$sources is not there, which names Debian's server"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/lists" "$work/parts" "$work/packages"
# _apt, the user that fetches, must get in.
chmod 755 "$work" && chmod 777 "$work/lists" "$work/packages"
sed 's/^Components: .*/Components: non-free/' $sources >"$work/parts/non-free.sources"
apt="apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$work/parts -o Dir::State::lists=$work/lists"
cd "$work/packages"
# shellcheck disable=SC2086
$apt update && $apt download 'libcuda1=535.*' 'libnvidia-ptxjitcompiler1=535.*' \
  || die "Debian's packages libcuda1 and libnvidia-ptxjitcompiler1 of branch 535 cannot be had"
for package in *.deb; do dpkg-deb -x "$package" ../root; done
cp -a ../root/usr/lib/x86_64-linux-gnu/nvidia/current/lib*.so.* "$out"
cp ../root/usr/share/doc/libcuda1/copyright "$out"
ls -l "$out"
