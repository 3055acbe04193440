# The verbs. What is built stands in CMakeLists.txt, which packages it wants in tools/packages.txt.
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
JOBS    ?= $(shell nproc)
RUNS    ?= 1000000
# Debian's python3, for which the packages are: another one may be first in PATH.
PYTHON  ?= $(firstword $(wildcard /usr/bin/python3) python3)
CTEST   = ctest --output-on-failure --parallel $(JOBS)
export PYTHON JOBS

.NOTPARALLEL:
.PHONY: all test demo install wheel asan tsan fuzz lint fmt bench clean help

all: setup-build ## build the binary and the libraries
	@cmake --preset release -B $(BUILD) -DOAR_PYTHON=$(PYTHON) $(CMAKE_ARGS) --log-level=WARNING >/dev/null
	@cmake --build $(BUILD) --target product --parallel $(JOBS)

test: setup-test all ## build and run every test
	@cmake --build $(BUILD) --parallel $(JOBS)
	@$(CTEST) --test-dir $(BUILD)
	@python=$$(tools/venv $(abspath $(BUILD))/venv) && OAR_BUILD=$(abspath $(BUILD)) $$python -m pytest -q tests/e2e

demo: all ## start a server on a real model, ask it in every protocol
	@$(PYTHON) tools/demo $(BUILD)/oar

install: all ## PREFIX=/usr/local DESTDIR=
	@DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX) --strip

wheel: setup-test all ## the Python package, in build/dist
	@cmake --build $(BUILD) --target python --parallel $(JOBS)
	@OAR_BUILD=$(abspath $(BUILD)) $(PYTHON) bindings/python/build_backend.py $(BUILD)/dist

asan tsan: %: setup-test ## unit tests and fuzz corpora under sanitizers
	@cmake --preset $* --log-level=WARNING >/dev/null
	@cmake --build build-$* --parallel $(JOBS)
	@ASAN_OPTIONS=detect_leaks=1 $(CTEST) --test-dir build-$* -L 'unit|fuzz'

fuzz: setup-lint ## RUNS=1000000 executions of each target
	@cmake --preset fuzz --log-level=WARNING >/dev/null
	@cmake --build build-fuzz --parallel $(JOBS)
	@tools/fuzz build-fuzz $(RUNS)

lint: setup-lint all ## format, doors, banned calls, what pages name, clang-tidy
	@tools/lint/run $(BUILD)

fmt: setup-lint ## clang-format in place
	@git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i

bench: all ## the figures of docs/BENCHMARKS.md
	@$(PYTHON) bench/run.py $(BUILD)/oar

clean: ## remove what was built
	@rm -rf $(BUILD) build-*

help: ## this list
	@sed -n 's/^\([a-z ]*\):.*## /\1: /p' Makefile

setup-%:
	@tools/setup build $*
