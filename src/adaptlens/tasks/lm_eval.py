"""Tasks written for lm-evaluation-harness: the Jinja-only part of its task YAML.

Read: `multiple_choice` and `generate_until` tasks whose texts are columns, constants or Jinja
templates. Prompts, options and answers are the strings that the harness itself makes (0.4.13).
What is accepted is listed, key by key and value by value; code (`!function`), custom metrics and
filters, and everything that would be judged differently here are refused by name. Templates run in
Jinja's immutable sandbox under limits.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError, listed, one_line
from adaptlens.sandbox import render
from adaptlens.tasks.assembly import Settings, assemble
from adaptlens.tasks.hub_datasets import check_files, exists, open_dataset, rows_of
from adaptlens.tasks.items import Item
from adaptlens.tasks.lm_eval_yaml import read_config
from adaptlens.tasks.table import some
from adaptlens.types import Kind, Task, Template

Doc = Mapping[str, Any]


def yaml_task(path: Path, settings: Settings) -> Task:
    """Return the task of a YAML file; its training split gives demonstrations and tuning rows.

    Where the YAML names no training split its few-shot split or samples are the training items.

    Raises:
        UserError: if the file asks for code, or for anything that is not supported, by name.
    """
    config, notes = read_config(path)
    name = str(config.get("task") or path.stem)
    for option in ("input", "target", "choices", "kind", "header", "answers_as"):
        if getattr(settings, option) is not None:
            raise UserError(
                f"{option}={getattr(settings, option)!r} was given with the task file {path.name}, "
                "which settles it itself; expected either; leave it out or edit the file."
            )
    splits: dict[str, list[Item]] = {}
    reader = _Reader(config, path.name)
    for label, source, docs in _documents(config, path, settings.max_file_bytes):
        items, found = reader.items(docs, f"{path.name} [{source}]", settings.drop_empty)
        splits[label] = items
        notes += found
    descriptions = {item.instruction for items in splits.values() for item in items}
    if len(descriptions) > 1:
        raise UserError(
            f"{path.name}: 'description' differs from item to item; expected one text for all; "
            "move what differs into doc_to_text."
        )
    (description,) = descriptions or {""}
    between = reader.between
    if description and not description.endswith(between):
        notes.append(
            f"The description is followed by {between!r}; lm-evaluation-harness puts nothing there."
        )
    kind: Kind = "choice" if reader.output_type == "multiple_choice" else "generation"
    own = settings.instruction is not None
    wishes = replace(
        settings,
        kind=None if kind == "choice" else kind,
        instruction=settings.instruction if own else description.removesuffix(between),
    )
    generation = config.get("generation_kwargs") or {}
    until = generation.get("until") or [between]
    shell = Task(
        name,
        kind,
        (),
        (),
        (),
        template=Template("", "", reader.delimiter, between),
        max_new_tokens=int(
            generation.get("max_gen_toks") or generation.get("max_new_tokens") or 256
        ),
        stop=tuple([until] if isinstance(until, str) else until) if kind == "generation" else (),
        description=f"lm-evaluation-harness task '{name}' from {path.name}.",
    )
    bare = {s: [replace(i, instruction="") for i in items] for s, items in splits.items()}
    return assemble(name, bare, wishes, shell=shell, notes=notes)


def _documents(
    config: Mapping[str, Any], path: Path, max_file_bytes: int
) -> list[tuple[str, str, list[Doc]]]:
    """Return (split, its name in the data, documents) of every split the YAML names."""
    arguments = dict(config.get("dataset_kwargs") or {})
    arguments.pop("trust_remote_code", None)
    if "data_files" in arguments:
        arguments["data_files"] = _located(arguments["data_files"], path.parent)
    dataset_path = config.get("dataset_path")
    if not isinstance(dataset_path, str):
        raise UserError(
            f"{path.name} names no dataset_path; expected a hub dataset, a folder, or csv, json or "
            "parquet with dataset_kwargs: data_files; add the key."
        )
    if not exists(dataset_path) and exists(str(path.parent / dataset_path)):
        dataset_path = str(path.parent / dataset_path)
    check_files(arguments.get("data_files"), max_file_bytes)
    data = open_dataset(dataset_path, config.get("dataset_name"), **arguments)
    fewshot = config.get("fewshot_config") or {}
    wanted = {
        "train": config.get("training_split")
        or fewshot.get("split")
        or config.get("fewshot_split"),
        "validation": config.get("validation_split"),
        "test": config.get("test_split"),
    }
    result: list[tuple[str, str, list[Doc]]] = []
    for label, source in wanted.items():
        if source is None or source in [other for _, other, _ in result]:
            continue
        if source not in data:
            raise UserError(
                f"{path.name} names the split '{source}' of {dataset_path}, which has "
                f"{listed(data)}; expected one of these; correct the split's name."
            )
        result.append((label, str(source), [*rows_of(data[source], f"{path.name} [{source}]")]))
    if wanted["train"] is None and isinstance(fewshot.get("samples"), list):
        samples: list[Doc] = fewshot["samples"]
        result.append(("train", "fewshot_config: samples", samples))
    if not result:
        raise UserError(
            f"{path.name} names no split; expected training_split, validation_split or test_split "
            f"(the data have {listed(data)}); add one."
        )
    return result


def _located(files: Any, folder: Path) -> Any:
    """Return data_files with paths that exist only beside the YAML made absolute."""
    if isinstance(files, Mapping):
        return {key: _located(value, folder) for key, value in files.items()}
    if isinstance(files, list):
        return [_located(value, folder) for value in files]
    beside = folder / str(files)
    return str(beside) if exists(str(beside)) and not exists(str(files)) else files


class _Reader:
    """Documents to items, by the templates of one task."""

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self.name = name
        self.output_type = config.get("output_type") or "generate_until"
        self.delimiter = str(config.get("target_delimiter", " "))
        self.between = str(config.get("fewshot_delimiter", "\n\n"))
        self.config = config
        for key in ("doc_to_text", "doc_to_target"):
            if config.get(key) is None:
                raise UserError(f"{name} has no '{key}'; expected a column or a template; add it.")
        if self.output_type == "multiple_choice" and config.get("doc_to_choice") is None:
            raise UserError(
                f"{name} is a multiple_choice task without 'doc_to_choice'; expected a list, a "
                "column or a template; add it."
            )

    def items(
        self, docs: Sequence[Doc], place: str, drop_empty: bool
    ) -> tuple[list[Item], list[str]]:
        """Return the items of one split's documents, and notes."""
        read = [self.item(doc, f"{place}, row {n}") for n, doc in enumerate(docs, 1)]
        empty = [n for n, item in enumerate(read, 1) if not (item.input and item.target)]
        if not empty:
            return read, []
        if not drop_empty:
            raise UserError(
                f"{place}: {len(empty)} of {len(read)} rows give an empty prompt or answer (rows "
                f"{some(empty)}); expected text in both; correct the templates, or leave "
                "these rows out with drop_empty: true beside the task's path in --config."
            )
        kept = [item for item in read if item.input and item.target]
        return kept, [f"{place}: {len(empty)} rows without prompt or answer left out."]

    def item(self, doc: Doc, place: str) -> Item:
        """Return one document as an item, with its texts as the harness makes them."""
        text = self.field(doc, "doc_to_text", place)
        prefix = str(self.field(doc, "gen_prefix", place))
        if not isinstance(text, str) or (text.isdigit() and self.config.get("doc_to_choice")):
            raise UserError(
                f"{place}: doc_to_text gives {one_line(str(text), 60)}, a number, which puts the "
                "options into the prompt; expected a text; such tasks are not supported, rewrite "
                "the template."
            )
        if prefix:
            text += self.delimiter if text and not (text[-1] + prefix[0]).isspace() else ""
            text += prefix
        choices = self.choices(doc, place)
        target = self.target(doc, choices, place)
        options = choices if self.output_type == "multiple_choice" else ()
        description = self.field(doc, "description", place)
        return Item(place, text, target, str(description), options)

    def field(self, doc: Doc, key: str, place: str) -> Any:
        """Return the column that a key names, or its template filled in ("" where unset)."""
        template = self.config.get(key)
        if template is None or template == "":
            return ""
        if not isinstance(template, str):
            raise UserError(
                f"{self.name}: '{key}' is a {type(template).__name__}; expected a column or a "
                "template; write it as text."
            )
        if template in doc:
            value = doc[template]
            return "" if value is None else value
        return render(template, doc, f"{place}, {key}")

    def choices(self, doc: Doc, place: str) -> tuple[str, ...]:
        """Return the options of a document."""
        given = self.config.get("doc_to_choice")
        if given is None:
            return ()
        if isinstance(given, str):
            given = self.field(doc, "doc_to_choice", place)
            if isinstance(given, str):
                given = _literal(given)
        if isinstance(given, Mapping):
            given = list(given.values())
        if not isinstance(given, list) or not all(isinstance(c, str) for c in given):
            raise UserError(
                f"{place}: doc_to_choice gives {given!r:.60}; expected a list of texts; correct "
                "the template."
            )
        return tuple(given)

    def target(self, doc: Doc, choices: tuple[str, ...], place: str) -> str:
        """Return the answer's text, looked up among the options where it is a number."""
        value = self.config["doc_to_target"]
        if isinstance(value, str):
            is_column = value in doc
            value = self.field(doc, "doc_to_target", place)
            if not is_column and isinstance(value, str):
                value = _number_or_list(value, bool(choices))
        if isinstance(value, list):
            if len(value) != 1:
                raise UserError(
                    f"{place}: doc_to_target gives {len(value)} accepted answers; expected one; "
                    "choose one in the template, for example {{answers[0]}}."
                )
            value = value[0]
        if choices and isinstance(value, (int, bool)):
            if not 0 <= value < len(choices):
                raise UserError(
                    f"{place}: the answer is option {value} of {len(choices)}; expected 0 to "
                    f"{len(choices) - 1}; correct doc_to_target, or use a split with labels."
                )
            return choices[value]
        if self.output_type == "multiple_choice" and value not in choices:
            raise UserError(
                f"{place}: the answer {one_line(repr(value), 60)} is not among the options "
                f"{listed(map(repr, choices), 160)}; expected one of them or its number; correct "
                "doc_to_target."
            )
        return str(value)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return text


def _number_or_list(text: str, has_choices: bool) -> Any:
    """Return a rendered answer as the harness does: a number of an option, a list, or the text."""
    if text.isdecimal() and has_choices and len(text) < 10:
        return int(text)
    return _literal(text) if text.startswith("[") and text.endswith("]") else text
