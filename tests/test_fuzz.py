"""Of damaged inputs nothing comes out but the package's own error, on one short line."""

import pytest

from fuzz import MODEL_PARSERS, PARSERS, faults

FEW = {"parquet": 3, "template": 25, "yaml task": 40}


@pytest.mark.parametrize("name", PARSERS)
def test_damaged_inputs_are_read_or_refused_in_one_line(tmp_path, name):
    assert faults(name, PARSERS[name], FEW.get(name, 60), tmp_path, seed=1) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PARSERS, *MODEL_PARSERS])
def test_20_000_damaged_inputs_are_read_or_refused_in_one_line(tmp_path, name):
    parser = {**PARSERS, **MODEL_PARSERS}[name]
    assert faults(name, parser, parser.share, tmp_path) == []


def test_the_shares_make_20_000_inputs():
    assert sum(p.share for p in (*PARSERS.values(), *MODEL_PARSERS.values())) == 20_000
