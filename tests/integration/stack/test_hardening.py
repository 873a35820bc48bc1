"""What hardening means in containers that run: seen from the engine, and from inside."""

from typing import Any

import pytest

from tests.integration.stack.pool import Pool

SERVICES = ("vpn", "bootstrap", "server", "endpoint", "health")
NOBODY = "10001"


@pytest.fixture(params=SERVICES)
def container(pool: Pool, request: pytest.FixtureRequest) -> Any:
    return pool.containers()[request.param]


def test_the_engine_was_told_to_harden_it(container: Any) -> None:
    config, host = container.attrs["Config"], container.attrs["HostConfig"]

    assert config["User"] == f"{NOBODY}:{NOBODY}"
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Devices"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["LogConfig"]["Config"].keys() == {"max-size", "max-file"}
    assert "docker.sock" not in str(host["Binds"])


def test_processes_have_no_rights(container: Any) -> None:
    status = container.exec_run(["cat", "/proc/self/status"]).output.decode()
    fields = dict(line.split(":", 1) for line in status.splitlines())

    assert fields["Uid"].split() == [NOBODY] * 4
    assert int(fields["CapEff"], 16) == 0
    assert int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"


def test_nothing_but_the_folders_for_it_can_be_written(container: Any) -> None:
    for folder in ("/", "/app", "/etc", "/models", "/opt"):
        assert container.exec_run(["touch", f"{folder}/mine"]).exit_code != 0, folder
    assert container.exec_run(["touch", "/tmp/mine"]).exit_code == 0


def test_the_pool_file_is_written_by_the_bootstrap_peer_alone(pool: Pool) -> None:
    writers = {
        name
        for name, container in pool.containers().items()
        if container.exec_run(["touch", "/pool/mine"]).exit_code == 0
    }

    assert writers == {"bootstrap"}


def test_only_the_loopback_is_published(pool: Pool) -> None:
    published = {
        (name, inside): {binding["HostIp"] for binding in bindings}
        for name, container in pool.containers().items()
        for inside, bindings in container.attrs["NetworkSettings"]["Ports"].items()
        if bindings
    }

    assert published == {("vpn", f"{port}/tcp"): {"127.0.0.1"} for port in (8000, 8001, 8080)}
