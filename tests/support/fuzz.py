"""Damaged inputs for every parser of what users give, the same ones for the same seed.

A parser may refuse an input with the package's own error on one short line, or read it. Everything
else is a fault, and so is an input that takes more than its share of processor time or memory.
"""

import contextlib
import io
import json
import random
import resource
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adaptlens import sandbox
from adaptlens.config.reading import load_config
from adaptlens.errors import LONGEST_MESSAGE, UserError
from adaptlens.models import identity, shape, shipped
from adaptlens.studies.compare.config import COMPARISON
from adaptlens.studies.convergence.config import CONVERGENCE
from adaptlens.studies.implicit.config import IMPLICIT
from adaptlens.studies.limits.config import LIMITS
from adaptlens.tasks import lm_eval, lm_eval_yaml, templates
from adaptlens.tasks.assembly import Settings, file_task

SECONDS = 20
"""Processor time of one input in this process; all but a few take a thousandth of it."""
GROWTH_BYTES = 1_500_000_000

WORDS = ["stone", "river", "cloud", "garden", "ticket", "harbour", "winter"]
RECORDS = [
    {"text": f"the {word} is {i} days old", "label": ["good", "bad"][i % 2], "id": i}
    for i, word in enumerate(WORDS * 2)
]
CHOICES = [
    {
        "question": f"Which {word}, {i}?",
        "choices": {"text": ["a lamp", "a boat", word], "label": ["A", "B", "C"]},
        "answerKey": "ABC"[i % 3],
    }
    for i, word in enumerate(WORDS)
]
TALKS = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": f"{word} {i}"}]},
            {"role": "assistant", "content": word},
        ]
    }
    for i, word in enumerate(WORDS)
]
TASK = {
    "task": "mine",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"train": "rows.jsonl"}},
    "training_split": "train",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}\nAnswer:",
    "doc_to_choice": "{{choices.text}}",
    "doc_to_target": "{{choices.label.index(answerKey)}}",
    "target_delimiter": " ",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    "filter_list": [{"name": "all", "filter": [{"function": "take_first"}]}],
    "fewshot_config": {"sampler": "first_n"},
    "metadata": {"version": 1.0},
}
GENERATION = {
    **{key: TASK[key] for key in ("task", "dataset_path", "training_split")},
    "doc_to_text": "question",
    "doc_to_target": "{% if answerKey == 'A' %}yes{% else %}{{ choices.text | join }}{% endif %}",
    "generation_kwargs": {"until": ["\n", "."], "max_gen_toks": 8, "do_sample": False},
    "description": "Say it: ",
}
SETTINGS = {
    "models": ["reference"],
    "tasks": [
        {"path": "reviews.tsv", "choices": {"0": "bad", "1": "good"}, "input": ["a", "b"]},
        "sentiment",
    ],
    "shots": [0, 4, 16],
    "tune": {"lora_rank": 8, "learning_rate": [0.001, 1e-3], "lora_dropout": 0.1},
    "prices": {"gpu_hour": 2.5},
    "budget": "4GiB",
    "engine": {"workers": 2},
    "seed": 3,
    "chat": False,
    "margin": 2.5,
}
STUDIES = {
    "convergence": {"claim": {"measure": "within", "routes": ["sl"]}, "wrong": 0.5,
                    "checkpoint_steps": [0, 4],
                    "wordings": {"mine": "{instruction} {choices}"}, "unrelated": "topic"},
    "implicit": {"families": ["code"], "circuits": {"shots": 4, "methods": ["denoise"]}},
    "limits": {"tasks": [{"path": "a.csv", "cluster": "nli"}], "claims": {}, "mixtures": "default"},
}  # fmt: skip
OVERRIDES = [
    "tune.lora_rank=16", "shots=0,4,16", "tasks.0.choices={0: bad, 1: good}", "prices.gpu_hour=2.5",
    "budget=4GiB", "engine.name=ray", "models=[reference, other]", "tune.learning_rate=[0.1, 1e-3]",
    "tasks.0.templates=[\"Review: {input} {target}\"]", "wordings.mine={instruction}", "seed=7",
    "claim.margin=0.05", "circuits.methods=[denoise]", "tasks=a.csv", "checkpoint_steps=0,4,8",
    "chat=true",
]  # fmt: skip
TEMPLATES = [
    "Review: {input}\\nSentiment: {target}", "{{ input }} and {{ text|upper }} {{ target }}",
    "{% for word in input.split() %}{{ word }}, {% endfor %}{target}",
    "{{ options }}\n{% if text == 'x' %}a{% else %}b{% endif %} {target}",
    "{% set x = input ~ text %}{{ x|replace('a', 'b')|center(20) }}{target}",
]  # fmt: skip
ADAPTER = {
    "peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "bias": "none",
    "target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": "x",
    "task_type": "CAUSAL_LM",
    "fan_in_fan_out": False, "use_dora": False, "rank_pattern": {}, "alpha_pattern": {},
}  # fmt: skip

