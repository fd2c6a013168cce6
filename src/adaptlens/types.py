"""The nouns everything else speaks in: frozen, validated, free of torch.

Axis names used throughout the project: repeats queries demos choices batch seq layers heads
head_width width vocab models tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from adaptlens.errors import UserError

if TYPE_CHECKING:
    import numpy as np

NO_DRAWS = (-1,)
"""The draws of what draws no examples: one row, which stands against every draw of others."""

MARK = "\ue000"
"""Unicode's first character for private use, which few texts hold, to mark where one goes."""

Metric = Literal["logit_difference", "log_probability", "kl", "correct"]
METRICS: tuple[Metric, ...] = Metric.__args__  # type: ignore[attr-defined]
"""What patching is read by: the last axis of its arrays."""

Kind = Literal["choice", "generation"]
Role = Literal[
    "instruction", "demo_input", "demo_target", "separator", "query", "cue", "chat", "filler"
]


@dataclass(frozen=True, slots=True)
class Example:
    """One item of a task: a text to read and the answer wanted.

    `choices` is set only where the options differ from item to item; `instruction` only where an
    item carries its own (Alpaca records). `group` names the kind of item, where a task has several.
    `fields` are the named texts `input` was made of (premise, hypothesis), where it has parts.
    `accepted` are further texts that are right where the answer is generated. `given` is set where
    the options stand before what is scored (Winogrande): so many characters of each of `choices`
    are read, and the rest is scored.
    """

    id: str
    input: str
    target: str
    choices: tuple[str, ...] = ()
    instruction: str = ""
    group: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    accepted: tuple[str, ...] = ()
    given: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """How a generated answer is compared with the right ones, where not as a whole.

    Attributes:
        filter: what is done to the answer alone, in order: ("regex", pattern, number of the match,
            text where there is none), ("strip",), ("lower",) or ("upper",).
        ignored: regular expressions, whose matches are taken out of both texts.
        ignore_case: compare in lower case.
        ignore_punctuation: leave out ASCII punctuation.
        ignore_numbers: leave out ASCII digits.
    """

    filter: tuple[tuple[str | int, ...], ...] = ()
    ignored: tuple[str, ...] = ()
    ignore_case: bool = False
    ignore_punctuation: bool = False
    ignore_numbers: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """How items are written: the fixed texts between the parts of a prompt.

    An item reads `before_input + input + before_target`, and its answer `target_prefix + target`;
    items, and the instruction before them, are joined by `between`; the instruction by
    `after_instruction` where that is a text.

    Attributes:
        name: what tables call it.
        instruction: the text before the items; None for the task's own.
        item: sandboxed Jinja over an item's `input`, fields and `options`, which takes the place
            of its input; empty for the input as it is.
        chat: whether prompts are messages, written by the tokenizer's chat template.
        words: (answer, word) pairs: the word is written where the answer is meant.
    """

    before_input: str = "Input: "
    before_target: str = "\nOutput:"
    target_prefix: str = " "
    between: str = "\n\n"
    name: str = "plain"
    instruction: str | None = None
    item: str = ""
    chat: bool = False
    words: tuple[tuple[str, str], ...] = ()
    after_instruction: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """Examples in three disjoint splits, and how an answer is judged.

    `kind` "choice" scores the options by log-likelihood; "generation" decodes greedily and
    compares with the target (exact match, chrF). `choices` holds the options all items share, and
    is empty for generation tasks and where each `Example` brings its own. `stop` holds the texts
    that end a generated answer, where the task says so itself. `unrelated` holds training items of
    another task, for controls; a choice among them brings its own options. `notes` says what was
    done to the data on the way in (splits made, duplicates dropped), in sentences for the report.

    `cluster` names the kind of task, and `wordings` are ways to ask an item: sandboxed Jinja over
    its fields, `input` and `options`. A mixture of tasks has their items, each with its task's name
    as group; `pool` holds those that are shown as examples and never trained on.

    `templates` are the ways of writing it that a comparison reads and tunes under; empty for
    `template` alone. `columns` are what the data call the input and the answer; `clustered_by`
    is the column that says which items belong together (their `group`), where there is one.
    `elsewhere` holds what an adaptation to this task is also read on, to see what else it changes.
    `matching` says how generated answers are compared with those wanted; None for whole texts,
    blanks at their ends left out.
    """

    name: str
    kind: Kind
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    instruction: str = ""
    choices: tuple[str, ...] = ()
    template: Template = Template()
    max_new_tokens: int = 32
    stop: tuple[str, ...] = ()
    description: str = ""
    notes: tuple[str, ...] = ()
    unrelated: tuple[Example, ...] = ()
    cluster: str = ""
    wordings: tuple[str, ...] = ()
    pool: tuple[Example, ...] = ()
    templates: tuple[Template, ...] = ()
    columns: tuple[str, ...] = ()
    clustered_by: str = ""
    elsewhere: "tuple[Elsewhere, ...]" = ()
    matching: ExactMatch | None = None

    def __post_init__(self) -> None:
        """Check that every choice item's target is one of its options."""
        if self.kind == "choice":
            for example in (*self.train, *self.validation, *self.test):
                options = example.choices or self.choices
                if example.target not in options:
                    raise UserError(
                        f"task '{self.name}', item {example.id}: the target '{example.target}' is "
                        f"not among the choices {', '.join(map(repr, options))}; correct the item "
                        "or pass --choices."
                    )


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Items that an adaptation was not made for, read to see what else it changes.

    They are the test split of `task`, whose other splits are empty. `role` is "ood": items of
    another domain with the task's own answers, asked just as the task's are; "also": another task,
    asked in its own words without demonstrations; "text": plain text, as targets of empty inputs,
    of which the likelihood is read.
    """

    name: str
    role: Literal["ood", "also", "text"]
    task: Task


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What decides a model's numbers: the digest of its files, and how they are loaded.

    `name` is what tables call it. `quantize` and `clock`, the date that its chat template reads,
    are stored only where there is one. `source` is the name that it is found by here, which decides
    nothing and is never stored.
    """

    name: str
    digest: str = ""
    dtype: str = "float32"
    chat: bool = False
    quantize: str | None = None
    clock: str | None = None
    source: str = field(default="", compare=False)

    def stored(self) -> dict[str, Any]:
        """Return it as a cell's specification holds it."""
        own = asdict(self)
        del own["source"]
        return {name: value for name, value in own.items() if value is not None}


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What a cell says of its task: the digest of its content, and how many items are read."""

    name: str
    digest: str = ""
    kind: Kind = "choice"
    queries: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of prompt text and the role it plays."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent to the model, part by part, and the answers that may follow it.

    `answers` are the exact strings appended to `text` when scored (they carry their leading
    space); `target` is the right one of them, or the text wanted, likewise. `dropped_demos` counts
    demonstrations left out to fit the context. `given` says how many characters of each answer are
    read and not scored; empty for none.
    """

    parts: tuple[Part, ...]
    answers: tuple[str, ...] = ()
    query_id: str = ""
    dropped_demos: int = 0
    target: str = ""
    given: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The prompt as one string."""
        return "".join(part.text for part in self.parts)

    def spans(self) -> list[tuple[Role, int, int]]:
        """Return (role, start, end) of every part, in characters of `text`."""
        spans, start = [], 0
        for part in self.parts:
            spans.append((part.role, start, start + len(part.text)))
            start += len(part.text)
        return spans


class Weights(Protocol):
    """R sets of weight changes to one base model."""

    num_variants: int
    mixes_rows: bool
    """Whether rows of different variants may share a forward pass (LoRA bank: yes)."""

    def routed(self, variants: Sequence[int]) -> AbstractContextManager[None]:
        """Return a context in which batch row b of the base model runs as `variants[b]`.

        Where `mixes_rows` is false all entries must be equal.
        """
        ...

    def adapts(self, module: Any) -> bool:
        """Return whether rows of several variants differ in what this very module adds.

        Never where `mixes_rows` is false: all rows of a pass are one variant's.
        """
        ...

    def save(self, folder: Any, names: Sequence[str]) -> None:
        """Write variant i to `folder/names[i]`."""
        ...


@runtime_checkable
class ActsWhereAnswered(Protocol):
    """Weight changes that act only where the answer is predicted: see `acting_at`.

    All tokens before a prompt's last are those of the base model, whichever the variant.
    """

    def acting_at(self, tokens: Any) -> AbstractContextManager[None]:
        """Return a context, inside that of `routed`, in which the changes act at these tokens.

        They are a prompt's last token and those after it, counted row by row through the batch;
        None for the last token of every row. Without this context nothing can be run.
        """
        ...


@runtime_checkable
class HasVirtualTokens(Protocol):
    """Weight changes that read tokens of their own before every text (soft prompts).

    Attributes:
        virtual_ids: ids beyond the vocabulary, to be put before the ids of every text, its BOS
            token included. What stands for them is each variant's own.
    """

    virtual_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Adapted:
    """R variants of one adaptation: each a way of writing prompts, and optional weight changes.

    `write(i, query)` returns the prompt of variant i for a query. Where `shares_prompts` is true
    it does not depend on i. `draws[i]` is the demonstration draw that variant i came from; an
    adaptation that draws no examples has `NO_DRAWS`. `examples[i]` are the training
    examples variant i was shown or tuned on, in order. With `checkpoint_steps` the
    variants are the draws after each of these numbers of training steps, one number after the
    other, `draws` repeating. With `templates` they are the draws as each of these templates writes
    them, template by template; prompts that are shared then depend on the template alone, and
    variant i has the weights number i modulo `weights.num_variants`. `recorded` is how the test
    items were answered elsewhere: nothing is asked then, and `write` must not be called.
    """

    adaptation: str
    draws: tuple[int, ...]
    write: Callable[[int, Example], Prompt]
    weights: Weights | None = None
    shares_prompts: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[tuple[Example, ...], ...] = ()
    checkpoint_steps: tuple[int, ...] = ()
    templates: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    recorded: "Measured | None" = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What a measurement found: named numbers, named arrays, and texts.

    Arrays that depend on the variant have a leading `repeats` axis.
    """

    numbers: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, "np.ndarray"] = field(default_factory=dict)
    texts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What there is to do, all draws of a cell together, counted before there is a model.

    Attributes:
        prompts: texts to write down and cut into tokens.
        read_tokens: go through the model forwards; shared ones once.
        single_tokens: likewise, but one prompt at a time.
        written_tokens: generated.
        trained_tokens: go forwards and backwards.
        steps: optimizer steps, of every variant.
        full: whether all weights are trained.
        disk_bytes: of arrays and adapters.
    """

    prompts: float = 0.0
    read_tokens: float = 0.0
    single_tokens: float = 0.0
    written_tokens: float = 0.0
    trained_tokens: float = 0.0
    steps: float = 0.0
    full: bool = False
    disk_bytes: float = 0.0
