# Tallystick: `make help` says what there is.
.DEFAULT_GOAL := help
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c

# Builds share one target directory outside the checkout, so that a fresh clone builds nothing twice.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tallystick/target
VENV := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tallystick/venv
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tallystick/tools
PYTHON := $(VENV)/bin/python
# Apart from the other one: the AWS command pins libraries of its own.
SIDE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tallystick/side
# Tests cover rollups on a cluster too; who builds a program without this builds half as much.
FEATURES := --features checks/distributed
# Seconds that each fuzz target runs in `make fuzz`.
FUZZ_SECONDS ?= 600

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: demo
demo: tools-postgres ## Watch the whole job: submit, chain, seal, verify, tamper, be caught
	cargo build --locked --quiet --bins
	"$(CARGO_TARGET_DIR)/debug/tally-demo"

.PHONY: test
test: check unit second api fuzz-smoke ## Everything that CI runs: format, lints, docs, tests on real servers

.PHONY: check
check: ## Format, clippy and docs, with warnings as errors
	cargo fmt --all --check
	cargo clippy --locked --workspace $(FEATURES) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace $(FEATURES) --no-deps --quiet

.PHONY: unit
unit: tools-nextest tools-postgres tools-redis tools-s3 ## Unit, property and whole-system tests
	cargo nextest run --locked --workspace $(FEATURES)
	cargo test --locked --workspace $(FEATURES) --doc --quiet

.PHONY: second
second: $(VENV)/.ready ## The second implementation, in Python, on the vectors and the golden archive
	$(PYTHON) checks/second/vectors.py
	$(PYTHON) -m unittest discover -s checks/second -p 'test_*.py'

.PHONY: api
api: tools-postgres $(VENV)/.ready ## schemathesis on the running service, from its own OpenAPI document
	cargo build --locked --quiet --workspace $(FEATURES) --bins
	PATH="$(VENV)/bin:$$PATH" checks/api/run.sh

.PHONY: side-by-side side-by-side-check
side-by-side: $(SIDE)/.ready ## The same acts on a CloudTrail archive and ours: writes docs/side-by-side.md
	cargo build --locked --quiet --workspace --bin tally-verify
	"$(SIDE)/bin/python" -B checks/side/compare.py --verifier "$(CARGO_TARGET_DIR)/debug/tally-verify"

side-by-side-check: $(SIDE)/.ready ## Whether docs/side-by-side.md is what is seen now
	cargo build --locked --quiet --workspace --bin tally-verify
	"$(SIDE)/bin/python" -B checks/side/compare.py --verifier "$(CARGO_TARGET_DIR)/debug/tally-verify" --check

.PHONY: fuzz-smoke
fuzz-smoke: ## A short fuzz run of every decoder (skipped aloud without a nightly compiler)
	checks/fuzz.sh 5

.PHONY: fuzz
fuzz: ## A long fuzz run: FUZZ_SECONDS for each target
	checks/fuzz.sh $(FUZZ_SECONDS)

.PHONY: bench
bench: tools-postgres $(VENV)/.ready bench-build ## Measure, as ratios to a limit in the same run
	cargo bench --locked -p ledger
	"$(CARGO_TARGET_DIR)/release/tally-bench"

.PHONY: bench-growth
bench-growth: tools-postgres $(VENV)/.ready bench-build ## Measure what an event costs as the tables grow to 20 million rows
	"$(CARGO_TARGET_DIR)/release/tally-bench" --rounds 1 --growth 20 --seal 100000
	"$(CARGO_TARGET_DIR)/release/tally-bench" --rounds 1 --growth 20 --ids v4 --seal 100000

.PHONY: bench-queue
bench-queue: tools-postgres tools-redis $(VENV)/.ready bench-build ## Measure Kafka and Redis in front of the chain beside the direct path
	"$(CARGO_TARGET_DIR)/release/tally-bench" --queue-only

.PHONY: bench-build
bench-build:
	cargo build --locked --release --workspace --bin tally-bench --bin tally-ingest \
		--bin tally-archiver-under-fault --bin tally-archiver --bin tally-verify

.PHONY: bench-seal
bench-seal: tools-postgres $(VENV)/.ready bench-build ## Measure sealing, verifying, restoring and rolling up to 10 million events
	"$(CARGO_TARGET_DIR)/release/tally-bench" --seal-only --seal 100000,1000000,10000000

.PHONY: verifier-size
verifier-size: ## Count the crates of the verifier, and measure its release binary
	checks/verifier-size.sh

.PHONY: must-reject
must-reject: ## Write the must-reject corpus and its index anew
	cargo build --locked --quiet --workspace $(FEATURES) --bin tally-must-reject
	"$(CARGO_TARGET_DIR)/debug/tally-must-reject"

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: tools-nextest
tools-nextest:
	@command -v cargo-nextest >/dev/null || cargo install cargo-nextest --version 0.9.143 --locked

.PHONY: tools-postgres
tools-postgres:
	@checks/postgres.sh

.PHONY: tools-redis
tools-redis:
	@checks/redis.sh

.PHONY: tools-s3
tools-s3: $(TOOLS)/bin/s3s-fs $(VENV)/.ready

# Built for use, apart from our own target directory, which its flags would have built again.
$(TOOLS)/bin/s3s-fs:
	CARGO_TARGET_DIR="$(TOOLS)/target" cargo install s3s-fs --version 0.14.1 --features binary --locked \
		--root "$(TOOLS)"
	rm -rf "$(TOOLS)/target"

$(VENV)/.ready: checks/second/requirements.txt checks/api/requirements.txt checks/store/requirements.txt \
		checks/queue/requirements.txt
	python3 -m venv "$(VENV)"
	"$(VENV)/bin/pip" install --quiet --disable-pip-version-check -r checks/second/requirements.txt \
		-r checks/api/requirements.txt -r checks/store/requirements.txt -r checks/queue/requirements.txt
	touch "$@"

$(SIDE)/.ready: checks/side/requirements.txt
	python3 -m venv "$(SIDE)"
	"$(SIDE)/bin/pip" install --quiet --disable-pip-version-check -r $<
	touch "$@"
