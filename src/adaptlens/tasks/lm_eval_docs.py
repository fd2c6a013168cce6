"""Documents of lm-evaluation-harness's tasks as items, by the methods of its own task objects."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from adaptlens.errors import UserError, one_line
from adaptlens.tasks.items import Item
from adaptlens.tasks.table import some
from adaptlens.types import Kind

Doc = Mapping[str, Any]


class Writer:
    """How the documents of one task are written.

    Attributes:
        several_contexts: whether the options stand in the prompt, and what follows them is scored.
    """

    def __init__(self, task: Any, kind: Kind) -> None:
        """Take an `lm_eval.api.task.ConfigurableTask`."""
        self.task, self.kind = task, kind
        self.several_contexts = kind == "choice" and bool(task.multiple_input)

    def items(
        self, docs: Sequence[Doc], place: str, *, fewshot: bool
    ) -> tuple[list[Item], list[str]]:
        """Return the items of documents, and a note where some have no answer.

        Args:
            docs: of one split.
            place: what to call it.
            fewshot: write them as the task writes its demonstrations.

        Raises:
            UserError: the task's code fails on a document, or several options of one are right.
        """
        kept, hidden = [], []
        for number, doc in enumerate(docs, 1):
            try:
                item = self._item(doc, f"{place}, row {number}", fewshot)
            except UserError:
                raise
            except Exception as error:
                # The task's own code may raise anything.
                said = one_line(f"{type(error).__name__}: {error}", 160, 40)
                raise UserError(
                    f"{place}, row {number}: lm-eval's task fails on it ({said}); expected the "
                    "columns that the task was written for."
                ) from None
            if item is None:
                hidden.append(number)
            else:
                kept.append(item)
        notes = [
            f"{place}: {len(hidden)} rows without a right answer left out (rows {some(hidden)})."
        ]
        return kept, notes if hidden else []

    def _item(self, doc: Doc, place: str, fewshot: bool) -> Item | None:
        """Return one document as an item; None where no option of it is right."""
        task, own = self.task, self.task.fewshot_cfg if fewshot else self.task.config
        text = task.doc_to_text(doc, own.doc_to_text)
        choices: Any = task.doc_to_choice(doc, own.doc_to_choice) if own.doc_to_choice else None
        target = task.doc_to_target(doc, own.doc_to_target)
        description = task.resolve_field(doc, task.config.description) or ""
        prefix = task.resolve_field(doc, own.gen_prefix) if own.gen_prefix else None
        if self.several_contexts:
            return self._of_contexts(choices, text, str(target), place, str(description))
        turn = task.build_qa_turn(
            q=text, c=choices, gen_prefix=prefix, tgt_delim=own.target_delimiter, few_delim=""
        )
        written = "".join(message.to_text() for message in turn)
        if self.kind == "generation":
            right = [choices[target]] if choices and isinstance(target, int) else target
            right = [*right] if isinstance(right, list | tuple) else [right]
            if not right:
                return None
            first, *others = (str(one) for one in right)
            return Item(place, written, first, str(description), accepted=tuple(others))
        options = tuple(map(str, choices))
        place_of = self._gold(target, options, place)
        if place_of is None:
            return None
        return Item(place, written, options[place_of], str(description), options)

    def _gold(self, target: Any, options: Sequence[str], place: str) -> int | None:
        """Return the number of the right option; None where there is none."""
        if isinstance(target, list | tuple):
            if len(target) > 1:
                raise UserError(
                    f"{place}: {len(target)} options are right; expected one; such tasks cannot be "
                    "compared here."
                )
            target = target[0] if target else -1
        if isinstance(target, str) and target in options:
            return options.index(target)
        known = isinstance(target, int) and 0 <= target < len(options)
        return int(target) if known else None

    def _of_contexts(
        self, contexts: Sequence[str], gold: Any, ending: str, place: str, description: str
    ) -> Item | None:
        """Return an item whose contexts differ: what they share is its input.

        The rest of each, with the ending that is scored, is an option.
        """
        right = self._gold(gold, contexts, place)
        if right is None:
            return None
        same = itertools.takewhile(lambda own: len({*own}) == 1, zip(*contexts, strict=False))
        start = max("".join(own[0] for own in same).rfind(" "), 0)
        delimiter = str(self.task.config.target_delimiter)
        options = tuple(context[start:] + delimiter + ending for context in contexts)
        given = tuple(len(context) - start for context in contexts)
        asked = contexts[0][:start]
        return Item(place, asked, options[right], description, options, given=given)