ODD = [
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"\n", b"\r", b"\r\n", b"\t",
    b'"', b"'", b",", b";", b"\x1b[2J", b"\x7f", b"\xc2\xa0", b"\xe2\x80\x8b", b"\xe2\x80\xa8",
    b"{{", b"}}", b"{%", b"%}", b"{", b"}", b"[", b"]", b"[" * 2000, b"{" * 2000, b"- " * 200,
    b"&a ",
    b"*a", b"!!python/name:os.system ", b"!!binary ", b"!!timestamp ", b"!!set ", b"!function a.b",
    b"<<: ", b"? ", b": ", b"---\n", b"null", b"~", b"true", b"no", b"NaN", b"-Infinity", b".inf",
    b"1e999", b"-1", b"0", b"1.5", b"9" * 5000, b"0x" + b"f" * 5000, b"1_000", b"12:30:45",
    b"\xc2\xb2",
    b"2024-99-99", b"A" * 5000, b"../../etc/passwd", b"~nosuchuser/x", b"{target}", b"{input}",
    b"{0}",
    b"range(9999999)", b"|center(999999999)", b" * 99999999", b"=", b".", b"..", b"tune",
    b"[]", b"{}",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**70, 1.5, -0.0, "", " ", "x", "0", "1", "A", "é", "e\u0301",
    "\u200b", "a\nb", "\x1b[1m", "x" * 3000, "{{ x }}", "{% for a in b %}", [], {}, [[]], [{}],
    [None],
    ["a", 1], {"": 1}, {"a": None}, {"text": [], "label": []}, [[[[]]]], "~nosuchuser", "../x",
]  # fmt: skip


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few pieces changed, cut, repeated, exchanged or put in."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice([1, 1, 2, 5, 20, 100]))
        how = rng.randrange(7)
        if how == 0 and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        elif how == 1:
            data = data[:at] + data[to:]
        elif how == 2:
            data = data[:to] + data[at:to] * rng.choice([1, 2, 50]) + data[to:]
        elif how == 3:
            data = data[:at]
        elif how == 4:
            data = data[:at] + rng.choice(ODD) + data[to:]
        else:
            data = data[:at] + rng.choice(ODD) + data[at:]
    return data


def changed(value: Any, rng: random.Random) -> Any:
    """Return a structure with one of its parts replaced, removed, renamed or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        how = rng.randrange(6)
        if how == 0:
            return {k: v for k, v in value.items() if k != name}
        if how == 1:
            renamed = rng.choice([name + "s", name.upper(), "", "x" * 900, "a\nb", "\x1b"])
            return {renamed if k == name else k: v for k, v in value.items()}
        return {k: changed(v, rng) if k == name else v for k, v in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        if rng.random() < 0.1:
            return value[:at] + value[at + 1 :]
        return [changed(v, rng) if i == at else v for i, v in enumerate(value)]
    return rng.choice(VALUES)


def several(value: Any, rng: random.Random) -> Any:
    """Return a structure with one to three changes."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        value = changed(value, rng)
    return value


@dataclass(frozen=True)
class Parser:
    """A reader, what it reads when nothing is wrong, and its share of a large number of inputs."""

    make: Callable[[random.Random], bytes]
    read: Callable[[bytes, Path], object]
    share: int


def _texts(*seeds: bytes) -> Callable[[random.Random], bytes]:
    return lambda rng: damaged(rng.choice(seeds), rng)


def _structures(dump: Callable[[Any], str], *seeds: Any) -> Callable[[random.Random], bytes]:
    def make(rng: random.Random) -> bytes:
        value = rng.choice(seeds)
        if rng.random() < 0.6:
            return dump(several(value, rng)).encode("utf-8", "surrogatepass")
        return damaged(dump(value).encode(), rng)

    return make


def _lines(records: list[Any]) -> str:
    return "\n".join(map(json.dumps, records if isinstance(records, list) else [records]))


def _csv(mark: str) -> bytes:
    names = mark.join(RECORDS[0])
    return "\n".join([names, *(mark.join(map(str, r.values())) for r in RECORDS)]).encode()


def _table(suffix: str) -> Callable[[bytes, Path], object]:
    def read(data: bytes, folder: Path) -> object:
        path = folder / f"a{suffix}"
        path.write_bytes(data)
        return file_task(path, Settings(max_file_bytes=20_000_000))

    return read


def _parquet(rng: random.Random) -> bytes:
    import pyarrow
    import pyarrow.parquet

    held = io.BytesIO()
    rows = rng.choice([RECORDS, [{**r, "choices": ["a", "b"]} for r in RECORDS]])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), held)
    return damaged(held.getvalue(), rng)


