# What there is to do here: `make help`. Each target installs what it is missing (scripts/needs).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules

# rustup's tools, also for a shell that was open before rustup ran; and Debian's sbin for a plain user.
export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/sbin:/sbin
# What is downloaded once is kept outside the tree, so that a fresh clone finds it.
export FAROL_CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/farol
export npm_config_cache := $(FAROL_CACHE)/npm
# A test that writes a new snapshot instead of comparing would always pass.
export INSTA_UPDATE := no

CARGO_DIR := $(or $(CARGO_TARGET_DIR),target)
DAEMON := $(CARGO_DIR)/debug/farol
# A person who waits for the first build sees how far it is.
QUIET := $(shell [ -t 2 ] || echo --quiet)
PAGE_SOURCES := $(shell find viewer -type f -not -path '*/node_modules/*' -not -path '*/dist*' 2>/dev/null)
NPM_INSTALL := npm ci --loglevel error --no-audit --no-fund --prefer-offline

.PHONY: help
help: ## This list.
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

# ---- for people -------------------------------------------------------------------------------------

.PHONY: demo build release-build cross deb viewer test check bench docs-write lipsync screenshot newcomer release clean
demo: build ## A camera, a broker and the page on this machine; prints the address to open.
	@exec $(DAEMON) demo

build: need-build viewer ## The daemon, for development: target/debug/farol.
	@cargo build --locked $(QUIET)

release-build: need-build viewer ## The daemon as it is installed: target/release/farol.
	@cargo build --locked $(QUIET) --release

cross: need-chroot viewer ## The daemon for ARCH=arm64 (or armhf, amd64), on Debian 12: target/cross/ARCH/farol.
	@scripts/cross $(or $(ARCH),arm64)

deb: need-build viewer ## A Debian package into target/debian, for this machine or for ARCH=arm64, armhf, amd64.
	@scripts/deb $(ARCH)

viewer: viewer/dist/index.html ## The page, into viewer/dist, from where the daemon embeds it.

# What is built for others is built while tests wait. Bad networks and the lab have the machine to themselves, since
# what they look at is in real time.
test: ## Everything: style, lints, docs, page, units, a real browser, bad networks, the device lab, the package, the documentation, 64-bit ARM.
	@scripts/stages "needs fmt page ready" \
		"clippy core doc unit e2e | idle: lab-guest board cross-image cross-core" \
		"net lab" "package docs | cross-test arm64"

check: ## The quick part of it: style, lints, types, unit tests.
	@scripts/stages "fmt types clippy core lib"

bench: need-build need-page need-broker need-browser need-janus need-lab viewer tests/node_modules/.package-lock.json ## farol against Janus, and the figures of the README; QUICK=1 is shorter.
	@cargo build --locked --quiet --release --bin farol --example sources --example lab-camera --example rig
	@scripts/bench

docs-write: need-build viewer ## docs/configuration.md anew, from the code.
	@FAROL_WRITE_DOCS=1 cargo test --locked --quiet --lib config::reference >/dev/null

lipsync: need-page need-broker need-browser build tests/node_modules/.package-lock.json ## How far sound and picture are apart in a browser, over 5 minutes.
	@FAROL=$(abspath $(DAEMON)) node tests/e2e/lipsync.mjs 300

screenshot: need-page need-browser build tests/node_modules/.package-lock.json ## Take docs/page.png anew.
	@FAROL=$(abspath $(DAEMON)) node tests/e2e/screenshot.mjs

newcomer: need-page need-browser need-newcomer tests/node_modules/.package-lock.json ## From a fresh Debian to a moving picture, in commands and minutes; WAYS=package is shorter.
	@tests/newcomer/run $(WAYS)

release: need-release need-lint need-build need-container need-arm64 need-page need-broker need-turn need-whip need-browser viewer tests/node_modules/.package-lock.json ## All that is given away of a version, checked, into target/release-VERSION; DRAFT=1 for a try.
	@scripts/release

clean: ## Remove what was built here; downloads under ~/.cache/farol stay.
	@cargo clean --quiet; rm -rf viewer/dist viewer/node_modules tests/node_modules

# ---- the stages of `make test`, each also a target of its own ------------------------------------------

.PHONY: needs ready fmt clippy core msrv doc unit lib page types e2e net lab lab-guest board cross-test cross-all cross-unit cross-core cross-image arm64 exposure package test-deb docs reproducible release-parts deny
needs: ## Installs all that the stages need, at once: side by side they would be in each other's way.
	@scripts/needs lint build page broker turn whip answerer browser lab container release docs arm64 chroot

ready: viewer tests/node_modules/.package-lock.json ## The page and the tests' modules, on which several stages stand.

fmt: need-lint ## Rust code is formatted.
	@cargo fmt --check

clippy: need-lint need-build viewer ## No lint of rustc or clippy.
	@cargo clippy --locked --quiet --all-targets -- -D warnings

core: need-build ## The core builds without anything that does IO.
	@cargo check --locked --quiet --no-default-features --lib

msrv: need-build viewer ## It builds with the oldest Rust that Cargo.toml says it does.
	@scripts/msrv

doc: need-build viewer ## The documentation has no dead link.
# Private items are documented too, for who reads the source: links to them lead somewhere.
	@RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --quiet --no-deps --document-private-items

unit: need-build need-broker need-turn need-whip viewer ## All of cargo's tests.
	@scripts/unit

lib: need-build viewer ## The tests inside src/ alone.
	@cargo test --locked --quiet --lib

