"""Settings of the suite: properties are checked without a clock, on any machine, offline."""

import os

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")
