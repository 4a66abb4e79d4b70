# Entry point for all tasks. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Under sudo, use the cargo of the user who called it.
export PATH := $(HOME)/.cargo/bin:$(if $(SUDO_USER),$(shell getent passwd "$(SUDO_USER)" | cut -d: -f6)/.cargo/bin:)$(PATH)

# … and that user's toolchain, if root has none.
ifneq ($(SUDO_USER),)
ifeq ($(wildcard $(HOME)/.rustup),)
export RUSTUP_HOME ?= $(shell getent passwd "$(SUDO_USER)" | cut -d: -f6)/.rustup
endif
endif

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)

# `release` is for servers. The demo and the tests use `quick`.
PROFILE := release
DEB_FOLDER = target/debian$(addprefix -,$(filter-out release,$(PROFILE)))
DEB = $(DEB_FOLDER)/sshbox_$(VERSION)_$(shell dpkg --print-architecture).deb
MULTIARCH = $(shell dpkg-architecture --query DEB_HOST_MULTIARCH)
STATIC := -C target-feature=+crt-static

# For reproducible builds, the package contains neither the build path nor the build time. Timestamps
# are those of the newest entry in the Debian changelog.
NAMELESS := --remap-path-prefix=$(CURDIR)=/sshbox --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo
BUILT_AT = $(shell dpkg-parsechangelog --file packaging/deb/changelog --show-field Timestamp)

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: export RUSTFLAGS = $(NAMELESS)
build: ## Build all programs and the modules for NSS and PAM
	cargo build --profile $(PROFILE) --locked --package sshbox-nss
	cargo build --profile $(PROFILE) --locked --package sshbox-pam
	cargo build --profile $(PROFILE) --locked --package sshbox-site --package sshbox-lifecycle --package sshbox-disk --package sshbox \
		--package sshbox-completions
	# These two run where a C library is not guaranteed.
	cargo rustc --profile $(PROFILE) --locked --package sshbox-session --bin sshbox-init -- $(STATIC)
	cargo rustc --profile $(PROFILE) --locked --package sshbox-session --bin sshbox-shell -- $(STATIC)

.PHONY: deb
deb: build ## Build the Debian package into target/debian (PROFILE=quick: a fast build into target/debian-quick)
	$(MAKE) --no-print-directory pack

# Packages what `build` has built. Two runs give the same bytes.
.PHONY: pack
pack:
	# Without optimisation, which would take 90 seconds for a program that runs for one.
	command -v cargo-deb >/dev/null || cargo install --profile dev --locked cargo-deb --version 3.8.0
	command -v go-md2man >/dev/null || { echo "go-md2man is missing: apt-get install go-md2man" >&2; exit 1; }
	packaging/manuals target/man
	target/$(PROFILE)/sshbox-completions target/completions
	rm -rf target/nss
	# The same directory name as in the package.
	mkdir -p target/nss/$(MULTIARCH)
	strip --remove-section=.comment -o target/nss/$(MULTIARCH)/libnss_sshbox.so.2 target/$(PROFILE)/libnss_sshbox.so
	rm -rf target/pam
	mkdir -p target/pam
	strip --remove-section=.comment -o target/pam/pam_sshbox.so target/$(PROFILE)/libpam_sshbox.so
	SOURCE_DATE_EPOCH=$(BUILT_AT) cargo deb --no-build --strip --profile $(PROFILE) --output $(DEB)

.PHONY: wheel
wheel: ## Build the app for Django sites into target/wheel
	django/wheel

.PHONY: book
book: ## Build the documentation as HTML into target/book
	docs/book

.PHONY: bench
bench: ## Compare with plain sshd and others, as root (BENCH=--quick to try it, --short for figures)
	bench/run $(BENCH)

.PHONY: demo
demo: PROFILE := quick
demo: ## Try sshbox on this host, as root: install missing packages, build, start, log in
	@packaging/demo/demo up $(DEB)

.PHONY: demo-user
demo-user: ## Add a user with a key to the demo: NAME=bob KEY=file.pub
	@packaging/demo/demo user "$${NAME-}" "$${KEY-}"

.PHONY: demo-down
demo-down: ## Remove the demo; homes are kept
	@packaging/demo/demo down

.PHONY: test
test: ## Run all tests, as root; installs missing packages
	tests/run

.PHONY: test-long
test-long: ## Run the long tests, after `make test` (STEPS="again trixie": only these)
	tests/long $(STEPS)

.PHONY: release-check
release-check: ## Say whether all of `make test-long` has passed on these sources
	tests/long check

.PHONY: reproducible
reproducible: ## Build the package again from scratch in another directory, and compare the bytes
	tests/package/again $(DEB)

.PHONY: vm-test
vm-test: deb ## Test the package in a virtual machine, as root: VM=full, short or trixie
	SSHBOX_DEB=$(DEB) tests/vm/run $(VM)

.PHONY: advisories
advisories: ## Check the crates against the database of security advisories
	cargo deny --locked check advisories
