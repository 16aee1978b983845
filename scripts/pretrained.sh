#!/usr/bin/env bash
# Fetches torchvision's ImageNet weights (IMAGENET1K_V1, as its segmentation recipe uses) and checks them.
#   scripts/pretrained.sh resnet50,resnet101|none DEST
# PRETRAINED_URL  where from (default https://download.pytorch.org/models); needs python3
# DEST holds every named file in full, or the script fails and leaves none of a wrong content.
set -euo pipefail

usage() { sed -n '2,5s/^# \{0,1\}//p' "$0"; }
[ $# = 2 ] || { usage >&2; exit 2; }
names=$1 dest=$2 url=${PRETRAINED_URL:-https://download.pytorch.org/models}

# The first 8 digits are in torchvision's own file names.
file_of() {
  case $1 in
    resnet50) echo "resnet50-0676ba61.pth 0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a" ;;
    resnet101) echo "resnet101-63fe2227.pth 63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a" ;;
    *) echo "pretrained.sh: unknown backbone '$1'; known: resnet50, resnet101, or none for no weights" >&2; return 1 ;;
  esac
}

mkdir -p "$dest"
[ "$names" != none ] || exit 0
# All names before the first download.
for name in ${names//,/ }; do file_of "$name" >/dev/null || exit 2; done
for name in ${names//,/ }; do
  read -r file sum < <(file_of "$name")
  python3 - "$url/$file" "$dest/$file" "$sum" <<'P'
import hashlib, os, shutil, sys, urllib.error, urllib.request
url, path, expected = sys.argv[1:]
part = path + ".part"
try:
    with urllib.request.urlopen(url, timeout=60) as answer, open(part, "wb") as f:
        shutil.copyfileobj(answer, f, 1 << 20)
except (OSError, ValueError) as error:
    sys.exit(f"pretrained.sh: cannot fetch {url}: {error}; "
             "set PRETRAINED_URL to a mirror, or build without weights: PRETRAINED=none")
digest = hashlib.sha256()
with open(part, "rb") as f:
    while block := f.read(1 << 20):
        digest.update(block)
if digest.hexdigest() != expected:
    os.remove(part)
    sys.exit(f"pretrained.sh: {url} has sha256 {digest.hexdigest()}, expected {expected}")
os.rename(part, path)
print(f"{path}: {os.path.getsize(path)} bytes, sha256 as expected")
P
done
