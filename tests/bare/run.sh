#!/usr/bin/env bash
# `make demo` and `make test` on a bare machine: a container of the base image with Rust, in which make, python3 and git were
# installed and nothing else. `make test-bare` calls it.
#   tests/bare/run.sh [COMMAND]...        a shell command each (default: "make demo" "make test")
# Works on a copy of this checkout: what git tracks or would add. Needs a Docker engine and the base image; without them it
# says so and skips. Last line: "bare: N passed, N failed, N skipped", a command each.
# BARE_IMAGE  the base image (default rust:1.95-slim-bookworm)
# BARE_PACKAGES  Debian packages that are there too (default: none)
# BARE_USER   root (the default), sudo (a user with a sudo that asks for no password) or nobody (a user who can install nothing)
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

image=${BARE_IMAGE:-rust:1.95-slim-bookworm} user=${BARE_USER:-root}
[ $# -gt 0 ] || set -- "make demo" "make test"
passed=0 failed=0
skip() { echo "skipped: bare: $1"; echo "bare: 0 passed, 0 failed, 1 skipped"; exit 0; }
case $user in root | sudo | nobody) ;; *) echo "BARE_USER is $user; allowed: root, sudo, nobody" >&2; exit 2 ;; esac

# The engine's own client comes before a newer one that cannot build for it.
docker=docker
[ ! -x /usr/bin/docker ] || docker=/usr/bin/docker
"$docker" info >/dev/null 2>&1 || skip "no Docker engine answers"
"$docker" image inspect "$image" >/dev/null 2>&1 || "$docker" pull -q "$image" >/dev/null 2>&1 \
  || skip "the image $image is not here and cannot be pulled (scripts/base-images.sh makes it on Debian)"

container=
finish() { [ -z "$container" ] || "$docker" rm -f "$container" >/dev/null 2>&1; }
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
container=$("$docker" run -d "$image" sleep infinity) || skip "the engine starts no container"
inside() { "$docker" exec -i ${login[@]+"${login[@]}"} "$container" bash -c "$1"; }

login=()
extra=
[ "$user" != sudo ] || extra=sudo
extra="$extra ${BARE_PACKAGES:-}"
# python3-pip is left out on purpose: it is among what the project installs.
inside "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends make python3 git $extra >/dev/null 2>&1 && rm -rf /var/lib/apt/lists/*" \
  || skip "make, python3 and git could not be installed in the container"
inside "useradd -m tester && mkdir /home/tester/maskmaker" || exit 1
case $user in
  root) ;;
  sudo) inside "echo 'tester ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/tester" ;;
  nobody) ;;
esac
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done \
  | tar -c --null -T - | inside "tar -x -C /home/tester/maskmaker --no-same-owner" || exit 1
inside "cd /home/tester/maskmaker && git -c init.defaultBranch=main init -q && git add -A && git -c user.name=test -c user.email=test@localhost commit -qm bare"
if [ "$user" != root ]; then
  inside "chown -R tester /home/tester"
  login=(-u tester -e HOME=/home/tester)
fi
# shellcheck disable=SC2016
echo "bare: $image as $user: $(inside 'for tool in gcc g++ make cmake nasm python3 pip3 git sudo; do command -v $tool >/dev/null && printf "%s " $tool; done; cargo --version')"

for command; do
  start=$SECONDS
  # Each line is marked, so that who adds up results finds each once.
  if inside "cd /home/tester/maskmaker && $command" </dev/null 2>&1 | sed -u 's/^/| /'; then
    passed=$((passed + 1))
    echo "bare: $command ended well after $((SECONDS - start)) s"
  else
    failed=$((failed + 1))
    echo "bare: $command FAILED after $((SECONDS - start)) s"
  fi
done
inside 'cd /home/tester/maskmaker && du -sm target .libtorch .tools 2>/dev/null' | awk '{ printf "bare: %s holds %d MB\n", $2, $1 }'
echo "bare: $passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
