"""What apt knows about this machine, read into plain values."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from scripts.helper.failures import telling_line
from scripts.helper.shell import Shell
from scripts.helper.toolchain import Version, parse_version
from services.common.errors import Unavailable

_TARGET_FORMAT = "$(CREATED_BY)|$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(CODENAME)|$(REPO_URI)"
_WAIT_FOR_LOCK = ("-o", "DPkg::Lock::Timeout=300")

QUIET_ENVIRONMENT: Mapping[str, str] = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
"""Keeps apt and dpkg from asking questions."""

UPDATE = ("apt-get", *_WAIT_FOR_LOCK, "update")
"""The command that refreshes apt's lists."""


def install_command(packages: Iterable[str], suite: str | None = None) -> tuple[str, ...]:
    """Return the command that installs packages and what they need, from a named suite if given."""
    target = ("-t", suite) if suite else ()
    return ("apt-get", *_WAIT_FOR_LOCK, "install", "-y", "--no-install-recommends", *target, *packages)


@dataclass(frozen=True)
class AptFacts:
    """What can be installed, and from where.

    Attributes:
        candidates: package → version that apt would install now; packages without one are absent.
        mirror: URI of the Debian archive that this machine uses, None when it uses none.
        security_mirror: URI of Debian's security archive, likewise.
        suites: code names of that archive's suites that apt knows already.
    """

    candidates: Mapping[str, Version] = field(default_factory=dict)
    mirror: str | None = None
    security_mirror: str | None = None
    suites: frozenset[str] = frozenset()


def read_apt(shell: Shell, packages: Iterable[str]) -> AptFacts:
    """Ask apt about packages and sources; its lists should be fresh (:data:`UPDATE`).

    Raises:
        Unavailable: apt is not there or does not answer.
    """
    policy = shell.run(["apt-cache", "policy", *packages], env={"LC_ALL": "C"})
    targets = shell.run(["apt-get", "indextargets", "--format", _TARGET_FORMAT])
    for answer in (policy, targets):
        if not answer.ok:
            raise Unavailable(f"asking apt: {telling_line(answer.output)}")
    return parse_apt(policy.output, targets.output)


def parse_apt(policy: str, targets: str) -> AptFacts:
    """Read the output of ``apt-cache policy`` and of ``apt-get indextargets`` in our format."""
    candidates: dict[str, Version] = {}
    package = ""
    for line in policy.splitlines():
        if match := re.match(r"^(\S+):$", line):
            package = match[1]
        elif (match := re.match(r"^\s+Candidate: (\S+)", line)) and (version := parse_version(match[1])):
            candidates[package] = version
    mirror = security = None
    suites = set()
    for line in targets.splitlines():
        created_by, origin, label, component, codename, uri = [*line.split("|"), *[""] * 6][:6]
        if (created_by, origin, component) != ("Packages", "Debian", "main") or not uri.startswith("http"):
            continue
        if label == "Debian":
            mirror = mirror or uri
            suites.add(codename)
        elif label == "Debian-Security":
            security = security or uri
    return AptFacts(candidates, mirror, security, frozenset(suites))
