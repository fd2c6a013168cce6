"""What `make docs` does to a page beyond Markdown, so that one text serves a forge and the site.

Links that leave `docs/` lead to the repository's address, the files of `examples/` come along; a
comment `<!-- ::: NAME -->` becomes the reference of that name, made of its docstring; formulas, as
GitHub writes them, become MathML, which needs no script.
"""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(\]\()((?:\.\./)+[^)#\s]*)(#[^)\s]*)?(?=\))")
_BLOCK = re.compile(r"^```math\n(.*?)\n```$", re.M | re.S)
_INLINE = re.compile(r"\$`([^`]+)`\$")
_REFERENCE = re.compile(r"^<!-- (::: \S+) -->$", re.M)


def on_files(files: Any, config: Any) -> Any:
    """Add the files of `examples/`, to be opened or saved from the site."""
    from mkdocs.structure.files import File

    for path in sorted((ROOT / "examples").glob("*.*")):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(text: str, page: Any, config: Any, **_: Any) -> str:
    """Return a page's text as MkDocs is to read it."""
    from latex2mathml.converter import convert
    from mkdocs.exceptions import PluginError

    try:
        text = linked(text, page.file.src_uri, config.extra["repository"])
    except FileNotFoundError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from error
    text = _BLOCK.sub(
        lambda found: f'<div class="formula">{convert(found[1], display="block")}</div>', text
    )
    text = _INLINE.sub(lambda found: convert(found[1]), text)
    return _REFERENCE.sub(r"\1\n", text)


def linked(text: str, page: str, repository: str) -> str:
    """Return a page's text with those links changed that leave `docs/`.

    Args:
        text: the page.
        page: its path below `docs/`.
        repository: the address of the repository.

    Raises:
        FileNotFoundError: a link leads to what the repository does not have.
    """
    folder = (ROOT / "docs" / page).parent

    def leading(link: re.Match[str]) -> str:
        path = (folder / link[2]).resolve()
        if not path.exists():
            raise FileNotFoundError(f"there is no {link[2]}")
        name = path.relative_to(ROOT).as_posix()
        if name.startswith("docs/"):
            return link[0]
        if name.startswith("examples/") and path.is_file():
            return f"{link[1]}{'../' * page.count('/')}{name}"
        kind = "tree" if path.is_dir() else "blob"
        return f"{link[1]}{repository}/{kind}/main/{name}{link[3] or ''}"

    return _LINK.sub(leading, text)
