"""Puts a file in the place of another, whole or not at all."""

import os
import tempfile
from pathlib import Path

from services.common.errors import Broken


def replace_file(
    path: Path, content: str, mode: int = 0o600, remedy: str = "check the disk and the folder's permissions"
) -> None:
    """Write ``content`` where readers see the old file or the new one and never half; a failure leaves the old.

    Args:
        path: the file.
        content: what it shall hold.
        mode: who may read it.
        remedy: what a person can do when it fails.

    Raises:
        Broken: it cannot be written.
    """
    try:
        # The name is random, so that what a crash leaves behind is in nobody's way; its mode is 0600
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), mode)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise Broken(f"writing {path}: {error.strerror}", remedy) from error
