"""Why a study has more cells than it began with."""

from adaptlens.formatting import counted


def grown(first: int, total: int, done: int) -> str:
    """Return why a study has more cells than it began with: which, only its results can say.

    Args:
        first: how many it began with, all of which are done.
        total: how many there are now.
        done: of these.
    """
    more = total - first
    said = f"{counted(more, 'more cell')} ({total} in all), to test what the first {first} found"
    before = done - first
    return f"{said}; {before} were done before" if before > 0 else said
