#!/usr/bin/env bash
# Prepare local stand-ins for the official base images on a Debian host that can reach
# package registries (apt, crates.io, PyPI) but no container registry:
#
#   debian:bookworm-slim          debootstrap minbase + the official image's apt/dpkg settings
#   rust:<X.Y>-slim-bookworm      + gcc, libc6-dev, ca-certificates and this host's Rust toolchain
#
# They carry the official tags, so a Dockerfile needs no change to be built here. They hold the
# packages of the official images and no more, so what builds here also builds there.
# Everything specific to this host is read from its own configuration when the script runs: the
# apt mirror, extra CA certificates, /etc/pip.conf, cargo's config.toml, proxy settings of apt.
#
# Idempotent: an image that exists is kept, one that can be pulled is pulled; FORCE=1 rebuilds. Needs root.
#   base-images.sh [all|engine|debian|rust]...
set -euo pipefail

SUITE=${SUITE:-bookworm}
DEBIAN_IMAGE=${DEBIAN_IMAGE:-debian:$SUITE-slim}
DOCKERD_LOG=${DOCKERD_LOG:-/var/log/dockerd.log} # and DOCKERD_ARGS: arguments for a dockerd started here
WORK=$(mktemp -d "${TMPDIR:-/tmp}/base-images.XXXXXX")
WORK_TAG=base-images-tmp-$$
FORCE=${FORCE:-0}
# Debian's own client speaks BuildKit to its own dockerd without the buildx plugin; a newer client
# that may come first in PATH does not (it insists on buildx).
DOCKER=${DOCKER:-$([ -x /usr/bin/docker ] && echo /usr/bin/docker || echo docker)}

say() { printf '[base-images] %s\n' "$*" >&2; }
cleanup() {
  [ -z "${CID:-}" ] || "$DOCKER" rm -f "$CID" >/dev/null 2>&1 || true
  "$DOCKER" rmi "$WORK_TAG-debian" >/dev/null 2>&1 || true
  rm -rf --one-file-system "$WORK"
}
trap cleanup EXIT

# Where a registry is reached after all, the real image is better.
pulled() {
  [ "$FORCE" != 1 ] && timeout 300 "$DOCKER" pull -q "$1" >/dev/null 2>&1 && say "$1: pulled"
}

BUILT=" "
# FORCE rebuilds each image once in a run
have_image() {
  [ "$FORCE" != 1 ] || [[ $BUILT == *" $1 "* ]] || return 1
  "$DOCKER" image inspect "$1" >/dev/null 2>&1
}

# --- engine -------------------------------------------------------------------------------------
engine() {
  local missing=()
  [ -x /usr/bin/docker ] || command -v dockerd >/dev/null || missing+=(docker.io)
  command -v debootstrap >/dev/null || missing+=(debootstrap)
  command -v docker-compose >/dev/null || missing+=(docker-compose)
  if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    apt-get update -qq
    # a policy-rc.d of 101 keeps the package from starting the daemon through an init system
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      "${missing[@]}" iptables >/dev/null
    [ -x /usr/bin/docker ] && DOCKER=/usr/bin/docker
  fi
  if ! "$DOCKER" info >/dev/null 2>&1; then
    say "starting dockerd (log: $DOCKERD_LOG)"
    # shellcheck disable=SC2086
    setsid nohup dockerd ${DOCKERD_ARGS:-} >>"$DOCKERD_LOG" 2>&1 </dev/null &
    local i
    for i in $(seq 1 60); do
      "$DOCKER" info >/dev/null 2>&1 && break
      sleep 0.5
    done
    "$DOCKER" info >/dev/null 2>&1 || { tail -20 "$DOCKERD_LOG" >&2; exit 1; }
  fi
  say "engine: $("$DOCKER" version --format 'client {{.Client.Version}}, server {{.Server.Version}}')"
}

# --- debian -------------------------------------------------------------------------------------
# "LABEL|URI|COMPONENT" of every Debian archive that apt on this host uses
host_archives() {
  local out
  out=$(apt-get indextargets --format '$(LABEL)|$(REPO_URI)|$(COMPONENT)' 'Created-By: Packages' 2>/dev/null | sort -u | grep '^Debian' || true)
  if [ -z "$out" ]; then
    apt-get update -qq
    out=$(apt-get indextargets --format '$(LABEL)|$(REPO_URI)|$(COMPONENT)' 'Created-By: Packages' | sort -u | grep '^Debian')
  fi
  printf '%s\n' "$out"
}

