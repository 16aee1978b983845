#!/usr/bin/env bash
# Training on two hosts, which are two network namespaces of this machine, with links that are cut and processes that are
# killed. `make test-hosts` calls it.
#   tests/hosts/run.sh [TEST]...            for example Hosts.test_a_cut_link
# Needs root, python3 and ip (iproute2); without them it says so and skips.
# MASKMAKER_BIN      the program (default target/debug/maskmaker)
# MASKMAKER_KILLS    number of random kills (default 20)
# Last line: "hosts: N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

skip() { echo "skipped: hosts: $1"; echo "hosts: 0 passed, 0 failed, 1 skipped"; exit 0; }

export MASKMAKER_BIN=${MASKMAKER_BIN:-${CARGO_TARGET_DIR:-target}/debug/maskmaker}
[ -x "$MASKMAKER_BIN" ] || { echo "$MASKMAKER_BIN is not there: cargo build --locked --bin maskmaker"; exit 1; }
command -v python3 >/dev/null || skip "python3 is missing"
[ "$(id -u)" = 0 ] || skip "only root can make network namespaces: sudo make test-hosts"
scripts/setup.sh iproute || skip "ip is missing (above: how to install it)"
probe=maskmaker-probe-$$
ip netns add $probe 2>/dev/null || skip "no network namespace can be made here"
ip netns del $probe

python3 -B tests/hosts/test_hosts.py "$@"
