"""A model's name becomes what can be asked: loaded here, or at its server."""

from adaptlens.lm.asked import Asked
from adaptlens.lm.load import load
from adaptlens.lm.served import Served
from adaptlens.models import identity, server


def ready(name: str, *, chat: bool = False, **how: str | None) -> Asked:
    """Return the model that a name stands for.

    Args:
        name: as `load.load` takes it; or openai:URL#NAME, of a server that is connected to.
        chat: write prompts with its chat template.
        how: of `load.load`; a served model has none of it.

    Raises:
        UserError: it cannot be had.
    """
    asked = identity.parse(name)
    if server.is_named(asked.source):
        return Served(name, server.named(asked.source), chat or asked.chat)
    return load(name, chat=chat, **how)  # type: ignore[arg-type]
