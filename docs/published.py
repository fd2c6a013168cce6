"""Which commands the documentation publishes: README, docs, docstrings, and the Makefile's recipes.

A command is a line of a fenced block, inline code, or a line of a docstring that begins with one of
`STARTS`; a Python block is code. Nothing has to be registered to be found.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

STARTS = re.compile(r"(adaptlens\s|python benchmarks/\w|benchmarks/\w+\.py|make\s+[a-z])")
SHELL = ("", "sh", "bash", "shell", "console")
_FENCE = re.compile(r"^\s*```(\S*)")
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_NAMED = re.compile(r"^#\s*(\S+);\s*(.+)$")


@dataclass(frozen=True)
class Command:
    """A command as it is published.

    Attributes:
        text: on one line, without its comment.
        where: the first file and line that has it.
        files: names of files that stand beside it, to their content.
    """

    text: str
    where: str
    files: dict[str, str] = field(default_factory=dict, hash=False, compare=False)


@dataclass(frozen=True)
class Code:
    """A block of Python as it is published."""

    text: str
    where: str


def published(root: Path) -> tuple[list[Command], list[Code]]:
    """Return every command and every Python block, each once, in the order of files and lines."""
    commands: dict[str, Command] = {}
    blocks: list[Code] = []
    for found in _all(root):
        if isinstance(found, Code):
            blocks.append(found)
        else:
            commands.setdefault(found.text, found)
    return list(commands.values()), blocks


def _all(root: Path) -> Iterator[Command | Code]:
    for path in (*sorted(root.glob("*.md")), *sorted(root.glob("docs/**/*.md"))):
        yield from in_markdown(path.read_text(encoding="utf-8"), str(path.relative_to(root)))
    for folder in ("src", "benchmarks"):
        for path in sorted(root.glob(f"{folder}/**/*.py")):
            source = path.read_text(encoding="utf-8")
            yield from in_docstrings(source, str(path.relative_to(root)))
    yield from in_makefile((root / "Makefile").read_text(encoding="utf-8"), "Makefile")


def in_markdown(text: str, name: str) -> Iterator[Command | Code]:
    """Yield what a Markdown file publishes."""
    prose: list[str] = []
    block: list[str] | None = None
    language, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if block is None and fence:
            block, language, start = [], fence[1], number
        elif block is not None and line.strip() == "```":
            yield from _of_block(block, language, f"{name}:{start}")
            block = None
        elif block is not None:
            block.append(line)
        # Prose keeps its line numbers.
        prose.append("" if fence or block is not None else line)
    yield from _inline("\n".join(prose), name, 1)


def _of_block(lines: list[str], language: str, where: str) -> Iterator[Command | Code]:
    if language == "python":
        yield Code("\n".join(lines), where)
    elif language in SHELL:
        yield from (Command(text, where) for text in _shell(lines))
    elif language in ("yaml", "yml") and lines and (named := _NAMED.match(lines[0])):
        yield Command(named[2].strip(), where, {named[1]: "\n".join(lines) + "\n"})


def _shell(lines: Iterable[str]) -> Iterator[str]:
    """Yield the commands of shell lines; a line that ends in a backslash goes on."""
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        text = line.strip().removeprefix("$ ")
        if STARTS.match(text):
            yield _tidy(text)


def _inline(text: str, name: str, first: int) -> Iterator[Command]:
    for found in _INLINE.finditer(text):
        if STARTS.match(found[1]):
            line = first + text.count("\n", 0, found.start())
            yield Command(_tidy(found[1]), f"{name}:{line}")


def _tidy(text: str) -> str:
    """Return a command on one line, spaces single, without a comment; of make, its target."""
    words = re.sub(r"(^|\s)#.*$", "", text, flags=re.M).split()
    return " ".join(words[:2] if words[0] == "make" else words)


def in_docstrings(source: str, name: str) -> Iterator[Command]:
    """Yield what the docstrings of a Python file publish."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, kinds) or not (text := ast.get_docstring(node, clean=True)):
            continue
        first = node.body[0].lineno
        yield from _inline(text, name, first)
        lines = text.splitlines()
        for number, line in enumerate(lines):
            command = line.strip().rpartition("Start with: ")[2]
            # Prose that is broken before such a word is not indented.
            if not STARTS.match(command) or command == line:
                continue
            indent = len(line) - len(line.lstrip())
            for more in lines[number + 1 :]:
                if not more.strip() or len(more) - len(more.lstrip()) <= indent:
                    break
                command += " " + more.strip()
            yield Command(_tidy(command), f"{name}:{first + number}")


def in_makefile(text: str, name: str) -> Iterator[Command]:
    """Yield the commands of `adaptlens` that recipes run."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if found := re.match(r"\t\$\(BIN\)/(adaptlens .*)", line):
            yield Command(_tidy(found[1]), name)
