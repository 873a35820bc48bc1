"""Programs of Debian's that tests run: found, or brought here where that is allowed."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_UNPACKED = Path(sys.prefix, "debian")
"""In the tests' own environment."""
_APT = ["apt-get", "-o", "DPkg::Lock::Timeout=300"]
_SECONDS = 900


def installed(name: str) -> str:
    """Return the path of a program, after installing the package of its name if need be.

    Raises:
        RuntimeError: it is not there, and cannot be installed.
    """
    if (found := shutil.which(name)) is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise RuntimeError(f"{name} is missing — install it (Debian: apt-get install {name})")
        _run([*_APT, "update"])
        _run([*_APT, "install", "-y", "--no-install-recommends", name])
        found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"apt-get has installed {name}, but it is not on PATH")
    return found


def unpacked(name: str, packages: Sequence[str], folder: Path = _UNPACKED) -> str:
    """Return the path of a program; if need be its packages are unpacked: installed, they would start a daemon.

    Args:
        name: of the program.
        packages: which may hold it, for not every Debian has it in the same.
        folder: where to.

    Raises:
        RuntimeError: it is not there, and cannot be fetched.
    """
    if (found := shutil.which(name)) is not None:
        return found
    program = folder / "usr/bin" / name
    for package in packages:
        if not program.exists():
            if shutil.which("apt-get") is None:
                raise RuntimeError(f"{name} is missing — install it (Debian: apt-get install {packages[0]})")
            _unpack(package, folder)
    if not program.exists():
        raise RuntimeError(f"{name} is in none of the packages {', '.join(packages)}")
    return str(program)


def _unpack(package: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        _run([*_APT, "update"])
    with tempfile.TemporaryDirectory(dir=folder) as place:
        _run([*_APT, "download", package], Path(place))
        (archive,) = Path(place).glob("*.deb")
        _run(["dpkg-deb", "--extract", str(archive), str(folder)])


def _run(command: Sequence[str], folder: Path | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
