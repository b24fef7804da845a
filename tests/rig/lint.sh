#!/usr/bin/env bash
# Everything that a machine can hold against the code without running it. Any warning fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

step() { printf '== %s\n' "$*" >&2; }

# A minimal toolchain lacks both; without rustup the error of the next step says so.
cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || rustup component add rustfmt clippy

step "rustfmt"
cargo fmt --check

# The two supported builds: the pure floor alone, and everything.
step "clippy: pure floor alone"
cargo clippy --locked --quiet --no-default-features --all-targets -- -D warnings
step "clippy: everything"
cargo clippy --locked --quiet --all-targets -- -D warnings

# A link that leads nowhere is a mistake in a text that somebody relies on.
step "rustdoc"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps --no-default-features
RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps

# Not products, but each adapter must stand on the shared floor without its neighbours.
for feature in operator aws vault git cli; do
	step "cargo check: $feature alone"
	cargo check --locked --quiet --no-default-features --features "$feature"
done

step "cargo-deny: bans, licenses, sources"
deny="$(tests/rig/tools/build.sh --quiet cargo-deny)/cargo-deny"
"$deny" --log-level error --locked check bans licenses sources

# The advisory database lives on a code host that not every machine reaches: then, and only then, the check is left out.
step "cargo-deny: advisories"
if reason=$(timeout 120 "$deny" --log-level error --locked fetch db 2>&1); then
	"$deny" --log-level error --locked check --disable-fetch advisories
else
	printf 'SKIPPED: the advisory database cannot be fetched: %s\n' "$(printf '%s' "$reason" | head -n 1 | cut -c 1-200)" >&2
fi
