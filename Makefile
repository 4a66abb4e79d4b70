# The one door. `make help` lists what is behind it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Under sudo cargo is where the user who called it has it.
export PATH := $(HOME)/.cargo/bin:$(if $(SUDO_USER),$(shell getent passwd "$(SUDO_USER)" | cut -d: -f6)/.cargo/bin:)$(PATH)

# … and so is its toolchain, if root has none.
ifneq ($(SUDO_USER),)
ifeq ($(wildcard $(HOME)/.rustup),)
export RUSTUP_HOME ?= $(shell getent passwd "$(SUDO_USER)" | cut -d: -f6)/.rustup
endif
endif

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
DEB := target/debian/sshbox_$(VERSION)_$(shell dpkg --print-architecture).deb
STATIC := -C target-feature=+crt-static

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: ## Build all programs and the NSS module
	cargo build --release --locked --package sshbox-nss
	cargo build --release --locked --bin sshbox-keys --bin sshbox-wake --bin sshbox-reap --bin sshbox
	# These two run in places where nobody promises a C library.
	cargo rustc --release --locked --bin sshbox-init -- $(STATIC)
	cargo rustc --release --locked --bin sshbox-shell -- $(STATIC)

.PHONY: deb
deb: build ## Build the Debian package into target/debian
	command -v cargo-deb >/dev/null || cargo install --locked cargo-deb --version 3.8.0
	cargo deb --no-build --no-strip --output $(DEB)

.PHONY: bench
bench: ## Compare with plain sshd and others (as root): BENCH=--quick for a look, --short for figures
	bench/run $(BENCH)

.PHONY: demo
demo: ## Try it on this machine: install what is missing, build, start all, log in (as root)
	@packaging/demo/demo up $(DEB)

.PHONY: demo-user
demo-user: ## Give a user of the demo a key: NAME=bob KEY=file.pub
	@packaging/demo/demo user "$${NAME-}" "$${KEY-}"

.PHONY: demo-down
demo-down: ## Take the demo down; homes stay
	@packaging/demo/demo down

.PHONY: test
test: ## Run all tests, as root; installs what they need
	tests/run

.PHONY: vm-test
vm-test: deb ## Test the package on a whole machine under qemu, as root: VM=full, short or trixie
	tests/vm/run $(VM)

.PHONY: advisories
advisories: ## Ask the database of security advisories about the crates
	cargo deny --locked check advisories
