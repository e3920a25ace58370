.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash

PYTHON ?= python3.11
RECIPE ?= fashion_mnist_cpu
PLATFORM ?= CPU
DATA ?= /usr/share/datasets/fashion-mnist
CHECKPOINT ?= outputs/latest/best_acc.ckpt
FORMATS ?= ONNX,MINDIR
OUTPUT ?= bundles
# The newest bundle that `make export` wrote here, else the one that ships with the repository.
MODEL ?= $(or $(shell ls -td $(OUTPUT)/*/*/ 2>/dev/null | head -1),models/fashion_resnext/1)
DEVICE ?= cpu
GRPC_PORT ?= 50051
HTTP_PORT ?= 8080
IMAGE ?= examples/images

VENV := .venv
PY := $(VENV)/bin/python
# Debian packages that the tests and `make train` use; without root the line to run is printed.
DEBIAN_TRAIN := dataset-fashion-mnist
DEBIAN_TEST := $(DEBIAN_TRAIN)

.PHONY: help setup train eval export serve classify test lint format protos lock bench clean

help: ## Print these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.dev ## Install everything: serving, training, export, tests

train: $(VENV)/.training debian-train ## Train a checkpoint (RECIPE=, DATA=, PLATFORM=)
	$(PY) -m training.train --recipe $(RECIPE) --data_dir $(DATA) --platform $(PLATFORM)

eval: $(VENV)/.training debian-train ## Evaluate a checkpoint (CHECKPOINT=, DATA=, PLATFORM=)
	$(PY) -m training.eval --pretrained $(CHECKPOINT) --data_dir $(DATA) --platform $(PLATFORM)

export: $(VENV)/.export debian-train ## Turn a checkpoint into a bundle (CHECKPOINT=, DATA=, OUTPUT=)
	$(PY) -m export --ckpt_file $(CHECKPOINT) --file_format $(FORMATS) --device_target $(PLATFORM) \
	  --images $(DATA) --output $(OUTPUT)

serve: $(VENV)/.serving ## Serve a bundle (MODEL=, DEVICE=, GRPC_PORT=, HTTP_PORT=)
	$(PY) -m serving --model $(MODEL) --device $(DEVICE) --grpc-port $(GRPC_PORT) --http-port $(HTTP_PORT)

classify: $(VENV)/.serving ## Classify images with the running server (IMAGE=, GRPC_PORT=)
	$(PY) -m clients classify $(IMAGE) --address localhost:$(GRPC_PORT)

test: $(VENV)/.dev debian-test ## Run all tests
	$(PY) -m pytest $(ARGS)

lint: $(VENV)/.dev ## Check style, types, import rules and generated files
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(MAKE) --no-print-directory protos-check

format: $(VENV)/.dev ## Format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

protos: $(VENV)/.dev ## Generate the stubs from protos/*.proto
	$(call generate,.)

.PHONY: protos-check
protos-check:
	@fresh=$$(mktemp -d) && $(call generate,$$fresh) && \
	  for file in $$fresh/protos/*; do diff -u protos/$$(basename $$file) $$file || exit 1; done; \
	  rm -r $$fresh

generate = $(PY) -m grpc_tools.protoc -I . -I $$($(PY) -c 'import google.rpc as m; print(m.__path__[0])')/../.. \
	  --python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) --plugin=$(VENV)/bin/protoc-gen-mypy_grpc \
	  --mypy_grpc_out=$(1) protos/*.proto

lock: ## Pin the dependencies of pyproject.toml in requirements/ (needs uv)
	for extra in dev export training serving; do \
	  uv pip compile pyproject.toml --extra $$extra --constraints requirements/dev.txt \
	    --python-version 3.11 --universal --no-emit-index-url --no-header --no-annotate --quiet \
	    --output-file requirements/$$extra.txt; done

bench: $(VENV)/.dev ## Measure the server against the bare runtime
	$(PY) -m benchmarks

clean: ## Remove the environment, caches and outputs
	rm -rf $(VENV) outputs bundles build *.egg-info .mypy_cache .ruff_cache .pytest_cache \
	  .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.%: requirements/%.txt pyproject.toml | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check -r $<
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

.PHONY: debian-train debian-test
debian-train: ; @$(call debian,$(DEBIAN_TRAIN))
debian-test: ; @$(call debian,$(DEBIAN_TEST))
debian = missing=; for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then if [ $$(id -u) = 0 ]; \
	  then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else echo "run: sudo apt-get install$$missing"; exit 1; fi; fi
