"""The metrics say what the snapshot says."""

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.common.errors import Unavailable
from services.health.exporter import registry_for
from tests.unit.health.swarm_fakes import SILENT, model, server

HUB = "https://huggingface.co/owner/name"


@pytest.fixture
def certificates(tmp_path):
    return tmp_path / "certificates.json"


@pytest.fixture
def registry(collector, certificates):
    return registry_for(lambda: collector.knowledge, certificates)


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
