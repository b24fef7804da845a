#!/usr/bin/env bash
# Makes the folder of every version beside this file anew, with the real sops of that version. See ../README.md.
#
#   tests/rig/tools/build.sh sops sops-3.7.3 sops-3.9.0 sops-3.12.2 sops-3.13.1
#   tests/vectors/sops/matrix/make.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bin="${LATCHWORK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/latchwork}/tools/bin"
export SOPS_DISABLE_VERSION_CHECK=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
HOME=$work; export HOME
# The public halves are all that encryption needs; the fingerprints are those of the primary keys.
export GNUPGHOME=$work/gnupg
mkdir -m 700 "$GNUPGHOME"
trap 'gpgconf --kill all; rm -rf "$work"' EXIT
repository=../../../..
gpg --batch --quiet --import "$repository"/keys-example/.latchwork/keys/{person,cluster}.asc "$repository"/tests/vectors/pgp/keys/nist.asc
fingerprint() { gpg --batch --with-colons --list-keys "$1@example.invalid" 2>/dev/null | awk -F: '/^fpr/ { print $10; exit }'; }
pgp_rsa=$(fingerprint person) pgp_curve=$(fingerprint cluster) pgp_nist=$(fingerprint nist)

read -r -d '' -a age < <("$bin/age-keygen" -y ../keys.txt) || true
ed=$(cut -d' ' -f1,2 ../key-ed25519.pub)
rsa=$(cut -d' ' -f1,2 ../key-rsa.pub)
pq=$("$bin/age-keygen" -y ../key-pq.txt)

# Which version has what: comment patterns and mac_only_encrypted came with 3.9.0, ssh keys and timestamps with
# 3.10.0, post-quantum age keys with 3.12.0, exact integers in JSON with 3.13.2.
has() { # has VERSION SINCE
	[ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# seal VERSION CASE FILE RULE: one file, in the style that every version takes. What the rule asks for must be in the
# result: an old version ignores what it does not know.
seal() {
	local version=$1 case=$2 file=$3 rule=$4 type out=$1/$2/$3 word
	case ${file##*.} in yaml) type=yaml ;; json) type=json ;; env) type=dotenv ;; ini) type=ini ;; *) type=binary ;; esac
	mkdir -p "$version/$case"
	printf 'creation_rules:\n  - {%s}\n' "$rule" >"$work/config.yaml"
	"$program" --config "$work/config.yaml" --encrypt --input-type "$type" --output-type "$type" "plain/$file" >"$out"
	for word in $(grep -o '[a-z_]*\(suffix\|regex\|mac_only_encrypted\)' <<<"$rule"); do
		[ "$type" = binary ] || grep -q "$word" "$out" || { echo "$out: $word is missing" >&2; exit 1; }
	done
}

selectors() { # selectors VERSION: NAME RULE, one a line
	cat <<-'RULES'
		none
		encrypted_suffix encrypted_suffix: password
		unencrypted_suffix unencrypted_suffix: _plain
		encrypted_regex encrypted_regex: '^(password|API_KEY|api_.*|list)$'
		unencrypted_regex unencrypted_regex: '^(kind|apiVersion|metadata|global|URL_.*)$'
	RULES
	has "$1" 3.9.0 || return 0
	cat <<-'RULES'
		encrypted_comment_regex encrypted_comment_regex: 'mark'
		unencrypted_comment_regex unencrypted_comment_regex: 'mark'
	RULES
}

for version in ${*:-3.7.3 3.9.0 3.12.2 3.13.1 3.13.3}; do
	program=$bin/sops-$version
	[ "$version" != 3.13.3 ] || program=$bin/sops
	rm -rf "${version:?}"
	macs=(whole)
	! has "$version" 3.9.0 || macs+=(only)
	# All local kinds of keys in one group: each of them alone must open the file.
	kinds=("x25519 age: '${age[0]}'" "pgp_rsa pgp: '$pgp_rsa'" "pgp_curve pgp: '$pgp_curve'" "pgp_nist pgp: '$pgp_nist'")
	all=${age[0]}
	! has "$version" 3.10.0 || { kinds+=("ssh_ed25519 age: '$ed'" "ssh_rsa age: '$rsa'") all=$all,$ed,$rsa; }
	! has "$version" 3.12.0 || { kinds+=("post_quantum age: '$pq'") all=$all,$pq; }
	while read -r selector rule; do
		for mac in "${macs[@]}"; do
			for file in pair.yaml manifest.json manifest.yaml manifest.env manifest.ini text.bin; do
				# Since 3.11.0 binary files have neither selector nor kind of MAC: these would all be the same.
				[ "$file-$selector-$mac" = text.bin-none-whole ] || [ "$file" != text.bin ] || ! has "$version" 3.11.0 || continue
				extra=${rule:+, $rule}
				[ "$mac" = whole ] || extra="$extra, mac_only_encrypted: true"
				seal "$version" "$selector-$mac-all" "$file" "age: '$all', pgp: '$pgp_rsa,$pgp_curve,$pgp_nist'$extra"
			done
		done
	done < <(selectors "$version")
	# And what a file looks like that has one key alone.
	for kind in "${kinds[@]}"; do
		for file in manifest.yaml manifest.env; do
			seal "$version" "none-whole-${kind%% *}" "$file" "${kind#* }"
		done
	done
	for file in stream.yaml odd.yaml deep.yaml crlf.yaml cut.yaml cut.json crlf.env cut.ini text.bin nul.bin empty.bin; do
		seal "$version" odd "$file" "age: '${age[0]}'"
		case $file in *.bin) ;; *) seal "$version" odd-selected "$file" "age: '${age[0]}', encrypted_regex: 'password|strings'" ;; esac
	done
	if has "$version" 3.10.0; then
		seal "$version" odd times.yaml "age: '${age[0]}'"
		seal "$version" odd-selected times.yaml "age: '${age[0]}', encrypted_regex: password"
	fi
	! has "$version" 3.13.2 || seal "$version" odd big.json "age: '${age[0]}'"
	for file in manifest.yaml manifest.json manifest.env manifest.ini text.bin; do
		# Old versions end in a panic here.
		[ "$file" != manifest.env ] || has "$version" 3.10.0 || continue
		seal "$version" groups "$file" "shamir_threshold: 2, key_groups: [{age: ['${age[0]}']}, {age: ['${age[1]}', '${age[2]}']}, {age: ['${age[2]}']}]"
		seal "$version" groups_pgp "$file" "shamir_threshold: 2, key_groups: [{pgp: ['$pgp_rsa']}, {pgp: ['$pgp_curve', '$pgp_nist']}]"
	done
done
