"""Both exporters with something to say about everything, and Debian's Prometheus that asks them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from services.common.errors import Unavailable
from services.endpoint.access.__main__ import run as make_keys
from services.endpoint.access.keys import KeyFile
from tests.browser.health_server import health_server
from tests.debian import unpacked
from tests.unit.endpoint.conftest import Servers, free_port
from tests.unit.endpoint.fake_model import NAME, FakeModel
from tests.unit.health.swarm_fakes import FIGURES, GPU, FakeDirectory, model, server

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "images/prometheus"
PACKAGES = ["prometheus", "promtool"]


def _busy_swarm() -> FakeDirectory:
    figures = FIGURES.model_copy(update={"gpus": [GPU.model_copy(update={"power_watts": 40.0})]})
    directory = FakeDirectory([model(server(figures=figures), repository=f"https://huggingface.co/{NAME}")])
    directory.entrances = {"first": None}
    directory.rejected = {"span": 2}
    return directory


def _ask(address: str, fake: FakeModel) -> None:
    """Ask the endpoint for an answer, and for one that fails."""
    for expected in (True, False):
        answer = httpx.post(
            f"http://{address}/api/v1/generate", json={"inputs": "Hi", "max_new_tokens": 4}, trust_env=False
        )
        assert answer.json()["ok"] is expected
        fake.fail_at[1] = Unavailable("no server for blocks 3:9")


@pytest.fixture(scope="package")
def exporters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The job that asks an exporter → its address."""
    folder = tmp_path_factory.mktemp("node")
    certificates = folder / "certificates.json"
    certificates.write_text('{"node": 2000000000, "authority": 2300000000}')
    fake = FakeModel()
    endpoints = Servers(fake)
    try:
        with health_server(_busy_swarm(), certificates, folder) as health:
            keys = folder / "keys.json"
            endpoint = endpoints(keys_file=keys)
            _ask(endpoint, fake)
            # Prometheus has none
            make_keys(["create", "phone"], KeyFile(keys), 0)
            yield {"calyx-health": httpx.URL(health.url).netloc.decode(), "calyx-endpoint": endpoint}
    finally:
        endpoints.stop()
        endpoints.join()


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own judge of files and metrics."""
    return unpacked("promtool", PACKAGES)


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, address: str) -> None:
        self._client = httpx.Client(base_url=f"http://{address}/api/v1/", trust_env=False)

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer; errors fail the test with what Prometheus says."""
        document = self._client.get(path, params=parameters).json()
        assert document["status"] == "success", f"{parameters}: {document['error']}"
        return document["data"]

    def query(self, expression: str) -> list[Any]:
        """Return the series that an expression has now."""
        return list(self.get("query", query=expression)["result"])

    def has_asked(self, job: str, times: int) -> bool:
        """Whether an exporter has answered so often."""
        answers = self.query(f'sum_over_time(up{{job="{job}"}}[1m])')
        return bool(answers) and float(answers[0]["value"][1]) >= times


@pytest.fixture(scope="package")
def prometheus(exporters: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus as the image has it, but that it asks these exporters, and ten times a second."""
    folder = tmp_path_factory.mktemp("prometheus")
    settings = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    settings["global"] = dict.fromkeys(settings["global"], "100ms")
    settings["rule_files"] = [str(FOLDER / name) for name in settings["rule_files"]]
    for job in settings["scrape_configs"]:
        job["static_configs"] = [{"targets": [exporters[job["job_name"]]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{free_port()}"
    command = [
        unpacked("prometheus", PACKAGES),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            running = Prometheus(address)
            until = Retrying(
                retry=retry_if_exception_type((httpx.TransportError, ValueError))
                | retry_if_result(lambda ok: not ok),
                wait=wait_fixed(0.05),
                stop=stop_after_delay(30),
            )

            def has_asked_all() -> bool:
                assert process.poll() is None, (folder / "log").read_text()
                return all(running.has_asked(job, 3) for job in exporters)  # a rate takes two values

            until(has_asked_all)
            yield running
        finally:
            process.terminate()
