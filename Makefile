# make run    set up and run the quick suite; the report lies in cpufit-results/report.html
# make test   set up, check style and types, and run all tests
# make sight  add what shows pictures to language models on llama.cpp
# make perf   time the harness itself
# make lint   style, types, layers only

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint perf sight clean
.DELETE_ON_ERROR:

run: .venv/wheels
	@MAKE='$(MAKE)' scripts/run-quick

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

sight: .venv/sight

# Everything that is not compiled.
.venv/wheels: pyproject.toml | .venv/ready
	$(BIN)/pip install --quiet --editable '.[onnxruntime,openvino]'
	@touch $@

# llama.cpp, compiled for this very CPU; `sight` is the same with libmtmd, which then stays.
.venv/llama .venv/sight: pyproject.toml scripts/build-llama | .venv/wheels
	scripts/build-llama $(if $(filter %sight,$@ $(wildcard .venv/sight)),--sight)
	@touch .venv/llama $@

.venv/dev: pyproject.toml .venv/sight
	$(BIN)/pip install --quiet --group dev
	@touch $@

.venv/ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo 'cpufit needs Python 3.11 or newer: make PYTHON=/path/to/python3.11'; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

clean:
	rm -rf .venv cpufit-results dist
