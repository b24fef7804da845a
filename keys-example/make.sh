#!/bin/sh
# Makes everything under gitops/ again with the real sops and kubeseal. Ciphertexts differ on every run, plaintexts do not.
#
#   keys-example/make.sh             keep the keys, encrypt plain/ again
#   keys-example/make.sh --new-keys  make new throw-away keys first
#
# Needs sops, kubeseal, age-keygen, gpg and openssl; the versions used last are in README.md.
set -eu
umask 022
cd "$(dirname "$0")"
keys=.latchwork/keys

if [ "${1:-}" = --new-keys ]; then
	for name in cluster person; do
		rm -f "$keys/$name.agekey"
		age-keygen -o "$keys/$name.agekey" 2>/dev/null
		sed -i '1i # THROW-AWAY EXAMPLE KEY: public, never encrypt anything real to it.' "$keys/$name.agekey"
	done
	# One of each kind of PGP key: RSA, and Curve25519. Without a passphrase and without an end.
	home=$(mktemp -d)
	for pair in person:rsa3072:rsa3072 cluster:ed25519:cv25519; do
		name=${pair%%:*} kinds=${pair#*:}
		user="Latchwork example $name <$name@example.invalid>"
		GNUPGHOME=$home gpg --batch --quiet --passphrase '' --quick-gen-key "$user" "${kinds%:*}" default never
		print=$(GNUPGHOME=$home gpg --batch --with-colons --list-keys "$user" | sed -n 's/^fpr:*\([0-9A-F]*\):/\1/p' | head -n 1)
		GNUPGHOME=$home gpg --batch --quiet --passphrase '' --quick-add-key "$print" "${kinds#*:}" encr never
		GNUPGHOME=$home gpg --batch --armor --export-secret-keys "$print" >"$keys/$name.asc"
	done
	GNUPGHOME=$home gpgconf --kill all
	rm -rf "$home"
	# What the Sealed Secrets controller makes: RSA-4096, self-signed, ten years.
	openssl req -x509 -newkey rsa:4096 -nodes -days 3650 -subj "/CN=throw-away example sealing key" \
		-keyout "$keys/sealing.key" -out "$keys/sealing.crt" 2>/dev/null
fi

cluster=$(age-keygen -y "$keys/cluster.agekey")
person=$(age-keygen -y "$keys/person.agekey")
cat >recipients.txt <<-END
	# THROW-AWAY EXAMPLE RECIPIENTS of keys-example, one per line: the cluster, then a person.
	$cluster
	$person
END
cat >.sops.yaml <<-END
	# Rules for the files of this folder, read by sops from the working directory upward.
	creation_rules:
	  - path_regex: helm-release\.yaml\$
	    encrypted_regex: ^(password|apiToken)\$
	    age: $cluster,$person
	  - path_regex: \.(yaml|json)\$
	    encrypted_regex: ^(data|stringData)\$
	    age: $cluster,$person
END

for name in database.yaml registry.json helm-release.yaml stream.yaml; do
	sops --disable-version-check encrypt --filename-override "gitops/sops/$name" "plain/$name" >"gitops/sops/$name"
done

for scope in strict namespace-wide cluster-wide; do
	kubeseal --cert "$keys/sealing.crt" --scope "$scope" --format yaml \
		--secret-file "plain/sealed-$scope.yaml" --sealed-secret-file "gitops/sealed/$scope.yaml"
done
