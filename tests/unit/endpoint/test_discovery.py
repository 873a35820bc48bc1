"""Models are found in the swarm: complete ones of allowed names, as long as they are announced."""

from collections.abc import Sequence
from pathlib import Path

from services.common.errors import Unavailable
from services.endpoint.discovery import Discovery
from services.endpoint.model_file import ModelEntry
from services.endpoint.wanted_models import WantedModels
from tests.unit.endpoint.fake_model import NAME, FakeModel

DEFAULT = ModelEntry(name=NAME)


class Announced:
    def __init__(self, name: str, healthy: bool = True, prefix: str | None = None) -> None:
        self.name, self.healthy = name, healthy
        self.dht_prefix = prefix or name.rpartition("/")[2]


class Swarm:
    """Announces what a test says, and counts how often it was asked."""

    def __init__(self, *models: Announced) -> None:
        self.models: Sequence[Announced] = models
        self.problem: Exception | None = None
        self.looks = 0
        self.now = 0.0

    def look(self) -> Sequence[Announced]:
        self.looks += 1
        if self.problem is not None:
            raise self.problem
        return self.models

    def clock(self) -> float:
        return self.now

    def found(self, discovery: Discovery) -> list[str]:
        self.now += 60
        return [entry.name for entry in discovery.entries()]


def discovery(swarm: Swarm, *allowed: str, limit: int = 3) -> Discovery:
    return Discovery(swarm.look, allowed or ("*",), limit, swarm.clock)


def test_models_are_found_when_they_are_complete_and_kept_while_they_are_announced() -> None:
    swarm = Swarm(Announced("a/whole"), Announced("a/part", healthy=False))
    finding = discovery(swarm)
    assert swarm.found(finding) == ["a/whole"]
    swarm.models = [Announced("a/whole", healthy=False), Announced("a/part")]
    assert swarm.found(finding) == ["a/whole", "a/part"]
    swarm.problem = Unavailable("the DHT does not answer")
    assert swarm.found(finding) == ["a/whole", "a/part"]
    swarm.problem, swarm.models = None, [Announced("a/part")]
    assert swarm.found(finding) == ["a/part"]


def test_the_swarm_is_not_asked_all_the_time() -> None:
    swarm = Swarm(Announced("a/b"))
    finding = discovery(swarm)
    for _ in range(5):
        assert [entry.name for entry in finding.entries()] == ["a/b"]
    assert swarm.looks == 1


def test_only_allowed_names_are_taken_each_once_and_not_too_many() -> None:
    swarm = Swarm(
        Announced("../../etc"),
        Announced("a/b\nc"),
        Announced("evil/huge"),
        Announced("good/1"),
        Announced("good/1", prefix="another"),
        Announced("good/2"),
        Announced("good/3"),
    )
    assert swarm.found(discovery(swarm, "good/*", "other/x", limit=2)) == ["good/1", "good/2"]
    assert "../../etc" not in swarm.found(discovery(swarm))


def test_what_the_file_names_is_not_found_again(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(f"models: [{{name: {NAME}, aliases: [a/b]}}]")
    finding = discovery(Swarm(Announced(NAME), Announced("a/b"), Announced("c/d")))
    offers = WantedModels(file, DEFAULT, lambda _: FakeModel(), finding)()
    assert [(offer.name, offer.asked_for) for offer in offers] == [(NAME, True), ("c/d", False)]
