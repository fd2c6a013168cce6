"""Runs every command that the documentation publishes, in a small form.

    python docs/check.py [--list] [--only TEXT] [--timeout 600]

It stands beside the pages because they are what it checks; the suite (tests/test_docs_check.py)
holds its parts to facts, `make docs-check` runs it. Each command is printed with the form that was
used of it:

- small: run, with few queries, draws and steps, and small files in place of imagined ones;
- planned: `adaptlens plan` of it, where the study is large whatever is asked;
- parsed: flags and settings checked up to loading, where a model or data set must be fetched;
- named: a command without arguments, or with placeholders, exists and has the options; a target is
  in the Makefile;
- covered: what is run of another command is the same, or more of it;
- left out: see `LEFT_OUT`, with the reason.

One line says of each command that fails, or that nothing here covers, what is wrong with it.
"""

import argparse
import functools
import itertools
import json
import os
import re
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "support"))

import forked  # noqa: E402 (found beside this)
from outside import installed  # noqa: E402 (found there)
from published import Code, Command, published  # noqa: E402

LEFT_OUT = {
    "make demo": "its recipe's command is run in a small form",
    "make test": "the suite, which .ci/run runs",
    "make test-real": "the suite on a model that must be fetched",
    "make test-slow": "thousands of inputs, a few hundred of which are in the suite",
    "make test-lowest": "the suite with other versions, which it installs",
    "make test-newest": "the suite with other versions, which it installs",
    "make check": "the checks, which .ci/run runs",
    "make docs-check": "this",
    "make bench": "every benchmark in full; each is run here in its small form",
    "make fix": "changes the sources",
    "adaptlens report runs/demo --track": "needs a tracker's package",
    "python benchmarks/real_sets.py": "reads a package that pip downloads",
    "python benchmarks/curve_rates.py --only real": "reads real texts, which are not here",
    "python benchmarks/eap_ig.py": "reads EAP-IG's source, which must be fetched",
    "python benchmarks/eap_ig_facts.py": "reads EAP-IG's source, which must be fetched",
    "python benchmarks/patching.py --device cuda": "needs a GPU; the benchmark is run on the CPU",
}
"""Commands, by how they begin, that are not run, and why."""

SMALL = {
    "compare": "--shots 0,2 --tuning it --draws 1 --queries 8 --set validation=8 "
    "--set tune.max_steps=2",
    "study convergence": "--factors pairs,demonstrations --draws 2 --queries 6 --shots 2 "
    "--counts 1,2 --set tune.max_steps=2",
    "study implicit": "--quick --draws 1 --queries 4 --families boolean --set circuits.items=8 "
    "--set tune.max_steps=2",
    "study limits": "--quick --draws 1 --queries 4 --mixtures default --variations unified "
    "--set tune.max_steps=2",
    "tasks check": "--items 20",
    "zoo check": "--queries 2",
    "plan": "--no-trial",
}
"""What is added to a command of `adaptlens` to make it small; given twice, the last one counts."""

PARSED = {
    "zoo train": "pretrains a model",
    "models get": "fetches a model",
}
"""Commands of `adaptlens` of which only the flags are checked, and why."""

RUNS = {
    "compare": "adaptlens compare --model reference --task sentiment-novel --shots 0,2 --tuning it",
    "convergence": "adaptlens study convergence --model reference",
}
"""What makes the runs that commands about a run are given."""

CODE = """
import adaptlens
whole = adaptlens.prompt_or_tune
def small(**given):
    return whole(**{**given, "draws": 1, "queries": 8, "validation": 8, "tune": {"max_steps": [2]}})
adaptlens.prompt_or_tune = small
"""
"""What runs before a page's Python, to make it small."""


class Uncovered(Exception):
    """What is wrong with a command, in one line."""


