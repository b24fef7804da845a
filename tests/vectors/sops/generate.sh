#!/bin/sh
# Makes the vectors in this folder with the real sops, age and ssh-keygen on PATH. See README.md.
set -eu
cd "$(dirname "$0")"
export SOPS_DISABLE_VERSION_CHECK=1
if [ ! -f keys.txt ]; then
    for n in 1 2 3; do age-keygen 2>/dev/null; done > keys.txt
    age-keygen -pq 2>/dev/null > key-pq.txt
    age-keygen 2>/dev/null > key-stranger.txt
    ssh-keygen -q -t ed25519 -N '' -C throw-away -f key-ed25519
    ssh-keygen -q -t rsa -b 2048 -m PEM -N '' -C throw-away -f key-rsa
fi
set -- $(age-keygen -y keys.txt)
A1=$1 A2=$2 A3=$3
PQ=$(age-keygen -y key-pq.txt)
ED=$(cut -d' ' -f1,2 key-ed25519.pub)
RSA=$(cut -d' ' -f1,2 key-rsa.pub)
HOME=$PWD/.home; export HOME; mkdir -p "$HOME"
trap 'rm -rf "$HOME" config.yaml' EXIT

# make CASE PLAINFILE FORMAT CONFIG-RULE
make() {
    dir=$1/$3; ext=${2##*.}
    mkdir -p "$dir"
    printf 'creation_rules:\n  - %s\n' "$4" > config.yaml
    sops --config config.yaml encrypt --input-type "$3" --output-type "$3" --filename-override "x.$ext" "plain/$2" > "$dir/encrypted.$ext"
    SOPS_AGE_KEY="$(cat keys.txt key-pq.txt)" SOPS_AGE_SSH_PRIVATE_KEY_FILE=${SSHKEY:-key-ed25519} \
        sops decrypt --input-type "$3" --output-type "$3" "$dir/encrypted.$ext" > "$dir/decrypted.$ext"
}
all() {
    make "$1" all.yaml yaml "$2"
    make "$1" all.json json "$2"
    make "$1" all.env dotenv "$2"
    make "$1" all.ini ini "$2"
}
all default "{age: $A1}"
all encrypted_suffix "{age: $A1, encrypted_suffix: _secret}"
all unencrypted_suffix "{age: $A1, unencrypted_suffix: _secret}"
all encrypted_regex "{age: $A1, encrypted_regex: '^(data|stringData|password|key_.*)\$'}"
all unencrypted_regex "{age: $A1, unencrypted_regex: '^(metadata|kind|apiVersion|global|float)\$'}"
all mac_only_encrypted "{age: $A1, encrypted_regex: 'pass', mac_only_encrypted: true}"
all two_recipients "{age: '$A2,$A1'}"
all ssh_ed25519 "{age: '$ED'}"
SSHKEY=key-rsa; all ssh_rsa "{age: '$RSA'}"; SSHKEY=
all post_quantum "{age: '$PQ'}"
all groups "{shamir_threshold: 2, key_groups: [{age: [$A1]}, {age: [$A2]}, {age: [$A3]}]}"
make default all.bin binary "{age: $A1}"
make empty empty.bin binary "{age: $A1}"
make groups all.bin binary "{shamir_threshold: 3, key_groups: [{age: [$A1]}, {age: [$A2]}, {age: [$A3]}]}"
make stream stream.yaml yaml "{age: $A1}"
make stream_mac_only stream.yaml yaml "{age: $A1, encrypted_regex: a, mac_only_encrypted: true}"
make encrypted_comment_regex comments.yaml yaml "{age: $A1, encrypted_comment_regex: sops:mark}"
make unencrypted_comment_regex comments.yaml yaml "{age: $A1, unencrypted_comment_regex: sops:mark}"
# Files that must not open with keys.txt and key-stranger.txt is in none of them.
