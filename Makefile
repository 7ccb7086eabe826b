# `make` alone prints this help. Everything runs in its own environment, .venv, which `make install` makes.
PYTHON ?= python3
BIN := .venv/bin
PHOTO := docs/photo.jpg
OUT ?= runs/deepsim
DEEPSIM = $(BIN)/python bench/deepsim.py $(foreach folder,$(DATA),--data $(folder)) --held-out $(HELD_OUT) $(OPTIONS)
TRAINED = $(if $(TRAIN),-- $(TRAIN))
# What is trained and measured here does not depend on options of the user's.
export PERCEPT_NO_CONFIG := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-numerical test-slow lint bench bench-data bench-photographs bench-batches bench-upscalers bench-styles bench-style-curve bench-deepsim models models-check pictures gallery

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "make %-15s %s\n", $$1, $$2}'

install: .venv/installed  ## Install percept and its tools into .venv

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	$(BIN)/python -c 'import torchvision'
	touch $@

demo: install  ## Restyle a shipped photograph with a shipped model
	$(BIN)/percept stylize $(PHOTO) -m starry-night -o demo-starry-night.jpg --overwrite
	@echo "Look at demo-starry-night.jpg, then try: $(BIN)/percept stylize YOUR-PHOTO.jpg -m wave"

test: install  ## Run the fast tests (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4

test-numerical: install  ## Run the numerical tests as on a processor without AVX512, with two threads
	OMP_NUM_THREADS=2 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 \
		$(BIN)/python -m pytest -q -n auto --maxprocesses 2 -m 'numerical and not slow'

test-slow: install  ## Run the long tests
	$(BIN)/python -m pytest -q -m slow

lint: install  ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install  ## Measure: speed as ratios within one run, precision in gray levels
	$(BIN)/python bench/bench.py
	$(BIN)/python bench/contextual.py

bench-data: install  ## Measure what a million photographs cost a training, and crops a second from 2K: [OPTIONS=...]
	$(BIN)/python bench/data.py $(OPTIONS)

bench-batches: install  ## Pictures a second of the engine, of a plain loop and of one process a picture: [PHOTOS=folder] [OPTIONS=...]
	$(BIN)/python bench/batches.py $(PHOTOS) $(OPTIONS)

bench-upscalers: install  ## Time percept's upscalers and well-known others, and write docs/upscaling.md: [OPTIONS=...]
	$(BIN)/python bench/upscalers.py --write docs $(OPTIONS)

bench-styles: install  ## Measure how near styles come to their paintings: PHOTOS=folder VGG19=file [STYLES=folder] [HELD_OUT=folder] [OPTIONS=...]
	$(if $(and $(PHOTOS),$(VGG19)),,$(error Give photographs and weights: make bench-styles PHOTOS=photos/ VGG19=vgg19.safetensors))
	$(BIN)/python bench/styles.py $(PHOTOS) --vgg19 $(VGG19) $(if $(STYLES),--paintings $(STYLES)) \
		$(if $(HELD_OUT),--held-out $(HELD_OUT)) $(OPTIONS)

bench-style-curve: install  ## Draw style against seconds of optimization: PHOTO=file STYLE=file VGG19=file
	$(if $(and $(STYLE),$(VGG19)),,$(error Give a painting and weights: make bench-style-curve STYLE=painting.jpg VGG19=vgg19.safetensors))
	$(BIN)/python bench/style_curve.py $(PHOTO) --style $(STYLE) --vgg19 $(VGG19) --write docs $(OPTIONS)

bench-deepsim: install  ## Repeat DeePSiM's experiment: DATA=photos/ HELD_OUT=others/ [SQUEEZENET=file] [JUDGE=vgg19=file]
	$(if $(and $(DATA),$(HELD_OUT)),,$(error Give folders of photographs: make bench-deepsim DATA=photos/ HELD_OUT=others/))
	$(DEEPSIM) --out $(OUT)/compact $(if $(JUDGE)$(SQUEEZENET),--judge $(or $(JUDGE),squeezenet1_0=$(SQUEEZENET))) $(TRAINED)
	$(if $(SQUEEZENET),$(DEEPSIM) --out $(OUT)/squeezenet1_0 --extractor squeezenet1_0 \
		--extractor-weights $(SQUEEZENET) --ablate none $(if $(JUDGE),--judge $(JUDGE)) $(TRAINED))

models: install  ## Train the shipped upscalers anew, what is missing: DATA=photos/ [FILES=VGG19=file] [EVAL=sets/] [ONLY=name]
	$(if $(DATA),,$(error Give the folder of the folders of photographs: make models DATA=photos/))
	$(BIN)/python bench/build_models.py $(FILES) --data $(DATA) $(if $(EVAL),--eval $(EVAL)) $(if $(ONLY),--only $(ONLY)) $(TRAINED)

bench-photographs: install  ## Enlarge JPEGs by every shipped network: HR="SET5/x4/HR BSD100/x4/HR KODAK24" [VGG19=file] [OPTIONS=...]
	$(if $(HR),,$(error Give folders of photographs: make bench-photographs HR=photos/))
	$(BIN)/python bench/photographs.py $(HR) $(if $(VGG19),--vgg19 $(VGG19)) $(OPTIONS)

models-check: install  ## Check the shipped models, the manifest and the recipes; measure the upscalers again: [EVAL=sets/]
	$(BIN)/python bench/check_models.py $(if $(EVAL),--eval $(EVAL))

pictures: install  ## Make the pictures of README and docs anew: [KODAK24=folder]
	$(BIN)/python bench/pictures.py $(PHOTO) docs/styles.jpg
	$(BIN)/python bench/sheets.py docs $(if $(KODAK24),--kodak $(KODAK24))

gallery: install  ## Make the pictures of docs/gallery.md anew, by its own commands
	$(BIN)/python bench/gallery.py docs/gallery.md
