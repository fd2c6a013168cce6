"""Work that takes long says so on standard error, and how long it took."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

FIRST_SECONDS = 2.0
"""After so long the first word is said."""
NEXT_SECONDS = 10.0

_log = logging.getLogger(__name__)


@contextmanager
def slow(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Say what the block does once it takes long, and again now and then until it ends.

    Args:
        what: as in "reading task 'reviews'".
        quiet: say nothing.
    """
    if quiet:
        yield
        return
    ended = threading.Event()
    start = time.monotonic()

    def tell() -> None:
        pause = FIRST_SECONDS
        while not ended.wait(pause):
            _log.warning("%s ... %.0f s so far", what, time.monotonic() - start)
            pause = NEXT_SECONDS

    thread = threading.Thread(target=tell, name="telling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
