# What a checkout can do for itself. Every target says what it does and about how long it takes, and may be repeated.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh

STEP := bootstrap/step
PERFCTL := .venv/bin/perfctl
LAB := inventory/lab.yml
DATABASE := results.db
DEMO := $(PERFCTL) --inventory $(LAB) --db $(DATABASE)
TEST_LAB := .state/test-lab
# More arguments for pytest, e.g. make test PYTEST="-k lab -x"
PYTEST :=
# Tests of single modules. Others need no lab either, but take minutes: shells, jobs, whole runs, simulations.
UNIT_TESTS := tests/unit tests/fuzz
# How often `make faults` does each attack.
TIMES := 3
# Of the inputs of `make fuzz` and the moments of `make faults`; the same number gives the same ones. "" draws one.
SEED :=
# How many runs with guests `make bench` kills.
KILLS := 50

# Tools are found in the venv first: Ansible starts others by name.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# The venv comes without compiled modules: Python must be free to keep those that it uses.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help:
	@echo "make demo      two hosts on this machine: provisioned, measured, compared   (7 min the first time, then 5)"
	@echo "make test      every test, on real hosts                                    (31 min)"
	@echo "make test-fast the same without the slowest tests                           (21 min)"
	@echo "make unit      the tests of single modules, which need no lab               (2 min)"
	@echo "make fuzz      100,000 inputs made at random for all that reads what others wrote   (10 min)"
	@echo "make unit-trixie   unit, lint and the wheel on Debian 13, in a container    (6 min)"
	@echo "make releases  hosts of Debian 11, 12, 13 and with cgroup v2, each tried whole (40 min)"
	@echo "make lint      formatting, types, floor plan, playbooks                     (1 min)"
	@echo "make bench     what perfctl itself costs, as ratios                         (25 min; 8 with KILLS=5)"
	@echo "make bench-stats   the figures asked of the statistics, simulated and live  (13 min)"
	@echo "make faults    runs attacked at random moments: lost, doubled, left over    (30 min; 12 with TIMES=1)"
	@echo "make venv      .venv with the pinned dependencies and perfctl               (2 min the first time)"
	@echo "make lab-down  take down the labs of demo and tests                         (10 s)"
	@echo "make clean     lab-down, then remove .venv, the labs' images and caches     (20 s)"

# -- what everything else needs ------------------------------------------------------------------------------

.PHONY: venv
venv: .venv/.stamp

.venv/.stamp: requirements.lock pyproject.toml bootstrap/venv
	@$(STEP) "Install missing Debian packages" "30 s" $(VENV_PACKAGES)
	@$(STEP) "Make .venv from requirements.lock" "30 s" bootstrap/venv
	@touch $@

VENV_PACKAGES := bootstrap/packages ca-certificates openssh-client python3 python3-apt python3-venv

# `perfctl lab up` would do it, too, but not while .venv is made.
.PHONY: engine
engine:
	@$(STEP) "Install Docker unless there is an engine" "15 s" \
	    sh -c 'command -v dockerd > /dev/null || bootstrap/packages docker.io'

.PHONY: provisioned
provisioned: venv
	@$(STEP) "Bring up a lab of two hosts" "20 s; 2 min the first time: the hosts' image is made" \
	    $(PERFCTL) lab up --hosts 2
	@$(STEP) "Provision the hosts" "2 s; 6 min the first time: tools, bridge, images" \
	    $(PERFCTL) --inventory $(LAB) provision

# -- what a user asks for -------------------------------------------------------------------------------------

# Guests without an engine of their own are enough for the demo, on one host, and take half as long to make.
DEMO_GUESTS := {"perf_vm_image_engine": false, "perf_vm_image_guest_packages": ["kmod"]}

