#!/usr/bin/env bash
# Times the release build of the program, of each of the given revisions, from nothing but libtorch, in turn.
#   benches/release_build.sh REVISION REVISION
# Each is built once with a target folder of its own, the crates it depends on included, as `make demo` does on a new machine;
# the crates are downloaded before the clock starts. Prints the seconds of all processors together, which other work on the machine
# changes little, the seconds that passed, the size of the program, and both times of the second over those of the first.
# Needs .libtorch (`make libtorch`) and 2 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# = 2 ] || { sed -n '2,7s/^# //p' "$0" >&2; exit 2; }
options=$(cat .tools/cargo-options 2>/dev/null || true)
export LIBTORCH=${LIBTORCH:-$PWD/.libtorch} LIBTORCH_BYPASS_VERSION_CHECK=1 CARGO_INCREMENTAL=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
TIMEFORMAT="%U %S %R"
times=()
for revision; do
  rm -rf "$folder/source" "$folder/target"
  mkdir "$folder/source"
  git archive "$revision" | tar -x -C "$folder/source"
  # The configuration in .cargo/ names a relative libtorch; the variable above stands before it.
  [ ! -e .cargo/tools.toml ] || cp .cargo/tools.toml "$folder/source/.cargo/"
  (cd "$folder/source" && cargo fetch --quiet --locked)
  # The build writes past the text that the clock's times are read from.
  # shellcheck disable=SC2086
  times+=("$({ time (cd "$folder/source" && CARGO_TARGET_DIR=$folder/target cargo build --quiet --release --locked $options >&3 2>&4); } 2>&1)")
  awk -v name="$revision" -v megabytes="$(du -m "$folder/target/release/maskmaker" | cut -f1)" '
    { printf "%s: %.0f s of all processors, %.0f s passed, %d MB\n", name, $1 + $2, $3, megabytes }' <<<"${times[-1]}"
done 3>&1 4>&2
printf '%s\n' "${times[@]}" | awk '
  { processors[NR] = $1 + $2; passed[NR] = $3 }
  END { printf "the second takes %.2f of the processors'"'"' time of the first, and %.2f of the time that passes\n", \
        processors[2] / processors[1], passed[2] / passed[1] }'
