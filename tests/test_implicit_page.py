"""The page of the study of implicit patterns is whole, safe, and says what the tables say."""

import pytest

from adaptlens import report
from implicit_samples import sample
from test_report import Page


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    path = tmp_path_factory.mktemp("run") / "report.html"
    report.write_implicit(sample(("expression", "code")), path, formats=["svg"])
    return Page(path.read_text("utf-8"))


def test_every_element_is_closed_and_every_id_is_used_once(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert page.open == []
    assert len(ids) == len(set(ids))
