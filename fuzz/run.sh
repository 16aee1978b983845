#!/usr/bin/env bash
# Runs fuzz targets with the stable compiler.
#   fuzz/run.sh TARGET|all RUNS
# Every target starts from what lies in fuzz/seeds/TARGET; what it found is kept in target/fuzz/corpus/TARGET. The last
# line of each is libFuzzer's "Done N runs in S second(s)". An input that fails is left in target/fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")"
[ $# = 2 ] || { sed -n '2,5s/^# \{0,1\}//p' "run.sh" >&2; exit 2; }
targets=$1 runs=$2
known=$(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"$/\1/p' Cargo.toml)
[ "$targets" != all ] || targets=$known
for target in $targets; do
  grep -qx "$target" <<<"$known" || { echo "run.sh: unknown target '$target'; known: $known" >&2; exit 2; }
done

../scripts/setup.sh compile assembler
# The coverage that cargo-fuzz asks for, without the sanitizer, which needs a nightly compiler: the readers have no `unsafe`.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
export CARGO_TARGET_DIR=../target/fuzz LD_LIBRARY_PATH=$PWD/../.libtorch/lib
# With --target the flags are not for build scripts.
host=x86_64-unknown-linux-gnu
for target in $targets; do
  cargo build --release --locked --target $host --bin "$target"
  mkdir -p "$CARGO_TARGET_DIR/corpus/$target" "$CARGO_TARGET_DIR/artifacts"
  "$CARGO_TARGET_DIR/$host/release/$target" -runs="$runs" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$CARGO_TARGET_DIR/artifacts/$target-" "$CARGO_TARGET_DIR/corpus/$target" "seeds/$target"
done
