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

# What is installed on servers is built with `release`. The demo and the tests take `quick`.
PROFILE := release
DEB_FOLDER = target/debian$(addprefix -,$(filter-out release,$(PROFILE)))
DEB = $(DEB_FOLDER)/sshbox_$(VERSION)_$(shell dpkg --print-architecture).deb
MULTIARCH = $(shell dpkg-architecture --query DEB_HOST_MULTIARCH)
STATIC := -C target-feature=+crt-static

# The same sources give the same bytes: nothing in the package says where or when it was built.
# Times are those of the newest entry in the Debian changelog.
NAMELESS := --remap-path-prefix=$(CURDIR)=/sshbox --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo
BUILT_AT = $(shell dpkg-parsechangelog --file packaging/deb/changelog --show-field Timestamp)

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: export RUSTFLAGS = $(NAMELESS)
build: ## Build all programs and the NSS module
	cargo build --profile $(PROFILE) --locked --package sshbox-nss
	cargo build --profile $(PROFILE) --locked --package sshbox-site --package sshbox-lifecycle --package sshbox
	# These two run in places where nobody promises a C library.
	cargo rustc --profile $(PROFILE) --locked --package sshbox-session --bin sshbox-init -- $(STATIC)
	cargo rustc --profile $(PROFILE) --locked --package sshbox-session --bin sshbox-shell -- $(STATIC)

.PHONY: deb
deb: build ## Build the Debian package into target/debian; PROFILE=quick for one to try, in target/debian-quick
	$(MAKE) --no-print-directory pack

# Of what is built: twice gives the same bytes.
.PHONY: pack
pack:
	# Without optimisation: it runs for a second and would be built for a minute and a half.
	command -v cargo-deb >/dev/null || cargo install --profile dev --locked cargo-deb --version 3.8.0
	rm -rf target/nss
	# Where this architecture's libraries are, as the path in the package is to be.
	mkdir -p target/nss/$(MULTIARCH)
	strip --remove-section=.comment -o target/nss/$(MULTIARCH)/libnss_sshbox.so.2 target/$(PROFILE)/libnss_sshbox.so
	SOURCE_DATE_EPOCH=$(BUILT_AT) cargo deb --no-build --strip --profile $(PROFILE) --output $(DEB)

.PHONY: wheel
wheel: ## Build the app for Django sites into target/wheel
	django/wheel

.PHONY: book
book: ## Build the documentation as HTML into target/book
	docs/book

.PHONY: bench
bench: ## Compare with plain sshd and others (as root): BENCH=--quick for a look, --short for figures
	bench/run $(BENCH)

.PHONY: demo
demo: PROFILE := quick
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

.PHONY: test-long
test-long: ## Run what is too long for each change, after `make test`: STEPS="again trixie" for some
	tests/long $(STEPS)

.PHONY: reproducible
reproducible: ## Build the package again, elsewhere and from nothing, and compare the bytes
	tests/package/again $(DEB)

.PHONY: vm-test
vm-test: deb ## Test the package on a whole machine under qemu, as root: VM=full, short or trixie
	SSHBOX_DEB=$(DEB) tests/vm/run $(VM)

.PHONY: advisories
advisories: ## Ask the database of security advisories about the crates
	cargo deny --locked check advisories
