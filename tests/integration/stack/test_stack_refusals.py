"""What stops ``up`` and its kin: one line that names it, exit code 1, and nothing left that disturbs."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stack.engine_proxy import REAL, EngineProxy
from tests.integration.stack.pool import MODEL, ROOT, Pool, run

STOPPED = "the Docker engine stopped answering"


@pytest.fixture
def other(shared_pool: Pool) -> Iterator[Pool]:
    """A second stack, not started; the images are there since ``shared_pool``."""
    with Pool() as pool:
        yield pool


@pytest.mark.parametrize("variable", ["CALYX_ENDPOINT_PORT", "CALYX_GRPC_PORT", "CALYX_HEALTH_PORT"])
def test_a_port_that_is_taken(other: Pool, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        error = other.calyx("up", "--yes", "--no-build", **{variable: port}).error

    assert str(port) in error
    assert variable in error
    assert other.containers() == {}


def test_a_port_that_another_stack_has(other: Pool, pool: Pool) -> None:
    error = other.calyx("up", "--yes", "--no-build", CALYX_ENDPOINT_PORT=pool.endpoint_port).error

    assert str(pool.endpoint_port) in error
    pool.works()


def test_a_model_that_nobody_has(other: Pool) -> None:
    error = other.calyx("up", "--yes", "--no-build", CALYX_MODEL="nobody/nothing", HF_HUB_OFFLINE=1).error

    assert "nobody/nothing" in error
    assert "not ready in time" not in error


def test_a_setting_that_cannot_be(other: Pool) -> None:
    error = other.calyx("up", "--yes", "--no-build", CALYX_ENDPOINT_PORT="many").error

    assert "CALYX_ENDPOINT_PORT" in error


def test_a_broken_env_file(tmp_path: Path) -> None:
    for part in ("scripts", "services/common"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "services/__init__.py", tmp_path / "services")
    (tmp_path / ".venv-helper").symlink_to(ROOT / ".venv-helper")
    (tmp_path / ".env").write_text("CALYX_MODEL=x\nHF_TOKEN 'secret\n")

    error = run([tmp_path / "scripts/calyx", "up"]).error

    assert ".env: line 2" in error
    assert "secret" not in error


class TestAnEngine:
    """Another one by ``DOCKER_HOST``, for the machine's own must go on."""

    def test_that_is_not_there(self, other: Pool) -> None:
        host = "unix:///nowhere/docker.sock.none"

        assert host in other.calyx("status", DOCKER_HOST=host).error

    @pytest.mark.parametrize(
        ("command", "request_"),
        [
            (["status"], b"/containers/json"),
            (["up", "--no-build"], b"/images/"),
            (["up", "--no-build"], b"/containers/create"),
            (["up", "--no-build"], b"/start"),
        ],
        ids=lambda value: value.decode() if isinstance(value, bytes) else value[0],
    )
    def test_that_stops_meanwhile(self, other: Pool, command: list[str], request_: bytes) -> None:
        if not REAL.is_socket():  # asked now: on a bare machine there is no engine when tests are collected
            pytest.skip("the engine is reached by no Unix socket")
        with EngineProxy(until=request_) as proxy:
            done = other.calyx(*command, DOCKER_HOST=proxy.address)
            assert proxy.gone.is_set()

        assert STOPPED in done.error

    def test_that_speaks_nonsense(self, other: Pool) -> None:
        with EngineProxy(until=b"", answer=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") as proxy:
            assert other.calyx("status", DOCKER_HOST=proxy.address).error


class TestAServer:
    """What stops a server as such, seen in a container of its own beside the shared stack."""

    @pytest.fixture
    def folder(self, model_folder: Path, tmp_path: Path) -> Path:
        """A copy of the bundled model's folder, to be spoilt."""
        return Path(shutil.copytree(model_folder, tmp_path / MODEL))

    @pytest.fixture
    def models(self, folder: Path, tmp_path: Path) -> Path:
        """The folder to mount, opened to the container's user; pytest makes it for root alone."""
        tmp_path.chmod(0o755)
        return tmp_path

    def _error(self, pool: Pool, models: Path | None = None, **settings: str) -> str:
        """Run a server that must fail; return the error that it logged, its only one."""
        container = pool.client.containers.run(
            "calyx/petals:server",
            detach=True,
            network_mode=f"container:{pool.containers()['vpn'].id}",
            environment={
                "CALYX_INITIAL_PEERS": pool.read("bootstrap", "/pool/initial_peers"),
                "CALYX_SERVER_PORT": "31399",
                "HF_HUB_OFFLINE": "1",
            }
            | settings,
            volumes={str(models): {"bind": "/models", "mode": "ro"}} if models else {},
        )
        try:
            code = container.wait(timeout=180)["StatusCode"]
            lines = container.logs().decode().splitlines()
        finally:
            container.remove(force=True)
        assert not [line for line in lines if "Traceback" in line or line.startswith(" ")], lines
        errors = [line for line in lines if "ERROR services." in line]
        assert (code, len(errors)) == (1, 1), lines
        return errors[0]

    def test_too_little_memory_for_one_block(self, pool: Pool) -> None:
        error = self._error(pool, CALYX_ATTN_CACHE_TOKENS="1000000000000")

        assert "one block takes" in error
        assert "CALYX_ATTN_CACHE_TOKENS" in error

    @pytest.mark.parametrize("path", [".", "config.json", "model-00001-of-00003.safetensors"])
    def test_what_it_may_not_read(self, pool: Pool, folder: Path, models: Path, path: str) -> None:
        (folder / path).chmod(0)  # tests run as root, the container does not

        error = self._error(pool, models)

        assert MODEL in error
        assert "Permission denied" in error

    def test_a_shard_that_is_cut_off(self, pool: Pool, folder: Path, models: Path) -> None:
        shard = folder / "model-00002-of-00003.safetensors"
        with shard.open("r+b") as file:
            file.truncate(shard.stat().st_size // 2)

        assert shard.name in self._error(pool, models)
