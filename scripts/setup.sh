#!/usr/bin/env bash
# Installs what a task needs, or names it in one line. `make`, `.ci/run`, the Dockerfiles and the tests' scripts call it.
#   scripts/setup.sh [TASK]...
# Tasks:
#   compile    compilers, cmake, nasm, python3 with pip, Rust, and the crates' sources (the default)
#   check      the same with rustfmt and clippy
#   assembler  nasm, without the fallback below: benchmarks must not time slow JPEG code
#   venv       python3 with venv
#   jpegtran   libjpeg-turbo's tool that codes JPEGs anew
#   chromium   Chromium and its driver
#   java       a Java runtime
#   compose    docker compose
#   iproute    ip, which makes network namespaces
# Packages are installed by apt-get where this user may: as root, or with a sudo that asks for no password. Where nobody may,
# cmake comes from the Python package index into .tools; without nasm the JPEG decoder is built without its assembler code
# (the feature `jpeg-simd` is off) and a line says so. What then is still missing is named with one line to copy.
# SETUP_INSTALL=no  installs no package and names what is missing
set -euo pipefail
cd "$(dirname "$0")/.."

build_megabytes=6000

say() { echo "setup: $*" >&2; }
die() { say "$1"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

[ $# -gt 0 ] || set -- compile
compile=no check=no assembler=no
needed=() # "PACKAGE COMMAND": a Debian package, and a shell command that succeeds if what it brings is there
need() { needed+=("$1 $2"); }
need_python() { need python3 'python3 --version'; need python3-pip 'python3 -m pip --version'; }
for task; do
  case $task in
    compile | check)
      compile=yes
      [ "$task" = compile ] || check=yes
      need gcc 'gcc --version'
      need g++ 'g++ --version'
      need make 'make --version'
      need libc6-dev 'echo "#include <stdio.h>" | gcc -E -'
      # turbojpeg-sys builds libjpeg-turbo from its sources with cmake; its fast code is assembled by nasm.
      need cmake 'cmake --version'
      need nasm 'nasm --version'
      need_python
      ! have apt-get || need ca-certificates '[ -e /etc/ssl/certs/ca-certificates.crt ]'
      ;;
    assembler) assembler=yes; need nasm 'nasm --version' ;;
    venv) need_python; need python3-venv 'python3 -c "import ensurepip, venv"' ;;
    chromium) need chromium 'chromium --version || google-chrome --version'; need chromium-driver 'chromedriver --version' ;;
    jpegtran) need libjpeg-turbo-progs 'jpegtran -version' ;;
    java) need default-jre-headless 'java -version' ;;
    compose) need docker-compose 'docker compose version || docker-compose version' ;;
    iproute) need iproute2 'ip -V' ;;
    *) say "unknown task $task"; sed -n '3,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done

# libtorch is fetched for this platform alone.
if [ $compile = yes ] && [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
  die "maskmaker builds on x86_64 Linux only, this is $(uname -s) on $(uname -m); use such a machine, or a container: docker run --platform linux/amd64 -it -v \"\$PWD:/maskmaker\" -w /maskmaker rust:1.95-bookworm make demo"
fi

# Said before anything is fetched: a build that stops half-way for want of room says less.
target=${CARGO_TARGET_DIR:-target}
if [ $compile = yes ] && [ ! -e "$target/.rustc_info.json" ]; then
  folder=$target
  while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
  free=$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge $build_megabytes ] \
    || die "$folder has $free MB free; libtorch, the build and the tests take $build_megabytes MB (CARGO_TARGET_DIR moves most of it)"
fi

# What an earlier run put into .tools counts, and goes when the system has its own.
fetched_cmake=$PWD/.tools/cmake/cmake/data/bin
export PATH=$PATH:$fetched_cmake

find_missing() {
  missing=()
  local entry
  for entry in "${needed[@]}"; do
    bash -c "${entry#* }" >/dev/null 2>&1 && continue
    # Two tasks may need the same.
    [[ " ${missing[*]} " == *" ${entry%% *} "* ]] || missing+=("${entry%% *}")
  done
}

# Empty for root, `sudo` for whoever may use it without a password; fails for all others.
find_installer() {
  have apt-get && [ "${SETUP_INSTALL:-yes}" != no ] || return 1
  if [ "$(id -u)" = 0 ]; then sudo=; return; fi
  have sudo && sudo -n true 2>/dev/null || return 1
  sudo="sudo -n"
}

install_packages() {
  local log
  log=$(mktemp)
  say "installing ${missing[*]} (${sudo:+sudo }apt-get)"
  # The packages may be had even where one of several archives does not answer, so that only the installation decides. It
  # waits for another apt-get, which may be at work on a new machine, for up to 300 seconds.
  $sudo apt-get update -qq >"$log" 2>&1 || true
  # shellcheck disable=SC2086
  if ! $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    tail -5 "$log" >&2
    say "apt-get could not install these packages: ${missing[*]}. Are the addresses in /etc/apt/sources.list and /etc/apt/sources.list.d reachable from here, and is there room? Without network, install them from a local mirror or from their .deb files"
  fi
  rm -f "$log"
}

