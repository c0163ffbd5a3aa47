# Everything a contributor does, each in one word. `make` alone says what there is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
READY := .venv/.ready
SPEC ?= specs/nemotron_vlm.mimo

.PHONY: help
help: ## Say what each target does
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

.PHONY: setup
setup: $(READY) ## Make .venv with the package, editable, and its test tools

# Any Python from 3.12 on will do; 3.12 itself is what the kernels' wheels are built for.
$(READY): pyproject.toml constraints.txt
	@find_python() { \
	  for python in $${PYTHON:-} python3.12 "$$HOME"/.pyenv/versions/3.12*/bin/python3 \
	      python3.13 "$$HOME"/.pyenv/versions/3.13*/bin/python3 python3 python; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
	      echo "$$python"; return; \
	    fi; \
	  done; \
	  echo "there is no Python 3.12 or newer on PATH; name one: make setup PYTHON=/path/to/python" >&2; \
	  return 1; \
	}; \
	python=$$(find_python); \
	echo "setting up .venv with $$python (torch and Megatron-Core take some minutes, once)"; \
	"$$python" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[build,dev]'
	@touch $(READY)

.PHONY: demo
demo: $(READY) ## Train the Nemotron VLM on eight local ranks (another spec: SPEC=...)
	@$(BIN)/mimodsl build $(SPEC)

.PHONY: test
test: $(READY) ## Run all tests (some of them: ARGS='-k launch')
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: fuzz
fuzz: $(READY) ## Lead 100,000 hostile texts through the checker, and hold it against Megatron-Core
	@$(BIN)/python -m tests.fuzz --texts 100000
	@MIMODSL_SPECS=$${SPECS:-20000} MIMODSL_LAYOUTS=$${LAYOUTS:-100} \
	  MIMODSL_SEED=$${SEED:-$$(( RANDOM * 32768 + RANDOM ))} \
	  $(BIN)/python -m pytest tests/differential $(ARGS)

.PHONY: benchmarks
benchmarks: $(READY) ## Run all benchmarks that need no GPU and write their tables
	@$(BIN)/python benchmarks/check.py
	@$(BIN)/python benchmarks/scale.py
	@$(BIN)/python benchmarks/groups.py

.PHONY: lint
lint: $(READY) ## Check style and formatting, of the code and of the specs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mimodsl fmt --check specs/*.mimo specs/presets/*.mimo

.PHONY: format
format: $(READY) ## Format the code and the specs
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .
	@$(BIN)/mimodsl fmt specs/*.mimo specs/presets/*.mimo

.PHONY: types
types: $(READY) ## Check types, strictly
	@$(BIN)/pyright

.PHONY: layers
layers: $(READY) ## Check that imports point down the layers
	@$(BIN)/lint-imports --no-logo

.PHONY: docs
docs: $(READY) ## Build the documentation site into .site/, its generated parts up to date
	@$(BIN)/python docs/generate.py --check
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: site
site: $(READY) ## Show the documentation site while you write
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

.PHONY: reference
reference: $(READY) ## Write the generated parts of the docs anew
	@$(BIN)/python docs/generate.py

.PHONY: wheel
wheel: $(READY) ## Build the wheel and try it in a fresh environment
	@rm -rf dist
	@$(BIN)/python -m build --quiet --wheel --no-isolation --outdir dist
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(BIN)/python -m venv "$$folder/venv"; \
	"$$folder/venv/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl; \
	cp $(SPEC) "$$folder/spec.mimo"; \
	cd "$$folder"; venv/bin/mimodsl check spec.mimo; venv/bin/mimodsl plan spec.mimo >/dev/null
	@echo "dist/ has a wheel that works without torch"

# Versions are exact in package.json, and no lock file names a registry.
.PHONY: editor
editor: ## Build and test the extension for VS Code (needs npm)
	@npm install --prefix grammars/vscode --no-package-lock --ignore-scripts --no-audit --no-fund --silent
	@npm run package --prefix grammars/vscode --silent
	@npm test --prefix grammars/vscode --silent

# Of code-server only VS Code itself is used, which needs no compiler; the browser is the system's Chromium.
.PHONY: editors
editors: $(READY) editor ## Try the extension in VS Code, and the server in what other editors there are
	@npm install --prefix tests/editors/vscode --no-package-lock --ignore-scripts --no-audit --no-fund --silent
	@npm install --prefix tests/editors/vscode/node_modules/code-server/lib/vscode --omit=dev \
	  --ignore-scripts --no-audit --no-fund --silent
	@npm test --prefix tests/editors/vscode --silent
	@$(BIN)/python -m pytest -rs tests/editors

.PHONY: ready
ready: lint types layers docs test ## Run everything that a change must pass

.PHONY: clean
clean: ## Remove what can be made again, .venv included
	@rm -rf .venv .site dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
