"""A result in few lines and as a piece of HTML: its bounds, and that nothing in it acts."""

from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.report.images import Wanted
from adaptlens.report.in_short import MOST_LINES, MOST_ROWS, WIDTH, as_html, as_text
from adaptlens.report.summary import Finding

PAGE = Path("runs/a/report.html")
SCRIPT = "</p><script>alert(1)</script><img src=x onerror=alert(1)>"
TEXT = st.text(max_size=300)


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


@given(st.lists(st.builds(Finding, TEXT, TEXT, TEXT), max_size=30), st.lists(TEXT, max_size=5))
def test_it_is_at_most_ten_lines_that_end_with_the_page(findings, details):
    lines = as_text(findings, details, PAGE).split("\n")
    assert len(lines) <= MOST_LINES == 10
    assert max(map(len, lines)) <= WIDTH
    assert lines[-1] == "page: runs/a/report.html"


def test_findings_without_room_are_counted_by_their_states():
    findings = [
        Finding(f"claim {i}", "not decided" if i % 3 else "supported", "") for i in range(20)
    ]
    lines = as_text(findings, ["left out"], PAGE).split("\n")
    assert lines[:2] == ["claim 0: supported", "claim 1: not decided"]
    assert lines[-2] == "and 12 more: 8 not decided, 4 supported"


def test_what_follows_the_findings_is_broken_between_words_and_cut():
    text = as_text([Finding("a, b", "tune", "; it is better")], ["word " * 300], PAGE)
    lines = text.split("\n")
    assert lines[0] == "a, b: tune; it is better"
    assert len(lines) == 10
    assert {*" ".join(lines[1:-1]).split()} == {"word", "..."}


def test_no_text_from_data_becomes_markup():
    table = pd.DataFrame({SCRIPT: [SCRIPT]})
    html = as_html([Finding(SCRIPT, SCRIPT, SCRIPT)], [SCRIPT], [], table, Path(SCRIPT))
    tags = [tag for tag, _ in Tags(html).seen]
    assert {*tags} == {"div", "p", "b", "table", "tr", "th", "td", "code"}
    assert html.count("alert(1)") == 2 * 7


def test_the_first_figure_that_was_drawn_is_shown_with_its_caption(tmp_path: Path):
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><g id="a" fill="url(#b)"/></svg>'
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "second.svg").write_text(svg, encoding="utf-8")
    (tmp_path / "figures" / "third.svg").write_text("broken", encoding="utf-8")
    figures = [Wanted(name, f"The {name} <b>.", lambda: None) for name in ("first", "second")]
    page = tmp_path / "report.html"
    tags = Tags(as_html([], [], figures, pd.DataFrame(), page)).seen
    (drawn,) = (attributes for tag, attributes in tags if tag == "svg")
    assert drawn["aria-label"] == "The second <b>."
    (mark,) = (attributes for tag, attributes in tags if tag == "g")
    assert mark["id"].startswith("adaptlens-")
    assert mark["fill"] == f"url(#{mark['id'][:-1]}b)"

    other = Tags(as_html([], [], figures, pd.DataFrame(), tmp_path / "other.html")).seen
    assert dict(other)["g"]["id"] != mark["id"]
    third = [Wanted("third", "Broken.", lambda: None)]
    assert "svg" not in dict(Tags(as_html([], [], third, pd.DataFrame(), page)).seen)


def test_long_tables_and_lists_say_what_is_left_out():
    findings = [Finding(f"claim {i}", "supported", "") for i in range(MOST_ROWS + 2)]
    table = pd.DataFrame({"arm": range(MOST_ROWS + 1)})
    html = as_html(findings, [], [], table, PAGE)
    assert "2 more findings on the page." in html
    assert "1 more row in the table itself." in html
    assert [tag for tag, _ in Tags(html).seen].count("td") == MOST_ROWS


def test_long_words_leave_room_for_the_numbers():
    words = " ".join(["word"] * 400)
    lines = as_text([Finding("m, t", "tune", ": yes")], [words, "scores: a 1; b 2"], Path("p"))
    assert lines.splitlines()[-2].strip() == "scores: a 1; b 2"
    assert lines.splitlines()[-3].endswith("...")
