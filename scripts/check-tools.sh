#!/usr/bin/env bash
# Names everything that is missing for building, at once, with the commands that install it.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=() packages=() commands=()
sudo=sudo
[ "$(id -u)" != 0 ] || sudo=

have() { command -v "$1" >/dev/null 2>&1; }
package() { # TOOL PACKAGE
  have "$1" || { missing+=("$1"); packages+=("$2"); }
}

package gcc gcc
package g++ g++
package make make
# turbojpeg-sys builds libjpeg-turbo from its sources; its fast code is assembled by nasm.
package cmake cmake
package nasm nasm
package python3 python3
if have python3 && ! python3 -m pip --version >/dev/null 2>&1; then
  missing+=("pip (python3 -m pip)"); packages+=(python3-pip)
elif ! have python3; then
  packages+=(python3-pip)
fi

# What rust-toolchain.toml asks for, rustup fetches at the first call of cargo.
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! have cargo; then
  missing+=("cargo (rustup)")
  have curl || packages+=(curl)
  commands+=("curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal && . \"\$HOME/.cargo/env\"")
else
  found=$(cargo --version | awk '{ print $2 }') || found=
  if [ -z "$found" ]; then
    missing+=("a working cargo (\`cargo --version\` fails)")
    commands+=("rustup toolchain install")
  elif [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -1)" != "$wanted" ]; then
    missing+=("Rust $wanted or newer (found $found)")
    have rustup && commands+=("rustup update") || commands+=("install rustup: https://rustup.rs")
  else
    for part in fmt clippy; do
      cargo "$part" --version >/dev/null 2>&1 && continue
      missing+=("cargo $part")
      commands+=("rustup component add ${part/fmt/rustfmt}")
    done
  fi
fi

[ ${#missing[@]} -gt 0 ] || exit 0
{
  echo "missing:"
  printf '  %s\n' "${missing[@]}"
  echo "install with:"
  if [ ${#packages[@]} -gt 0 ]; then
    have apt-get || echo "  (the packages' names are Debian's)"
    echo "  ${sudo:+$sudo }apt-get update && ${sudo:+$sudo }apt-get install -y ${packages[*]}"
  fi
  [ ${#commands[@]} -eq 0 ] || printf '  %s\n' "${commands[@]}"
} >&2
exit 1
