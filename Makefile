# `make run` and `make test` need nothing but a shell and apt: what is missing is installed.
# RUNTIME=PATH is the runtime to test or measure, in place of bin/orlop.
PREFIX ?= /usr/local
RUNTIME ?= $(CURDIR)/bin/orlop

export RUNTIME
export ORLOP_TEST_RUNTIME = $(RUNTIME)
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin
# Containers need root: where we are not, sudo runs what cargo has built.
ifneq ($(shell id -u),0)
SUDO := sudo --preserve-env=RUNTIME,ROUNDS,ORLOP_TEST_RUNTIME,ORLOP_TEST_PROBE,ORLOP_TEST_MANY,ORLOP_TEST_SECONDS
AS_ROOT := --config 'target."cfg(unix)".runner = "$(SUDO)"'
endif
# The probe is built before, as root may have no cargo.
CARGO_TEST = ORLOP_TEST_PROBE="$$(tests/probe/build.sh)" cargo test --locked $(AS_ROOT)

.PHONY: help build run test test-reference test-many test-engines test-vm bench lint install clean
.DEFAULT_GOAL := help

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-20s %s\n' "$$name" "$$text"; done

build: ## Build bin/orlop, a static position-independent binary
	@integration/setup.sh build
	@integration/build.sh

run: build ## Run a container and show from both sides that it is one
	@integration/setup.sh demo
	@$(SUDO) integration/demo.sh

test: build ## Run the unit tests and tests/ with bin/orlop
	@integration/setup.sh test
	$(CARGO_TEST)

test-reference: ## Run tests/ with Debian's runc, to see that each test tells the truth
	@integration/setup.sh build test reference
	ORLOP_TEST_RUNTIME=runc $(CARGO_TEST) --test '*'

test-many: build ## Run 1,000 containers in a row and 100 at once, with limits; nothing may be left
	@integration/setup.sh test
	ORLOP_TEST_MANY=1000,100 ORLOP_TEST_SECONDS=900 $(CARGO_TEST) --test runtime many::

test-engines: build ## Run bin/orlop under containerd, and on an image unpacked by umoci
	@integration/setup.sh demo engines
	@$(SUDO) integration/engines.sh

test-vm: build ## Run tests in a virtual machine with systemd and all of cgroup v2
	@integration/setup.sh test vm
	@integration/vm/test.sh

bench: build ## Compare with Debian's runc and crun: time, system calls, memory
	@integration/setup.sh demo bench
	cargo bench --locked $(AS_ROOT) --bench cycle

lint: ## Check the format, clippy, where unsafe lives, and the scripts
	@integration/setup.sh build lint
	@integration/lint.sh

bin/orlop:
	@$(MAKE) build

install: | bin/orlop ## Install orlop below PREFIX (/usr/local), and below DESTDIR when set
	install -D -m 0755 bin/orlop $(DESTDIR)$(PREFIX)/sbin/orlop

clean: ## Remove what was built
	$(SUDO) rm -rf target/demo
	cargo clean
	rm -rf bin