types: viewer/node_modules/.package-lock.json ## The page's types.
	@cd viewer && npm run --silent check

page: types viewer ## The page: types, tests, build.
	@cd viewer && npm run --silent test

e2e: need-page need-broker need-browser need-answerer build tests/node_modules/.package-lock.json ## A real browser against the daemon.
	@[ -n "$(wildcard tests/e2e/*.test.mjs)" ] || { echo "make e2e: there is no tests/e2e/*.test.mjs" >&2; exit 1; }
	@cargo build --locked --quiet --example rig
	@FAROL=$(abspath $(DAEMON)) RIG=$(abspath $(CARGO_DIR)/debug/examples/rig) timeout -k 10 1200 node --test --test-concurrency=1 $(wildcard tests/e2e/*.test.mjs)

# Tests of a package take $$DEB if it is set, else one of the development build: what is proven of it holds for the
# release's too, whose optimisation would take minutes each time. `make release` runs them on what is given away.
TEST_DEB := DEB_BINARY=$(DAEMON) DEB_DIR=$(CARGO_DIR)/debian-test scripts/deb
test-deb: need-page build ## A package of the development build, for tests; says where it is.
	@$(TEST_DEB)

docs: need-page need-broker need-browser need-container need-docs build tests/node_modules/.package-lock.json ## What the documentation tells people to do, done on a fresh Debian and watched.
	@deb=$${DEB:-$$($(TEST_DEB))} && FAROL=$(abspath $(DAEMON)) DEB=$$deb tests/docs/run

net: need-page need-broker need-turn need-browser need-lab build tests/node_modules/.package-lock.json ## Viewers on slow, lossy and broken networks, in network namespaces.
	@FAROL=$(abspath $(DAEMON)) tests/net/run

lab: need-page need-broker need-browser need-lab build tests/node_modules/.package-lock.json ## The unit on a booted machine, its exposure, and the drivers' tests.
	@cargo build --locked --quiet --examples
	@cargo test --locked --quiet --lib --no-run
	@tests/lab/exposure
	@FAROL=$(abspath $(DAEMON)) tests/lab/all

lab-guest: need-lab ## The lab's kernel and root, which take some minutes the first time.
	@if [ "$$(id -u)" = 0 ]; then tests/lab/lab.sh build uml; \
		else sudo env PATH="$$PATH" LAB_CACHE="$(FAROL_CACHE)/lab" tests/lab/lab.sh build uml; fi

board: need-build need-page need-chroot viewer ## A package for ARCH=arm64 as the tests take it, built without the last optimisations.
	@CROSS_PROFILE=quick scripts/deb $(or $(ARCH),arm64)

cross-unit: need-chroot viewer ## The tests inside src/, built for ARCH=arm64 and emulated. Not a part of `make test`.
	@scripts/chroot $(or $(ARCH),arm64) tests/cross/inside all

cross-core: need-chroot ## Those of the core alone, for ARCH=arm64 and emulated.
	@scripts/chroot $(or $(ARCH),arm64) tests/cross/inside core

cross-image: ## What the container image of the cross build installs is there to be installed.
	@tests/cross/image

# What differs by processor shows in these already: `make release` runs the others too.
cross-test: need-chroot need-build need-broker need-turn need-whip viewer ## The main ones of cargo's tests with the daemon of ARCH=arm64, emulated.
	@CROSS_PROFILE=quick scripts/cross $(or $(ARCH),arm64)
	@tests/cross/run $(or $(ARCH),arm64) flow cli status turn

cross-all: cross need-build need-broker need-turn need-whip ## All of cargo's tests with the daemon of ARCH=arm64, emulated. Part of `make release`.
	@tests/cross/run $(or $(ARCH),arm64)

arm64: need-build need-page need-broker need-browser need-arm64 viewer tests/node_modules/.package-lock.json ## The arm64 package on an emulated board: boot, service, picture.
	@deb=$${DEB:-$$(CROSS_PROFILE=quick scripts/deb arm64)} && export DEB=$$deb && \
		node --test tests/package/contents.test.mjs && tests/arm64/run

exposure: need-lab ## How much the service may still do, by Debian 12's systemd: at most 1.3.
	@tests/lab/exposure

package: need-build need-page need-container need-browser build tests/node_modules/.package-lock.json release-parts ## The package: what is in it, and its life on a freshly installed board.
	@deb=$${DEB:-$$($(TEST_DEB))} && DEB=$$deb tests/package/stage

reproducible: need-build need-page viewer ## The package built twice, in two places: one hash; ARCH=arm64 for a board's. Part of `make release`.
	@tests/package/reproducible "$$(scripts/deb $(ARCH))"

release-parts: need-page need-release viewer tests/node_modules/.package-lock.json ## What of a release needs no build: bill of materials, archives, version.
	@node --test tests/release/*.test.mjs

deny: need-build ## Licences, bans, sources and known vulnerabilities of all crates.
	@scripts/deny

# ---- files ------------------------------------------------------------------------------------------

viewer/node_modules/.package-lock.json: viewer/package.json viewer/package-lock.json
	@scripts/needs page
	@cd viewer && $(NPM_INSTALL)
	@touch $@

viewer/dist/index.html: viewer/node_modules/.package-lock.json $(PAGE_SOURCES)
	@cd viewer && npm run --silent build
	@touch $@

tests/node_modules/.package-lock.json: tests/package.json tests/package-lock.json
	@scripts/needs page
	@cd tests && $(NPM_INSTALL)
	@touch $@

need-%:
	@scripts/needs $*
