"""What a comparison asks of models that a server has: prompts, and what is beside them there."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from adaptlens.adapt.families import family_of
from adaptlens.errors import UserError
from adaptlens.models import identity, server
from adaptlens.models.http_client import Limits
from adaptlens.studies.compare.config import CompareConfig
from adaptlens.studies.wanted import Wanted

MEASURED = {"behavior": "behavior", "cost": "served_cost", "elsewhere": "elsewhere"}
"""What can be measured of a served model, and what measures it there."""

UNSEARCHED = (
    "prompts are not searched, as the server gives no log-probabilities that could tell good ones "
    "from better"
)


def connect(config: CompareConfig) -> None:
    """Ask the server of every served model and arm what that is.

    Raises:
        UserError: a server cannot be used, or has no such model.
    """
    given: dict[str, Any] = {**config.server}
    limits = Limits(**given)
    sources = [identity.parse(name).source for name in config.models]
    for source in (*sources, *config.arms.values()):
        if server.is_named(source):
            server.connect(source, limits)


def asked(model: str, wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return what is wanted of a model; of one that is served, as it can be had there.

    Raises:
        UserError: it is served, and weights or states of it are wanted.
    """
    source = identity.parse(model).source
    if not server.is_named(source):
        return [*wanted]
    found = []
    for one in wanted:
        if family_of(one.adaptation) == "tune" and one.adaptation != "served":
            raise UserError(
                f"{one.label}: the model '{server.label_of(source)}' is served ({source}) and can "
                "only be prompted; leave tuning out with --tuning '', give what its server has "
                "tuned as --arm mine=openai:URL#NAME, or a folder or hub id as the model."
            )
        if others := [name for name, _ in one.measurements if name not in MEASURED]:
            raise server.needs_weights(source, f"measuring {others[0]}")
        measured = [(MEASURED[name], arguments) for name, arguments in one.measurements]
        if one.adaptation != "best_prompt" or server.named(source).way != "written":
            found.append(replace(one, measurements=measured))
    return found


def notes(config: CompareConfig) -> tuple[str, ...]:
    """Return what was left out because a server cannot tell it."""
    sources = (identity.parse(name).source for name in config.models)
    served = [server.named(source) for source in sources if server.is_named(source)]
    left_out = config.search and any(one.way == "written" for one in served)
    return (UNSEARCHED,) if left_out else ()
