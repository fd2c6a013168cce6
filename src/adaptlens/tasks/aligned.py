"""Two line-aligned files, one sentence a line: a translation task."""

from dataclasses import replace
from pathlib import Path

from adaptlens.errors import UserError
from adaptlens.tasks.assembly import Settings, assemble
from adaptlens.tasks.items import Item, as_text
from adaptlens.tasks.table import some
from adaptlens.tasks.unpacking import read_text
from adaptlens.types import Task

LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech",
    "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish", "fr": "French",
    "ga": "Irish", "ha": "Hausa", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian",
    "hu": "Hungarian", "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "nl": "Dutch", "no": "Norwegian",
    "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak",
    "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil",
    "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip


def aligned_task(source: Path, references: Path, settings: Settings) -> Task:
    """Return the generation task that answers line n of `source` by line n of `references`.

    The endings of the file names, where both are ISO 639-1 codes of well-known languages, name the
    languages in the default instruction.

    Raises:
        UserError: if the files have different numbers of lines, or lines are empty and
            `drop_empty` is false.
    """
    for option, value in (
        ("--input", settings.input),
        ("--target", settings.target),
        ("--group", settings.group),
    ):
        if value is not None:
            raise UserError(
                f"{option} {value} was given with two line-aligned files, which have no columns; "
                "expected either a table or two files; leave it out."
            )
    if settings.options is not None or settings.kind == "choice":
        raise UserError(
            "choices were asked for with two line-aligned files, which make a generation task; "
            "expected either; give a table of inputs and labels, or leave the choices out."
        )
    texts, targets = (_lines(path, settings.max_file_bytes) for path in (source, references))
    if len(texts) != len(targets):
        raise UserError(
            f"{source.name} has {len(texts)} lines and {references.name} has {len(targets)}; "
            "expected line n of one to be the answer to line n of the other; align the files."
        )
    place = f"{source.name}, line "
    pairs = [
        Item(
            f"{place}{n}",
            as_text(text, "text", f"{place}{n}"),
            as_text(target, "text", f"{place}{n}"),
        )
        for n, (text, target) in enumerate(zip(texts, targets, strict=True), 1)
    ]
    empty = [n for n, item in enumerate(pairs, 1) if not (item.input and item.target)]
    notes = [f"Line n of {source.name} is answered by line n of {references.name}."]
    if empty and not settings.drop_empty:
        raise UserError(
            f"{len(empty)} of {len(pairs)} lines are empty in {source.name} or {references.name} "
            f"(lines {some(empty)}); expected text in both; fill them in, or leave "
            "these pairs out with drop_empty: true beside the task's path in --config."
        )
    if empty:
        notes.append(f"{len(empty)} pairs with an empty line left out (lines {some(empty)}).")
    languages = [LANGUAGES.get(path.suffix[1:].casefold(), "") for path in (source, references)]
    heads = [path.name.split(".")[0] for path in (source, references)]
    task = assemble(
        heads[0] if heads[0] == heads[1] else "-".join(heads),
        {"train": [item for item in pairs if item.input and item.target]},
        replace(settings, kind="generation"),
        default_instruction=_instruction(source, references),
        notes=notes,
    )
    return replace(task, columns=task.columns or tuple(languages))


def _lines(path: Path, max_file_bytes: int) -> list[str]:
    lines = read_text(path, max_file_bytes).split("\n")
    return lines[:-1] if not lines[-1].strip() else lines


def _instruction(source: Path, references: Path) -> str:
    languages = [LANGUAGES.get(path.suffix[1:].casefold()) for path in (source, references)]
    if all(languages):
        return f"Translate the input from {languages[0]} to {languages[1]}."
    return "Translate the input."
