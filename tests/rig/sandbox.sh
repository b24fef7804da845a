#!/usr/bin/env bash
# Runs a command in a sandbox of its own: a network namespace with only loopback (plus one "node" address and the
# metadata address), a process namespace that dies as a whole with its first process, and private mounts. So tests
# use real ports and addresses without meeting anything else on the machine, and nothing outlives them.
#
#   sandbox.sh COMMAND [ARGUMENT...]
#
# There is no internet inside: build first. LATCHWORK_SANDBOX=1 tells the rig that it is inside;
# LATCHWORK_SANDBOX=off in the caller's environment runs the command directly.
set -euo pipefail

[ $# -gt 0 ] || { echo "usage: sandbox.sh COMMAND [ARGUMENT...]" >&2; exit 2; }

if [ "${LATCHWORK_SANDBOX:-}" = off ] || [ "${LATCHWORK_SANDBOX:-}" = 1 ]; then
	exec "$@"
fi

flags=(--net --mount --pid --fork --mount-proc --kill-child --propagation private)
[ "$(id -u)" = 0 ] || flags=(--user --map-root-user "${flags[@]}")
if ! unshare "${flags[@]}" true 2>/dev/null; then
	echo "sandbox: this machine forbids network, mount or process namespaces to this user." >&2
	echo "sandbox: run as root, or allow unprivileged user namespaces, or set LATCHWORK_SANDBOX=off to run on the host's loopback" >&2
	echo "sandbox: (tests that need the sandbox then fail and say so)." >&2
	exit 1
fi

# Everything temporary goes to a tmpfs that only the sandbox sees; what is left outside is an empty folder.
scratch=$(mktemp -d "${TMPDIR:-/tmp}/latchwork-sandbox.XXXXXX")
trap 'rmdir "$scratch"' EXIT

# The shell stays the first process of the namespace: as such a test runner would ignore SIGINT and SIGTERM.
# When the shell ends, the kernel kills everything that is left.
# shellcheck disable=SC2016 # expanded inside
setpriv --pdeathsig KILL unshare "${flags[@]}" bash -c '
	set -eu
	scratch=$1; shift
	ip link set lo up
	ip addr add 10.99.0.2/32 dev lo
	ip addr add 169.254.169.254/32 dev lo
	mount -t tmpfs -o mode=0700 tmpfs "$scratch"
	# In-cluster credentials belong under /run/secrets; the host must not see them.
	mount -t tmpfs -o mode=0755 tmpfs /run
	{
		echo "127.0.0.1 localhost kubernetes.default.svc"
		echo "::1 localhost"
		echo "10.99.0.2 node.test git.test vault.test"
		echo "169.254.169.254 metadata.test"
	} >"$scratch/hosts"
	mount --bind "$scratch/hosts" /etc/hosts
	mkdir "$scratch/tmp"
	# A proxy of the host cannot be reached from here, and would be asked even for loopback.
	unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
	export TMPDIR="$scratch/tmp" LATCHWORK_SANDBOX=1 CARGO_NET_OFFLINE=true GOTOOLCHAIN=local
	"$@" &
	child=$!
	trap "kill -TERM $child 2>/dev/null" INT TERM
	status=0
	wait "$child" || status=$?
	exit "$status"
' sandbox "$scratch" "$@" &
sandbox=$!
# unshare itself ignores these two while it waits; --kill-child then takes the namespace down with it.
trap 'kill -KILL "$sandbox" 2>/dev/null; wait "$sandbox" 2>/dev/null' INT TERM
status=0
# Bash would report the kill with the whole script above as the command's name.
{ wait "$sandbox" || status=$?; } 2>/dev/null
exit "$status"
