.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash

PYTHON ?= python3.11
RECIPE ?= fashion_mnist_cpu
PLATFORM ?= CPU
# What Debian packages install; .ci/run removes them first, so that each run installs them anew.
FASHION_MNIST := /usr/share/datasets/fashion-mnist
PROMETHEUS := /usr/bin/prometheus
DATA ?= $(FASHION_MNIST)
PROCESSES ?= 1
GROUP = $(if $(filter-out 1,$(PROCESSES)),--is_distributed 1 --group_size $(PROCESSES)) \
  $(if $(RANK_TABLE),--rank_table $(RANK_TABLE))
CHECKPOINT ?= outputs/latest/best_acc.ckpt
FORMATS ?= ONNX,MINDIR
PRECISION ?= fp32
OUTPUT ?= bundles
# The newest bundle that `make export` wrote here, else the one that ships with the repository.
MODEL ?= $(or $(shell ls -td $(OUTPUT)/*/*/ 2>/dev/null | head -1),models/fashion_resnext/1)
DEVICE ?= cpu
RUNTIME ?= auto
GRPC_PORT ?= 50051
HTTP_PORT ?= 8080
IMAGE ?= examples/images

VENV := .venv
PY := $(VENV)/bin/python
# onnxruntime-gpu and onnxruntime exclude each other.
CUDA := .venv-cuda
SERVING := $(if $(filter cuda% tensorrt%,$(DEVICE)),$(CUDA)/.cuda,$(VENV)/.serving)
# MindSpore Lite 2.0.0, the only release on PyPI, is for Python 3.7.
LITE := .venv-lite
PYTHON37 ?= $(or $(shell python3.7 -c 'import sys; print(sys.executable)' 2>/dev/null),\
  $(lastword $(wildcard $(shell pyenv root 2>/dev/null)/versions/3.7.*/bin/python3.7)))
SERVED := $(MODEL:/=)
ifeq ($(RUNTIME),mindspore-lite)
# A bundle without a file for MindSpore Lite is served from a copy that has one.
SERVED := $(if $(shell grep '"mindir-lite"' $(SERVED)/manifest.json 2>/dev/null),,build/lite/)$(SERVED)
LITE_SERVED := $(LITE)/.lite $(SERVED)/manifest.json
endif
.PHONY: help setup lite-env train eval export serve classify test test-fast lint format protos schemas lock bench bench-gpu test-gpu nvidia clean

help: ## Print these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.dev ## Install everything: serving, training, export, tests

lite-env: $(LITE)/.lite ## Install MindSpore Lite, in an environment of its own (PYTHON37=)

train: $(VENV)/.training $(filter $(FASHION_MNIST),$(DATA)) ## Train a checkpoint (RECIPE=, DATA=, PLATFORM=, PROCESSES=, RANK_TABLE=, RESUME=, ARGS=)
	$(PY) -m training.train $(if $(RESUME),--resume $(RESUME),--recipe $(RECIPE) --data_dir $(DATA) --platform $(PLATFORM) $(GROUP)) $(ARGS)

eval: $(VENV)/.training $(filter $(FASHION_MNIST),$(DATA)) ## Evaluate a checkpoint (CHECKPOINT=, DATA=, PLATFORM=, PROCESSES=)
	$(PY) -m training.eval --pretrained $(CHECKPOINT) --data_dir $(DATA) --platform $(PLATFORM) $(GROUP)

export: $(VENV)/.export $(filter $(FASHION_MNIST),$(DATA)) ## Turn a checkpoint into a bundle (CHECKPOINT=, DATA=, PRECISION=, OUTPUT=, NAME=)
	$(PY) -m export --ckpt_file $(CHECKPOINT) --file_format $(FORMATS) --precision $(PRECISION) \
	  --device_target $(PLATFORM) $(if $(DATA),--images $(DATA)) --output $(OUTPUT) $(if $(NAME),--name $(NAME))

serve: $(SERVING) $(LITE_SERVED) ## Serve a bundle (MODEL=, RUNTIME=, DEVICE=, GRPC_PORT=, HTTP_PORT=)
	$(dir $<)bin/python -m serving --model $(SERVED) --runtime $(RUNTIME) --device $(DEVICE) \
	  --grpc-port $(GRPC_PORT) --http-port $(HTTP_PORT) $(if $(LITE_SERVED),--lite-python $(LITE)/bin/python)

build/lite/%/manifest.json: %/manifest.json $(LITE)/.lite $(VENV)/.serving
	$(PY) -m export convert $* --lite-python $(LITE)/bin/python --overwrite \
	  --output build/lite/$(dir $(patsubst %/,%,$(dir $*)))

