#!/usr/bin/env bash
# Makes the font files in src/render/fonts of Noto Sans, as Debian 12 has it: letters of Latin, Greek and Cyrillic scripts and
# common signs, without letters that change others, signs that are not to be seen, hints and features. Needs apt-get, Debian's server, and PyPI.
#   scripts/fonts.sh
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

letters=U+0020-007E,U+00A0-00AC,U+00AE-024F,U+0259,U+02BC,U+02C6-02DD,U+0370-03FF,U+0400-0482,U+048A-052F,U+1E00-1EFF
signs=U+2010-2027,U+2030-205E,U+2070-209F,U+20A0-20BF,U+2100-214F,U+2190-2193,U+2200-22FF,U+FFFD
(cd "$work" && apt-get download -q fonts-noto-core=20201225-1 && dpkg-deb -x fonts-noto-core_*.deb .)
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q fonttools==4.68.0
for weight in Regular Bold; do
  "$work/venv/bin/pyftsubset" "$work/usr/share/fonts/truetype/noto/NotoSans-$weight.ttf" --unicodes="$letters,$signs" --no-hinting \
    --layout-features= --name-IDs=0,1,2,3,4,5,6,13,14 --drop-tables+=GDEF,GPOS,GSUB,STAT,meta,kern --notdef-outline --no-glyph-names \
    --output-file="src/render/fonts/NotoSans-$weight.ttf"
done
ls -l src/render/fonts
