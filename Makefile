# `make demo` and `make test` need nothing but Python 3.11 and this folder.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
# pip would compile what it installs on one core, and leave an editable install to the first run; where Python may not write, every run
# would compile dlc again. (One file of torch is for newer versions of Python.)
BYTECODE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib dlc backends || true

.PHONY: demo test tests fast properties lint golden clean

# Compile LeNet-5, train it on real digits, and show that the trained network computes the same on all four backends.
demo: $(VENV)/.demo
	rm -rf runs/demo
	$(BIN)/dlc summary specs/vision/lenet5.dl
	$(BIN)/dlc compile specs/vision/lenet5.dl --backend torch --output runs/demo/source
	$(BIN)/dlc train specs/vision/lenet5.dl:digits --backend torch --out runs/demo/training
	$(BIN)/dlc verify specs/vision/lenet5.dl --weights runs/demo/training/net.safetensors --dims B=64

# Side by side: mypy has one core to itself otherwise, and the other nothing to do.
test: $(VENV)/.dev
	$(MAKE) --no-print-directory --jobs 2 lint tests

tests: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Without the tests that take more than a few seconds.
fast: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# Twenty times as many examples of every property, from a random seed that the last line names.
properties: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 -m "hypothesis or draws" --properties 20

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Rewrite what tests compare with; read the difference before committing it.
golden: $(VENV)/.dev
	$(BIN)/python -m pytest -q -k "golden or errors" --update-golden

clean:
	rm -rf $(VENV) runs build dist

# torch goes first, so that nothing else pulls another build of it.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(PIP) --editable ".[all]"
	$(BYTECODE)
	@touch $@

# torchvision and timm have no CPU build; their Python parts are the references of some tests.
$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(PIP) --editable ".[dev]"
	$(PIP) --no-deps torchvision==0.28.0
	$(BYTECODE)
	@touch $@