classify: $(VENV)/.serving ## Classify images with the running server (IMAGE=, GRPC_PORT=)
	$(PY) -m clients classify $(IMAGE) --address localhost:$(GRPC_PORT)

test: $(VENV)/.dev $(FASHION_MNIST) $(PROMETHEUS) $(if $(PYTHON37)$(CI),$(LITE)/.lite) ## Run all tests
	$(PY) -m pytest --numprocesses 2 --dist loadfile $(ARGS)

test-fast: $(VENV)/.dev $(FASHION_MNIST) $(PROMETHEUS) ## Run the tests that are not marked slow (ARGS=)
	$(PY) -m pytest --numprocesses 2 --dist loadfile -m "not slow" $(ARGS)

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

schemas: $(VENV)/.export ## Generate the JSON Schemas in docs/ from the models of export/
	$(PY) -m export.schemas docs

lock: ## Pin the dependencies of pyproject.toml in requirements/ (needs uv)
	for extra in dev export training serving cuda-dev cuda; do \
	  uv pip compile pyproject.toml --extra $$extra --constraints requirements/dev.txt \
	    --python-version 3.11 --universal --no-emit-index-url --no-header --no-annotate --quiet \
	    --output-file requirements/$$extra.txt; done

bench: $(VENV)/.dev ## Measure the server against a bare loop and under overload, JPEG decoders, and training (ARGS=)
	$(PY) -m benchmarks.models
	$(PY) -m benchmarks --rounds 3 --concurrency 1,32 $(ARGS)
	$(PY) -m benchmarks --model build/benchmarks/resnext14_8x4d_224/1 \
	  --images build/benchmarks/photos $(ARGS)
	$(PY) -m benchmarks.overload
	$(PY) -m benchmarks.decoders
	$(PY) -m benchmarks.models --network resnext152_64x4d
	$(PY) -m benchmarks --model build/benchmarks/resnext152_64x4d/1 --images build/benchmarks/photos \
	  --concurrency 32 --capacity-shares '[]' --rounds 3 --duration-s 60
	$(MAKE) $(addprefix build/lite/build/benchmarks/,$(addsuffix /1/manifest.json,resnext152_64x4d resnext14_8x4d_224))
	$(PY) -m benchmarks.lite
	$(PY) -m benchmarks.training

bench-gpu: nvidia $(CUDA)/.cuda-dev $(VENV)/.dev ## Measure the full network on a GPU, bare and served (DEVICE=, ARGS=)
	$(PY) -m benchmarks.models --network resnext152_64x4d --precision fp32,fp16
	$(CUDA)/bin/python -m benchmarks.gpu --device $(or $(filter cuda% tensorrt%,$(DEVICE)),cuda) $(ARGS)

test-gpu: nvidia $(CUDA)/.cuda-dev ## Run the tests that need a GPU (ARGS=)
	$(CUDA)/bin/python -m pytest -m gpu $(ARGS) tests/serving/backends

nvidia:
	@test -e /dev/nvidiactl || { echo "no NVIDIA GPU here: without /dev/nvidiactl no driver is loaded"; exit 1; }

clean: ## Remove the environment, caches and outputs
	rm -rf $(VENV) $(LITE) $(CUDA) outputs bundles build rewritten_network *.egg-info .mypy_cache .ruff_cache .pytest_cache \
	  .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python $(CUDA)/bin/python:
	$(PYTHON) -m venv $(@:/bin/python=)

$(VENV)/.%: requirements/%.txt pyproject.toml | $(VENV)/bin/python
	$(call install,$(PY),$<)
	touch $@

$(CUDA)/.%: requirements/%.txt pyproject.toml | $(CUDA)/bin/python
	$(call install,$(CUDA)/bin/python,$<)
	touch $@

define install
$(1) -m pip install --quiet --disable-pip-version-check --no-compile -r $(2)
	$(1) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
endef

$(LITE)/.lite: requirements/lite.txt
	@test -n "$(PYTHON37)" || { echo "MindSpore Lite 2.0.0 needs Python 3.7, and none is here: run" \
	  "'pyenv install 3.7' (or: uv python install 3.7), or name one: make $@ PYTHON37=/path/to/python3.7"; exit 1; }
	$(PYTHON37) -m venv $(LITE)
	$(LITE)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r $<
	touch $@

$(FASHION_MNIST): package := dataset-fashion-mnist
$(PROMETHEUS): package := prometheus
$(FASHION_MNIST) $(PROMETHEUS):
	@if [ $$(id -u) != 0 ]; then echo "run: sudo apt-get install $(package)"; exit 1; fi
	apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive \
	  apt-get install --quiet=2 --yes --no-install-recommends $(package)
