"""Models of the Hugging Face hub: the files a study reads, in the hub's own cache."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from adaptlens.errors import UserError, first_line
from adaptlens.models import obtainable

_HUB_ID_LENGTH = 96
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def download(
    name: str,
    *,
    shipped: Sequence[str],
    weights: bool = True,
) -> Path:
    """Return the cached folder of a hub model, downloaded first where it can be.

    Args:
        name: a hub id; anything else is refused as no model at all.
        shipped: names of models that need no hub, to be pointed to.
        weights: download its weights too.

    Raises:
        UserError: the name is no hub id, the hub does not have it, refuses it or is out of reach.
    """
    if not _HUB_ID.fullmatch(name) or len(name) > _HUB_ID_LENGTH:
        raise UserError(
            f"no model folder '{name}'; expected an existing folder, a Hugging Face id such as "
            f"Qwen/Qwen3-0.6B, a GGUF file, or a shipped model ({', '.join(shipped)})."
        )
    from huggingface_hub import errors, snapshot_download

    patterns = ["*.json", "*.txt", "*.model", "*.jinja"]
    patterns += ["*.safetensors"] if weights else []
    try:
        path = snapshot_download(
            name,
            allow_patterns=patterns,
            ignore_patterns=["*/*", "consolidated*"],
        )
    except errors.GatedRepoError as error:
        raise UserError(
            f"model '{name}' is gated on the Hugging Face hub; expected an account with access: "
            "ask for it on the model's page, then log in with `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"no model '{name}': no such folder, and the Hugging Face hub knows no public model of "
            f"this name{_nearest(name, shipped)}; for a private one log in with `hf auth login`."
        ) from error
    # Which HTTP library raises depends on the version of huggingface_hub; `errors` has its base.
    except (errors.LocalEntryNotFoundError, ConnectionError, errors.HTTPError) as error:
        raise UserError(
            f"no model '{name}': no such folder, not in the Hugging Face cache, and the hub cannot "
            f"be reached{_nearest(name, shipped)}; give a folder, go online, or use a shipped "
            f"model ({', '.join(shipped)})."
        ) from error
    except (OSError, errors.HFValidationError) as error:
        raise UserError(
            f"model '{name}' could not be fetched from the Hugging Face hub "
            f"({first_line(error)}); check the name, and room and rights in its cache (HF_HOME)."
        ) from error
    return Path(path)


def _nearest(name: str, shipped: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, [*shipped, *obtainable.names()], n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
