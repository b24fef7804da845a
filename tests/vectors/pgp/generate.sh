#!/usr/bin/env bash
# Makes the messages of this folder anew, and the keys that are not there yet, with the `gpg` of this machine. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
examples=../../../keys-example/.latchwork/keys
mkdir -p keys messages

home() { # a new home
	GNUPGHOME=$(mktemp -d); export GNUPGHOME; homes+=("$GNUPGHOME")
}
homes=()
trap 'for home in "${homes[@]}"; do GNUPGHOME=$home gpgconf --kill all; rm -rf "$home"; done' EXIT
quiet() { gpg --batch --quiet --yes --no-tty --pinentry-mode loopback "$@" 2>/dev/null; }

# key NAME PASSPHRASE PRIMARY [SUBKEY]: a key of the types that gpg names so; without SUBKEY it signs only.
key() {
	[ -e "keys/$1.asc" ] && return
	home
	quiet --passphrase "$2" --quick-generate-key "$1 <$1@example.invalid>" "$3" sign never
	local fingerprint
	fingerprint=$(gpg --batch --with-colons --list-keys 2>/dev/null | awk -F: '/^fpr/ { print $10; exit }')
	[ -z "${4:-}" ] || quiet --passphrase "$2" --quick-add-key "$fingerprint" "$4" encr never
	quiet --passphrase "$2" --armor --export-secret-keys >"keys/$1.asc"
	[ "$1" != nist521 ] || quiet --passphrase "$2" --armor --export-secret-subkeys >"keys/nist521-subkey.asc"
}
key nist '' nistp256 nistp384
key nist521 '' nistp521 nistp521
key rsa4096 '' rsa4096 rsa4096
key brainpool '' brainpoolP256r1 brainpoolP256r1
key elgamal '' dsa2048 elg2048
key sign-only '' ed25519
key protected hunter2 ed25519 cv25519

home
for file in "$examples"/{person,cluster}.asc keys/{nist,nist521,rsa4096,brainpool,elgamal,protected}.asc; do quiet --import "$file"; done
# seal NAME ARGUMENT...: 32 bytes, as sops has it done.
seal() {
	printf 0123456789abcdef0123456789abcdef | quiet --trust-model always --armor --encrypt "${@:2}" >"messages/$1.asc"
}
for name in person cluster nist nist521 rsa4096 brainpool elgamal protected; do seal $name -r $name@example.invalid; done
seal both -r person@example.invalid -r cluster@example.invalid
seal hidden -R cluster@example.invalid
seal signed -r cluster@example.invalid --sign --local-user person@example.invalid
for algorithm in none zip zlib bzip2; do seal compressed-$algorithm -r cluster@example.invalid --compress-algo $algorithm; done
for cipher in 3DES CAST5 TWOFISH CAMELLIA128; do seal cipher-$cipher -r cluster@example.invalid --cipher-algo $cipher; done
# What must not open: more than a data key, no encryption, no integrity, a passphrase instead of a key.
head -c 34 /dev/zero | quiet --trust-model always --armor --encrypt -r cluster@example.invalid >messages/bad-long.asc
head -c 100000 /dev/zero | quiet --trust-model always --armor --encrypt -r cluster@example.invalid >messages/bad-longer.asc
printf 0123456789abcdef0123456789abcdef | quiet --armor --store >messages/bad-clear.asc
printf 0123456789abcdef0123456789abcdef | quiet --armor --local-user person@example.invalid --sign >messages/bad-signed-only.asc
seal bad-no-integrity --rfc2440 --cipher-algo 3DES -r cluster@example.invalid
printf 0123456789abcdef0123456789abcdef | quiet --passphrase hunter2 --armor --symmetric >messages/bad-passphrase.asc
