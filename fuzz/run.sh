#!/bin/sh
# fuzz/run.sh TARGET [SECONDS]: builds the target with coverage instrumentation and runs it.
set -eu
cd "$(dirname "$0")"
target=$1
seconds=${2:-60}
# An explicit --target keeps build scripts without instrumentation.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1" \
    cargo build --release --target x86_64-unknown-linux-gnu --bin "$target"
mkdir -p "corpus/$target"
for file in ../tests/vectors/sops/*/*/encrypted.* ../tests/vectors/sops/plain/*; do
    name=$(echo "$file" | tr / _)
    case $file in *.json | *.bin) first='\001' ;; *.env) first='\002' ;; *.ini) first='\003' ;; *) first='\000' ;; esac
    { printf "$first"; cat "$file"; } > "corpus/$target/$name"
done
"${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release/$target" -max_total_time="$seconds" -max_len=4096 "corpus/$target"