# cmake's wheel holds the program; 3.31 still reads the oldest policies that libjpeg-turbo's build file names.
install_cmake() {
  say "fetching cmake from the Python package index into .tools"
  local log
  log=$(mktemp)
  rm -rf .tools/cmake
  if ! PIP_USER=0 python3 -m pip --disable-pip-version-check install -q --no-cache-dir --only-binary=:all: --require-hashes \
    --target .tools/cmake -r /dev/stdin >"$log" 2>&1 <<<"cmake==3.31.10 --hash=sha256:$cmake_hash"; then
    tail -5 "$log" >&2
    rm -rf .tools/cmake
  fi
  rm -f "$log"
}
cmake_hash=2f766bb46367e5e0559fa33184653754bce044583a06014dcaebf8e6dff8a1f1

find_missing
if [ ${#missing[@]} -gt 0 ] && find_installer; then
  install_packages
  find_missing
fi
if [[ " ${missing[*]} " == *" cmake "* ]] && have python3 && python3 -m pip --version >/dev/null 2>&1; then
  install_cmake
  find_missing
fi

if [ $compile = yes ]; then
  # Cargo reads this file if it is there (.cargo/config.toml), so that plain cargo finds that cmake too.
  if [ "$(command -v cmake || true)" = "$fetched_cmake/cmake" ]; then
    mkdir -p .cargo
    printf '# Written by scripts/setup.sh.\n[env]\nCMAKE = "%s"\n' "$fetched_cmake/cmake" >.cargo/tools.toml
  else
    rm -rf .tools/cmake .cargo/tools.toml
  fi
fi

# What is not a Debian package: Rust, by rustup.
commands=() reasons=()
install_rustup="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal && . \"\$HOME/.cargo/env\""
find_rust() {
  local wanted found output
  # In the Dockerfile's first layers the scripts are here alone.
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml 2>/dev/null) || wanted=
  if ! have cargo; then
    reasons+=("cargo is missing")
    have curl || missing+=(curl ca-certificates)
    commands+=("$install_rustup")
    return
  fi
  # rust-toolchain.toml names a toolchain; rustup fetches it here, at the first call.
  if ! output=$(cargo --version 2>&1); then
    printf '%s\n' "$output" | tail -5 >&2
    reasons+=("cargo does not run (its words stand above)")
    commands+=("rustup toolchain install $(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml 2>/dev/null)")
    return
  fi
  found=$(printf '%s\n' "$output" | sed -n 's/^cargo \([0-9.]*\).*/\1/p' | tail -1)
  if [ -n "$wanted" ] && [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -1)" != "$wanted" ]; then
    reasons+=("Rust $found is too old, $wanted or newer is needed")
    if have rustup; then
      commands+=("rustup update")
    else
      have curl || missing+=(curl ca-certificates)
      commands+=("$install_rustup")
    fi
    return
  fi
  [ $check = yes ] || return 0
  local part
  for part in fmt clippy; do
    cargo "$part" --version >/dev/null 2>&1 && continue
    if have rustup && rustup component add "${part/fmt/rustfmt}" >/dev/null 2>&1; then continue; fi
    reasons+=("cargo $part is missing")
    commands+=("rustup component add ${part/fmt/rustfmt}")
  done
}
[ $compile = no ] || find_rust

# Nasm alone may be done without: where something else has to be installed by hand, nasm is on the same line.
if [ $compile = yes ]; then
  # `make` hands these options to cargo.
  mkdir -p .tools
  if [ "${missing[*]}" = nasm ] && [ ${#commands[@]} -eq 0 ] && [ $assembler = no ]; then
    missing=()
    echo "--no-default-features" >.tools/cargo-options
    say "nasm is missing: JPEG files will be decoded without assembler code, more slowly, and benches/ refuse to run; to mend it: sudo apt-get install -y nasm"
  else
    : >.tools/cargo-options
  fi
fi

if [ ${#missing[@]} -gt 0 ] || [ ${#commands[@]} -gt 0 ]; then
  [ ${#missing[@]} -eq 0 ] || reasons+=("missing packages: ${missing[*]}")
  if [[ " ${missing[*]} " == *" python3-pip "* ]] && [ "$(command -v python3)" != /usr/bin/python3 ]; then
    reasons+=("$(command -v python3) has no pip and is not Debian's: leave that environment, or run python3 -m ensurepip")
  fi
  for reason in "${reasons[@]}"; do say "$reason"; done
  line=
  if [ ${#missing[@]} -gt 0 ]; then
    sudo=sudo
    [ "$(id -u)" != 0 ] || sudo=
    have apt-get || say "the packages' names are Debian's"
    line="${sudo:+$sudo }apt-get update && ${sudo:+$sudo }apt-get install -y --no-install-recommends ${missing[*]}"
  fi
  for command in "${commands[@]}"; do line+=${line:+ && }$command; done
  say "install with:"
  echo "$line" >&2
  exit 1
fi

# The crates' sources, now and not in the middle of a build. Cargo's own error names the crate and the address.
if [ $compile = yes ] && [ -e Cargo.lock ]; then
  cargo fetch --locked --quiet --target x86_64-unknown-linux-gnu || die "cargo could not fetch the crates that Cargo.lock names. Is crates.io reachable from here, directly or through a mirror ([source] in ~/.cargo/config.toml) or a proxy (HTTPS_PROXY)? Without network: run \`cargo vendor\` on a machine with network, bring its vendor/ folder, and put what it printed, with that folder's absolute path, into ~/.cargo/config.toml"
fi
