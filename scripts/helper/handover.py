"""What this machine's pip and TLS settings know that the image build needs too."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.helper.shell import Shell
from services.common.settings import StackSettings

_CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
DEFAULT_BUNDLE = Path(str(StackSettings.model_fields["ca_bundle"].default))


@dataclass
class Handover:
    """Variables for ``compose.yaml``, and lines that tell the person about them."""

    variables: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def add(self, name: str, path: Path, reason: str) -> None:
        """Hand a path over."""
        self.variables[name] = str(path)
        self.lines.append(f"{name}={path} ({reason})")


def hand_over(
    environment: Mapping[str, str], shell: Shell, default_bundle: Path = DEFAULT_BUNDLE
) -> Handover:
    """Return what the build is given beyond the settings; a variable that the user set is left alone.

    Args:
        environment: the process's variables with those of ``.env``.
        shell: asks pip for its configuration.
        default_bundle: the certificates that ``compose.yaml`` takes when nothing is said.
    """
    given = Handover()
    if not environment.get("CALYX_WHEELHOUSE"):
        folder = _first_folder(environment.get("PIP_FIND_LINKS") or _configured_links(shell))
        if folder:
            given.add("CALYX_WHEELHOUSE", folder, "pip's find-links")
    if not environment.get("CALYX_CA_BUNDLE"):
        _add_certificates(given, environment, default_bundle)
    return given


def _add_certificates(given: Handover, environment: Mapping[str, str], default_bundle: Path) -> None:
    for variable in _CA_VARIABLES:
        value = environment.get(variable)
        if value and Path(value).is_file():
            given.add("CALYX_CA_BUNDLE", Path(value).resolve(), variable)
            return
    if not default_bundle.is_file():
        # Compose wants some file; with an empty one the build trusts what its base image trusts.
        given.variables["CALYX_CA_BUNDLE"] = os.devnull


def _configured_links(shell: Shell) -> str:
    answer = shell.run(["python3", "-m", "pip", "config", "get", "global.find-links"], limit=30)
    return answer.output.strip() if answer.ok else ""


def _first_folder(words: str) -> Path | None:
    for word in words.split():
        path = Path(word.removeprefix("file://"))
        if path.is_absolute() and path.is_dir():
            return path
    return None
