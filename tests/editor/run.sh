#!/usr/bin/env bash
# Tests how Label Studio's editor fills polygons that cross themselves, in headless Chromium. `make test-editor` calls it.
#   tests/editor/run.sh [--write]     --write draws tests/fixtures/annotations/labelstudio/polygon_fill.json anew
# Needs python3, and Chromium with its driver: as root on Debian they are installed, elsewhere it says how and skips. The editor
# comes out of the package label-studio (70 MB from PyPI once per version, of which 8 MB stay in .venv/editor).
# MASKMAKER_EDITOR_VERSIONS  versions of label-studio (default 1.23.2)
# Says what it skips and why. Last line: "editor: N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."

passed=0 failed=0 skipped=0
ends() { echo "editor: $passed passed, $failed failed, $skipped skipped"; exit "$((failed > 0))"; }
skip() { echo "skipped: editor: $1"; skipped=$((skipped + 1)); }

versions=${MASKMAKER_EDITOR_VERSIONS:-1.23.2}
scripts/setup.sh venv chromium || { skip "python3 or Chromium and its driver are missing (above: how to install them)"; ends; }
CHROMIUM=$(command -v chromium || command -v google-chrome)
CHROMEDRIVER=$(command -v chromedriver)
export CHROMIUM CHROMEDRIVER

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The editor of a version, complete or absent: its scripts and styles without their maps, from where the package has them.
editor() {
  local version=$1 folder=.venv/editor/$1
  [ ! -d "$folder" ] || return 0
  python3 -m pip download -q --disable-pip-version-check --no-cache-dir --no-deps -d "$work/$version" "label-studio==$version" \
    || return
  python3 - "$work/$version"/*.whl "$work/unpacked-$version" <<'PYTHON' || return
import sys
import zipfile
from pathlib import Path

with zipfile.ZipFile(sys.argv[1]) as package:
    names = [name for name in package.namelist() if name.endswith((".js", ".css"))]
    # New packages have a folder of the name `editor` without one.
    for folder in ("web/dist/libs/editor/", "web/dist/apps/labelstudio/", "label_studio/frontend/dist/lsf/"):
        inside = [name for name in names if name.startswith(folder)]
        if any(name.endswith("main.js") for name in inside):
            break
    else:
        sys.exit("the package has no editor in a place that is known here")
    for name in inside:
        path = Path(sys.argv[2]) / name.removeprefix(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(package.read(name))
PYTHON
  mkdir -p .venv/editor && mv "$work/unpacked-$version" "$folder"
}

for version in $versions; do
  editor "$version" || { skip "label-studio $version could not be fetched from PyPI"; continue; }
  echo "label-studio $version"
  python3 -B tests/editor/test_editor.py "$@" ".venv/editor/$version" 2>&1 | tee "$work/tests.log" | sed 's/^/| /'
  count() { sed -n "s/^$1: \([0-9]*\)$/\1/p" "$work/tests.log" | tail -1; }
  if [ -z "$(count passed)" ]; then
    echo "the tests did not run"
    failed=$((failed + 1))
    continue
  fi
  passed=$((passed + $(count passed)))
  failed=$((failed + $(count failed)))
done
ends
