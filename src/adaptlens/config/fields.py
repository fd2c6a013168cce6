"""The settings that studies share: each one's type, what it is and an example of it, once."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Required

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from typing_extensions import TypedDict

from adaptlens.config.described import About, Word

STRICT = {"extra": "forbid", "strict": True}

Text = Annotated[str, MinLen(1)]
Label = Annotated[str, MinLen(1), Word()]
Count = Annotated[int, Ge(1), Le(2**53)]
Positive = Annotated[float, Gt(0)]


# fmt: off
class TaskSource(TypedDict, total=False):
    """Where a task comes from and how to read it; only the keys that were given."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    path: Required[Annotated[
        Text,
        About("A bundled name, a file, a folder, hf:NAME[:CONFIG], flan:NAME[,FOLDER], "
              "lm-eval:NAME[,FOLDER] or a task YAML; relative to the folder the command runs in.",
              "reviews.tsv",
              "a text that names the task"),
    ]]
    references: Annotated[
        Text,
        About("Line-aligned file of answers to the task.", "lines.cs", "the name of a file",
              option=True),
    ]
    input: Annotated[
        Label | Annotated[list[Label], MinLen(1)],
        About("Columns with the texts: one, or several.", ["premise", "hypothesis"],
              "a column, by name or 0-based number, or several", option=True),
    ]
    target: Annotated[
        Label,
        About("Column with the answers.", "label", "a column, by name or 0-based number",
              option=True),
    ]
    choices: Annotated[
        Text | list[Label] | dict[str, Label],
        About("The answers there are, or raw=word pairs: 0=negative,1=positive.",
              {"0": "negative", "1": "positive"},
              "texts, or raw labels and their words; quote true and false", option=True),
    ]
    instruction: Annotated[
        str,
        About("Instruction written before the items.", "Say how the review sounds.", option=True),
    ]
    kind: Annotated[
        Literal["choice", "generation"],
        About("Whether answers are chosen or generated; found out unless given.", "choice"),
    ]
    max_new_tokens: Annotated[Count, About("Most tokens of a generated answer.", 32)]
    limit_train: Annotated[Count, About("Most training rows to read.", 1000)]
    header: Annotated[
        bool,
        About("Whether the first line of a CSV or TSV holds column names; found out unless given.",
              False, option=True),
    ]
    drop_empty: Annotated[
        bool, About("Leave out rows without input or answer instead of refusing them.", True)
    ]
    max_file_bytes: Annotated[Count, About("Most bytes that a file may have.", 1_000_000_000)]
    difficulty: Annotated[
        Literal["small", "paper"],
        About("How hard the items of a bundled task with a shortcut are.", "paper",
              "small or paper, of a task with a shortcut"),
    ]
    cluster: Annotated[
        Text,
        About("The kind of task, by which mixtures are made.", "nli",
              "a text that names the kind of task"),
    ]
    templates: Annotated[
        list[Text],
        MinLen(1),
        About("How items are written: 'Review: {input}\\nSentiment: {target}', or a file of Jinja; "
              "several usual ways unless given.", ["Review: {input}\nSentiment: {target}"],
              "templates that end in {target}", option=("--template",), whole=True),
    ]
    fields: Annotated[
        list[Text],
        MinLen(2),
        MaxLen(2),
        About("What templates call text and answer.", ["Review", "Sentiment"],
              "two names, of the text and of the answer", option=True),
    ]
    label_words: Annotated[
        Text | dict[str, Label],
        About("Words for the raw answers.", {"0": "bad", "1": "good"},
              "raw labels and their words; quote true and false", option=True),
    ]
    group: Annotated[
        Label,
        About("Column that says which items belong together (a passage, a user).", "passage",
              "a column that says which items belong together", option=True),
    ]
    answers_as: Annotated[
        Literal["text", "from-0", "from-1"],
        About("What numbers among the answers are, where rows bring options.", "from-1",
              "text, from-0 or from-1: what numbers among the answers are", option=True),
    ]


