#!/usr/bin/env bash
# Builds the library by which GPUs exchange gradients, against the GPU libraries of each torch version that the project builds
# with. A name that they lack fails. Needs g++, pip and a package index that has torch; no GPU. Fetches some GB, once.
# Last line: "nccl: N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."

passed=0 failed=0 skipped=0
for version in 2.10.0 2.11.0; do
  folder=.libtorch.nccl-$version
  scripts/libtorch.sh "$version" "$folder" nccl
  fetched=$?
  if [ $fetched = 3 ]; then
    echo "skipped: torch $version: the package index cannot be reached"
    skipped=$((skipped + 1))
  elif [ $fetched = 0 ] && scripts/nccl.sh "$folder"; then
    passed=$((passed + 1))
  else
    echo "failed: torch $version"
    failed=$((failed + 1))
  fi
done
echo "nccl: $passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