debian() {
  have_image "$DEBIAN_IMAGE" && { say "$DEBIAN_IMAGE: kept"; return; }
  pulled "$DEBIAN_IMAGE" && return
  local t0=$SECONDS root=$WORK/root mirror security keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  mirror=$(host_archives | awk -F'|' '$1=="Debian"{print $2; exit}')
  security=$(host_archives | awk -F'|' '$1=="Debian-Security"{print $2; exit}')
  say "$DEBIAN_IMAGE: debootstrap of $SUITE from the host's apt mirror"
  debootstrap --variant=minbase --force-check-gpg --keyring="$keyring" \
    "$SUITE" "$root" "$mirror" >"$WORK/debootstrap.log" 2>&1 ||
    { tail -20 "$WORK/debootstrap.log" >&2; exit 1; }

  # apt: the sources of the official image, from this host's mirror
  rm -f "$root/etc/apt/sources.list"
  {
    printf 'Types: deb\nURIs: %s\nSuites: %s %s-updates\nComponents: main\nSigned-By: %s\n' \
      "$mirror" "$SUITE" "$SUITE" "$keyring"
    [ -z "$security" ] || printf '\nTypes: deb\nURIs: %s\nSuites: %s-security\nComponents: main\nSigned-By: %s\n' \
      "$security" "$SUITE" "$keyring"
  } >"$root/etc/apt/sources.list.d/debian.sources"
  # ... and how this host's apt must talk to it (proxy, snapshot dates), if it says anything
  apt-config dump | grep -E '^Acquire::(https?::(Proxy|Verify-|CaInfo)|Check-(Valid-Until|Date)|Retries)' \
    >"$root/etc/apt/apt.conf.d/99host" || rm -f "$root/etc/apt/apt.conf.d/99host"

  # the official image's settings for apt and dpkg in containers
  cat >"$root/etc/apt/apt.conf.d/docker-clean" <<'CONF'
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
CONF
  echo 'Acquire::Languages "none";' >"$root/etc/apt/apt.conf.d/docker-no-languages"
  echo 'Acquire::GzipIndexes "true";' >"$root/etc/apt/apt.conf.d/docker-gzip-indexes"
  echo 'Apt::AutoRemove::SuggestsImportant "false";' >"$root/etc/apt/apt.conf.d/docker-autoremove-suggests"
  echo 'force-unsafe-io' >"$root/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
  cat >"$root/etc/dpkg/dpkg.cfg.d/docker" <<'CONF'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/groff/*
path-exclude /usr/share/info/*
path-exclude /usr/share/linda/*
path-exclude /usr/share/lintian/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
CONF
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod +x "$root/usr/sbin/policy-rc.d"

  # CA certificates that the administrator added on this host. The official image has no
  # ca-certificates package and neither has this one; once a Dockerfile installs the package, its
  # trigger takes these up.
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
  fi
  [ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/pip.conf"

  # the diet of the -slim images
  find "$root/usr/share/doc" -mindepth 1 ! -type d ! -name copyright -delete
  find "$root/usr/share/doc" -mindepth 1 -type d -empty -delete
  rm -rf "$root"/usr/share/{groff,info,linda,lintian,locale,man}/*
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt
  mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial"
  : >"$root/etc/resolv.conf"; rm -f "$root/etc/hostname"

  tar -C "$root" --numeric-owner --xattrs --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -c . |
    "$DOCKER" import \
      --change 'ENV PATH /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
      --change 'CMD ["bash"]' - "$WORK_TAG-debian" >/dev/null
  rm -rf --one-file-system "$root"
  # security updates since the point release
  CID=$("$DOCKER" create "$WORK_TAG-debian" sh -ec \
    'export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; apt-get -y -qq dist-upgrade; rm -rf /var/lib/apt/lists/*')
  "$DOCKER" start -a "$CID" >"$WORK/upgrade.log" 2>&1 || { tail -20 "$WORK/upgrade.log" >&2; exit 1; }
  # one flat layer, as the official image has
  "$DOCKER" export "$CID" | "$DOCKER" import \
    --change 'ENV PATH /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'CMD ["bash"]' - "$DEBIAN_IMAGE" >/dev/null
  "$DOCKER" rm -f "$CID" >/dev/null; CID=
  "$DOCKER" rmi "$WORK_TAG-debian" >/dev/null
  BUILT+="$DEBIAN_IMAGE "
  say "$DEBIAN_IMAGE: $(size "$DEBIAN_IMAGE"), $((SECONDS - t0)) s"
}

# --- rust ---------------------------------------------------------------------------------------
rust() {
  local t0=$SECONDS sysroot version triple image
  sysroot=$(readlink -f "$(rustc --print sysroot)")
  version=$(rustc -V | awk '{print $2}')
  triple=$(rustc -vV | awk '/^host:/{print $2}')
  image=${RUST_IMAGE:-rust:${version%.*}-slim-$SUITE}
  have_image "$image" && { say "$image: kept"; return; }
  pulled "$image" && return
  debian
  say "$image: gcc, libc6-dev, ca-certificates and the host's Rust $version"
  CID=$("$DOCKER" create "$DEBIAN_IMAGE" sh -ec 'export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends ca-certificates gcc libc6-dev
    rm -rf /var/lib/apt/lists/*')
  "$DOCKER" start -a "$CID" >"$WORK/rust.log" 2>&1 || { tail -20 "$WORK/rust.log" >&2; exit 1; }

  # /usr/local/rustup and /usr/local/cargo as rustup-init lays them out in the official image
  local stage=$WORK/stage name=$version-$triple
  mkdir -p "$stage/usr/local/rustup/toolchains" "$stage/usr/local/cargo/bin"
  cp -a --reflink=auto "$sysroot" "$stage/usr/local/rustup/toolchains/$name"
  rm -rf "$stage/usr/local/rustup/toolchains/$name/share"
  # the official image would download these names on demand; here they are the same toolchain
  ln -s "$name" "$stage/usr/local/rustup/toolchains/${version%.*}-$triple"
  ln -s "$name" "$stage/usr/local/rustup/toolchains/stable-$triple"
  printf 'default_toolchain = "%s"\nprofile = "minimal"\nversion = "12"\n\n[overrides]\n' "$name" \
    >"$stage/usr/local/rustup/settings.toml"
  local rustup tool cargo_home=${CARGO_HOME:-$HOME/.cargo}
  rustup=$(readlink -f "$(command -v rustup)")
  cp "$rustup" "$stage/usr/local/cargo/bin/rustup"
  for tool in cargo cargo-clippy cargo-fmt cargo-miri clippy-driver rls rust-analyzer rust-gdb rust-gdbgui \
    rust-lldb rustc rustdoc rustfmt; do
    ln "$stage/usr/local/cargo/bin/rustup" "$stage/usr/local/cargo/bin/$tool"
  done
  # a registry mirror of this host (never its credentials)
  [ ! -f "$cargo_home/config.toml" ] || cp "$cargo_home/config.toml" "$stage/usr/local/cargo/config.toml"
  chmod -R a+w "$stage/usr/local/rustup" "$stage/usr/local/cargo"
  tar -C "$stage" --numeric-owner --owner=0 --group=0 -c usr | "$DOCKER" cp - "$CID:/"
  rm -rf --one-file-system "$stage"

  "$DOCKER" commit \
    --change 'ENV RUSTUP_HOME=/usr/local/rustup' \
    --change 'ENV CARGO_HOME=/usr/local/cargo' \
    --change 'ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change "ENV RUST_VERSION=$version" \
    --change 'CMD ["bash"]' "$CID" "$image" >/dev/null
  "$DOCKER" rm -f "$CID" >/dev/null; CID=
  "$DOCKER" run --rm --network none "$image" sh -c 'cargo -V && rustc -V && gcc --version | head -1' >&2
  say "$image: $(size "$image"), $((SECONDS - t0)) s"
}

size() { "$DOCKER" image inspect --format '{{.Size}}' "$1" | awk '{printf "%.0f MB", $1/1e6}'; }

[ $# -gt 0 ] || set -- all
engine
for target in "$@"; do
  case $target in
    all) debian; rust ;;
    engine) ;;
    debian | rust) "$target" ;;
    *) echo "usage: ${0##*/} [all|engine|debian|rust]..." >&2; exit 2 ;;
  esac
done
