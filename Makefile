# make run    set up and run the quick suite; the report lies in cpufit-results/report.html
# make test   set up, check style and types, and run all tests
# make perf   time the harness itself
# make lint   style, types, layers only

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint perf clean
.DELETE_ON_ERROR:

run: .venv/runtimes
	$(BIN)/cpufit fetch || echo "going on without real weights"
	$(BIN)/cpufit run --suite quick

test: lint
	scripts/install-chromium
	$(BIN)/cpufit fetch
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist worksteal

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

perf: .venv/dev
	$(BIN)/pytest tests/perf --benchmark-columns=min,median,max,rounds

# GCC drops the set-up of llama.cpp's AMX kernels, which then die of SIGILL
# (github.com/ggml-org/llama.cpp/pull/26954): leave them out until that is mended.
NO_AMX := -mno-amx-tile -mno-amx-int8 -mno-amx-bf16
AMX_ARGS := $(shell grep -qsw amx_tile /proc/cpuinfo && \
    echo "-DCMAKE_C_FLAGS='$(NO_AMX)' -DCMAKE_CXX_FLAGS='$(NO_AMX)'")

# llama-cpp-python is compiled for this very CPU: about six minutes on two cores the first time,
# then pip's wheel cache has it.
.venv/runtimes: pyproject.toml | .venv/ready
	CMAKE_ARGS="$$CMAKE_ARGS $(AMX_ARGS)" $(BIN)/pip install --quiet --editable '.[all]'
	@touch $@

.venv/dev: .venv/runtimes
	$(BIN)/pip install --quiet --group dev
	@touch $@

.venv/ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo 'cpufit needs Python 3.11 or newer: make PYTHON=/path/to/python3.11'; exit 2; }
	@command -v c++ >/dev/null \
	    || { echo 'cpufit compiles llama.cpp for this CPU and needs a C++ compiler (apt install g++)'; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

clean:
	rm -rf .venv cpufit-results dist
