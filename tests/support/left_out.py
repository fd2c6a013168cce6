"""What a run of the suite leaves out is said at its end, by its marker and how to run it."""

from collections import Counter

HOW = {"real": "make test-real", "slow": "make test-slow"}
"""Marker of tests that are left out by default, and what runs them."""


class LeftOut:
    """Counts deselected tests, those of xdist's workers too."""

    def __init__(self):
        self.counts = Counter()

    def pytest_deselected(self, items):
        self.counts.update(name for item in items for name in HOW if item.get_closest_marker(name))

    def pytest_sessionfinish(self, session):
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["left_out"] = dict(self.counts)

    def pytest_terminal_summary(self, terminalreporter):
        for name, count in sorted(self.counts.items()):
            terminalreporter.write_line(f"left out: {count} marked {name} ({HOW[name]})")


class OfWorkers:
    """Gathers what xdist's workers left out; all of them collect the same."""

    def __init__(self, left_out):
        self.left_out = left_out

    def pytest_testnodedown(self, node):
        found = (getattr(node, "workeroutput", None) or {}).get("left_out", {})
        self.left_out.counts |= Counter(found)
