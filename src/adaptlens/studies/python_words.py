"""Messages that name options, in the words of a call from Python: `--input A,B` is `input='A,B'`.

What is below the command line and the calls makes each message once, in the command line's words;
whoever called from Python reads the names of keywords.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from adaptlens.config import described
from adaptlens.config.described import Setting
from adaptlens.config.fields import TaskSource
from adaptlens.config.schema import Schema
from adaptlens.errors import UserError

_COMMAND = re.compile(r"`[^`]*`")
"""A command to be run in a shell, which stays as it is."""
_FILE = re.compile(r" ?\(in --config [^)]*\)| in --config\b")
_SET = re.compile(r"--set (?:'([\w.]+)=([^']*)'|([\w.]+)(?:=([^\s,;:)]+))?)")
_OPTION = re.compile(
    r"(?<![\w-])--(no-)?([a-z][a-z-]*[a-z])"
    r"(?: ('[^']*'|[A-Za-z0-9{](?:[^\s;)]*[^\s;:).,])?)(?=[\s.,;:)]|$))?"
)


@contextmanager
def in_keywords(schema: Schema[Any]) -> Iterator[None]:
    """Have a `UserError` from the block name keywords where it names options.

    Args:
        schema: of the study, whose settings and those of its tasks are the keywords.
    """
    try:
        yield
    except UserError as error:
        said = str(error)
        if (told := with_keywords(said, keywords(schema))) == said:
            raise
        raise UserError(told) from error


def keywords(schema: Schema[Any]) -> dict[str, tuple[str, Setting | None]]:
    """Return the keyword that gives what an option does, and its setting, by the option's name."""
    settings = {path: one for path, one in schema.settings.items() if "." not in path}
    settings |= {
        name: Setting(name, hint, None, described.about(hint))
        for name, hint in described.keys_of(TaskSource).items()
        if name not in settings
    }
    found: dict[str, tuple[str, Setting | None]] = {"out": ("out", None)}
    for name, one in settings.items():
        given = one.about.option
        names = given if isinstance(given, tuple) else (f"--{name.replace('_', '-')}",)
        found |= {option.removeprefix("--"): (name, one) for option in names}
    for plural in ("models", "tasks"):
        if plural in settings:
            # A call has both: model= and task= take one or several.
            found[plural[:-1]] = (plural[:-1], settings[plural])
    return found


def with_keywords(message: str, known: Mapping[str, tuple[str, Setting | None]]) -> str:
    """Return a message with keywords in place of options, but for the commands in it.

    A value that stands beside an option is written as Python has it; options that no keyword
    stands for stay.
    """
    parts, start = [], 0
    for command in _COMMAND.finditer(message):
        parts += [_spoken(message[start : command.start()], known), command[0]]
        start = command.end()
    return "".join([*parts, _spoken(message[start:], known)])


def _spoken(text: str, known: Mapping[str, tuple[str, Setting | None]]) -> str:
    def option(found: re.Match[str]) -> str:
        off, name, value = found.groups()
        if name not in known:
            return found[0]
        keyword, setting = known[name]
        after = f" {value}" if value else ""
        if setting is not None and bool in described.shapes(setting.hint):
            return f"{keyword}={not off}{after}"
        if off:
            return found[0]
        if setting is not None and setting.about.whole and setting.is_free and value:
            return (
                f"{keyword}={_value(value, setting)}" if "=" in value else f"{keyword}[{value!r}]"
            )
        if value is None or not _is_value(value, setting):
            return f"{keyword}={after}"
        return f"{keyword}={_value(value, setting)}"

    def override(found: re.Match[str]) -> str:
        path, value = (found[1] or found[3]), (found[2] if found[1] else found[4])
        top, _, inner = path.partition(".")
        if value is None:
            return f"{top}=" if not inner else path
        _, setting = known.get(top.replace("_", "-"), ("", None))
        written = _value(value, None if inner else setting)
        return f"{top}={{'{inner}': {written}}}" if inner else f"{top}={written}"

    return _OPTION.sub(option, _SET.sub(override, _FILE.sub("", text)))


def _is_value(word: str, setting: Setting | None) -> bool:
    """Say whether what stands after an option is a value of it, and not how the sentence goes on.

    A word in small letters is one where it can be no word of a sentence, or where the setting says
    that it takes it.
    """
    if not word[0].islower() or set("=,") & set(word):
        return True
    if setting is None:
        return False
    return word in {*setting.choices, *re.split(r", | or ", setting.about.expected)}


def _value(text: str, setting: Setting | None) -> str:
    """Return a value as Python writes it."""
    text = text.strip("'")
    is_list = setting is not None and setting.is_list and not setting.about.whole
    if text.startswith("[") or (re.fullmatch(r"-?\d+(\.\d+)?", text) and not is_list):
        return text
    items = [one for one in text.split(",") if one]
    if setting is not None and setting.is_free and all("=" in one for one in items):
        pairs = (one.partition("=") for one in items)
        return f"{{{', '.join(f'{name!r}: {value!r}' for name, _, value in pairs)}}}"
    return f"[{', '.join(_value(one, None) for one in items)}]" if is_list else repr(text)