class Tune(TypedDict, total=False):
    """The arguments of tuning that were given; the rest are the ways of tuning's own defaults."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    lora_rank: Annotated[Count, About("Rank of the LoRA adapters.", 8, formerly="rank")]
    lora_alpha: Annotated[
        Positive,
        About("LoRA's alpha: adapters' outputs are scaled by alpha / rank.", 16, formerly="alpha"),
    ]
    use_rslora: Annotated[
        bool, About("Scale adapters' outputs by alpha / sqrt(rank): rank-stabilized LoRA.", True)
    ]
    use_dora: Annotated[
        bool,
        About("Train the norms of the adapted weights' rows apart from their directions: "
              "weight-decomposed LoRA (DoRA).", True),
    ]
    target_modules: Annotated[
        list[Text],
        MinLen(1),
        About("Modules to adapt, by name or its last part; queries and values unless given.",
              ["q_proj", "v_proj"], "names of modules, or all-linear", formerly="targets"),
    ]
    lora_dropout: Annotated[
        float,
        Ge(0),
        Lt(1),
        About("Dropout of the adapters' inputs while training.", 0.1, formerly="dropout"),
    ]
    learning_rate: Annotated[
        list[Positive],
        MinLen(1),
        About("Learning rates; of several, the validation split chooses.", [0.001, 0.005],
              formerly="rate"),
    ]
    lr_multipliers: Annotated[
        list[Positive],
        MinLen(1),
        About("Learning rates to try, as multiples of the default of the way of tuning.",
              [0.25, 1, 4], formerly="rate_times"),
    ]
    max_steps: Annotated[
        list[Count],
        MinLen(1),
        About("Optimizer steps; of several numbers, the validation split chooses.", [30],
              formerly="steps"),
    ]
    num_templates: Annotated[
        Count,
        About("How many of the templates each draw is tuned on, in turn, so that the others tell "
              "what tuning costs in wording; all unless given.", 3),
    ]
    batch_size: Annotated[Count, About("Training examples a step.", 16, formerly="batch")]
    lr_scheduler: Annotated[
        Literal["constant", "linear", "cosine"],
        About("Schedule of the learning rate, as Hugging Face defines it.", "cosine",
              formerly="schedule"),
    ]
    gradient_checkpointing: Annotated[
        bool,
        About("Compute layers again in the backward pass instead of keeping what they put out: the "
              "same result in less memory and more time.", True),
    ]
    gradient_accumulation_steps: Annotated[
        Count,
        About("Parts in which a step's examples are run, one after another: the same result in "
              "less memory; batch_size counts the examples of all parts.", 4),
    ]
# fmt: on


# fmt: off
class Engine(TypedDict, total=False):
    """Who does the cells; only the keys that were given. No result depends on it."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    name: Annotated[
        Literal["in_process", "ray"],
        About("Who does the cells: this machine (in_process, unless given) or a Ray cluster.",
              "ray", option=("--engine",)),
    ]
    workers: Annotated[
        Count,
        About("Worker processes on this machine (one unless given), or on the cluster (one per "
              "device).", 4, option=("--workers",)),
    ]
    address: Annotated[
        Text,
        About("Address of a Ray cluster; without one, Ray runs on this machine.", "auto",
              "the address of a Ray cluster", option=("--address",)),
    ]
    gpus: Annotated[Positive, About("Share of a GPU that each worker of a cluster gets.", 0.5)]
# fmt: on


