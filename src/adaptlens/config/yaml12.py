"""YAML as people mean it: `no` is a text, `1e-3` a number, a key given twice an error.

PyYAML reads YAML 1.1, where `choices: [yes, no]` is [True, False] and `rate: 1e-3` is a text. The
loader here follows the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/, section 10.3.2).
"""

import functools
import re
from typing import Any

from adaptlens.config import yaml_bounds
from adaptlens.errors import UserError, one_line

Place = tuple[str | int, ...]
"""Where a value stands: the keys and list positions that lead to it."""

_MOST_DIGITS = 300


def read_yaml(text: str, source: str) -> tuple[Any, dict[Place, int]]:
    """Return the value a YAML text stands for, and the line (from 1) of every value in it.

    Args:
        text: one YAML document.
        source: what the text is called in errors.

    Raises:
        UserError: it is not YAML, gives a key twice, uses a tag, or is larger than any settings.
    """
    node = yaml_bounds.compose(text, _loader(), source)
    if node is None:
        return None, {}
    lines: dict[Place, int] = {}
    _survey(node, (), lines, source)
    return yaml_bounds.construct(node, text, _loader(), source), lines


def _survey(node: Any, place: Place, lines: dict[Place, int], source: str) -> None:
    """Note the line of every value; refuse repeated keys."""
    import yaml

    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None or name == "<<" or (*place, name) in lines:
                problem = "is not a plain name" if name in (None, "<<") else "is given twice"
                shown = one_line(name or "[...]", 60, 20)
                raise UserError(
                    f"{source}:{key.start_mark.line + 1}: the key '{shown}' {problem}; write every "
                    "key once, as a plain name."
                )
            _survey(value, (*place, name), lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _survey(item, (*place, i), lines, source)


@functools.cache
def _loader() -> Any:
    import yaml

    class Yaml12Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own interface)

    rules = {
        "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        "int": (r"[-+]?[0-9]+|0x[0-9a-fA-F]+", list("-+0123456789")),
        "float": (
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)"
            r"|\.(nan|NaN|NAN)",
            list("-+.0123456789"),
        ),
    }
    for name, (pattern, first) in rules.items():
        expression = re.compile(f"^(?:{pattern})$")
        Yaml12Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", expression, first)
    Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _integer)
    return Yaml12Loader


def _integer(loader: Any, node: Any) -> int:
    # PyYAML reads a leading zero as octal and a colon as base sixty; YAML 1.2 does not.
    text = loader.construct_scalar(node)
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of more than {_MOST_DIGITS} digits")
    return int(text, 16) if text.startswith("0x") else int(text)
