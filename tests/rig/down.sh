#!/usr/bin/env bash
# Ends the test process that `make up` started; its servers end with it.
set -euo pipefail
pid_file="${LATCHWORK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/latchwork}/up/pid"
[ -s "$pid_file" ] || { echo "nothing is up" >&2; exit 0; }
pid=$(cat "$pid_file")
# The number may have been given to another process since: look at what it runs.
if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q 'cluster::up::up'; then
	kill -TERM "$pid"
	echo "ended $pid" >&2
else
	echo "nothing is up" >&2
fi
rm -f "$pid_file"
