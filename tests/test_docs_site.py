"""Pages that a forge and the site read alike."""

from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from site_hooks import linked

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FORGE = "https://forge.example/a/b"


@pytest.mark.parametrize(
    ("page", "before", "after"),
    [
        ("a.md", "[r](../README.md#the-tree)", f"[r]({FORGE}/blob/main/README.md#the-tree)"),
        ("a.md", "[e](../examples)", f"[e]({FORGE}/tree/main/examples)"),
        ("a.md", "[n](../examples/reviews.tsv)", "[n](examples/reviews.tsv)"),
        ("decisions/a.md", "[n](../../examples/reviews.tsv)", "[n](../examples/reviews.tsv)"),
        ("decisions/a.md", "[m](../methods.md#x)", "[m](../methods.md#x)"),
        (
            "a.md",
            "[m](methods.md) [o](https://o.example)",
            "[m](methods.md) [o](https://o.example)",
        ),
    ],
)
def test_a_link_that_leaves_the_docs_leads_to_the_repository_or_to_a_copy(page, before, after):
    assert linked(before, page, FORGE) == after


def test_a_link_to_what_is_not_there_is_an_error():
    with pytest.raises(FileNotFoundError, match=r"there is no \.\./nothing\.md"):
        linked("[n](../nothing.md)", "a.md", FORGE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_list_and_a_table_begin_after_an_empty_line(page: Path):
    """CommonMark lets them interrupt a paragraph, the site's reader does not."""
    lines = page.read_text("utf-8").splitlines()
    starts = [
        token.map[0]
        for token in MarkdownIt("commonmark").enable("table").parse("\n".join(lines))
        if token.type in ("bullet_list_open", "ordered_list_open", "table_open") and token.map
    ]
    assert [lines[at] for at in starts if at and lines[at - 1].strip()] == []


def test_every_page_is_in_the_navigation_once():
    class Loader(yaml.SafeLoader):
        """Leaves out what names a Python object."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    nav = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader)["nav"]

    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        values = entry if isinstance(entry, list) else entry.values()
        return [page for value in values for page in pages(value)]

    assert sorted(pages(nav)) == sorted(p.relative_to(ROOT / "docs").as_posix() for p in PAGES)
