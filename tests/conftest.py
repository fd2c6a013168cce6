"""Settings of the suite, and a browser for the pages.

Properties are checked without a clock, on any machine, offline.
"""

import os

import pytest
from hypothesis import settings
from jaxtyping import config

from left_out import LeftOut, OfWorkers
from typing_checks import another_test, watch

TYPED = ("adaptlens.circuits", "adaptlens.metrics", "adaptlens.stats")
"""Rooms whose annotations, shapes among them, are checked in every call."""
SHAPED = ("adaptlens.adapt", "adaptlens.lm", "adaptlens.measure")
"""Rooms of which shapes alone are."""

watch(TYPED, SHAPED)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
pytest.register_assert_rewrite("browsing", "pages")
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


def pytest_configure(config):
    left_out = LeftOut()
    config.pluginmanager.register(left_out)
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(OfWorkers(left_out))


def pytest_collection_modifyitems(items):
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


def pytest_runtest_setup():
    another_test()


@pytest.fixture(scope="session", autouse=True)
def kept_paces(tmp_path_factory):
    """How fast models were found to be is kept for this suite alone."""
    from adaptlens.engines import kept_throughput

    folder = tmp_path_factory.mktemp("throughputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_throughput, "cache", lambda: folder)
        yield


@pytest.fixture
def unchecked():
    """Annotations are not checked, as for a user: what does not fit meets the code's own errors."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def browser():
    from browsing import CHROMIUM, FLAGS, sync_api

    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def motion() -> str:
    """What a visitor prefers; a module may say "no-preference"."""
    return "reduce"


@pytest.fixture
def visit(browser, address, motion):
    """Open the page; whatever it says on the console or asks the network for fails the test.

    `address` is the module's own fixture.
    """
    contexts, said, asked = [], [], []

    def opened(width=1280, height=900, **settings):
        context = browser.new_context(
            viewport={"width": width, "height": height}, reduced_motion=motion, **settings
        )
        context.set_default_timeout(120_000)  # a busy machine is not a failure
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


@pytest.fixture
def unfolded(visit):
    """Open the page with everything on it that can be folded unfolded."""
    from browsing import unfold

    def opened(**settings):
        page = visit(**settings)
        unfold(page)
        return page

    return opened


@pytest.fixture
def without_script(browser, address):
    """The page with JavaScript switched off."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()
