#!/usr/bin/env bash
# Makes pkcs12.json: files that openssl (3.0.19, its legacy provider too) wrote, in base64, each under the password
# `pässword` if its name does not say otherwise, from the
# keys and certificates of data.json; `ec`, `ecp8`, `ed`, `nokey`, `nocert` have the password `pw`. Needs openssl and python3.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 - "$work" <<'PY'
import json, sys
pki = json.load(open("data.json"))["pki"]["v"]
for name in ("ec", "ecp8", "ed", "rsa"):
    open(f"{sys.argv[1]}/{name}.pem", "w").write(pki[name])
PY
cd "$work"
# A chain of three: root, int, leaf.
signed() { openssl req -x509 -days 36500 -subj "/C=DE/O=Example/CN=$1" -key "$2" -out "$1.pem" "${@:3}"; }
openssl ecparam -name prime256v1 -genkey -noout -out root.key
openssl ecparam -name prime256v1 -genkey -noout -out int.key
signed root root.key
signed int int.key -CA root.pem -CAkey root.key -addext basicConstraints=critical,CA:true
signed leaf rsa.pem -CA int.pem -CAkey int.key -addext basicConstraints=critical,CA:false
cat int.pem root.pem > above.pem
# Upside down, so that the chain must be put in order.
cat root.pem int.pem > mixed.pem
cat leaf.pem above.pem > chain.pem
make() { name=$1; shift; openssl pkcs12 -export -in leaf.pem -inkey rsa.pem -passout "pass:${PASSWORD-pässword}" -out "$name.p12" "$@"; }
make modern -certfile above.pem -name friendly
make unordered -certfile mixed.pem
make sha1 -keypbe AES-128-CBC -certpbe AES-192-CBC -macalg sha1
make sha512 -macalg sha512 -iter 10
make des -legacy -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES
make rc2_40 -legacy
make rc2_128 -legacy -keypbe PBE-SHA1-RC2-128 -certpbe PBE-SHA1-RC2-128 -macalg sha1
make des1 -legacy -keypbe PBE-SHA1-DES -certpbe NONE
make plain -keypbe NONE -certpbe NONE
make nomac -nomac
make sha384 -macalg sha384
PASSWORD= make empty
PASSWORD= make emptyplain -keypbe NONE -certpbe NONE -nomac
for kind in ec ecp8 ed; do
	openssl req -x509 -key $kind.pem -days 36500 -subj "/O=A, B\\+C/OU=x/OU=y/CN=#$kind \"é\" /emailAddress=a@b.example/DC=dc" -utf8 -out $kind.crt
	openssl pkcs12 -export -in $kind.crt -inkey $kind.pem -passout pass:pw -out $kind.p12
done
openssl pkcs12 -export -nokeys -in chain.pem -passout pass:pw -out nokey.p12
openssl pkcs12 -export -nocerts -inkey rsa.pem -passout pass:pw -out nocert.p12
openssl req -x509 -key ec.pem -days 36500 -subj /CN=sans -out sans.crt -addext \
	"subjectAltName=DNS:a.example,DNS:*.b.example,IP:10.0.0.1,IP:2001:db8::1,email:me@b.example,URI:spiffe://x/y,RID:1.2.3,IP:::ffff:1.2.3.4"
openssl rsa -in rsa.pem -traditional -out rsa1.pem
for hash in SHA1 SHA256 SHA512; do
	printf 'sealed by openssl' | openssl pkeyutl -encrypt -inkey rsa.pem -pkeyopt rsa_padding_mode:oaep \
		-pkeyopt rsa_oaep_md:$hash -pkeyopt rsa_mgf1_md:$hash | base64 -w0 > oaep_$hash
done
python3 - > pkcs12.json <<'PY'
import base64, glob, json
values = {name[:-4]: base64.b64encode(open(name, "rb").read()).decode() for name in sorted(glob.glob("*.p12"))}
for name in ("leaf", "int", "root", "chain", "ec", "ecp8", "ed", "rsa", "rsa1"):
    values[f"{name}_pem"] = open(f"{name}.pem").read()
values["sans_pem"] = open("sans.crt").read()
for hash in ("SHA1", "SHA256", "SHA512"):
    values[f"oaep_{hash}"] = open(f"oaep_{hash}").read()
values["odd_pem"] = open("ec.crt").read()
print(json.dumps({"p12": {"t": "map[string]string", "v": values}}))
PY
cp pkcs12.json "$OLDPWD/"
