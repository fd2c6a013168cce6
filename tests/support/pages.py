"""A page taken apart, and what holds of every page."""

import itertools
import re
from html.parser import HTMLParser

import pandas as pd

VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """The elements of a page as (tag, attributes), and the text of each tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def tagged(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    def sections(self) -> list[str]:
        return [attributes["id"] for attributes in self.tagged("section")]


BARE = {
    "title": "t", "claims": [], "tables": {}, "prompts": [], "settings": {}, "versions": {},
    "cells": pd.DataFrame(),
}  # fmt: skip
"""The parts of a study's report that shows nothing."""


def check_elements(page: Page) -> None:
    """Every element is closed and every id is used once."""
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert page.open == []
    assert len(ids) == len(set(ids))


def check_links(page: Page) -> list[str]:
    """Every link within the page leads somewhere; return where they lead."""
    ids = {attributes.get("id") for _, attributes in page.elements}
    links = [a["href"][1:] for a in page.tagged("a") if a["href"].startswith("#")]
    assert set(links) <= ids
    return links


def check_loads_nothing(page: Page) -> None:
    """The page names nothing to load, and no element has a script of its own."""
    assert not [a for _, a in page.elements if "src" in a or "srcset" in a]
    assert [a["href"] for a in page.tagged("link")] == ["data:,"]
    assert not [name for _, a in page.elements for name in a if name.startswith("on")]


def check_headings(page: Page) -> None:
    """Headings go down one level at a time, from one at the top."""
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def check_pictures(page: Page, count: int) -> None:
    """Every table and each of `count` pictures says what it is."""
    assert len(page.tagged("caption")) == len(page.tagged("table"))
    pictures = [a for a in page.tagged("svg") if a.get("role") == "img"]
    assert len(pictures) == count
    assert all(a["aria-label"] for a in pictures)
