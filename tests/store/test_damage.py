"""Whatever happens to a file of a run: the right tables or one line, and the next run heals it."""

import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

from adaptlens.cli.main import main
from adaptlens.report import frame
from adaptlens.report.images import Drawn
from adaptlens.store import Run, finished, versions
from adaptlens.store.commands import working
from tiny import tiny_folder

TABLES = ("accuracy", "baselines", "calibration", "reliability", "answers", "templates")
"""Those that hold no measured time."""
UNCHECKED = ("lock", "tables/accuracy.parquet", "report.html")
"""Files that are made anew in passing, and that `check` does not read."""


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe_instead(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "cut": truncate,
    "a flipped bit": flip,
    "empty": lambda path: path.write_bytes(b""),
    "another type": lambda path: path.write_text('[{"format": []}]\n'),
    "nested deep": lambda path: path.write_text("[" * 100_000 + "\n"),
    "deleted": Path.unlink,
    "a folder": folder_instead,
    "a pipe": pipe_instead,
}
KINDS = (
    "run.json", "lock", "study.json", "loading.json", "tasks/*.json", "tables/accuracy.parquet",
    "report.html", "cells/*/spec.json", "cells/*/result.json", "cells/*/texts.json",
    "cells/*/log.jsonl", "cells/*/arrays/behavior.loglik.safetensors",
    "cells/*/adapters/*/adapter_model.safetensors",
)  # fmt: skip
"""A file of every kind that a run holds."""


NAMES = tuple(DAMAGE)
EACH = [
    (kind, NAMES[(2 * i + j) % len(NAMES)])
    for i, kind in enumerate(KINDS)
    for j in range(len(NAMES) if kind == "cells/*/result.json" else 2)
] + [("lock", "a folder"), ("lock", "a pipe")]
"""Two kinds of damage to every kind of file, in turn, and all of them to a result;
`benchmarks/crash.py` takes any file at random."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The words of a small comparison, and its finished run."""
    folder = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame, "draw", lambda *_: Drawn())
        tiny_folder(folder, "llama")
        rows = [{"text": f"{i} the put", "label": "ab"[i % 2]} for i in range(20)]
        (folder / "rows.json").write_text(json.dumps(rows))
        words = [
            *("compare", "--model", f"{folder}/llama-0", "--task", f"{folder}/rows.json"),
            *("--shots", "0,2", "--tuning", "it", "--draws", "1", "--no-search"),
            *("--set", "tune.max_steps=1", "--set", "num_templates=1", "--set", "tune.lora_rank=1"),
        ]
        assert invoke(*words, "--out", f"{folder}/run").exit_code == 0
        yield words, folder / "run"


def invoke(*words: str):
    return CliRunner().invoke(main, list(words))


def tables(run: Path) -> dict[str, bytes]:
    return {name: (run / "tables" / f"{name}.parquet").read_bytes() for name in TABLES}


def ends_well(result) -> bool:
    """Say whether a command ended well; else it ends in one line that says what to do."""
    if result.exit_code == 0:
        return True
    assert result.exit_code in (1, 2), result.exception
    lines = [line for line in result.stderr.splitlines() if line.startswith(("error:", "incompl"))]
    assert len(lines) == 1, result.stderr
    return False


@pytest.mark.parametrize(("kind", "damage"), EACH)
def test_a_damaged_file_is_named_and_the_next_run_heals_it(whole, tmp_path, kind, damage):
    words, run = whole
    hurt = tmp_path / "run"
    shutil.copytree(run, hurt)
    path = sorted(hurt.glob(kind))[0]
    DAMAGE[damage](path)
    for verb in ("status", "check", "report"):
        well = ends_well(invoke(verb, str(hurt)))
        if verb == "check" and kind not in UNCHECKED:
            assert not well or damage == "deleted"
        if verb == "report" and well:
            assert tables(hurt) == tables(run)
    healed = invoke(*words, "--out", str(hurt))
    assert healed.exit_code == 0, healed.output
    assert tables(hurt) == tables(run)
    if not (kind.endswith("adapter_model.safetensors") and damage == "a flipped bit"):
        assert invoke("check", str(hurt)).exit_code == 0
        assert ends_well(invoke("status", str(hurt)))


def test_an_adapter_that_no_table_reads_is_found_by_check(whole, tmp_path):
    shutil.copytree(whole[1], tmp_path / "run")
    flip(next((tmp_path / "run").glob("cells/*/adapters/*/adapter_model.safetensors")))
    found = invoke("check", str(tmp_path / "run"))
    assert found.exit_code == 2 and "adapter_model.safetensors: changed" in found.stdout


