#!/usr/bin/env bash
# Every check and every test, on a machine that has no more than Rust and Go. The tools compile in the background while
# cargo does; the integration tests come last, in the sandbox.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

step() { printf '== %s\n' "$*" >&2; }

command -v cargo >/dev/null 2>&1 || { echo "error: Rust is missing (cargo is not on PATH)" >&2; exit 1; }
command -v go >/dev/null 2>&1 || { echo "error: Go is missing (go is not on PATH)" >&2; exit 1; }

# cargo needs the compiler and git as well, so the packages come before everything else.
step "host packages"
tests/rig/tools/build.sh host

log=$(mktemp)
tests/rig/tools/build.sh >"$log" 2>&1 &
tools=$!
trap 'kill "$tools" 2>/dev/null || true; rm -f "$log"' EXIT

step "compile (the tools build in the background)"
cargo test --locked --no-run

tests/rig/lint.sh

step "the pure floor alone"
cargo test --locked --no-default-features --lib --test walls
cargo test --locked --no-default-features --doc

step "unit and documentation tests"
cargo test --locked --lib --bins
cargo test --locked --doc

step "tools"
status=0
wait "$tools" || status=$?
cat "$log" >&2
[ "$status" = 0 ] || { echo "error: a tool could not be had, see above" >&2; exit "$status"; }

step "templates beside Go's"
cargo test --locked --no-default-features --test template

step "integration tests, in the sandbox"
# They wait for servers more than they compute: more of them at a time than there are cores.
RUST_TEST_THREADS="${RUST_TEST_THREADS:-6}" RUST_BACKTRACE="${RUST_BACKTRACE:-0}" \
	tests/rig/sandbox.sh cargo test --locked --offline --test main
