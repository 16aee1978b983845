#!/usr/bin/env bash
# Runs what depends on the processor's instructions under each set that oneDNN and libtorch choose kernels by, which is fixed
# when a process starts. `make test-isa` calls it.
#   tests/isa/run.sh [TEST FILTER]...     for example torch::
# A set that this processor lacks is skipped by name. Last line: "isa: N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

# ONEDNN_MAX_CPU_ISA, ATEN_CPU_CAPABILITY, and what /proc/cpuinfo must name.
sets=(
  "AVX2 avx2 avx2"
  "AVX512_CORE avx512 avx512bw"
  "AVX512_CORE_BF16 avx512 avx512_bf16"
)
# The library's tests of everything that computes, and the jobs and servers that compare bytes and golden numbers.
[ $# -gt 0 ] || set -- torch:: kernels:: inference:: model:: train:: golden:: processes:: train::the_same_job

passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for set in "${sets[@]}"; do
  read -r onednn aten flag <<<"$set"
  if ! grep -qw "$flag" /proc/cpuinfo; then
    echo "skipped: $onednn: this processor has no $flag"
    skipped=$((skipped + 1))
    continue
  fi
  start=$SECONDS
  # Each line is marked, so that who adds up results finds each once.
  # shellcheck disable=SC2046
  ONEDNN_MAX_CPU_ISA=$onednn ATEN_CPU_CAPABILITY=$aten \
    cargo test --lib --test it --locked --no-fail-fast $(cat .tools/cargo-options 2>/dev/null) -- "$@" 2>&1 | tee "$log" | sed -u "s/^/$onednn| /"
  status=${PIPESTATUS[0]}
  count() { sed -n "s/^test result: .* \([0-9]*\) $1;.*/\1/p" "$log" | awk '{ sum += $1 } END { print sum + 0 }'; }
  set_passed=$(count passed) set_failed=$(count failed)
  # Neither a build that fails nor a filter that matches nothing may pass.
  if [ "$set_failed" = 0 ] && { [ "$status" != 0 ] || [ "$set_passed" = 0 ]; }; then set_failed=1; fi
  echo "$onednn with ATen's $aten: $set_passed passed, $set_failed failed in $((SECONDS - start)) s"
  passed=$((passed + set_passed)) failed=$((failed + set_failed))
done
echo "isa: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