def test_arrays_are_hashed_once_however_often_they_are_read(whole, monkeypatch):
    record = next(Run.open(whole[1]).records())
    hashed = []
    sha256 = finished.hashlib.sha256
    monkeypatch.setattr(finished.hashlib, "sha256", lambda data: hashed.append(1) or sha256(data))
    for _ in range(3):
        assert record.arrays["behavior.loglik"].size
    assert len(hashed) == 1


def test_what_is_set_aside_is_kept_and_said(whole, tmp_path, caplog):
    words, run = whole
    hurt = tmp_path / "run"
    shutil.copytree(run, hurt)
    path = sorted(hurt.glob("cells/*/arrays/behavior.loglik.safetensors"))[0]
    flip(path)
    damaged, cell = path.read_bytes(), path.parent.parent.name
    invoke(*words, "--out", str(hurt))
    kept = hurt / "damaged" / cell / "arrays" / path.name
    assert kept.read_bytes() == damaged and path.read_bytes() != damaged
    assert f"set aside as 'damaged/{cell}'" in caplog.text
    # Only that cell was done again.
    others = [one.name for one in (hurt / "cells").iterdir() if one.name != cell]
    for name in others:
        log = "cells", name, "log.jsonl"
        assert hurt.joinpath(*log).read_bytes() == run.joinpath(*log).read_bytes()


@pytest.mark.parametrize("kept", range(3))
def test_the_report_of_an_interrupted_run_says_so(whole, tmp_path, kept):
    shutil.copytree(whole[1], tmp_path / "run")
    cells = sorted((tmp_path / "run" / "cells").iterdir())
    for cell in (cell for cell in cells if cell != cells[kept]):
        shutil.rmtree(cell)
    said = "Partial: 1 of 3 cells are done, and all that follows is of these alone."
    found = invoke("report", str(tmp_path / "run"))
    assert found.exit_code == 0, found.output
    assert " ".join(found.output.split()).startswith(said)
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert page.index(f"<strong>{said}") < page.index("<section")
    markdown = invoke("report", str(tmp_path / "run"), "--markdown").stdout
    assert markdown.splitlines()[2].startswith(f"**{said}")
    first = json.loads(invoke("report", str(tmp_path / "run"), "--json").stdout)
    assert next(iter(first)) == "partial"
    assert (first["partial"]["cells_done"], first["partial"]["cells"]) == (1, 3)


def test_the_page_shows_the_versions_that_made_the_cells(whole, tmp_path, monkeypatch):
    words, run = whole
    newer = {**versions.installed(), "torch": "99.0"}
    monkeypatch.setattr(versions, "installed", lambda: newer)
    shutil.copytree(run, tmp_path / "run")
    ours = f"<dt>torch</dt><dd>{version('torch')}</dd>"
    invoke(*words, "--out", str(tmp_path / "run"))
    assert ours in (tmp_path / "run" / "report.html").read_text()
    shutil.rmtree(sorted((tmp_path / "run" / "cells").iterdir())[0])
    invoke(*words, "--out", str(tmp_path / "run"))
    both = ", ".join(sorted({version("torch"), "99.0"}))
    assert f"<dt>torch</dt><dd>{both}</dd>" in (tmp_path / "run" / "report.html").read_text()


def test_other_settings_are_refused_on_a_folder_at_work(whole, tmp_path):
    words, run = whole
    shutil.copytree(run, tmp_path / "run")
    with working(tmp_path / "run", "0" * 64):
        found = invoke(*words, "--seed", "1", "--out", str(tmp_path / "run"))
    assert found.exit_code == 2
    assert "is being worked on with other settings by process" in found.stderr
    assert (tmp_path / "run" / "study.json").read_bytes() == (run / "study.json").read_bytes()


def test_no_password_of_an_address_is_stored_or_shown(whole, tmp_path):
    words, _ = whole
    address = ("--engine", "ray", "--address", "ray://ada:s3cret@127.0.0.1:1")
    found = invoke(*words, *address, "--out", str(tmp_path / "run"))
    assert found.exit_code == 2
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert all(b"s3cret" not in path.read_bytes() for path in files)
    assert "s3cret" not in found.output
    assert "ray://***@127.0.0.1:1" in (tmp_path / "run" / "study.json").read_text()
