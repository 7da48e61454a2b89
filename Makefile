# The short way to everything. The work is done by cargo and by scripts/; this file only names it.
.DEFAULT_GOAL := help
.PHONY: help run story story-apart up down test test-apiserver images cluster test-cluster lint fmt bench bench-routing bench-identity charts generate clean toolchain
# One target after the other even with -j: they share servers and build output.
.NOTPARALLEL:
SHELL := bash

# The story that `make run` and `make story` play (examples/); `none` only serves.
STORY ?= anna
# Which build plays it: dev shares what the tests have compiled; release is what one would deploy.
PROFILE ?= dev
# Passed on: make test ARGS='-p trama-case open_case', make bench ARGS='--help'.
ARGS ?=

# rustup's home, for shells that have not read ~/.profile yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Where cargo builds: $CARGO_TARGET_DIR, its config file, or target/.
TARGET_DIR = $(shell cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
TRAMA = $(TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/trama

help: ## Show this help
	@echo "Trama: make TARGET [STORY=anna] [ARGS='...']"
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' Makefile | expand -t 18

run: toolchain ## Run everything on this machine and play a story; stays up until Ctrl-C
	@scripts/dev up
	cargo build --profile $(PROFILE) --workspace --bin trama
	@. .dev/env && exec $(TRAMA) run --story $(STORY)

story: toolchain ## Play the story once on servers of its own, then clean up
	cargo build --profile $(PROFILE) --workspace --bin trama
	scripts/dev with --dir .dev/story -- $(TRAMA) run --story $(STORY) --once

story-apart: toolchain ## Play the story with six processes; ARGS=--crashes kills one after every step
	cargo build --profile $(PROFILE) --workspace --bins
	scripts/dev with --dir .dev/story -- $(TRAMA) story play examples/stories/$(STORY).yaml --apart $(ARGS)

up: ## Start PostgreSQL and NATS for development (.dev/)
	@scripts/dev up

down: ## Stop them; the data stay
	@scripts/dev down

test: toolchain ## Run all tests on servers of their own, then the story, in one process and in six
	scripts/dev with --dir .dev/test --fast -- cargo test --workspace --no-fail-fast $(ARGS)
ifeq ($(strip $(ARGS)),)
	@$(MAKE) --no-print-directory story story-apart
endif

# Not part of `make test`: the first time it builds Kubernetes.
test-apiserver: toolchain ## Check charts and replicas on a real Kubernetes API server (RULES=on: and CEL on a new one)
	cargo build --workspace --bin trama --bin trama-ingest
	scripts/dev with --dir .dev/test --fast -- scripts/apiserver with --dir .dev/test/apiserver $(if $(RULES),--rules) -- \
		env TRAMA_BINARIES=$(TARGET_DIR)/debug scripts/charts/check --apiserver $(ARGS)

images: toolchain ## Build the release images as OCI archives into .dev/images
	scripts/images $(ARGS)

# Of two nodes, in namespaces of their own; builds Kubernetes the first time. Down again: scripts/cluster down.
cluster: images ## Start a Kubernetes cluster on this machine (root), with the release images
	scripts/cluster up
	scripts/cluster images

test-cluster: ## Install, load, change and remove Trama: on the cluster in KUBECONFIG (ARGS='--registry …') or that of make cluster
ifdef KUBECONFIG
	scripts/test-cluster $(ARGS)
else
	scripts/cluster with -- scripts/test-cluster --registry ghcr.io/trama-dev --values scripts/kubernetes/values.yaml --on-node --drain $(ARGS)
endif

lint: toolchain ## Check format, code, protos, layers, dependencies and generated files
	cargo fmt --all --check
	scripts/lint/layers
	scripts/lint/buf
	scripts/lint/deny
	cargo clippy --workspace --all-targets --locked -- -D warnings
	scripts/lint/generated
	scripts/charts/check --no-checkov

fmt: ## Format the code
	cargo fmt --all

bench: toolchain ## Measure throughput and latency on servers of their own
	cargo build --release --workspace --bin trama-bench
	scripts/dev with --dir .dev/bench -- $(TARGET_DIR)/release/trama-bench $(ARGS)

bench-routing: toolchain ## Compare routers on many simulated days; measure one decision
	cargo build --release -p trama-bench --bin trama-bench-routing
	$(TARGET_DIR)/release/trama-bench-routing --policy bench/routing/policy.yaml $(ARGS)

bench-identity: toolchain ## Compare identity resolution with Splink (PyPI) on the same files: DATA=DIR
	cargo build --release --workspace --bin trama
	bench/identity/run.sh $(TARGET_DIR)/release/trama $(DATA)

charts: ## Check the charts on rendered objects
	scripts/charts/check $(ARGS)

generate: ## Write the generated files: docs/reference/
	cargo build -q --workspace --bin trama
	$(TARGET_DIR)/debug/trama generate docs
	$(TARGET_DIR)/debug/trama generate crds

clean: ## Stop everything; delete the data and the build output
	@for dir in .dev .dev/test .dev/story .dev/bench; do if [ -d $$dir ]; then scripts/dev wipe --dir $$dir; fi; done
	@! command -v cargo >/dev/null || cargo clean

toolchain:
	@scripts/dev toolchain
