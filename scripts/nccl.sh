#!/usr/bin/env bash
# Builds libmaskmaker_nccl.so, by which GPUs exchange gradients (NCCL). The program opens it at run time beside libtorch_cuda.so.
#   scripts/nccl.sh [LIBTORCH=.libtorch]
# LIBTORCH is a folder that `scripts/libtorch.sh VERSION LIBTORCH nccl` (or cuda) made; the library is put into its lib/. Every
# name that the library uses is looked up in the GPU libraries there: if one is missing, this fails and names it. Needs g++.
set -euo pipefail
libtorch=${1:-.libtorch}
source=$(cd "$(dirname "$0")/../src/torch" && pwd)

[ -e "$libtorch/lib/libtorch_cuda.so" ] && [ -e "$libtorch/include/cuda/nccl.h" ] || {
  echo "nccl.sh: $libtorch lacks libtorch's GPU part; run: scripts/libtorch.sh 2.10.0 $libtorch nccl" >&2
  exit 1
}
libraries=()
for name in libtorch_cuda.so libc10_cuda.so libtorch_cpu.so libc10.so 'libcudart.so.*' 'libnccl.so.*'; do
  for file in "$libtorch/lib/"$name; do libraries+=("-l:${file##*/}"); done
done
part=$(mktemp "$libtorch/lib/libmaskmaker_nccl.so.XXXXXX")
trap 'rm -f "$part"' EXIT
# -z defs: a name that no library has is an error now, and not when a job starts. The libraries' own libraries may be absent.
"${CXX:-g++}" -std=c++17 -O2 -fPIC -shared -D_GLIBCXX_USE_CXX11_ABI=1 -DNDEBUG -DUSE_C10D_NCCL -DUSE_C10D_GLOO \
  -I"$source/gloo_names" -isystem "$libtorch/include" -isystem "$libtorch/include/torch/csrc/api/include" \
  -isystem "$source/nccl/cuda_names" -isystem "$libtorch/include/cuda" \
  "$source/nccl/nccl.cpp" -o "$part" \
  -Wl,-z,defs -Wl,--allow-shlib-undefined -Wl,-rpath,'$ORIGIN' -L"$libtorch/lib" "${libraries[@]}"
chmod 755 "$part"
mv "$part" "$libtorch/lib/libmaskmaker_nccl.so"
echo "$libtorch/lib/libmaskmaker_nccl.so: $(stat -c %s "$libtorch/lib/libmaskmaker_nccl.so") bytes, every name found in libtorch $(cat "$libtorch/build-version")"
