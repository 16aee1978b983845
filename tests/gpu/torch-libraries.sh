#!/usr/bin/env bash
# Prints the folders of the libraries of a python's torch 2.11.0, and of the bundle, for LD_LIBRARY_PATH. Prints nothing where that
# python has another torch, or none.
#   tests/gpu/torch-libraries.sh [PYTHON=python3]
cd "$(dirname "$0")/../.." || exit 1
exec "${1:-python3}" - "$PWD/target/gpu-test-bundle/lib" <<'P'
import glob, os, sys
try:
    import torch
except ImportError:
    raise SystemExit(0)
if torch.__version__.split("+")[0] == "2.11.0":
    folder = os.path.dirname(torch.__file__)
    print(":".join([sys.argv[1], folder + "/lib", *glob.glob(os.path.dirname(folder) + "/nvidia/*/lib")]))
P
