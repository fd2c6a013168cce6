"""What a run found, in an experiment tracker: settings, verdicts, scores, and the page.

Nothing leaves the machine unless the tracker's own settings say so: without any, W&B writes an
offline run, MLflow and trackio into folders here, and no usage statistics are sent.
"""

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.errors import UserError
from adaptlens.store import Run

if TYPE_CHECKING:
    import pandas as pd

PROJECT = "adaptlens"
"""The project, or experiment, that runs are put into, unless the tracker's settings name one."""

QUIET = {
    "WANDB_MODE": "offline",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Variables of trackers, as they are where the user has not set them."""

SCORES = ("model", "task", "condition", "value", "low", "high", "queries", "draws")
CLAIMS = ("model", "task", "claim", "state", "effect", "low", "high", "p_holm", "line")


@dataclass(frozen=True)
class Tracked:
    """What is told of a run.

    Attributes:
        name: of its folder.
        settings: of the study, by dotted names.
        verdicts: each in one line, by what it is about.
        numbers: scores as fractions (chrF: 0 to 100), or the effects of claims.
        table: the scores, or the claims.
        page: the page's file.
    """

    name: str
    settings: Mapping[str, Any]
    verdicts: Mapping[str, str]
    numbers: Mapping[str, float]
    table: "pd.DataFrame"
    page: Path


def check(tracker: str) -> None:
    """Refuse a tracker that is not installed, before anything is computed.

    Raises:
        UserError: it is not.
    """
    if importlib.util.find_spec(tracker) is None:
        raise UserError(
            f"--track {tracker}: the package '{tracker}' is not installed; run pip install "
            f"'adaptlens[{tracker}]'."
        )


def track(tracker: str, run: Run, report: Any, page: Path) -> None:
    """Tell a tracker of a run; a second time makes another run there.

    Args:
        tracker: a key of `TRACKERS`.
        run: what was done.
        report: what was found.
        page: the page's file.

    Raises:
        UserError: the tracker is not installed, or refuses.
    """
    check(tracker)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        TRACKERS[tracker](told(run, report, page))
    except Exception as error:
        # Each has errors of its own; the run is whole, whatever a tracker says.
        raise UserError(
            f"--track {tracker}: {type(error).__name__}: {error}; the run is at '{run.folder}', "
            "and `adaptlens report` with the same --track tries again."
        ) from error


def told(run: Run, report: Any, page: Path) -> Tracked:
    """Return what is told of a run."""
    import pandas as pd

    study = run.read_json("study.json") or {}
    if hasattr(report, "verdicts"):
        scores = report.tables["accuracy"]
        main = scores[scores["metric"].isin(["judged", "chrf"])]
        table, values, key = main[list(SCORES)], main["value"], "condition"
        said = {f"{v['model']}, {v['task']}": v["line"] for v in report.verdicts}
    else:
        table = pd.DataFrame(report.claims, columns=CLAIMS)
        values, key = table["effect"], "claim"
        said = {f"{c['model']}, {c['task']}, {c['claim']}": c["line"] for c in report.claims}
    names = table["model"] + "/" + table["task"] + "/" + table[key]
    numbers = {n: float(v) for n, v in zip(names, values, strict=True) if v == v}
    settings = {"study": study.get("name", ""), **_flat(study.get("settings", {}))}
    return Tracked(run.folder.name, settings, said, numbers, table, page)


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return settings by dotted names; lists as JSON."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{name}.")
        else:
            is_plain = value is None or isinstance(value, (str, int, float))
            found[before + name] = value if is_plain else json.dumps(value)
    return found


def _wandb(found: Tracked) -> None:
    import wandb

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    with wandb.init(project=project, name=found.name, config=dict(found.settings)) as run:
        run.log({"scores": wandb.Table(dataframe=found.table), **found.numbers})
        for about, line in found.verdicts.items():
            run.summary[f"verdict: {about}"] = line
        artifact = wandb.Artifact(f"{found.name}-page", type="report")
        artifact.add_file(str(found.page))
        run.log_artifact(artifact)


def _mlflow(found: Tracked) -> None:
    import mlflow

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        # Its own choice is a database, for which mlflow-skinny has no driver.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        mlflow.set_tracking_uri(Path("mlruns").resolve().as_uri())
    if not any(os.environ.get(f"MLFLOW_EXPERIMENT_{part}") for part in ("NAME", "ID")):
        mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=found.name):
        mlflow.log_params({name: str(value)[:6000] for name, value in found.settings.items()})
        # Names have no commas and brackets there.
        mlflow.log_metrics(
            {"".join(c if c.isalnum() or c in "_-. /" else "_" for c in name): value
             for name, value in found.numbers.items()}
        )  # fmt: skip
        mlflow.set_tags({f"verdict {n}": line for n, line in enumerate(found.verdicts.values())})
        mlflow.log_text(found.table.to_csv(index=False), "scores.csv")
        mlflow.log_artifact(str(found.page))


def _trackio(found: Tracked) -> None:
    import trackio

    project = os.environ.get("TRACKIO_PROJECT", PROJECT)
    trackio.init(project=project, name=found.name, config=dict(found.settings), embed=False)
    lines = "\n".join(f"- **{about}**: {line}" for about, line in found.verdicts.items())
    trackio.log(
        {
            **found.numbers,
            "scores": trackio.Table(dataframe=found.table),
            "verdict": trackio.Markdown(f"{lines}\n\nPage: {found.page.resolve()}"),
        }
    )
    trackio.finish()


TRACKERS: Mapping[str, Callable[[Tracked], None]] = {
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}
"""By the names of their packages, which are those of the extras."""