.PHONY: demo
demo:
	@cat bootstrap/demo.txt
	@$(STEP) "Install missing Debian packages" "1 s; 20 s when there are any" $(VENV_PACKAGES)
	@$(MAKE) -j 2 venv engine
	@$(STEP) "Make two hosts, and meanwhile the image for containers" "2 min; 2 s when they are there" \
	    $(PERFCTL) lab up --hosts 2 --with-image
	@$(STEP) "Provision the hosts: tools, bridge, image" "40 s; 10 s when all is there" \
	    $(PERFCTL) --inventory $(LAB) provision --tags tools,engine,bridge,docker,image
	@$(STEP) "Measure computing, natively and in a container" "25 s" \
	    $(DEMO) run --suite demo --benchmark cpu-1-thread
	@$(STEP) "Compare" "1 s" $(DEMO) compare latest
	@$(STEP) "Measure the network between the hosts, natively and in containers" "80 s" \
	    $(DEMO) run --suite demo --benchmark tcp-rr --benchmark tcp-stream
	@$(STEP) "Compare" "1 s" $(DEMO) compare latest
	@$(STEP) "Provision one host for virtual machines" "50 s; 1 s when all is there" \
	    $(PERFCTL) --inventory $(LAB) provision --limit lab-1 -e '$(DEMO_GUESTS)'
	@$(STEP) "Measure what starting costs: a process, a container, a virtual machine" "60 s" \
	    $(DEMO) run --suite startup --env container --env vm --blocks 8 --limit lab-1
	@$(STEP) "Compare" "1 s" $(DEMO) compare latest
	@echo
	@echo "Every sample is in $(CURDIR)/$(DATABASE). Next, after '. .venv/bin/activate':"
	@echo "    perfctl --db $(DATABASE) runs"
	@echo "    perfctl -i $(LAB) --db $(DATABASE) run --suite memory"
	@echo "    make lab-down"

# Three for the tests that need hosts (tests/conftest.py), and one for what needs none.
WORKERS := 4

.PHONY: test-packages
test-packages:
	@$(STEP) "Install missing packages that the tests need" "1 min" \
	    bootstrap/packages sysbench openssh-server busybox-static sudo tcsh fish xz-utils postgresql \
	    chromium fonts-dejavu-core tidy

.PHONY: test
test: venv test-packages
	@$(STEP) "Run all tests" "31 min" .venv/bin/python -m pytest -n $(WORKERS) $(PYTEST)

.PHONY: test-fast
test-fast: venv test-packages
	@$(STEP) "Run all tests but the slowest" "20 min" .venv/bin/python -m pytest -n $(WORKERS) -m "not slow" $(PYTEST)

.PHONY: unit
unit: venv
	@$(STEP) "Install missing packages that these tests need" "20 s" \
	    bootstrap/packages busybox-static fish openssh-server postgresql sudo tcsh xz-utils
	@$(STEP) "Run the tests of single modules" "2 min" \
	    .venv/bin/python -m pytest -n 2 $(UNIT_TESTS) $(PYTEST)

.PHONY: fuzz
fuzz: venv
	@$(STEP) "Install missing packages that these tests need" "20 s" bootstrap/packages openssh-client
	@seed=$(or $(SEED),$$(date +%s)); \
	$(STEP) "Give all that reads 100,000 inputs: make fuzz SEED=$$seed makes the same ones" "10 min" \
	    env PERFCTL_FUZZ_EXAMPLES=100000 \
	    .venv/bin/python -m pytest -n 2 --hypothesis-seed=$$seed tests/fuzz $(PYTEST)

.PHONY: unit-trixie
unit-trixie: venv
	@$(STEP) "Install mmdebstrap if it is missing" "20 s" bootstrap/packages mmdebstrap
	@$(STEP) "Run venv, unit, lint and the tests of the wheel on Debian 13" "6 min" .venv/bin/python -m tests.trixie

.PHONY: releases
releases: venv
	@$(STEP) "Try perfctl on Debian 11, 12, 13 and with control groups of version 2" "40 min" \
	    .venv/bin/python -m tests.releases

.PHONY: lint
lint: venv
	@$(STEP) "Formatting (ruff)" "1 s" ruff format --check --quiet .
	@$(STEP) "Rules (ruff)" "1 s" ruff check --quiet .
	@$(STEP) "Types (mypy --strict)" "20 s" mypy
	@$(STEP) "The floor plan (import-linter)" "3 s" lint-imports --no-cache
	@$(STEP) "Playbooks and roles (ansible-lint, profile production)" "30 s" ansible-lint --nocolor
	@$(STEP) "YAML (yamllint)" "1 s" yamllint --strict .

