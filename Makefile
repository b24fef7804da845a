# `make check` is the loop while working, `make test` is everything. See CONTRIBUTING.md.

.PHONY: help check test lint tools up down dist bench crds

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

check: ## format, clippy and unit tests, without servers; under two minutes warm
	cargo fmt --check
	cargo clippy --locked --quiet --no-default-features --all-targets -- -D warnings
	cargo clippy --locked --quiet --all-targets -- -D warnings
	cargo test --locked --quiet --no-default-features --lib
	cargo test --locked --quiet --lib --bins

test: ## install and build what is needed, then run every check and every test
	@tests/rig/test.sh

lint: ## rustfmt, clippy, each feature alone, cargo-deny
	@tests/rig/lint.sh

tools: ## build or fetch the real programs that the tests run against
	@tests/rig/tools/build.sh

up: ## an API server with the CRDs and the operator, until ctrl-C
	@tests/rig/tools/build.sh --quiet etcd kube >/dev/null
	@cargo test --locked --quiet --test main -- --ignored --exact --nocapture cluster::up::up

down: ## end an API server that `make up` left in the background
	@tests/rig/down.sh

dist: ## the program as it is shipped, one static file; needs musl-tools
	@deploy/dist.sh

bench: tools ## measure the program as it is shipped; the tables of docs/BENCHMARKS.md
	cargo bench --locked --no-run
	LATCHWORK_PROGRAM="$$(deploy/dist.sh)" tests/rig/sandbox.sh cargo bench --locked --offline

crds: ## write crds/ from the Rust types
	cargo run --locked --quiet -- crds --output-dir crds
