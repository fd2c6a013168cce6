"""Files sent to the Hugging Face hub, when a user asks for it: into a repository that is empty."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError, first_line, one_line
from adaptlens.models import identity, obtainable, shipped

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LONGEST_NAME = 96
_OWN = ".gitattributes"
"""What the hub puts into every repository."""


def base_on_hub(name: str) -> str:
    """Return the hub id that a model was found by; empty where it was found otherwise."""
    source = identity.parse(name).source
    if not _REPOSITORY.fullmatch(source) or Path(source).exists():
        return ""
    return "" if source in (*shipped.names(), *obtainable.names()) else source


def check_name(repository: str, option: str = "--push-to-hub") -> None:
    """Refuse what is no repository's name.

    Raises:
        UserError: it is none; names the option that it was given by.
    """
    if not _REPOSITORY.fullmatch(repository) or len(repository) > _LONGEST_NAME:
        raise UserError(
            f"{option} '{one_line(repository, 80, 20)}' is no repository of the Hugging Face hub; "
            "expected OWNER/NAME, such as ana/reviews-it-16."
        )


def push(repository: str, files: Mapping[str, bytes], *, public: bool = False) -> str:
    """Send files into a model repository, made if it is not there, and return its address.

    They go as one commit. The token is the environment's (HF_TOKEN) or that of `hf auth login`;
    it is neither written nor shown.

    Args:
        repository: OWNER/NAME.
        files: what each holds, by its name.
        public: whether everyone may read it; a repository is private otherwise.

    Raises:
        UserError: no token, no network, the hub refuses, or the repository holds other files or is
            public unasked.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants, errors, get_token

    if constants.is_offline_mode():
        raise UserError(
            f"'{repository}' cannot be pushed: HF_HUB_OFFLINE is set, so the hub is not asked; "
            "unset it, or leave out --push-to-hub."
        )
    token = get_token()
    if not token:
        raise UserError(
            f"'{repository}' cannot be pushed without a token of the Hugging Face hub; set "
            "HF_TOKEN in the environment, or log in with `hf auth login`."
        )
    api = HfApi(token=token)
    try:
        _check_empty(api, repository, public=public)
        api.create_repo(repository, private=not public, exist_ok=True)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(repository, operations, commit_message="Add the adapter and its card")
    except errors.HfHubHTTPError as error:
        raise _refused(repository, error, token) from None
    except (errors.HTTPError, ConnectionError, OSError) as error:
        reason = one_line(first_line(error).replace(token, "***"), 120, 20)
        raise UserError(
            f"'{repository}' could not be pushed: the hub {api.endpoint} cannot be reached "
            f"({reason}); go online and run the same command again."
        ) from None
    return f"{api.endpoint}/{repository}"


def _check_empty(api: Any, repository: str, *, public: bool) -> None:
    """Refuse a repository that has files of others' making, or more readers than were asked for.

    Raises:
        UserError: it has.
    """
    from huggingface_hub import errors

    try:
        found = api.repo_info(repository, repo_type="model")
    except errors.RepositoryNotFoundError as error:
        if error.response is not None and error.response.status_code == 404:
            return
        raise
    names = [one.rfilename for one in found.siblings or () if one.rfilename != _OWN]
    if names:
        raise UserError(
            f"repository '{repository}' is there and holds {len(names)} files ({names[0]}, ...); "
            "nothing is replaced: give another name, or empty it."
        )
    if not found.private and not public:
        raise UserError(
            f"repository '{repository}' is there and public; give --public to have everyone read "
            "it, or another name."
        )


def _refused(repository: str, error: Any, token: str) -> UserError:
    status = error.response.status_code if error.response is not None else 0
    if status == 401:
        what, todo = "refuses the token", "set another HF_TOKEN, or log in with `hf auth login`"
    elif status == 403:
        what, todo = "does not let this token write there", "use a token with write access to it"
    else:
        said = str(error.server_message or first_line(error)).replace(token, "***")
        what, todo = f"refuses it: {one_line(said, 120, 20)}", "see to that and try again"
    return UserError(f"'{repository}' was not pushed: the hub {what} (status {status}); {todo}.")
