"""YAML documents with bounds on what they may grow to, read by any of PyYAML's safe loaders.

A few hundred bytes of aliases stand for billions of values, a mapping may contain itself, and deep
nesting overflows the stack of every program that walks it. All three are found in the stream of
events, before anything is built.
"""

from typing import Any

from adaptlens.errors import UserError, one_line

MAX_VALUES = 10_000
MAX_DEPTH = 20


def compose(
    text: str, loader: Any, source: str, *, max_values: int = MAX_VALUES, max_depth: int = MAX_DEPTH
) -> Any:
    """Return the node of a text's one document (None where it is empty), checked for size.

    Args:
        text: YAML.
        loader: a class derived from PyYAML's SafeLoader.
        source: what the text is called in errors.
        max_values: keys and values, with those that aliases stand for counted every time.
        max_depth: levels of lists and mappings.

    Raises:
        UserError: it is not YAML, holds more than one document, or exceeds a bound.
    """
    return _guarded(lambda: _composed(text, loader, source, max_values, max_depth), text, source)


def construct(node: Any, text: str, loader: Any, source: str) -> Any:
    """Return the value of a node that `compose` returned.

    Raises:
        UserError: a value is not what its tag says, or has a tag that the loader does not know.
    """

    def build() -> Any:
        made = loader("")
        try:
            return made.construct_document(node)
        finally:
            made.dispose()

    return _guarded(build, text, source)


def load(text: str, loader: Any, source: str, **bounds: int) -> Any:
    """Return the value of a text's one document; None where it is empty. See `compose`."""
    node = compose(text, loader, source, **bounds)
    return None if node is None else construct(node, text, loader, source)


def _composed(text: str, loader: Any, source: str, max_values: int, max_depth: int) -> Any:
    _check(loader(text), source, max_values, max_depth)
    made = loader(text)
    try:
        return made.get_single_node()
    finally:
        made.dispose()


def _check(events: Any, source: str, max_values: int, max_depth: int) -> None:
    """Count what the events of a document stand for."""
    import yaml

    sizes: dict[str, int] = {}
    open_anchors: list[tuple[str | None, int]] = []
    total = 0
    while events.check_event():
        event = events.get_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                anchor = one_line(str(event.anchor), 40)
                raise UserError(
                    f"{source}:{line}: the alias *{anchor} stands for what it is part of, or for "
                    "nothing; expected plain values; write them out."
                )
            total += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            total += 1
            open_anchors.append((event.anchor, total))
            if event.anchor:
                sizes.pop(event.anchor, None)
        elif isinstance(event, yaml.CollectionEndEvent):
            started, before = open_anchors.pop()
            if started:
                sizes[started] = total - before + 1
        if total > max_values or len(open_anchors) > max_depth:
            raise UserError(
                f"{source}: holds more than {max_values} values or {max_depth} levels; expected "
                "the settings of a study or a task; check that this is the right file."
            )


def _guarded(read: Any, text: str, source: str) -> Any:
    """Return what `read` returns; turn what PyYAML raises into an error of one line."""
    import yaml

    try:
        return read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f"{source}:{mark.line + 1}" if mark is not None and "\n" in text else source
        problem = one_line(str(error.problem or error.context or "unreadable"), 160, 40)
        raise UserError(
            f"{at}: not valid YAML ({problem}); expected plain YAML; correct it."
        ) from None
    except (
        yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError,
        RecursionError,
    ) as error:  # fmt: skip
        lines = str(error).splitlines() or [type(error).__name__]
        reason = one_line(lines[0], 160, 40)
        raise UserError(
            f"{source}: not valid YAML ({reason}); expected plain YAML; correct it."
        ) from None
