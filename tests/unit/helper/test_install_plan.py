from pathlib import Path

import pytest

from scripts.helper.install.apt import AptFacts, parse_apt
from scripts.helper.install.plan import Command, Part, WriteFile, plan_installation
from services.common.errors import Unavailable

MIRROR = "http://mirror.example/debian/"
EVERYTHING = list(Part)

DEBIAN_12 = AptFacts(
    candidates={
        "docker.io": (20, 10),
        "docker-compose": (1, 29),
        "containerd": (1, 6),
        "debootstrap": (1, 0),
    },
    mirror=MIRROR,
    suites=frozenset({"bookworm", "bookworm-updates"}),
)
DEBIAN_13 = AptFacts(
    candidates={
        "docker.io": (26, 1),
        "docker-cli": (26, 1),
        "docker-compose": (2, 26),
        "docker-buildx": (0, 13),
    },
    mirror=MIRROR,
    suites=frozenset({"trixie"}),
)
UBUNTU = AptFacts(
    candidates={
        "docker.io": (28, 2),
        "docker-compose": (1, 29),
        "docker-compose-v2": (2, 37),
        "docker-buildx": (0, 21),
    }
)


def commands(missing: list[Part], distribution: str, facts: AptFacts) -> list[str]:
    actions = plan_installation(missing, distribution, facts).actions
    return [" ".join(action.argv) for action in actions if isinstance(action, Command)]


def files(missing: list[Part], distribution: str, facts: AptFacts) -> dict[Path, str]:
    actions = plan_installation(missing, distribution, facts).actions
    return {action.path: action.text for action in actions if isinstance(action, WriteFile)}


def test_debian_13_has_everything_itself() -> None:
    assert commands(EVERYTHING, "debian", DEBIAN_13) == [
        "apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "
        "docker.io docker-cli docker-compose docker-buildx"
    ]
    assert files(EVERYTHING, "debian", DEBIAN_13) == {}


def test_debian_12_takes_them_from_the_later_suite_of_its_own_mirror() -> None:
    assert commands(EVERYTHING, "debian", DEBIAN_12) == [
        "apt-get -o DPkg::Lock::Timeout=300 update",
        "apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends -t trixie "
        "docker.io docker-cli containerd iptables debootstrap docker-compose docker-buildx",
    ]
    written = files(EVERYTHING, "debian", DEBIAN_12)
    source = written[Path("/etc/apt/sources.list.d/calyx-trixie.sources")]
    assert f"URIs: {MIRROR}\nSuites: trixie\nComponents: main\nSigned-By: /usr/share/keyrings/" in source
    pin = written[Path("/etc/apt/preferences.d/calyx-trixie")]
    assert "Pin: release n=trixie\nPin-Priority: 50\n" in pin


def test_the_pin_is_there_before_the_suite() -> None:
    assert next(iter(files(EVERYTHING, "debian", DEBIAN_12))).parent.name == "preferences.d"


def test_a_later_suite_that_apt_knows_already_is_not_added_again() -> None:
    facts = AptFacts(DEBIAN_12.candidates, MIRROR, suites=frozenset({"bookworm", "trixie"}))
    assert files(EVERYTHING, "debian", facts) == {}
    assert len(commands(EVERYTHING, "debian", facts)) == 1


def test_only_what_is_missing_is_installed() -> None:
    assert plan_installation([Part.COMPOSE], "debian", DEBIAN_12).packages == ("docker-compose",)
    assert plan_installation([Part.BUILDX], "debian", DEBIAN_13).packages == ("docker-buildx",)


def test_ubuntu_has_its_own_names() -> None:
    assert plan_installation(EVERYTHING, "ubuntu", UBUNTU).packages == (
        "docker.io",
        "docker-compose-v2",
        "docker-buildx",
    )


def test_dockers_own_packages_come_first_where_its_repository_is_known() -> None:
    facts = AptFacts({**UBUNTU.candidates, "docker-ce": (28, 3), "docker-compose-plugin": (2, 38)})
    packages = plan_installation(EVERYTHING, "ubuntu", facts).packages
    assert packages == ("docker-ce", "docker-compose-plugin", "docker-buildx")


def test_elsewhere_it_says_what_to_do() -> None:
    with pytest.raises(Unavailable, match=r"have no Compose 2\.20 or newer, buildx — install Docker Engine"):
        plan_installation(EVERYTHING, "ubuntu", AptFacts({"docker.io": (20, 10)}))
    with pytest.raises(Unavailable):
        plan_installation(EVERYTHING, "debian", AptFacts(DEBIAN_12.candidates, mirror=None))


POLICY = """\
docker.io:
  Installed: (none)
  Candidate: 20.10.24+dfsg1-1+deb12u1+b6
  Version table:
     26.1.5+dfsg1-9+deb13u1 50
         50 http://mirror.example/debian trixie/main amd64 Packages
docker-ce:
  Installed: (none)
  Candidate: (none)
docker-compose:
  Installed: 1.29.2-3
  Candidate: 1.29.2-3
"""
TARGETS = f"""\
Translations|Debian|Debian|main|bookworm|{MIRROR}
Packages|Debian|Debian|main|bookworm|{MIRROR}
Packages|Debian|Debian|main|bookworm-updates|{MIRROR}
Packages|Debian|Debian|non-free|bookworm|http://other.example/debian/
Packages|Debian|Debian-Security|main|bookworm-security|http://security.example/
Packages|Docker|Docker CE|stable|bookworm|https://docker.example/
Packages|Debian|Debian|main|bookworm|file:/cdrom/
"""


def test_what_apt_says() -> None:
    assert parse_apt(POLICY, TARGETS) == AptFacts(
        candidates={"docker.io": (20, 10), "docker-compose": (1, 29)},
        mirror=MIRROR,
        security_mirror="http://security.example/",
        suites=frozenset({"bookworm", "bookworm-updates"}),
    )


def test_an_apt_without_sources() -> None:
    assert parse_apt("", "") == AptFacts()
