PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(abspath $(VENV)/bin)
# Each stage imports torch: its bytecode is kept even where the shell, as in many containers, says to keep none.
RUN := PYTHONDONTWRITEBYTECODE= PATH="$(BIN):$$PATH"

.PHONY: demo test lint format pages docs fresh clean help

help:  ## Show this list.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/.installed  ## Set up the environment and run the whole chain on the embedded sample.
	@echo "Stages: check, sample, ingest, align, label, synthesize (half of the time), train, evaluate"
	$(RUN) dvc repro
	@echo
	@echo "Made: scores in metrics/, figures in plots/, a model of drawn faces in models/. What to do next:"
	@echo "  . $(VENV)/bin/activate"
	@echo "  fer report                                  # the run on one page, report.html"
	@echo "  fer predict IMAGES --model ferplus          # the expressions in your own photographs"
	@echo "  dvc exp run -n mixcut -S augment=mixcut     # an experiment, to compare with this run"

test: $(VENV)/.dev lint  ## Check formatting, lint, types and imports, then run the tests.
	$(RUN) python -m pytest -q -n 2

lint: $(VENV)/.dev  ## Check formatting, lint, types and imports.
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports

format: $(VENV)/.dev  ## Format the code and mend what ruff can mend.
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

fresh: $(VENV)/.installed  ## Say whether dvc.lock is what a run of this commit would write; needs no data.
	$(RUN) python scripts/fresh.py

pages: $(VENV)/.dev  ## Write the generated parts of the pages in docs/.
	$(RUN) python -m scripts.documentation.pages

docs: $(VENV)/.dev  ## Build the documentation in site/.
	$(RUN) NO_MKDOCS_2_WARNING=1 python -m mkdocs build --quiet --strict
	@echo "Open site/index.html; \`python -m mkdocs serve\` shows it with a search"

clean:  ## Remove what the commands have made; raw data, metrics and other models stay.
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf data/raw/sample data/raw/.sample.* data/ingested data/aligned data/interrupted data/*.parquet data/*.arrow models/gan models/checkpoints
	rm -rf models/classifier.safetensors models/classifier.onnx models/classifier.int8.onnx models/classifier.card.md
	rm -rf models/judges models/generators plots dvc_plots site report.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: requirements.lock requirements-cuda.lock pyproject.toml scripts/install.sh
	scripts/install.sh $(VENV) $(PYTHON)
	@touch $@

$(VENV)/.dev: $(VENV)/.installed requirements-dev.lock
	scripts/install.sh --dev $(VENV)
	@touch $@
