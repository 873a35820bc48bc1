"""The metrics say what the snapshot says."""

import math
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.common.credits import Ledger
from services.common.errors import Unavailable
from services.common.server_figures import GpuFigures, ServerFigures
from services.health.certificates import CertificateMetrics
from services.health.credits.node_metrics import NodeMetrics
from services.health.disk import DiskMetrics
from services.health.exporter import MAX_SERVERS, SwarmMetrics
from services.health.exposition import Exposition
from tests.unit.health.swarm_fakes import FIGURES, SILENT, model, server

ROOT = Path(__file__).parents[3]
ENDPOINT = {"calyx_endpoint_errors_total"}
HUB = "https://huggingface.co/owner/name"


@pytest.fixture
def certificates(tmp_path):
    return tmp_path / "certificates.json"


@pytest.fixture
def registry(collector, certificates, tmp_path):
    registry = CollectorRegistry()
    registry.register(SwarmMetrics(lambda: collector.knowledge))
    registry.register(CertificateMetrics(certificates))
    registry.register(NodeMetrics(Ledger))
    registry.register(DiskMetrics(tmp_path))
    return registry


async def test_describes_each_model(collector, directory, registry):
    directory.records = [
        model(
            server(peer_id="a", start_block=0, end_block=3),
            server(peer_id="b", start_block=0, end_block=2),
            server(peer_id="c", start_block=3, end_block=4, state="joining"),
            repository=HUB,
        )
    ]
    await collector.update()
    of_model = {"model": "owner/name"}
    assert registry.get_sample_value("calyx_servers", {**of_model, "state": "online"}) == 2
    assert registry.get_sample_value("calyx_servers", {**of_model, "state": "joining"}) == 1
    assert registry.get_sample_value("calyx_servers", {**of_model, "state": "offline"}) == 0
    assert registry.get_sample_value("calyx_blocks", of_model) == 4
    assert registry.get_sample_value("calyx_blocks_online", of_model) == 3
    assert registry.get_sample_value("calyx_block_replicas_min", of_model) == 0
    assert registry.get_sample_value("calyx_model_healthy", of_model) == 0

    directory.records = [model(server(), repository=HUB)]
    await collector.update()
    assert registry.get_sample_value("calyx_blocks_online", of_model) == 4
    assert registry.get_sample_value("calyx_block_replicas_min", of_model) == 1
    assert registry.get_sample_value("calyx_model_healthy", of_model) == 1


async def test_describes_the_collector(collector, directory, clock, registry):
    assert registry.get_sample_value("calyx_collector_errors_total") == 0
    assert registry.get_sample_value("calyx_collector_last_success_timestamp_seconds") is None

    seen_at = clock.now
    directory.records = [model(server(), blocks=10**9)]
    await collector.update()
    assert registry.get_sample_value("calyx_collector_last_success_timestamp_seconds") == seen_at
    assert registry.get_sample_value("calyx_collector_duration_seconds") == 0
    assert registry.get_sample_value("calyx_announcements_left_out") == 2

    directory.failure = SILENT
    clock.now += 30
    with pytest.raises(Unavailable):
        await collector.update()
    assert registry.get_sample_value("calyx_collector_errors_total") == 1
    assert registry.get_sample_value("calyx_collector_last_success_timestamp_seconds") == seen_at


async def test_a_model_that_left_the_swarm_leaves_the_metrics(collector, directory, registry):
    directory.records = [model(server())]
    await collector.update()
    directory.records = []
    await collector.update()
    assert registry.get_sample_value("calyx_blocks", {"model": "tiny-hf"}) is None


async def test_hostile_names_give_metrics_that_parse_and_repeat_no_series(collector, directory, registry):
    hostile = 'x",state="online"} 1\n# HELP \\ '
    directory.records = [
        model(server(), prefix="one", repository=hostile),
        model(server(), prefix="two", repository=hostile),
    ]
    await collector.update()
    samples = [
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    ]
    assert len(samples) == len(set(samples))
    assert sum(name == "calyx_model_healthy" for name, _ in samples) == 2


def test_says_when_the_node_s_certificates_end(registry, certificates):
    name = "calyx_certificate_expires_timestamp_seconds"
    assert registry.get_sample_value(name, {"certificate": "node"}) is None

    certificates.write_text('{"node": 2000000000.0, "authority": 2300000000}')
    assert registry.get_sample_value(name, {"certificate": "node"}) == 2_000_000_000
    assert registry.get_sample_value(name, {"certificate": "authority"}) == 2_300_000_000


@pytest.mark.parametrize("content", ["", "[]", '{"node": "soon"}', '{"node": NaN}', '{"node": [1]}', "7"])
def test_survives_a_broken_file_of_certificates(registry, certificates, content):
    certificates.write_text(content)

    assert b"calyx_certificate" not in generate_latest(registry)


