# The commands of a work day. `run` and `test` do all set-up themselves.

# A toolchain that was only just installed is not in the shell's PATH yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help run test demo bench fmt lint

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Install what is missing, then serve on 127.0.0.1:8080
	@scripts/setup run
	cargo run --release --locked -- serve

test: ## Install what is missing, then run all tests
	@scripts/setup test
	STRIPE_LIBRARY=$(CURDIR)/target/stripe/node_modules/stripe cargo test --locked

demo: ## Serve with a sandbox tenant and some months of history
	@scripts/setup run
	cargo run --release --locked -- demo

bench: ## Measure debits a second, on a private Postgres
	@scripts/setup run
	cargo run --release --locked -- bench

fmt: ## Format the code
	cargo fmt

lint: ## Check format, lints and documentation
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
