"""A real browser for the pages, and how tests look at what it shows."""

import os
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

if not os.path.exists(CHROMIUM):
    if os.environ.get("CI"):
        raise RuntimeError("the browser test needs chromium: apt-get install chromium")
    pytest.skip("needs chromium: apt-get install chromium", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra 'test'")


def column(page, table: str, index: int) -> list[str]:
    return page.locator(f"{table} tbody tr td:nth-child({index})").all_inner_texts()


def ground(page) -> int:
    """How light the page is, from 0 to 765."""
    text = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(number) for number in text.removeprefix("rgb(").removesuffix(")").split(","))


def inks(visit, marks: str, part: str = "fill") -> list[str]:
    """Return the color of the first of some marks, on light paper and on dark."""
    found = []
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme)
        assert (ground(page) > 700) == (scheme == "light")
        first = page.locator(marks).first
        found.append(first.evaluate(f"mark => getComputedStyle(mark).{part}"))
    return found


def unfold(page) -> None:
    """Open everything that is folded."""
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")


def page_width(page) -> int:
    return page.evaluate("document.documentElement.scrollWidth")


def rightmost_figure_edge(page) -> float:
    return max(
        page.eval_on_selector_all(
            "figure svg", "all => all.map(one => one.getBoundingClientRect().right)"
        )
    )


def leads_to_its_target(page, link) -> bool:
    """Click a link within the page; whether the page then stands at its target, which is seen."""
    target = link.get_attribute("href")
    link.click()
    arrived = page.evaluate("location.hash") == target
    return arrived and page.locator(f'[id="{target[1:]}"]').is_visible()


SCREEN = 800
"""Pixels of a desk's screen, below what is around the page."""


def num_screens(visit) -> float:
    """Return how many screens of a desk a page takes as it opens."""
    page = visit(width=1280, height=SCREEN)
    return page.evaluate("document.documentElement.scrollHeight") / SCREEN
