# TurboTrain's commands; `make` alone lists them.
#
# Settings, each given as NAME=value after the target:
#   PYTHON  the interpreter that makes the environment (default: python3.11, 3.12, 3.13, 3.10 or python3)
#   TORCH   another torch than requirements.txt pins; it gets an environment of its own,
#           .venv-torch<version>. `make test TORCH=2.4.1` runs the tests with that one.
#   JOBS    how many test files run at a time (default: 2), each test on one thread
#   ARGS    more arguments for the tool that the target calls: make test ARGS='tests/tools -x'

TORCH_PIN := $(shell sed -n 's/^torch==\([^ ]*\).*/\1/p' requirements.txt)
TORCH ?= $(TORCH_PIN)
JOBS ?= 2
VENV ?= $(if $(filter $(TORCH_PIN),$(TORCH)),.venv,.venv-torch$(TORCH))

# The set-up is done when the stamp of exactly this recipe and these requirements is there.
STAMP := $(VENV)/.setup-$(shell cat requirements.txt tools/setup.sh | cksum | cut -d ' ' -f 1)

.PHONY: help setup look demo test lint format

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## make .venv and install everything (once; 7 minutes the first time)

$(STAMP):
	@PYTHON='$(PYTHON)' bash tools/setup.sh $(VENV) $@ $(TORCH)

look: setup ## detect in a simulated scene with kept weights, and write a video
	$(VENV)/bin/python tools/look.py $(ARGS)

demo: setup ## simulate, pretrain, fine-tune, test and draw, on a small data set
	$(VENV)/bin/python tools/demo.py $(ARGS)

test: setup ## run the tests
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: setup ## check style, format and types, as CI does
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/shellcheck --external-sources --source-path=SCRIPTDIR tools/*.sh

format: setup ## put the code in the linter's format
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .
