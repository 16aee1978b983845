#!/usr/bin/env bash
# Copies the libraries that the program needs at run time, stripped, and prints what each takes. The Dockerfiles call it.
#   scripts/runtime-libraries.sh LIBTORCH DEST
# LIBTORCH is a folder that scripts/libtorch.sh made, for processors or (cuda) for GPUs; DEST gets the libraries. Of NVIDIA's
# libraries some are large and never called. In their place stands a stub: a library of the same name, which the dynamic linker
# asks for, whose functions end the process and say so.
# STUBS  default  cuSPARSELt, cuRAND, cuFile and NVSHMEM: libtorch_cuda calls none of their functions, or only for what this program
#                 does not do (sums between GPUs by NVSHMEM)
#        all      besides these cuFFT, cuSPARSE with nvJitLink, and cuDNN's part for recurrent networks and attention. No network here
#                 has such layers, but that none is called has not been seen on a GPU.
#        none     nothing is left out
# Needs gcc, binutils and python3.
set -euo pipefail

[ $# = 2 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }
exec python3 - "$1/lib" "$2" "${STUBS:-default}" <<'P'
import os, re, shutil, subprocess, sys, tempfile

source, target, choice = sys.argv[1:]
NEVER_CALLED = ["libcusparseLt.so.0", "libcurand.so.10", "libcufile.so.0", "libnvshmem_host.so.3"]
OF_OTHER_LAYERS = ["libcufft.so.11", "libcusparse.so.12", "libnvJitLink.so.12", "libcudnn_adv.so.9"]
SYSTEM = ["libstdc++.so.6", "libgcc_s.so.1", "libc.so.6", "libm.so.6"]
choices = {"none": [], "default": NEVER_CALLED, "all": NEVER_CALLED + OF_OTHER_LAYERS}
if choice not in choices:
    sys.exit(f"runtime-libraries.sh: STUBS is {choice!r}: give default, all or none")
names = sorted(name for name in os.listdir(source) if re.search(r"\.so(\.[\d.]+)?$", name))
# Linker scripts and links serve to build alone.
names = [name for name in names if not os.path.islink(f"{source}/{name}") and name != "libtorch.so"]
has_cuda = "libtorch_cuda.so" in names
stubs = choices[choice] if has_cuda else []
missing = [name for name in ["libtorch_cpu.so", *stubs] if name not in names]
if missing:
    sys.exit(f"runtime-libraries.sh: {source} lacks {', '.join(missing)}; scripts/libtorch.sh makes that folder")


def symbols(path, kind):
    """Returns a library's `defined` or `undefined` symbols by name, each with its version, which may be empty."""
    lines = subprocess.run(["nm", "-D", f"--{kind}-only", path], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in lines.splitlines():
        name, _, version = line.split()[-1].replace("@@", "@").partition("@")
        found[name] = version
    return found


def write_stub(name, functions):
    """Writes a library of this name with functions, by name with their versions, that end the process."""
    lines = ["#include <stdio.h>", "#include <stdlib.h>"]
    versions = {}
    for function, version in sorted(functions.items()):
        message = f"{name}: {function} was called, and this image leaves that library out; build it with STUBS=none\\n"
        lines.append(f'void {function}(void) {{ fputs("{message}", stderr); abort(); }}')
        versions.setdefault(version, []).append(function)
    versions.pop("", None)
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/stub.c", "w") as file:
            file.write("\n".join(lines) + "\n")
        with open(f"{folder}/versions", "w") as file:
            for version, members in versions.items():
                file.write(f"{version} {{ global: {'; '.join(members)}; }};\n")
        script = [f"-Wl,--version-script,{folder}/versions"] if versions else []
        command = ["gcc", "-shared", "-fPIC", "-O1", "-w", "-fno-builtin", f"-Wl,-soname,{name}", *script]
        subprocess.run([*command, "-o", f"{target}/{name}", f"{folder}/stub.c"], check=True)


os.makedirs(target, exist_ok=True)
needed, provided = {}, set()
for name in names:
    if name in stubs:
        continue
    shutil.copy2(f"{source}/{name}", f"{target}/{name}")
    # The tables of symbols for debuggers: 92 MB of libtorch_cpu alone.
    subprocess.run(["strip", "--strip-unneeded", f"{target}/{name}"], check=True)
    needed.update(symbols(f"{source}/{name}", "undefined"))
    provided.update(symbols(f"{source}/{name}", "defined"))
for name in SYSTEM:
    path = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
    provided.update(symbols(path, "defined"))
for name in stubs:
    defined = symbols(f"{source}/{name}", "defined")
    write_stub(name, {function: needed[function] for function in defined if function in needed and function not in provided})

total = 0
for size, name in sorted(((os.path.getsize(f"{target}/{name}"), name) for name in names), reverse=True):
    total += size
    print(f"{size / 1e6:9.1f} MB {name}{' (stub)' if name in stubs else ''}")
print(f"{total / 1e6:9.1f} MB in all" + (f", STUBS={choice}" if has_cuda else ""))
P
