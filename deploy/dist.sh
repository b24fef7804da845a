#!/usr/bin/env bash
# The program as it is shipped: one static file, optimised as a whole, for any Linux of this machine's processor. Prints
# where it is. With --image at an address that differs from run to run (docs/decisions/0011), without at a fixed one, which
# starts sooner. Needs musl-tools and the musl target of the toolchain; a first run takes as long as twenty minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for word in "$@"; do
	[ "$word" = --image ] || { echo "usage: deploy/dist.sh [--image]" >&2; exit 2; }
done
target="$(uname -m)-unknown-linux-musl"
command -v musl-gcc >/dev/null 2>&1 ||
	{ echo "error: musl-gcc is missing: install the package musl-tools" >&2; exit 1; }
if command -v rustup >/dev/null 2>&1 && ! rustup target list --installed | grep -qx "$target"; then
	rustup target add "$target" >&2
fi

folder="${CARGO_TARGET_DIR:-target}/$target/dist"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
# mimalloc: arenas of 8 MiB instead of 1 GiB, whose tables alone are 46 pages to touch, and nothing given back piece by
# piece at the end, when all of it goes at once.
variable="CFLAGS_${target//-/_}"
export "$variable=${!variable:-} -DMI_DEFAULT_ARENA_RESERVE=8192 -DMI_SKIP_COLLECT_ON_EXIT"
flags=()
# Other processors have functions of musl's that are good enough.
if [ "$target" = x86_64-unknown-linux-musl ]; then
	# Not to be turned into calls of themselves.
	musl-gcc -O2 -fPIC -ffreestanding -fno-builtin -fno-tree-loop-distribute-patterns \
		-c deploy/musl/memory.c -o "$folder/memory.o"
	rm -f "$folder/libmemory.a"
	ar rcs "$folder/libmemory.a" "$folder/memory.o"
	flags+=(-L "native=$folder" -l static:+whole-archive=memory)
fi
case "${1:-}" in
--image) ;;
*) flags+=(-C relocation-model=static) ;;
esac
# As one module: smaller and sooner than as the profile has it, for four more minutes of this last step. Not in the profile,
# which would slow down each dependency, too.
flags+=(-C lto=fat -C codegen-units=1)
cargo rustc --locked --profile dist --bin latchwork --target "$target" -- "${flags[@]}" >&2
echo "$folder/latchwork"
