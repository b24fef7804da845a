#!/bin/sh
# fuzz/run.sh TARGET [SECONDS [LIBFUZZER FLAGS]]: builds the target with coverage instrumentation and runs it in one
# process at low priority. Run one at a time: they share a target folder.
set -eu
cd "$(dirname "$0")"
target=$1
seconds=${2:-60}
if [ $# -ge 2 ]; then shift 2; else shift; fi
triple=$(rustc -vV | sed -n 's/^host: //p')
vectors=../tests/vectors
keys=../keys-example/.latchwork/keys
corpus=corpus/$target
longest=4096

# An explicit --target keeps build scripts without instrumentation.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1" \
    nice -n 10 cargo build --release --locked --target "$triple" --bin "$target"

# The first byte of an input chooses the format.
format_byte() {
    case $1 in *.json) printf '\001' ;; *.env) printf '\002' ;; *.ini) printf '\003' ;; *.bin) printf '\004' ;; *) printf '\000' ;; esac
}

# One input of each line of the template corpus, with every value of the list above it in the place of its sign; the
# first byte holds the options, the least bit of which is the dialect.
template_seeds() {
    awk -v folder="$corpus" '
        function put(text,    name) {
            gsub(/␤/, "\n", text)
            name = sprintf("%s/seed-%05d", folder, ++count)
            printf "%s%s", (count % 2 ? "\001" : "@"), text > name
            close(name)
        }
        /^#/ || /^$/ { next }
        /^@each / { values = split(substr($0, 7), value, / \| /); next }
        /^@[a-z]/ { next }
        /§/ {
            pieces = split($0, piece, /§/)
            for (v = 1; v <= values; v++) {
                text = piece[1]
                for (p = 2; p <= pieces; p++) text = text value[v] piece[p]
                put(text)
            }
            next
        }
        { put($0) }
    ' "$vectors"/template/*.txt
}

# put NAME FIRST: a seed of the first byte and what comes in.
put() {
    { printf "$2"; cat; } > "$corpus/seed-$1"
}

# What an armoured file holds.
bytes_of() {
    sed -n '/^$/,/^\(=\|-----END\)/p;/^-----BEGIN AGE/,/^-----END/p' "$1" | grep -v '^\(=\|-\|$\)' | base64 -d
}

mkdir -p "$corpus"
case $target in
template) template_seeds ;;
edit)
    for file in "$vectors"/sops/plain/*; do
        for action in '\000' '\001' '\002'; do
            { format_byte "$file"; printf "$action"'["a"][0]\n{"b":1}\n'; cat "$file"; } \
                > "$corpus/seed-$(basename "$file")-${action#?}"
        done
    done
    ;;
merge)
    # Base, ours and theirs with a byte between them that no text has.
    for file in "$vectors"/sops/plain/*; do
        { format_byte "$file"; cat "$file"; printf '\377'; cat "$file"; printf '\377'; cat "$file"; } \
            > "$corpus/seed-$(basename "$file")"
    done
    printf '\000a: 1\nb: 2\n\377a: 3\nb: 2\n# x\n\377a: 4\nb: 2\nc: [1, 2]\n' > "$corpus/seed-conflict"
    ;;
pgp)
    # RSA keys and their signatures are long.
    longest=8192
    for file in "$vectors"/pgp/keys/*.asc "$keys"/*.asc; do
        put "keys-$(basename "$file")" '\000' < "$file"
        bytes_of "$file" | put "packets-$(basename "$file")" '\002'
    done
    for file in "$vectors"/pgp/messages/*.asc; do
        put "message-$(basename "$file")" '\001' < "$file"
        bytes_of "$file" | put "message-packets-$(basename "$file")" '\003'
    done
    # A packet of literal data with a data key, and one that holds it compressed.
    literal='\313\046b\000\000\000\000\0000123456789abcdef0123456789abcdef'
    printf "$literal" | put literal '\004'
    printf "$literal" | gzip -nc | tail -c +11 | head -c -8 > "$corpus/deflated"
    { printf '\243\001'; cat "$corpus/deflated"; } | put compressed '\004'
    rm "$corpus/deflated"
    ;;
age)
    for file in "$vectors"/sops/key*.txt "$vectors"/sops/keys-locked.age "$vectors"/sops/key-* "$keys"/*.agekey; do
        put "keys-$(basename "$file")" '\000' < "$file"
    done
    cat "$vectors"/sops/*.pub | while read -r line; do
        printf '%s' "$line" | put "recipient-$(echo "$line" | tr -cd a-z | tail -c 20)" '\001'
    done
    sed -n 's/.*public key: //p' "$vectors"/sops/key*.txt | while read -r line; do
        printf '%s' "$line" | put "recipient-$(echo "$line" | tail -c 20)" '\001'
    done
    for kind in two_recipients post_quantum ssh_ed25519 ssh_rsa; do
        for file in "$vectors/sops/$kind"/*/encrypted.yaml; do
            sed -n '/-----BEGIN AGE/,/-----END AGE/{s/^ *//;p;/-----END AGE/q}' "$file" > "$corpus/armoured"
            put "file-$kind" '\002' < "$corpus/armoured"
            bytes_of "$corpus/armoured" | put "bytes-$kind" '\003'
            rm "$corpus/armoured"
            break
        done
    done
    ;;
*)
    for file in "$vectors"/sops/*/*/encrypted.* "$vectors"/sops/plain/*; do
        { format_byte "$file"; cat "$file"; } > "$corpus/seed-$(echo "${file#"$vectors"/sops/}" | tr / _)"
    done
    ;;
esac

exec nice -n 10 "${CARGO_TARGET_DIR:-target}/$triple/release/$target" \
    -max_total_time="$seconds" -max_len="$longest" -timeout=30 -rss_limit_mb=2048 "$@" "$corpus"
