"""Long work says that it goes on, unless it is to be quiet."""

import time

import pytest

from adaptlens import telling


@pytest.mark.parametrize(("quiet", "said"), [(False, True), (True, False)])
def test_long_work_says_that_it_goes_on_unless_it_is_to_be_quiet(monkeypatch, caplog, quiet, said):
    monkeypatch.setattr(telling, "FIRST_SECONDS", 0.01)
    with telling.slow("reading", quiet=quiet):
        time.sleep(0.2)
    assert ("reading ... 0 s so far" in caplog.text) == said
