import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest
import requests

from scripts.helper.containers import Container
from scripts.helper.engine import Engine, NoEngine
from services.common.errors import Refused, Unavailable
from tests.unit.helper.helper_fakes import moment

ATTRIBUTES: dict[str, Any] = {
    "Id": "abc",
    "Config": {
        "Labels": {
            "com.docker.compose.service": "server",
            "com.docker.compose.depends_on": "vpn:service_healthy:true,bootstrap:service_healthy:false",
        }
    },
    "State": {
        "Status": "running",
        "StartedAt": "2026-01-01T12:00:07.123456789Z",
        "ExitCode": 0,
        "Health": {"Status": "starting", "Log": [{"Output": "old"}, {"Output": "loading blocks, 1 of 2\n"}]},
    },
    "RestartCount": 2,
    "HostConfig": {"NetworkMode": "container:def"},
    "NetworkSettings": {
        "Ports": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9000"}], "31330/tcp": None, "1/udp": []}
    },
}


def answering(**parts: Any) -> Engine:
    client = SimpleNamespace(**parts)
    return Engine(client, client)


def listing(attributes: dict[str, Any]) -> Engine:
    return answering(containers=SimpleNamespace(list=lambda **_: [SimpleNamespace(attrs=attributes)]))


def raising(error: Exception) -> Engine:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return answering(
        containers=SimpleNamespace(list=fail, get=fail),
        images=SimpleNamespace(get=fail, get_registry_data=fail),
        api=SimpleNamespace(import_image_from_file=fail),
        version=fail,
    )


def test_a_container_as_the_engine_describes_it() -> None:
    [found] = listing(ATTRIBUTES).containers("calyx")
    assert found == Container(
        identity="abc",
        service="server",
        state="running",
        health="starting",
        detail="loading blocks, 1 of 2",
        started_at=moment(7).replace(microsecond=123456),
        restarts=2,
        exit_code=0,
        depends_on=("vpn", "bootstrap"),
        network_owner="def",
        ports=((8000, 9000),),
    )
    assert found.published(8000) == 9000
    assert found.published(8080) is None


def test_a_container_that_never_ran() -> None:
    [found] = listing(
        {
            "Id": "abc",
            "Config": {"Labels": {"com.docker.compose.service": "vpn"}},
            "State": {"Status": "created", "StartedAt": "0001-01-01T00:00:00Z", "ExitCode": 0},
            "HostConfig": {"NetworkMode": "calyx_default"},
            "NetworkSettings": {"Ports": {}},
        }
    ).containers("calyx")
    assert found == Container(identity="abc", service="vpn", state="created")


def test_only_the_projects_own_services_are_asked_for() -> None:
    asked: list[Any] = []
    engine = answering(containers=SimpleNamespace(list=lambda **query: asked.append(query) or []))
    engine.containers("mine")
    assert asked[0]["filters"] == {
        "label": ["com.docker.compose.project=mine", "com.docker.compose.oneoff=False"]
    }
    assert asked[0]["all"] is True


@pytest.mark.parametrize(
    "error", [requests.exceptions.ConnectionError("Connection aborted"), requests.exceptions.ReadTimeout()]
)
def test_an_engine_that_stops_meanwhile(error: Exception) -> None:
    with pytest.raises(Unavailable, match="listing containers: the Docker engine stopped answering — see"):
        raising(error).containers("calyx")


def test_an_answer_of_the_engine_is_not_taken_for_silence() -> None:
    error = docker.errors.APIError("500 Server Error", explanation="write /x: no space left on device")
    with pytest.raises(Refused, match="no space is left on the engine's disk"):
        raising(error).import_image("debian:bookworm-slim", Path("x.tar"), [])


def test_a_place_that_the_user_chose_is_not_for_installing(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/none.sock"
    with pytest.raises(Unavailable, match=r"no Docker engine answers at unix://") as caught:
        Engine.connect({"DOCKER_HOST": host})
    assert not isinstance(caught.value, NoEngine)


def test_lines_of_a_log_survive_the_engines_pieces() -> None:
    chunks = [b"2026-01-01T00:00:00Z one\n2026-01-01T00:00:01Z tw", b"o\n", b"2026-01-01T00:00:02Z \xff end"]
    item = SimpleNamespace(logs=lambda **_: iter(chunks))
    engine = answering(containers=SimpleNamespace(get=lambda _: item))
    assert list(engine.log_lines("abc", tail=10, follow=False)) == [
        "2026-01-01T00:00:00Z one",
        "2026-01-01T00:00:01Z two",
        "2026-01-01T00:00:02Z � end",
    ]


def test_images() -> None:
    missing = docker.errors.ImageNotFound("404")
    assert not raising(missing).has_image("debian:bookworm-slim")
    assert answering(images=SimpleNamespace(get=lambda _: object())).has_image("debian:bookworm-slim")


def test_a_registry_that_does_not_answer_offers_nothing() -> None:
    assert not raising(docker.errors.APIError("lookup: no such host")).registry_offers("debian:bookworm-slim")
    assert not raising(requests.exceptions.ReadTimeout()).registry_offers("debian:bookworm-slim")


def test_a_pull_that_fails_halfway() -> None:
    events = [{"status": "Pulling from library/debian"}, {"error": "unexpected EOF"}]
    engine = answering(api=SimpleNamespace(pull=lambda *_, **__: iter(events)))
    seen: list[str] = []
    with pytest.raises(Exception, match="pulling debian:bookworm-slim: unexpected EOF"):
        engine.pull("debian:bookworm-slim", seen.append)
    assert seen == ["Pulling from library/debian"]


def test_an_import_names_repository_tag_and_label() -> None:
    calls: list[Any] = []

    def take(path: str, **how: Any) -> str:
        calls.append((path, how))
        return json.dumps({"status": "sha256:abc"})

    engine = answering(api=SimpleNamespace(import_image_from_file=take))
    engine.import_image("debian:bookworm-slim", Path("root.tar"), ["LABEL a=b"])
    assert calls == [("root.tar", {"repository": "debian", "tag": "bookworm-slim", "changes": ["LABEL a=b"]})]