@dataclass(frozen=True)
class Job:
    """What is done about a command.

    Attributes:
        form: see the module.
        reason: why this form, where it is not run.
        words: what is run; nothing where empty.
        files: name -> content, in the folder it is run in.
    """

    form: str
    reason: str = ""
    words: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)


def job(command: Command, all_commands: Sequence[Command] = ()) -> Job:
    """Return what is done about a command.

    Raises:
        Uncovered: it names what does not exist, or nothing says how to make it small.
    """
    for start, reason in LEFT_OUT.items():
        if f"{command.text} ".startswith(f"{start} "):
            return Job("left out", reason)
    optional = " ".join(re.findall(r"\[([^\]]*)\]", command.text))
    text = re.sub(r"\[[^\]]*\]", "", command.text)
    words, flags = shlex.split(text), re.findall(r"--[a-z][a-z-]*", optional)
    if words[0] == "make":
        return _target(words[1])
    if words[0] == "adaptlens":
        return _adaptlens(words[1:], flags, command)
    return _benchmark([w for w in words if w != "python"], flags, command, all_commands)


def _target(name: str) -> Job:
    if not re.search(rf"^{re.escape(name)}:", (ROOT / "Makefile").read_text(), re.M):
        raise Uncovered(f"the Makefile has no target '{name}'")
    return Job("named")


def _benchmark(
    words: list[str], flags: Iterable[str], command: Command, all_commands: Sequence[Command]
) -> Job:
    script, *rest = words
    path = ROOT / script
    if not path.is_file():
        raise Uncovered(f"there is no {script}")
    source = path.read_text(encoding="utf-8")
    for flag in (*flags, *(word for word in rest if word.startswith("--"))):
        if f'"{flag}"' not in source:
            raise Uncovered(f"{script} has no option {flag}")
    fuller = [one.text for one in all_commands if re.search(rf"{script} (?!\[)", one.text)
              and not one.text.startswith(tuple(LEFT_OUT))
              and all(map(_is_here, _after(one.text.split(), ("--model",))))]  # fmt: skip
    if not rest and any(text != command.text for text in fuller):
        return Job("covered", fuller[0])
    if not rest and command.text.startswith("benchmarks/"):
        return Job("covered", f"python {script}")
    for model in _after(rest, ("--model",)):
        if not _is_here(model):
            return Job("parsed", f"{model} must be fetched")
    small = [option for option, has in (("--quick", "--quick"), ("--runs 2", "--runs"))
             if f'"{has}"' in source]  # fmt: skip
    if not small and "Nothing is run." not in source:
        raise Uncovered(f"{script} has no small form; give it --quick, or --runs if it simulates")
    return Job(
        "small",
        words=(sys.executable, str(path), *_local(rest), *" ".join(small[:1]).split()),
        files=_imagined(rest),
    )


