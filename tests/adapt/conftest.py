"""What tests of adapting begin with: a small model of random weights, and a task."""

from typing import Any

import pytest

import tiny
from adaptlens import tasks
from adaptlens.types import Task


@pytest.fixture(scope="module")
def lm() -> Any:
    return tiny.tiny_lm("llama")


@pytest.fixture(scope="module")
def task() -> Task:
    return tasks.load("sentiment-novel", seed=0)
