"""How prompts are written down: plainly, or as messages through a chat template."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from adaptlens.errors import UserError
from adaptlens.types import MARK, Example, Part, Prompt, Role, Task

CONTENT_FREE = "N/A"

_PADDING = "\n\n\n\t \t\n\n\n"
# What templates take off the ends of a message: nothing, line breaks (Jinja's strip('\\n')), all
# white space (its trim).
_TRIMS = ("", "\n", None)

RenderChat = Callable[[list[dict[str, str]]], str]


def answer(task: Task, target: str, *, chat: bool = False) -> str:
    """Return the exact text that follows a prompt when `target` is the answer."""
    return target if chat else task.template.target_prefix + target


def stops(task: Task) -> tuple[str, ...]:
    """Return the texts that end a generated answer: a line break, or what separates the items.

    A task that names its own (`Task.stop`) gets these.
    """
    if task.stop:
        return task.stop
    multiline = any("\n" in e.target for e in (*task.train, *task.validation, *task.test))
    return (task.template.between,) if multiline else ("\n",)


def render(
    task: Task,
    demos: Sequence[Example],
    query: Example,
    *,
    instruction: bool = True,
    chat: RenderChat | None = None,
    before: Sequence[Part] | None = None,
) -> Prompt:
    """Return the prompt that shows `demos`, then asks for the answer to `query`.

    Args:
        task: gives the instruction, the template and the choices.
        demos: shown in this order, each with its target.
        query: asked last; its own choices, if any, become the answers to score.
        instruction: whether the instruction text is written (plain supervised tuning omits it).
        chat: the tokenizer's chat template (messages -> text); None writes the plain layout.
        before: of the plain layout, what `shown` returned; prompts that have it in common are
            written, and kept, faster.

    Returns:
        A prompt whose parts join to exactly the text sent.
    """
    options = query.choices or task.choices
    answers = tuple(answer(task, option, chat=chat is not None) for option in options)
    if chat is None:
        first = shown(task, demos, instruction=instruction) if before is None else before
        parts = [*first, *_item(task, query, "query", instruction)]
    else:
        parts = _chat_parts(task, demos, query, instruction, chat)
    target = answer(task, query.target, chat=chat is not None)
    own = len(answer(task, "", chat=chat is not None))
    given = tuple(size and own + size for size in query.given)
    kept = tuple(part for part in parts if part.text)
    return Prompt(kept, answers, query.id, target=target, given=given)


def after_instruction(task: Task) -> str:
    """Return what stands between the instruction and the items."""
    own = task.template.after_instruction
    return task.template.between if own is None else own


def shown(task: Task, demos: Sequence[Example], *, instruction: bool = True) -> tuple[Part, ...]:
    """Return what the plain layout writes before a query: the instruction and demonstrations."""
    template = task.template
    parts: list[Part] = []
    if instruction and task.instruction:
        parts += [Part("instruction", task.instruction), Part("separator", after_instruction(task))]
    for demo in demos:
        parts += _item(task, demo, "demo_input", instruction)
        parts += [
            Part("demo_target", template.target_prefix + demo.target),
            Part("separator", template.between),
        ]
    return tuple(part for part in parts if part.text)


def _item(task: Task, example: Example, role: Role, instruction: bool) -> list[Part]:
    own = (
        [Part("instruction", example.instruction), Part("separator", "\n")]
        if instruction and example.instruction
        else []
    )
    return [
        *own,
        Part("cue", task.template.before_input),
        Part(role, example.input),
        Part("cue", task.template.before_target),
    ]


def _chat_parts(
    task: Task, demos: Sequence[Example], query: Example, instruction: bool, chat: RenderChat
) -> list[Part]:
    messages: list[tuple[str, list[Part]]] = []
    for number, example in enumerate((*demos, query)):
        is_query = number == len(demos)
        heading = example.instruction or (task.instruction if number == 0 else "")
        heading = heading if instruction else ""
        parts = [
            Part("instruction", heading),
            Part("chat", (after_instruction(task) if heading else "") + task.template.before_input),
            Part("query" if is_query else "demo_input", example.input),
        ]
        messages.append(("user", parts))
        if not is_query:
            messages.append(("assistant", [Part("demo_target", example.target)]))
    return as_messages(messages, chat)


def as_messages(messages: Sequence[tuple[str, Sequence[Part]]], chat: RenderChat) -> list[Part]:
    """Return messages, each a role and the parts of its text, as a chat template writes them.

    What the template writes has the role "chat". Where a part stands is not looked for: the
    template is run a second time on marks in place of the texts, which tells what it writes around
    each, and whether it trims them. Put together, that must be what it wrote the first time.

    Raises:
        UserError: it is not, so the template does more to the texts than trim them.
    """
    texts = ["".join(part.text for part in parts) for _, parts in messages]
    roles = [role for role, _ in messages]
    written = chat(_named(roles, texts))
    own = {*written, *"".join(texts)}
    sign = next(sign for sign in map(chr, range(ord(MARK), ord(MARK) + 6400)) if sign not in own)
    marks = [f"{sign}{n}{sign}" for n in range(len(texts))]
    pattern = chat(_named(roles, [_PADDING + mark + _PADDING for mark in marks]))
    found: list[Part] = []
    start = 0
    for (_, parts), text, mark in zip(messages, texts, marks, strict=True):
        before, marked, rest = pattern[start:].partition(mark)
        if not marked or mark in rest:
            raise _changes(text)
        left, right = (
            _trimmed(before, str.lstrip, str.endswith),
            _trimmed(rest, str.rstrip, str.startswith),
        )
        found.append(Part("chat", before[: len(before) - len(_PADDING.lstrip(left))]))
        found += _cut(parts, len(text) - len(text.lstrip(left)), len(text.rstrip(right)))
        start = len(pattern) - len(rest) + len(_PADDING.rstrip(right))
    found.append(Part("chat", pattern[start:]))
    if "".join(part.text for part in found) != written:
        raise _changes(next((text for text in texts if text not in written), texts[-1]))
    return _merged(found)


def _named(roles: Sequence[str], texts: Sequence[str]) -> list[dict[str, str]]:
    return [{"role": r, "content": text} for r, text in zip(roles, texts, strict=True)]


def _trimmed(
    beside: str,
    strip: Callable[[str, str | None], str],
    holds: Callable[[str, str], bool],
) -> str | None:
    """Return which characters a template takes off one end of a text, None for all white space.

    Told by what is left of `_PADDING` beside a mark.
    """
    return next(kinds for kinds in _TRIMS if holds(beside, strip(_PADDING, kinds)))


def _cut(parts: Sequence[Part], start: int, stop: int) -> list[Part]:
    """Return the parts of the characters from `start` to `stop` of their text."""
    found, at = [], 0
    for part in parts:
        low, high = max(start - at, 0), max(stop - at, 0)
        found.append(Part(part.role, part.text[low:high]))
        at += len(part.text)
    return found


def _merged(parts: Sequence[Part]) -> list[Part]:
    """Return the parts that have text; neighbors that the template wrote are one."""
    found: list[Part] = []
    for part in parts:
        if part.role == "chat" and found and found[-1].role == "chat":
            found[-1] = Part("chat", found[-1].text + part.text)
        elif part.text:
            found.append(part)
    return found


def _changes(text: str) -> UserError:
    return UserError(
        "the chat template changes the text of its messages, so the parts of the prompt cannot "
        f"be told apart (in the message {text[:40]!r}); leave out --chat, or use a template that "
        "keeps the text."
    )


def content_free(query: Example) -> Example:
    """Return the query with its text replaced by one that says nothing about the answer.

    The log-likelihood of each choice after it is the prior that prior-corrected accuracy
    subtracts (Zhao et al. 2021, arXiv 2102.09690, section 5, with "N/A" as the only content-free
    text). Fields that templates name lose their text likewise.
    """
    fields = tuple((name, CONTENT_FREE) for name, _ in query.fields)
    return replace(query, input=CONTENT_FREE, fields=fields)