def _adaptlens(words: list[str], flags: Iterable[str], command: Command) -> Job:
    known, verb, rest = _resolved(words)
    if verb == "lm-eval":
        return _lm_eval(rest)
    options = {o for p in _parameters(known) for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    for flag in (*flags, *(word.partition("=")[0] for word in rest if word.startswith("--"))):
        if flag not in options:
            raise Uncovered(f"`adaptlens {verb}` has no option {flag}".replace("  ", " "))
    needs = any(p.required for p in _parameters(known))
    if any(re.fullmatch(r"[A-Z]+", word) and word != "RUN" for word in rest):
        return Job("named", "a pattern")
    if rest == ["--help"] or (not rest and (needs or verb in SMALL or not verb)):
        return Job("named")
    if verb in PARSED:
        _parsed(known, verb, rest)
        return Job("parsed", PARSED[verb])
    if missing := _to_fetch(known, rest):
        _parsed(known, verb, rest)
        return Job("parsed", f"{missing} must be fetched")
    settings = [word for text in command.files.values() for word in re.split(r"[\s,{}]+", text)]
    files = {**_imagined([*rest, *settings]), **command.files}
    rest = _local(rest)
    if verb == "view" and not rest:
        rest = [f"{_RUN}/.."]
    if verb == "study limits" and "ladder" in rest:
        rest, verb = ["--study", "limits", *rest], "plan"
        return Job("planned", "the whole ladder", _run(verb, rest), files)
    return Job("small", words=_run(verb, rest), files=files)


def _lm_eval(rest: Sequence[str]) -> Job:
    """Check what is passed on to lm-evaluation-harness by its own parser; its data are not here."""
    from lm_eval._cli.harness import HarnessCLI

    if not rest:
        return Job("named")
    before, sys.argv = sys.argv, ["lm_eval", *rest]
    try:
        HarnessCLI().parse_args()
    except SystemExit as error:
        if error.code:
            raise Uncovered(f"lm_eval does not take {' '.join(rest)}") from error
    finally:
        sys.argv = before
    return Job("parsed", "models and data must be fetched")


def _run(verb: str, rest: Sequence[str]) -> tuple[str, ...]:
    # A curve's sizes follow from the trial.
    given = (("--quick", "--quick"), ("--no-trial", "--curve"))
    without = {word for word, beside in given if beside in rest}
    more = [word for word in SMALL.get(verb, "").split() if word not in without]
    return (sys.executable, "-m", "adaptlens", *verb.split(), *rest, *more)


def _resolved(words: list[str]) -> tuple[click.Command, str, list[str]]:
    """Return a command of `adaptlens`, its name, and its arguments."""
    from adaptlens.cli.main import main

    known: click.Command = main
    place = 0
    while isinstance(known, click.Group) and place < len(words) and words[place] != "--help":
        name = words[place]
        if name not in known.commands:
            raise Uncovered(f"there is no command `adaptlens {' '.join(words[: place + 1])}`")
        known, place = known.commands[name], place + 1
    return known, " ".join(words[:place]), words[place:]


def _parameters(known: click.Command) -> list[click.Parameter]:
    return known.get_params(click.Context(known))


def _values(known: click.Command, rest: Sequence[str], name: str) -> list[str]:
    """Return what a command is given for an option, once or more."""
    return _after(rest, next((p.opts for p in _parameters(known) if p.name == name), []))


def _after(rest: Sequence[str], options: Sequence[str]) -> list[str]:
    return [value for option, value in itertools.pairwise(rest) if option in options]


def _is_here(model: str) -> bool:
    """Whether a model ships with the package."""
    from adaptlens.models import shipped

    return model.rpartition(":")[2] in (*shipped.names(), "ladder")


def _to_fetch(known: click.Command, rest: Sequence[str]) -> str:
    """Return the first model or data set that is not on this machine, or ""."""
    for model in _values(known, rest, "models"):
        if not _is_here(model):
            return model
    given = [*_values(known, rest, "tasks"), *rest[:1]]
    return next((task for task in given if task.startswith(("hf:", "lm-eval:"))), "")


def _parsed(known: click.Command, verb: str, rest: Sequence[str]) -> None:
    """Check a command up to loading: its flags, and the settings they make."""
    from adaptlens.cli.settings_options import study_config
    from adaptlens.errors import UserError

    try:
        given = known.make_context(verb, list(rest)).params
        study = given.pop("name", "") if verb == "plan" else verb.removeprefix("study ")
        if verb.startswith(("compare", "study", "plan")):
            for name in ("out", "as_json", "trial", "again", "detect", "like", "curve", "track"):
                given.pop(name, None)
            study_config(study, **given)
    except (click.ClickException, UserError) as error:
        said = error.format_message() if isinstance(error, click.ClickException) else str(error)
        raise Uncovered(" ".join(said.split())) from error


TABLES = (".tsv", ".csv")


def _local(rest: Sequence[str]) -> list[str]:
    """Return the arguments with all that lies elsewhere put where the command runs."""
    out = []
    for word in rest:
        before, equals, path = word.rpartition("=")
        path = Path(path).name if path.endswith(TABLES) else path
        if "--arm" in out[-1:] and not path.endswith((*PROMPTS, SAMPLES)):
            path = _ADAPTER if equals else _TUNED
        word = before + equals + path
        is_run = word == "RUN" or (word.startswith("runs/") and "--out" not in out[-1:])
        if "--out" in out[-1:]:
            word = "run"
        out.append(_RUN if is_run else word)
    if "--set" in out and any(word.startswith("claim.") for word in out):
        out = [_CONVERGENCE_RUN if word == _RUN else word for word in out]
    return out


PROMPTS = (".txt",)
SAMPLES = ".jsonl"
_ADAPTER = "<adapter of that>"
_TUNED = "it-2"
"""What the small run tuned, in place of an arm that a command names of its run."""
NOT_PASSED = 3
"""What a command returns where a gate was not passed, as one in a small form need not be."""
_RUN, _CONVERGENCE_RUN = "<run of compare>", "<run of convergence>"


def _imagined(rest: Sequence[str]) -> dict[str, str]:
    """Return small files in place of those that a command names: 60 labeled lines."""
    files = {}
    for path in (Path(w.rpartition("=")[2]).name for w in rest if w.endswith(TABLES)):
        between = "\t" if path.endswith(".tsv") else ","
        rows = (f"{text}{between}{label}" for text, label in _labeled(Path(path).stem))
        files[path] = "\n".join(rows) + "\n"
    for path in (w.rpartition("=")[2] for w in rest if w.endswith(PROMPTS)):
        files[path] = "Film: {input}\nVerdict: {target}\n"
    for path in (w.rpartition("=")[2] for w in rest if w.endswith(SAMPLES)):
        rows = (_sample(*row) for row in _labeled(Path(path).stem.removeprefix("samples_")))
        files[path] = "\n".join(rows) + "\n"
    return files


def _labeled(about: str) -> list[tuple[str, int]]:
    words = ("good", "fine", "warm", "dull", "poor", "cold")
    return [(f"a {words[i % 6]} film in {about} number {i}", int(i % 6 < 3)) for i in range(60)]


def _sample(text: str, label: int) -> str:
    """Return a line as lm-evaluation-harness logs it."""
    sent = {f"gen_args_{n}": {"arg_0": text, "arg_1": f" {n}"} for n in range(2)}
    resps = [[[str(-float(n)), "False"]] for n in range(2)]
    row = {"doc": {"text": text}, "target": label, "arguments": sent, "resps": resps}
    return json.dumps(row)


@dataclass(frozen=True)
class Result:
    """What becomes of a command, or of a block of code."""

    of: Command | Code
    job: Job
    seconds: float = 0.0
    problem: str = ""

    @property
    def name(self) -> str:
        """How it is shown."""
        return self.of.text if isinstance(self.of, Command) else f"Python at {self.of.where}"


class Runner:
    """Runs jobs, each in a folder of its own below one that goes away."""

    def __init__(self, folder: Path, timeout_seconds: float) -> None:
        self.folder, self.timeout_seconds = folder, timeout_seconds
        self._site = installed(folder / "site")
        self._server = forked.server()
        self._lock = threading.Lock()
        self._numbers = iter(range(1_000_000))
        self._made = {
            name: functools.lru_cache(functools.partial(self._make, name)) for name in RUNS
        }
        self._locks = {name: threading.Lock() for name in RUNS}

    def __call__(self, found: Job) -> str:
        """Run what a job runs; return what is wrong, in one line, or ""."""
        if not found.words:
            return ""
        words = [self._given(word) for word in found.words]
        with self._lock:
            own = self.folder / str(next(self._numbers))
        for name, content in found.files.items():
            path = own / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        own.mkdir(parents=True, exist_ok=True)
        return self._finished(words, own)

    def _given(self, word: str) -> str:
        for named, name in {_RUN: "compare", _CONVERGENCE_RUN: "convergence"}.items():
            if named in word:
                with self._locks[name]:
                    word = word.replace(named, self._made[name]())
        if _ADAPTER in word:
            with self._locks["compare"]:
                made = Path(self._made["compare"]()).glob("cells/*/adapters/draw=0")
                word = word.replace(_ADAPTER, str(next(iter(sorted(made)))))
        return word

    def _make(self, name: str) -> str:
        out = self.folder / "made" / name
        words = [*job(Command(RUNS[name], "")).words, "--out", str(out)]
        if problem := self._finished(words, self.folder):
            raise Uncovered(f"no run to be given: {problem}")
        return str(out)

    def _finished(self, words: Sequence[str], folder: Path) -> str:
        """Run a command of Python; return what is wrong, in one line, or ""."""
        path = os.pathsep.join([str(self._site), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": path}
        with self._lock:
            said = self.folder / f"{next(self._numbers)}.txt"
        process = self._server.Process(target=forked.run, args=(words[1:], folder, env, said))
        process.start()
        process.join(self.timeout_seconds)
        if process.exitcode is None:
            process.kill()
            return f"took more than {self.timeout_seconds:g} s; make its small form smaller"
        if not process.exitcode or (process.exitcode == NOT_PASSED and "--gate" in words):
            return ""
        lines = [line for line in said.read_text("utf-8").splitlines() if line.strip()]
        last = lines[-1].strip() if lines else "it said nothing"
        return f"exit code {process.exitcode}: {last}"


def planned(commands: Sequence[Command], blocks: Sequence[Code]) -> list["Result"]:
    """Return what is to be done about everything published; nothing is run twice."""
    found: list[Result] = []
    first: dict[tuple[str, ...], str] = {}
    for one in (*commands, *blocks):
        try:
            own = _of_code(one) if isinstance(one, Code) else job(one, commands)
        except Uncovered as error:
            found.append(Result(one, Job("failed"), problem=str(error)))
            continue
        key = (*own.words, *own.files.values())
        if own.words and key in first:
            own = Job("covered", first[key])
        elif own.words:
            first[key] = one.text
        found.append(Result(one, own))
    return found


def done(found: "Result", run: Callable[[Job], str]) -> "Result":
    """Return what became of it."""
    if found.problem:
        return found
    start = time.monotonic()
    try:
        problem = run(found.job)
    except Uncovered as error:
        problem = str(error)
    return replace(found, seconds=time.monotonic() - start, problem=problem)


def _of_code(block: Code) -> Job:
    """Return how a page's Python is run: below `runs/` it finds the run it reads."""
    text = block.text.replace("runs/demo", _RUN)
    before = CODE if "adaptlens" in text else ""
    return Job("small", words=(sys.executable, "-c", before + text))


def main() -> None:
    """Collect, run, print, and fail where anything does."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="say how each would be run, no more")
    parser.add_argument("--only", default="", metavar="TEXT", help="of commands that have it")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="of each")
    given = parser.parse_args()
    os.environ.update({"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})
    found = [one for one in planned(*published(ROOT)) if given.only in one.name]
    with tempfile.TemporaryDirectory() as made, ThreadPoolExecutor(os.cpu_count()) as pool:
        runner = Runner(Path(made), given.timeout)
        run: Callable[[Job], str] = (lambda _: "") if given.list else runner
        results = []
        for one in pool.map(lambda one: done(one, run), found):
            results.append(one)
            why = f"  ({one.job.reason})" if one.job.reason else ""
            state = "FAILED" if one.problem else one.job.form
            print(f"{state:9} {one.seconds:6.1f} s  {one.name}{why}", flush=True)
    failed = [one for one in results if one.problem]
    for one in failed:
        print(f"error: {one.of.where}: `{one.name}`: {one.problem}", file=sys.stderr)
    print(f"{len(results)} published, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
