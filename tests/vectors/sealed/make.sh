#!/bin/sh
# Makes the vectors of this folder with the real kubeseal (first argument: its path). See README.md.
set -eu
kubeseal=$1
cd "$(dirname "$0")"
rm -rf keys sealed input && mkdir keys sealed input

# Two throw-away key pairs: an old one (2048 bits, PKCS#8) and the current one (4096 bits, PKCS#1, as the controller writes it).
openssl req -x509 -newkey rsa:2048 -nodes -keyout keys/old.key -out keys/old.crt -days 36500 -subj /CN=throw-away-old 2>/dev/null
openssl req -x509 -newkey rsa:4096 -nodes -keyout keys/tmp.key -out keys/current.crt -days 36500 -subj /CN=throw-away-current 2>/dev/null
openssl rsa -in keys/tmp.key -traditional -out keys/current.key 2>/dev/null
rm keys/tmp.key

cat > input/secret.yaml <<'YAML'
apiVersion: v1
kind: Secret
metadata:
  name: db
  namespace: team
  labels: {app: web}
  annotations: {note: kept}
type: example.com/kind
data:
  bin: AP+A
  empty: ""
stringData:
  password: correct horse
YAML
printf 'raw value' > input/raw

for scope in strict namespace-wide cluster-wide; do
  "$kubeseal" --cert keys/current.crt --scope $scope -o yaml < input/secret.yaml > sealed/$scope.yaml
done
"$kubeseal" --cert keys/current.crt -o json < input/secret.yaml > sealed/strict.json
"$kubeseal" --cert keys/old.crt -o yaml < input/secret.yaml > sealed/old-key.yaml

# One object, one entry per key: the second entry is merged in with the other certificate.
"$kubeseal" --cert keys/old.crt -o yaml < input/secret.yaml > sealed/two-keys.yaml
printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: team}\nstringData: {token: new}\n' |
  "$kubeseal" --cert keys/current.crt -o yaml --merge-into sealed/two-keys.yaml

"$kubeseal" --cert keys/current.crt --raw --name db --namespace team --from-file input/raw > sealed/raw-strict.txt
"$kubeseal" --cert keys/current.crt --raw --scope namespace-wide --namespace team --from-file input/raw > sealed/raw-namespace-wide.txt
"$kubeseal" --cert keys/current.crt --raw --scope cluster-wide --from-file input/raw > sealed/raw-cluster-wide.txt

# The deprecated form is written by no kubeseal any more: the incumbent's own library writes it.
work=$(mktemp -d)
cp deprecated.go.txt "$work/main.go"
(cd "$work" && go mod init vectors >/dev/null 2>&1 && go get github.com/bitnami/sealed-secrets@v0.38.4 >/dev/null 2>&1 && go mod tidy >/dev/null 2>&1)
here=$PWD
(cd "$work" && go run . "$here/keys/current.crt") > sealed/deprecated.json
rm -rf "$work"

# What OpenSSH says about the keys: the fingerprints that the controller logs.
for key in old current; do
  openssl x509 -in keys/$key.crt -noout -pubkey > keys/$key.tmp
  ssh-keygen -i -m PKCS8 -f keys/$key.tmp | ssh-keygen -l -f - | cut -d' ' -f2 > keys/$key.fingerprint
  rm keys/$key.tmp
done
