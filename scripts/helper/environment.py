"""The ``.env`` file, read as Compose reads it, so that helper and Compose agree on every setting."""

import io
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import parse_stream
from dotenv.variables import parse_variables

from services.common.errors import InvalidSetting


def read_env_file(path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the file sets and the environment does not; the environment wins.

    Raises:
        InvalidSetting: the file cannot be read, or a line is not ``NAME=value``.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidSetting(f"reading {path}: {error.strerror}", "correct the file's permissions") from None
    except UnicodeDecodeError:
        raise InvalidSetting(f"reading {path}: it is not text", "copy .env.example anew") from None
    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            line = binding.original.string.strip().partition("\n")[0]
            raise InvalidSetting(
                f"reading {path}: line {binding.original.line} is not NAME=value: {_without_value(line)}",
                "correct or remove it; .env.example shows the form",
            )
        if binding.key is None or binding.value is None:
            continue
        known = {**found, **environment}
        found[binding.key] = "".join(atom.resolve(known) for atom in parse_variables(binding.value))
    return {name: value for name, value in found.items() if name not in environment}


def _without_value(line: str) -> str:
    """Return the part of a broken line that can hold no secret."""
    name, sign, _ = line.partition("=")
    return f"{name[:40]}{sign}…" if sign else f"{line[:10]}…"
