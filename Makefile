# The commands of this repository. A fresh Debian-like machine needs gcc, make, git and Python >= 3.11 with its headers and venv;
# everything else is installed into .venv from the pinned files in requirements/.
#
#   make demo ARGS="--data digits"     PYTHON=python3.12 make test     make test PYTEST_ARGS="-k codec"

PYTHON ?= python3
VENV   ?= .venv
EMBED  ?= .venv-embed
SPU    := .venv-spu
ARGS   ?=
JOBS   ?= 2
# Deployments of frameworks mostly wait for one another.
EMBED_JOBS ?= 3
PYTEST_ARGS ?=
CLANG  ?= $(shell command -v clang-19 || command -v clang)
FUZZ_RUNS ?= 10000000

BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# Editable installs do not notice edited C, so whatever shapes the extension is a prerequisite of it.
EXTENSION_SOURCES := setup.py pyproject.toml privcomp/__init__.py \
	$(shell find csrc -path csrc/build -prune -o -path csrc/tests -prune -o -type f \( -name '*.[chS]' -o -name '*.inc' -o -name '*.py' \) -print)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Two processes share two cores: a thread pool in each of them only makes them wait for one another.
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test lint format embed notebooks bench bench-env assurance sanitize wheel pins clean
.PHONY: $(addprefix check-,format lint types imports c c-asan c-asan-clang c-ctime c-ctime-all c-ctime-msan c-fuzz c-cross \
	pytest embed embed-page assurance simulation fuzz python-asan)

help: ## list the commands (this)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.built ## fifty hospitals train a classifier together; ARGS="..." passes options on
	@$(BIN)/privcomp demo $(ARGS)

test: $(VENV)/.built $(VENV)/.test ## everything that must hold before a change lands (about 20 minutes on 2 cores)
	@.ci/steps format lint types imports c c-asan c-ctime pytest

lint: $(VENV)/.test ## ruff, mypy --strict and the floors, without the tests
	@.ci/steps format lint types imports

format: $(VENV)/.test ## rewrite the Python files as `make lint` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

embed: check-embed ## other people's frameworks: Flower and NVFlare as they are deployed, in an environment of their own

notebooks: $(VENV)/.built $(VENV)/.test ## run the notebooks from top to bottom
	$(PYTEST) --nbmake notebooks $(PYTEST_ARGS)

bench: $(VENV)/.built $(VENV)/.bench ## measure kernels, then protocols beside their peers; ARGS="--only ID" picks rows
	@mkdir -p build
	$(if $(wildcard bench/test_*.py),$(BIN)/python -m pytest bench -p no:xdist --benchmark-only --benchmark-json=build/bench.json $(PYTEST_ARGS))
	$(BIN)/python -m bench $(ARGS)

bench-env: $(VENV)/.built $(VENV)/.bench ## install the project with every peer that it is compared with
	@$(MAKE) --no-print-directory $(SPU)/.built || echo "SPU does not install here; the rows go without it" >&2
	@$(BIN)/python -c 'import flwr, mpyc, privcomp; print("privcomp", privcomp.__version__, "beside flwr and mpyc in $(VENV)")'

assurance: $(VENV)/.built $(VENV)/.test ## what takes long: sanitizers, constant time, fuzzing, 100,000 simulated rounds
	@.ci/steps c c-asan c-asan-clang c-ctime-all c-ctime-msan c-cross c-fuzz python-asan assurance embed-page simulation fuzz

sanitize: $(VENV)/.built $(VENV)/.test ## the C tests and the binding's tests under ASan and UBSan; constant time under valgrind
	@.ci/steps c c-asan c-asan-clang c-ctime-all c-ctime-msan python-asan

wheel: $(VENV)/.built $(VENV)/.test ## sdist, and the wheel built from it, into dist/, checked outside the tree
	@rm -rf dist privcomp.egg-info
	$(BIN)/python -m build --no-isolation --outdir dist
	PRIVCOMP_DIST=dist $(BIN)/python -m pytest -m "wheel or not wheel" -k test_distributions tests/test_house.py
	@ls -l dist

clean: ## remove what was built, and the environment
	rm -rf $(VENV) $(EMBED) $(SPU) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -f privcomp/_core/_privcomp*.so
	find privcomp tests bench csrc -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
	if [ -f csrc/Makefile ]; then $(MAKE) -C csrc clean; fi

# ---- the steps that .ci/steps runs and sums up

check-format:
	$(BIN)/ruff format --check .

check-lint:
	$(BIN)/ruff check .

check-types:
	$(BIN)/mypy

check-imports:
	$(BIN)/lint-imports --no-logo

check-c:
	$(MAKE) -j $(JOBS) -C csrc test

# Under the sanitizers the core is built with PRIVCOMP_VERIFY too, so both builds are tested.
check-c-asan:
	$(MAKE) -j $(JOBS) -C csrc asan-gcc

check-c-asan-clang:
	$(MAKE) -j $(JOBS) -C csrc asan-clang CLANG=$(CLANG)

check-c-ctime:
	$(MAKE) -j $(JOBS) -C csrc ctime CTIME_BUILDS=ctime-gcc-O2

check-c-ctime-all:
	$(MAKE) -j $(JOBS) -C csrc ctime CLANG=$(CLANG)

check-c-ctime-msan:
	$(MAKE) -j $(JOBS) -C csrc ctime-msan CLANG=$(CLANG)

check-c-fuzz:
	$(MAKE) -j $(JOBS) -C csrc fuzz CLANG=$(CLANG) FUZZ_RUNS=$(FUZZ_RUNS)

check-c-cross:
	$(MAKE) -j $(JOBS) -C csrc cross