async def test_describes_each_server_and_its_gpus(collector, directory, clock, registry):
    directory.records = [
        model(server(peer_id="a", figures=FIGURES), server(peer_id="b", state="joining", throughput=math.nan))
    ]
    await collector.update()

    def value(name: str, server: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"calyx_{name}", {"model": "tiny-hf", "server": server, **labels})

    assert (value("server_blocks", "a"), value("server_online", "a"), value("server_online", "b")) == (
        4,
        1,
        0,
    )
    assert value("server_throughput_tokens_per_second", "a") == 10.5
    assert value("server_throughput_tokens_per_second", "b") is None
    assert value("server_inference_requests_per_second", "a") == 12
    assert value("server_cache_left_tokens", "a") == 16384
    assert value("server_announced_timestamp_seconds", "a") == clock.now
    assert (value("server_tokens_total", "a"), value("server_tokens_total", "b")) == (1000, None)
    assert (value("server_batches_total", "a"), value("server_queued_steps", "a")) == (100, 3)
    of_gpu = {"server": "a", "gpu": "0", "name": "NVIDIA L4"}
    assert registry.get_sample_value("calyx_gpu_memory_used_bytes", of_gpu) == 9
    assert registry.get_sample_value("calyx_gpu_utilization_ratio", of_gpu) == 0.5
    assert registry.get_sample_value("calyx_gpu_power_watts", of_gpu) is None


async def test_describes_what_is_wrong(collector, directory, registry):
    directory.entrances = {"first": None, "second": "it does not answer"}
    directory.rejected = {"span": 2}
    directory.problems = {"a": "dial refused"}
    directory.records = [model(server(peer_id="a"))]
    await collector.update()
    await collector.update()
    of_server = {"model": "tiny-hf", "server": "a"}
    assert registry.get_sample_value("calyx_server_unreachable", of_server) == 1
    assert registry.get_sample_value("calyx_bootstrap_reachable", {"peer": "first"}) == 1
    assert registry.get_sample_value("calyx_bootstrap_reachable", {"peer": "second"}) == 0
    assert registry.get_sample_value("calyx_collector_rejected_records_total", {"reason": "span"}) == 4


async def test_a_thousand_servers_are_bounded_and_no_model_is_crowded_out(collector, directory, registry):
    directory.records = [
        model(*[server(peer_id=f"{prefix}{number}") for number in range(2000)], prefix=prefix)
        for prefix in ("a", "b", "c", "d", "e", "f")
    ]
    await collector.update()
    shown = [
        sample.labels["model"]
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if sample.name == "calyx_server_blocks"
    ]
    assert len(shown) == MAX_SERVERS
    assert min(shown.count(prefix) for prefix in "abcdef") >= MAX_SERVERS // 6
    assert registry.get_sample_value("calyx_servers", {"model": "a", "state": "online"}) == 2000


async def test_names_follow_prometheus_conventions(collector, directory, registry):
    directory.records = [model(server(figures=ServerFigures()))]
    await collector.update()
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        assert re.fullmatch(r"calyx(_[a-z]+)+", family.name)
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_total", "_sum", "_count", "_bucket"))
        assert not re.search("_(ms|minutes|kilobytes|percent)$", family.name)


def test_says_how_full_the_disk_is(registry, tmp_path):
    free = registry.get_sample_value("calyx_disk_free_bytes")
    assert 0 < free <= registry.get_sample_value("calyx_disk_bytes")
    assert list(DiskMetrics(tmp_path / "none").collect()) == []


async def test_the_text_is_there_before_the_look_is_known(collector, directory, certificates, tmp_path):
    exposition = Exposition(certificates, tmp_path)
    prepared = []
    collector.prepare = lambda knowledge: prepared.append(knowledge) or exposition.prepare(knowledge)
    directory.records = [model(server())]
    await collector.update()
    assert prepared == [collector.knowledge]
    directory.failure = SILENT
    with pytest.raises(Unavailable):
        await collector.update()
    assert prepared[-1] is collector.knowledge
    text = exposition.text(collector.knowledge).decode()
    assert "calyx_collector_errors_total 1.0" in text
    assert "calyx_disk_bytes" in text
    assert 'calyx_model_healthy{model="tiny-hf"} 1.0' in text


async def test_alerts_and_documents_name_metrics_that_are_there(collector, directory, certificates, registry):
    gpu = GpuFigures(name="a", memory_used_bytes=1, memory_total_bytes=2, utilization=0.5)
    directory.records = [model(server(figures=ServerFigures(gpus=[gpu])))]
    directory.entrances = {"first": None}
    certificates.write_text('{"node": 2000000000.0}')
    await collector.update()
    exposed = {
        word
        for line in generate_latest(registry).decode().splitlines()
        if line.startswith("# TYPE ")
        for word in line.split()[2:3]
    }
    for path in ("images/prometheus/alerts.yml", "images/prometheus/alerts.test.yml", "docs/health.md"):
        named = set(re.findall(r"\bcalyx_[a-z_]+[a-z]", (ROOT / path).read_text()))
        assert named
        assert named <= exposed | ENDPOINT, path
    documented = set(re.findall(r"\bcalyx_[a-z_]+[a-z]", (ROOT / "docs/health.md").read_text()))
    assert exposed - documented == {
        "calyx_server_forward_requests_per_second",
        "calyx_server_network_requests_per_second",
    }, "which the table shortens"