Models = Annotated[
    tuple[Text, ...],
    MinLen(1),
    About(
        "Hub id, folder, GGUF file, a model of `adaptlens models list`, or, to be prompted by "
        "compare, openai:URL#NAME at a server; untrained:NAME has random weights, chat:NAME its "
        "chat template.",
        ["reference"],
        "names of models",
        option=("--model", "--models"),
        whole=True,
    ),
]
Tasks = Annotated[
    tuple[TaskSource, ...],
    About(
        "Bundled name, file, folder, hf:NAME[:CONFIG], flan:NAME, lm-eval:NAME, or lm-eval YAML; "
        "or how to read it, key by key.",
        ["sentiment-novel", {"path": "reviews.tsv"}],
        "names or files of tasks",
        option=("--task",),
        whole=True,
    ),
]
Shots = Annotated[
    tuple[Annotated[int, Ge(0)], ...],
    MinLen(1),
    About("Demonstrations for in-context learning; 0 is zero-shot.", [0, 4, 16], option=True),
]
Draws = Annotated[
    Count, About("Draws of demonstrations, the same for prompting and tuning.", 10, option=True)
]
Sizes = Annotated[
    tuple[Count, ...], About("Numbers of training examples for tuning.", [16, 64], option=True)
]
Tuning = Annotated[
    tuple[Literal["it", "sl", "full", "distil", "ia2"], ...],
    About(
        "Ways of tuning: with the instruction, without, all weights, to give what the base gives "
        "with demonstrations, or to attend as it does after them.",
        ["it", "full"],
        option=True,
    ),
]
HowToTune = Annotated[
    Tune, About("How to tune.", {"lora_rank": 8, "max_steps": [30]}, "settings of tuning")
]
Overflow = Annotated[
    Literal["error", "drop-demos"],
    About("What happens to a prompt longer than the model's context.", "drop-demos", option=True),
]
Arms = Annotated[
    dict[Text, Text],
    About(
        "Arms of your own, by name: an adapter's folder in PEFT's format, a checkpoint of the same "
        "model, a file with a prompt, or openai:URL#NAME, what the model's server has beside it.",
        {"mine": "adapters/mine"},
        "names and paths",
        option=("--arm",),
        whole=True,
    ),
]
ArmControls = Annotated[
    bool,
    About(
        "Also read each arm of your own that changes weights at other strengths, and random "
        "changes of its shape and norm.",
        True,
        option=True,
    ),
]
Also = Annotated[
    tuple[TaskSource, ...],
    About(
        "What tuned models are also read on, to see what tuning takes away: other tasks, as --task "
        "takes them, or plain text, a piece a line, in a .txt file.",
        ["other.tsv", "text.txt"],
        "names or files of tasks, or .txt files",
        option=("--also",),
        whole=True,
    ),
]
Ood = Annotated[
    dict[Text, TaskSource],
    About(
        "Items of another domain with the task's own answers, by the domain's name, that every arm "
        "is also read on.",
        {"tweets": "tweets.tsv"},
        "names and files",
        option=("--ood",),
        whole=True,
    ),
]
SELECTION = About("How demonstrations are chosen.", "balanced", option=True)
Selection = Annotated[Literal["random", "balanced"], SELECTION]
Queries = Annotated[
    Count | None, About("Most test items of a task.", 200, null="for all", option=True)
]
Quick = Annotated[
    bool,
    About(
        "A first look: fewer of everything that is not given, and as many draws as claims need.",
        True,
        option=True,
    ),
]


# fmt: off
@dataclass(frozen=True)
class Shared:
    """The settings that every study has, checked; a study gives what differs anew."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    models: Models = ("reference",)
    tasks: Annotated[Tasks, MinLen(1)] = ({"path": "sentiment-novel"},)
    queries: Queries = 200
    seed: Annotated[
        int, Ge(0), Le(2**32 - 1), About("Seed of everything random.", 0, option=True)
    ] = 0
    chat: Annotated[
        bool, About("Write prompts with the tokenizer's chat template.", True, option=True)
    ] = False
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16", "auto"],
        About("Number format of weights and arithmetic; auto is bfloat16 where the device "
              "multiplies it natively, else float32.", "bfloat16", option=True),
    ] = "float32"
    device: Annotated[
        Text,
        About("Device that models run on; map spreads one over all devices, as accelerate does.",
              "auto", "auto, cpu, cuda, cuda:N, mps or map", option=True),
    ] = "auto"
    quantize: Annotated[
        Literal["8bit", "4bit"] | None,
        About("Load the weights in 8 or 4 bits.", "4bit"),
    ] = None
    tune: HowToTune = field(default_factory=Tune)
    engine: Annotated[
        Engine,
        About("Who does the cells; no result depends on it.", {"workers": 2},
              "settings of the engine"),
    ] = field(default_factory=Engine)
# fmt: on