check-pytest:
	$(PYTEST) --nbmake $(PYTEST_ARGS)

# Only what needs a framework; everything else there has run in $(VENV).
EMBED_TESTS := $(foreach name,flower nvflare dask,$(wildcard tests/integrations/test_$(name)*.py)) tests/bench/test_frameworks.py
check-embed: $(EMBED)/.built
	@if FLWR_TELEMETRY_ENABLED=0 $(EMBED)/bin/python -m pytest -n $(EMBED_JOBS) --dist worksteal $(EMBED_TESTS) $(PYTEST_ARGS); then :; \
	elif [ $$? -ne 1 ]; then exit 1; else \
		echo "==== what failed runs once more, alone: these are deployments with deadlines, which ran beside each other"; \
		FLWR_TELEMETRY_ENABLED=0 $(EMBED)/bin/python -m pytest --last-failed --last-failed-no-failures none $(EMBED_TESTS) $(PYTEST_ARGS); fi

# Flower's page from its first command to its last, in an environment that it makes itself.
check-embed-page: $(EMBED)/.built
	FLWR_TELEMETRY_ENABLED=0 $(EMBED)/bin/python -m pytest -m assurance tests/integrations/test_flower_docs.py $(PYTEST_ARGS)

check-assurance:
	HYPOTHESIS_PROFILE=assurance $(PYTEST) -m assurance $(PYTEST_ARGS)

ROUNDS ?= 100000
check-simulation:
	$(BIN)/python -m tests.simulation --rounds $(ROUNDS) --processes $(JOBS)

check-fuzz:
	$(BIN)/python -m tests.fuzz --runs $(FUZZ_RUNS)

# The whole extension again, with the checks of the PRIVCOMP_VERIFY build, into a copy of the package. Python's own flags
# bring -fwrapv and -DNDEBUG, which would hide what we look for.
SANITIZE := -O1 -g -fno-omit-frame-pointer -fno-wrapv -UNDEBUG -fsanitize=address,undefined -fno-sanitize-recover=all

check-python-asan:
	rm -rf build/sanitize
	CC=gcc CFLAGS="$(SANITIZE) -DPRIVCOMP_VERIFY" LDFLAGS="-fsanitize=address,undefined" \
		$(BIN)/python setup.py -q build --build-base build/sanitize --build-lib build/sanitize/lib
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc PRIVCOMP_EXPECT_BUILD=build/sanitize/lib \
		$(BIN)/pytest -p no:cacheprovider -o "pythonpath=build/sanitize/lib ." \
		tests/test_house.py::test_the_extension_in_use_is_the_one_that_was_asked_for tests/core $(PYTEST_ARGS)

# ---- the environment

# The stamp, not the folder: a `python -m venv` that failed half-way leaves a folder.
$(VENV)/.created:
	@command -v "$${CC:-gcc}" >/dev/null || { echo "$${CC:-gcc} is not installed; on Debian: apt-get install gcc libc6-dev" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; \
	ok = sys.version_info >= (3, 11); \
	ok or sys.exit("%s is Python %s; privcomp needs 3.11 or newer: make PYTHON=/path/to/python3" % (sys.executable, sys.version.split()[0])); \
	header = os.path.join(sysconfig.get_path("include"), "Python.h"); \
	os.path.exists(header) or sys.exit("%s is missing; on Debian: apt-get install python3-dev" % header)'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "venv is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Each file of pins holds what the one before it holds, at the same versions.
$(VENV)/.demo: requirements/demo.txt $(VENV)/.created
	$(PIP) install -q --require-hashes -r $<
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.demo
	$(PIP) install -q --require-hashes -r $<
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.test
	$(PIP) install -q --require-hashes -r $<
	@touch $@

# Python in the repository root imports the source folder, so the extension is built into it.
$(VENV)/.built: $(VENV)/.demo $(EXTENSION_SOURCES)
	@rm -f privcomp/_core/_privcomp*.so
	$(PIP) install -q --no-build-isolation --no-deps --no-index -e .
	@touch $@

# The frameworks' pins are theirs. The extension in the tree serves both environments: it uses Python's stable ABI only.
$(EMBED)/.built: requirements/embed.txt $(VENV)/.built
	$(PYTHON) -m venv $(EMBED)
	$(EMBED)/bin/python -m pip install -q --no-input --require-hashes -r $<
	@echo "$(CURDIR)" > "$$($(EMBED)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/privcomp.pth"
	@touch $@

# A peer that wants an older NumPy than the library; nothing of the library is in its environment.
$(SPU)/.built: requirements/spu.txt
	$(PYTHON) -m venv $(SPU)
	$(SPU)/bin/python -m pip install -q --no-input --require-hashes -r $<
	@touch $@

# For maintainers, with uv at hand: renew the pins. The largest set is solved first and constrains the others.
UV ?= uv
SOLVE := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make pins"
COMPILE := $(SOLVE) pyproject.toml
pins:
	$(COMPILE) requirements/build.in --extra demo --extra test --extra bench -o requirements/bench.txt
	$(COMPILE) requirements/build.in --extra demo --extra test -c requirements/bench.txt --no-annotate -o requirements/test.txt
	$(COMPILE) requirements/build.in --extra demo -c requirements/bench.txt --no-annotate -o requirements/demo.txt
	$(COMPILE) -c requirements/bench.txt --no-annotate -o requirements/run.txt
	$(COMPILE) requirements/build.in --extra embed -c requirements/bench.txt --no-annotate -o requirements/embed.txt
	$(SOLVE) requirements/spu.in --no-annotate -o requirements/spu.txt
