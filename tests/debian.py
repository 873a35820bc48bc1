"""Programs of Debian's that tests run: found, or brought here where that is allowed."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

UNPACKED = Path(sys.prefix, "debian")
"""In the tests' own environment; a program there may need ``LIBRARIES`` as its ``LD_LIBRARY_PATH``."""
LIBRARIES = UNPACKED / "usr/lib" / sysconfig.get_config_var("MULTIARCH")
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


def unpacked(name: str, packages: Sequence[str], folder: Path = UNPACKED) -> str:
    """Return the path of a program; if need be its packages are unpacked: installed, they would start a daemon.

    What they depend on and this machine lacks is unpacked with them.

    Args:
        name: of the program.
        packages: which may hold it, for not every Debian has it in the same.
        folder: where to.

    Raises:
        RuntimeError: it is not there, and cannot be fetched.
    """
    if (found := shutil.which(name)) is not None:
        return found
    places = f"{folder / 'usr/bin'}:{folder / 'usr/sbin'}"
    for package in packages:
        if (found := shutil.which(name, path=places)) is not None:
            return found
        if shutil.which("apt-get") is None:
            raise RuntimeError(f"{name} is missing — install it (Debian: apt-get install {packages[0]})")
        _unpack(package, folder)
    if (found := shutil.which(name, path=places)) is None:
        raise RuntimeError(f"{name} is in none of the packages {', '.join(packages)}")
    return found


def _unpack(package: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        _run([*_APT, "update"])
    with tempfile.TemporaryDirectory(dir=folder) as place:
        Path(place, "partial").mkdir()
        # Nothing of the system's is written, so that nobody needs to be root
        only = ["--download-only", "-o", "Debug::NoLocking=1", "-o", f"Dir::Cache::archives={place}/"]
        _run([*_APT, "install", "-y", "--no-install-recommends", *only, package])
        for archive in Path(place).glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(archive), str(folder)])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
