from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.helper.install.apt import AptFacts
from scripts.helper.install.base_images import BASE_IMAGES, BaseImages, slim
from scripts.helper.install.changes import Changes
from services.common.errors import Refused
from tests.unit.helper.helper_fakes import FakeShell, Written

MIRROR = "http://mirror.example/debian/"
TARGETS = f"Packages|Debian|Debian|main|bookworm|{MIRROR}\n"
BUILDER = {"debootstrap": "", "tar": "", "apt-cache policy": "", "apt-get": TARGETS}


class FakeImages:
    def __init__(self, *present: str, registry: bool = False) -> None:
        self.present = set(present)
        self.registry = registry
        self.pulled: list[str] = []
        self.imported: list[tuple[str, list[str]]] = []

    def has_image(self, name: str) -> bool:
        return name in self.present

    def registry_offers(self, name: str) -> bool:
        return self.registry

    def pull(self, name: str, on_progress: Callable[[str], None]) -> None:
        self.pulled.append(name)

    def import_image(self, name: str, archive: Path, changes: list[str]) -> None:
        assert archive.exists()
        self.imported.append((name, changes))


def ensure(images: FakeImages, shell: FakeShell, tmp_path: Path, *, root: bool = True) -> list[str]:
    asked: list[str] = []
    BaseImages(images, Changes(shell, Written(), tmp_path / "log"), asked.append, root=root).ensure()
    return asked


def builder() -> FakeShell:
    """A machine whose tar really makes the archive it is asked for."""
    shell = FakeShell(BUILDER, installed="apt-get debootstrap")

    def make_archive() -> None:
        words = shell.calls[-1].split()
        Path(words[words.index("-cf") + 1]).write_bytes(b"archive")

    def make_root() -> None:
        words = shell.calls[-1].split()
        Path(words[3], "etc/apt").mkdir(parents=True)

    shell.when = {"tar": make_archive, "debootstrap": make_root}
    return shell


def test_images_that_are_there_are_left_alone(tmp_path: Path) -> None:
    shell = FakeShell()
    images = FakeImages(*BASE_IMAGES, registry=True)
    ensure(images, shell, tmp_path, root=False)
    assert images.pulled == []
    assert shell.calls == []


def test_a_registry_that_answers_is_preferred(tmp_path: Path) -> None:
    shell = FakeShell()
    images = FakeImages("debian:trixie-slim", registry=True)
    ensure(images, shell, tmp_path, root=False)
    assert images.pulled == ["debian:bookworm-slim"]
    assert shell.calls == []


def test_without_a_registry_they_are_made_from_the_machines_own_mirror(tmp_path: Path) -> None:
    images, shell = FakeImages(), builder()
    asked = ensure(images, shell, tmp_path)
    assert asked == []
    assert images.imported == [
        (name, ["LABEL org.calyx.base=debootstrap", 'CMD ["bash"]']) for name in BASE_IMAGES
    ]
    made = [call.split() for call in shell.calls if call.startswith("debootstrap")]
    assert [(words[1], words[2], words[4]) for words in made] == [
        ("--variant=minbase", "bookworm", MIRROR),
        ("--variant=minbase", "trixie", MIRROR),
    ]
    assert not any(Path(words[3]).exists() for words in made)


def test_debootstrap_is_installed_only_after_asking(tmp_path: Path) -> None:
    shell = builder()
    shell.installed.remove("debootstrap")
    asked = ensure(FakeImages("debian:trixie-slim"), shell, tmp_path)
    assert asked == ["No registry offers debian:bookworm-slim. Install debootstrap to make them here?"]
    assert any("install -y --no-install-recommends debootstrap" in call for call in shell.calls)


def test_without_root_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        Refused, match="no registry offers debian:bookworm-slim and debian:trixie-slim — bring them"
    ):
        ensure(FakeImages(), builder(), tmp_path, root=False)


def test_a_root_file_system_is_slimmed_and_keeps_its_licences(tmp_path: Path) -> None:
    for name in (
        "var/lib/apt/lists/mirror_Packages",
        "var/cache/apt/archives/bash.deb",
        "var/log/bootstrap.log",
        "usr/share/man/man1/ls.1.gz",
        "usr/share/doc/bash/NEWS",
        "usr/share/doc/bash/copyright",
        "usr/bin/bash",
        "etc/apt/sources.list",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("…")
    slim(tmp_path, "bookworm", AptFacts(mirror=MIRROR, security_mirror="http://security.example/"))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {
        "usr/share/doc/bash/copyright",
        "usr/bin/bash",
        "etc/apt/sources.list",
        "etc/dpkg/dpkg.cfg.d/calyx-slim",
    }
    assert (tmp_path / "var/cache/apt/archives").is_dir()
    assert (tmp_path / "etc/apt/sources.list").read_text().splitlines() == [
        f"deb {MIRROR} bookworm main",
        f"deb {MIRROR} bookworm-updates main",
        "deb http://security.example/ bookworm-security main",
    ]
