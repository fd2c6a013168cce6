"""Settings in a file: YAML, JSON, or a Python file that makes them."""

import importlib.util
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adaptlens.config.schema import Schema
from adaptlens.config.yaml12 import Place, read_yaml
from adaptlens.errors import RunIncomplete, UserError, first_line, one_line

MAX_CONFIG_BYTES = 1_000_000


def load_study(path: str | Path) -> Any:
    """Run a .py file that the user named, and return what its `study()` returns.

    Raises:
        UserError: there is no such file, it is not Python, it defines no `study`, or it fails; the
            message has the file's line, and the error that it raised is the cause.
    """
    path = Path(path)
    _text(path)
    spec = importlib.util.spec_from_file_location("adaptlens_user_study", path)
    if spec is None or spec.loader is None:
        raise UserError(f"'{path}' is not a Python file; expected a name that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    _run(spec.loader.exec_module, module, path)
    study = getattr(module, "study", None)
    if not callable(study):
        raise UserError(f"'{path}' defines no function study(); add one that returns the study.")
    return _run(lambda _: study(), module, path)


def _run(step: Callable[[Any], Any], module: Any, path: Path) -> Any:
    """Return what a step of running the user's file returns."""
    try:
        return step(module)
    except SyntaxError as error:
        where = error.filename or path
        raise UserError(f"{where}:{error.lineno}: not Python ({error.msg}); correct it.") from None
    except (UserError, RunIncomplete):
        raise
    except Exception as error:
        # Whatever the file does wrong, the line in it is what its author needs.
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f":{f.lineno}" for f in reversed(frames) if f.filename == str(path)), "")
        said = first_line(error)
        raise UserError(
            f"{path}{line}: {type(error).__name__} ({one_line(said, 160, 40)}); correct the file."
        ) from error


def read_settings(path: Path, schema: Schema[Any]) -> tuple[dict[str, Any], dict[Place, str]]:
    """Return the settings in a file and where each stands ("study.yaml:3")."""
    if path.suffix == ".py":
        made = load_study(path)
        if isinstance(made, schema.kind):
            made = asdict(made)
        if not isinstance(made, Mapping):
            raise UserError(
                f"'{path}': study() returned a {type(made).__name__}; expected settings: a mapping "
                f"or {schema.study}_config(...)."
            )
        return dict(made), {(): str(path)}
    if path.suffix not in (".yaml", ".yml", ".json"):
        raise UserError(f"'{path}' is not a config file; expected .yaml, .yml, .json or .py.")
    value, lines = read_yaml(_text(path), str(path))
    if value is None:
        raise UserError(f"'{path}' is empty; expected settings such as models: [reference].")
    if not isinstance(value, dict):
        raise UserError(
            f"'{path}' holds a {_kind(value)}; expected settings such as models: [reference]."
        )
    return value, {place: f"{path}:{line}" for place, line in lines.items()}


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise UserError(
                f"'{path}' is larger than {MAX_CONFIG_BYTES} bytes; expected the settings of a "
                "study; check that this is the right file."
            )
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"config file '{path}' does not exist; check the name.") from None
    except IsADirectoryError:
        raise UserError(f"'{path}' is a folder; expected a config file, .yaml or .py.") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"'{path}' is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot read '{path}' ({said}); check it.") from None


def _kind(value: Any) -> str:
    return "list" if isinstance(value, list) else "text" if isinstance(value, str) else "number"