def _yaml_task(data: bytes, folder: Path) -> object:
    path = folder / "mine.yaml"
    path.write_bytes(data)
    config, _ = lm_eval_yaml.read_config(path)
    reader = lm_eval._Reader(config, path.name)
    return reader.items([*CHOICES[:3], *config.get("fewshot_config", {}).get("samples", [])],
                        path.name, False)  # fmt: skip


def _template(data: bytes, folder: Path) -> object:
    template = templates.parse(data.decode("utf-8", "surrogateescape"))
    templates.columns_named(template)
    values = {"input": "some words", "text": "others", "options": "a, b"}
    return sandbox.render(template.item or "{{ input }}", values, "template")


def _set(data: bytes, folder: Path) -> object:
    text = data.decode("utf-8", "surrogateescape")
    schema = random.Random(data).choice([COMPARISON, CONVERGENCE, IMPLICIT, LIMITS])
    return load_config(schema, overrides=[text])


def _config(data: bytes, folder: Path) -> object:
    path = folder / "study.yaml"
    path.write_bytes(data)
    for schema in (COMPARISON, CONVERGENCE, IMPLICIT, LIMITS):
        with contextlib.suppress(UserError):
            load_config(schema, path)
    return load_config(COMPARISON, path)


def _adapter(data: bytes, folder: Path) -> object:
    import numpy as np
    from safetensors.numpy import save_file

    from adaptlens.lm.adapters import peft_files

    if not (folder / peft_files.WEIGHTS).exists():
        zeros = np.zeros((2, 4), dtype=np.float32)
        name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
        save_file(
            {f"{name}A.weight": zeros, f"{name}B.weight": zeros.T}, folder / peft_files.WEIGHTS
        )
    (folder / peft_files.CONFIG).write_bytes(data)
    return peft_files.read(folder)


def _model(name: str) -> Callable[[bytes, Path], object]:
    def read(data: bytes, folder: Path) -> object:
        place = folder / "model"
        place.mkdir(exist_ok=True)
        for file in shipped.folder("reference").iterdir():
            if not (place / file.name).exists():
                (place / file.name).symlink_to(file)
        (place / name).unlink(missing_ok=True)
        (place / name).write_bytes(data)
        identity.locate(str(place))
        shape.context_tokens(str(place))
        shape.state_numbers(str(place))
        shape.described(str(place))
        return shape.token_counts(str(place), ["some words"])

    return read


def _model_file(name: str) -> bytes:
    return (shipped.folder("reference") / name).read_bytes()


INDEX = {"metadata": {"total_size": 1}, "weight_map": {"lm_head.weight": "model.safetensors"}}

PARSERS = {
    "csv": Parser(_texts(_csv(","), _csv(";")), _table(".csv"), 2500),
    "tsv": Parser(_texts(_csv("\t")), _table(".tsv"), 2000),
    "json": Parser(_structures(json.dumps, RECORDS, CHOICES, TALKS), _table(".json"), 2500),
    "jsonl": Parser(_structures(_lines, RECORDS, CHOICES, TALKS), _table(".jsonl"), 2500),
    "parquet": Parser(_parquet, _table(".parquet"), 300),
    "yaml task": Parser(_structures(yaml.safe_dump, TASK, GENERATION), _yaml_task, 2500),
    "template": Parser(_texts(*(t.encode() for t in TEMPLATES)), _template, 1500),
    "--set": Parser(_texts(*(t.encode() for t in OVERRIDES)), _set, 3000),
    "config": Parser(_structures(yaml.safe_dump, SETTINGS, *STUDIES.values()), _config, 2000),
}
MODEL_PARSERS = {
    "adapter": Parser(_structures(json.dumps, ADAPTER), _adapter, 400),
    "config.json": Parser(
        _structures(json.dumps, json.loads(_model_file("config.json"))), _model("config.json"), 500
    ),
    "index": Parser(_structures(json.dumps, INDEX), _model("model.safetensors.index.json"), 200),
    "tokenizer.json": Parser(
        _texts(_model_file("tokenizer.json")[:3000], _model_file("tokenizer.json")),
        _model("tokenizer.json"),
        100,
    ),
}


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Fail on more processor time, or more memory, than one input may take."""

    def late(*_: object) -> None:
        raise AssertionError(f"took more than {SECONDS} s of processor time")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    usual = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, usual)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < GROWTH_BYTES, f"grew by {grown:,} bytes"


def faults(name: str, parser: Parser, number: int, folder: Path, seed: int = 0) -> list[str]:
    """Return what escaped of so many inputs: number of the input, and what came out."""
    found = []
    for i in range(number):
        data = parser.make(random.Random(f"{seed}/{name}/{i}"))
        try:
            with bounded():
                parser.read(data, folder)
        except UserError as error:
            said = str(error)
            if len(said) > LONGEST_MESSAGE or len(said.splitlines()) != 1 or "\x1b" in said:
                found.append(f"{name} {i}: a message of {len(said)} characters: {said[:200]!r}")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            found.append(f"{name} {i}: {type(error).__name__}: {str(error)[:200]!r}")
    return found
