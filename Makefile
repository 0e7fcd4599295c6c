# Two commands: `make book` and `make test`. Each sets up .venv first if need be; both are quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DATASET ?= faces
COURSE := course_1_shapley_values course_2_masking course_3_divide course_4_owen course_5_published \
	course_6_how_close course_7_photo course_8_pitfalls
EXPERIMENTS := data_card leakage accuracy ablation emotion_maps regions explainers linear landmarks

FACES := $(addprefix faces/,$(EXPERIMENTS) $(COURSE))

.PHONY: $(FACES) help book test runs course check-fresh refresh browse soak audit load bench lint figures pretrained gpu status clean
.DEFAULT_GOAL := help

help:
	@echo "make book     set up, run the notebooks on the embedded faces, build the book"
	@echo "make test     set up, run the tests"
	@echo "make runs DATASET=fer2013   run every experiment notebook on one dataset"
	@echo "make bench    time DnCShap beside other explainers: benchmarks/results/explainers.md and .json"
	@echo "make lint     check style (notebooks are formatted to the width of a page);  make status  list runs and whether they are fresh"
	@echo "make check-fresh  fail if a committed run is stale, and say which and what it takes;  make refresh  renew what is stale"
	@echo "make course   run the course's chapters;  make browse  open every page of the built book in a browser and check it"
	@echo "make soak     the long fault and fuzzing tests;  make audit  look for known faults of the installed packages;  make load  10,000 records, 1,000 jobs, 50,000 images"
	@echo "make pretrained  train the network that comes with the package (FER2013, an hour on two cores) and write its model card"
	@echo "make gpu DATA=folder OUT=folder BUDGET=seconds   the paper's width on a GPU; see the book's page 'Full scale'"
	@echo "make figures  draw the book's committed figures again;  make clean  remove what make book built"

$(INSTALLED): pyproject.toml notebooks/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fercore needs Python 3.11 or newer; choose one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "Making $(VENV) failed; on Debian and Ubuntu, install python3-venv."; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e . -e "notebooks[book,test]"
	@touch $@

runs: $(INSTALLED)
	@set -e; for experiment in $(EXPERIMENTS); do \
		$(BIN)/python -m ferlab run $$experiment --dataset $(DATASET); done

course: $(INSTALLED)
	@set -e; for chapter in $(COURSE); do $(BIN)/python -m ferlab run $$chapter; done

# Pages on the embedded faces, those that are fresh left as they are. One of them trains the network that others explain.
$(FACES): $(INSTALLED)
	@$(BIN)/python -m ferlab run $(notdir $@) --dataset faces
$(addprefix faces/,emotion_maps regions explainers linear): faces/accuracy
faces/course_6_how_close: faces/linear

# Sphinx warns of a page only when it reads it: forget what a failed strict build has read.
book: $(INSTALLED)
	@$(MAKE) --no-print-directory -j2 $(FACES)
	@$(BIN)/jupyter-book build . -W -n --keep-going || { rm -rf _build/.doctrees; exit 1; }
	@echo "The book: $(CURDIR)/_build/html/index.html"

test: $(INSTALLED)
	@$(BIN)/python -m pytest

browse: $(INSTALLED)
	@$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e . -e "notebooks[browser]"
	@$(BIN)/python -m pytest tests/browser

bench: $(INSTALLED)
	@$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e . -e notebooks
	@$(BIN)/python benchmarks/explainers.py $(BENCH)

lint: $(INSTALLED)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . --exclude notebooks \
		&& $(BIN)/ruff format --check --line-length 84 notebooks/*.py && $(BIN)/lint-imports

figures: $(INSTALLED)
	@$(BIN)/python book/figures.py

pretrained: $(INSTALLED)
	@$(BIN)/python -m ferlab.studies.shipping

# Needs no .venv: the machine with the GPU has its own Python with torch.
BUDGET ?= 760
gpu:
	@$(PYTHON) workflow/full_scale run --data "$(DATA)" --out "$(OUT)" --budget $(BUDGET)

SEED ?= 0
soak: $(INSTALLED)
	@OMP_NUM_THREADS=1 FERCORE_SOAK=1 FERCORE_SOAK_SEED=$(SEED) $(BIN)/python -m pytest tests/test_faults.py tests/test_fuzz.py --hypothesis-seed=$(SEED)

audit: $(INSTALLED)
	@$(BIN)/python -c "import pip_audit" 2>/dev/null || $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e . -e "notebooks[audit]" || true
	@$(BIN)/python .ci/audit.py $(AUDIT)

load: $(INSTALLED)
	@$(BIN)/python benchmarks/load.py $(LOAD)

check-fresh: $(INSTALLED)
	@$(BIN)/python -m ferlab refresh --committed

refresh: $(INSTALLED)
	@$(BIN)/python -m ferlab refresh --run $(REFRESH)

status: $(INSTALLED)
	@$(BIN)/python -m ferlab status

clean:
	rm -rf _build
	@git clean -fdXq book/runs results  # what is committed stays