.PHONY: bench
bench: provisioned
	@$(STEP) "What orchestration costs" "2 min" .venv/bin/python -m tests.bench.bench_orchestration $(LAB)
	@$(STEP) "What a detached job costs" "1 min" .venv/bin/python -m tests.bench.bench_job $(LAB)
	@$(STEP) "What a joint start costs" "1 min" .venv/bin/python -m tests.bench.bench_armed $(LAB)
	@$(STEP) "What 10, 100 and 1,000 hosts cost" "2 min" .venv/bin/python -m tests.bench.bench_scale
	@$(STEP) "Install PostgreSQL if it is missing" "30 s" bootstrap/packages postgresql
	@$(STEP) "What the database costs, in a file and on a server" "2 min" .venv/bin/python -m tests.bench.bench_store
	@$(STEP) "Kill whoever stores, 200 times on each engine" "3 min" .venv/bin/python -m tests.bench.bench_kills
	@$(STEP) "What reports and exports cost" "4 min" .venv/bin/python -m tests.bench.bench_report
	@$(STEP) "What a guest costs, and whether $(KILLS) killed runs leave one" "20 min" \
	    .venv/bin/python -m tests.bench.bench_guest $(LAB) --kills $(KILLS)

.PHONY: bench-stats
bench-stats: venv
	@$(STEP) "Simulate with known truth" "5 min" .venv/bin/python -m tests.bench.bench_stats
	@$(STEP) "Judge a large fleet" "10 s" .venv/bin/python -m tests.bench.bench_analysis
	@$(STEP) "Compare with what peers computed, traps excepted" "10 s" \
	    .venv/bin/python -m pytest -q -rA tests/unit/test_stats_vectors.py
	@$(STEP) "Install sysbench if it is missing" "20 s" bootstrap/packages sysbench
	@$(STEP) "Compare what tools printed with the database, and the database with itself" "1 min" \
	    .venv/bin/python -m pytest -q -rA tests/e2e/test_live_measurement.py -k "m10 or m11"
	@$(STEP) "Measure what is equal, and what is known to differ" "6 min" .venv/bin/python -m tests.bench.bench_live

.PHONY: faults
faults: venv
	@$(STEP) "Install missing packages that attacks need" "5 s" bootstrap/packages iproute2 mount procps
	@$(STEP) "Attack runs $(TIMES) times in each way, on a lab of two hosts" "30 min" \
	    .venv/bin/python -m tests.faults --times $(TIMES) $(if $(SEED),--seed $(SEED))

# -- taking down -----------------------------------------------------------------------------------------------

PURGE :=

.PHONY: lab-down
lab-down:
	@if [ -x $(PERFCTL) ]; then \
	    $(STEP) "Take down the demo's lab" "8 s" $(PERFCTL) lab down $(PURGE) && \
	    $(STEP) "Take down the tests' labs" "8 s" \
	        sh -c '[ -d $(TEST_LAB) ] || exit 0; for name in perfctl-light perfctl-more perfctl-test perfctl-faults; do \
	            $(PERFCTL) --project $(TEST_LAB) lab down $(PURGE) --name $$name || exit; done' && \
	    $(STEP) "Take down the lab of the releases" "8 s" \
	        sh -c '[ ! -d .state/releases ] || \
	            $(PERFCTL) --project .state/releases lab down $(PURGE) --name perfctl-releases'; \
	fi

.PHONY: clean
clean:
	@$(MAKE) lab-down PURGE=--purge
	@# A lab that is still there, or an engine that others use, needs what is kept of it.
	@if [ -z "$$(find .state -name lab.json -o -name dockerd.pid 2>/dev/null)" ]; then rm -rf .state; fi
	@$(STEP) "Remove .venv and caches (results stay)" "1 s" \
	    rm -rf .venv .ansible .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
