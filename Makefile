# Two commands do everything: `make demo` and `make test`. CONTRIBUTING.md explains the others.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(wildcard torov/vmm/core/*.[ch] torov/constants/*.py) torov/vmm/build_core.py torov/vmm/stub.py torov/calls_x86_64.py torov/callshape.py
JOBS ?= 3

.PHONY: help demo test test-fast test-svm test-asan test-tsan stress fuzz bench corpus corpus-quick lint install samples clean
help:
	@echo "make demo      install, build the samples, run HelloWorld as a virtual machine and show its syscalls"
	@echo "make test      install everything that the tests need and run them all"
	@echo "make test-svm  a smoke test of the core under kvm_amd in QEMU"
	@echo "make test-asan the tests of running guests, their core built with AddressSanitizer and UBSan; test-tsan: ThreadSanitizer"
	@echo "make stress    threads, signals, processes and memory at once under that core, for SECONDS (600) of CPU time"
	@echo "make fuzz      each fuzzer for SECONDS (60) of CPU time; TARGETS=calls for one"
	@echo "make corpus    real programs natively and by torov, all cases: build/corpus/index.html; corpus-quick: those that take seconds"
	@echo "make bench     measure against native and against the floor of this machine"
	@echo "make lint      ruff and mypy --strict"
	@echo "make clean     remove what was built"

$(VENV)/made: pyproject.toml scripts/need.sh
	@PYTHON=$(PYTHON) scripts/need.sh gcc python-venv python-headers libseccomp
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -U pip "setuptools>=77" wheel
	@touch $@

# Installed, not editable: the start of `torov exec` is what users get.
$(VENV)/installed: $(VENV)/made $(CORE) setup.py bin/torov $(wildcard torov/*.py torov/*/*.py torov/*/*.json torov/*/*.toml torov/*/*.html torov/corpus/cases/*)
	@TOROV_WERROR=1 $(BIN)/python -m pip install -q --disable-pip-version-check .
	@touch $@

$(VENV)/testing: $(VENV)/made
	@scripts/need.sh static-libc musl-gcc fpc gdb go strace objdump xz npm mkfs.ext4 git perl bash ps bwrap redis-server sqlite3 python-tests libfuzzer setpriv
	@$(BIN)/python -m pip install -q --disable-pip-version-check ".[test]"
	@touch $@

install: $(VENV)/installed
	@echo "torov is in $(BIN)/torov"

# The tests run on the tree itself, with a core built in place.
core: $(VENV)/made $(CORE)
	@$(BIN)/python -m pip install -q --disable-pip-version-check cffi keystone-engine
	@TOROV_WERROR=1 $(BIN)/python setup.py -q build_ext --inplace

samples:
	@scripts/need.sh static-libc musl-gcc fpc
	@$(MAKE) -s -C samples

demo: install samples
	@$(BIN)/torov exec --stats --policy samples/HelloWorld/policy.json samples/bin/HelloWorld_glibc

lint: $(VENV)/testing core
	@$(BIN)/ruff check .
	@$(BIN)/mypy

test: install $(VENV)/testing core lint samples
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadgroup
	@$(MAKE) -s corpus-quick

# Fetches what is missing, looks at every binary with the rewriter, runs all cases. A binary that cannot be had is an error of its cases.
corpus: install $(VENV)/testing
	@mkdir -p build/corpus
	@$(BIN)/torov corpus fetch --install > build/corpus/fetched.tsv || true
	@status=0; $(BIN)/torov corpus patch -j $(JOBS) || status=1; \
	$(BIN)/torov corpus run -j $(JOBS) --retries 1 --times 3 --trace all --json build/corpus/run.json --junit build/corpus/junit.xml \
		--html build/corpus/index.html --markdown build/corpus/table.md || status=1; \
	echo "all of it: build/corpus/index.html"; exit $$status

corpus-quick: install $(VENV)/testing
	@mkdir -p build/corpus
	@$(BIN)/torov corpus run quick -j $(JOBS) --retries 1 --html build/corpus/quick.html --junit build/corpus/quick.xml

test-svm: install $(VENV)/testing
	@scripts/need.sh qemu cpio xz
	@$(BIN)/python -m tests.svm.run

# In a copy of the tree, below build: the core in place stays as it is.
test-asan: $(VENV)/testing core samples
	@$(BIN)/python -m tests.sanitized.run address -n $(JOBS) --dist loadgroup tests/vmm tests/sanitized/leaks.py

test-tsan: $(VENV)/testing core samples
	@$(BIN)/python -m tests.sanitized.run thread

SECONDS ?= 600
stress: $(VENV)/testing core samples
	@$(BIN)/python -m tests.sanitized.run stress $(SECONDS)

# Each of the fuzzers for so many seconds of CPU time; docs/fuzzing.md.
fuzz: SECONDS = 60
fuzz: $(VENV)/testing core
	@$(BIN)/python -m tests.fuzz.run $(SECONDS) $(TARGETS)

bench: install samples
	@$(BIN)/python -m bench

clean:
	rm -rf build dist *.egg-info samples/bin $(VENV) torov/vmm/_core*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
