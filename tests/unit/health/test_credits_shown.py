"""What is booked, as the page, programs and Prometheus are told; and the endpoint's counts, as they are read."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.common.credits import LEDGER, Ledger, NodeCredits
from services.common.errors import Unavailable
from services.common.served_tokens import Served, ServedTokens
from services.endpoint.metrics import watch_process
from services.endpoint.served_metrics import ServedMetrics
from services.health.app import create_app
from services.health.credits.creditor import Creditor
from services.health.credits.meter import Meter, parse_meter, read_meter

HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def client(collector, tmp_path):
    creditor = Creditor(collector, tmp_path, 600, lambda: Meter(1.0, {}))
    return TestClient(create_app(collector, Path("/none"), Path("/none"), creditor)), creditor


def node(number: int, name: str = "attic", public_name: str | None = None) -> NodeCredits:
    return NodeCredits(
        node_id=f"{number:016x}",
        name=name,
        public_name=public_name,
        block_seconds=5400,
        tokens=1234,
        token_blocks=18510,
    )


async def show(client, collector, tmp_path, *nodes: NodeCredits) -> TestClient:
    http, creditor = client
    (tmp_path / LEDGER).write_text(Ledger(nodes=list(nodes)).model_dump_json())
    await collector.update()
    await creditor.look()
    return http


async def test_what_is_booked_is_on_the_page_in_the_api_and_in_the_metrics(client, collector, tmp_path):
    http = await show(client, collector, tmp_path, node(1, public_name="shelf"), node(2))

    page = http.get("/").text
    assert '<th scope="row">attic</th><td>shelf</td><td>1.5</td><td>1,234</td><td>18,510</td>' in page
    answer = http.get("/api/v2/credits").json()
    assert answer["counted"] is True
    assert answer["nodes"][1] == node(2).model_dump()
    samples = {
        (one.name, one.labels["node_id"]): one.value
        for family in text_string_to_metric_families(http.get("/metrics").text)
        for one in family.samples
        if one.name.startswith("calyx_node_")
    }
    assert samples["calyx_node_block_seconds_total", f"{1:016x}"] == 5400
    assert samples["calyx_node_token_blocks_total", f"{2:016x}"] == 18510
    assert len(samples) == 6, "nodes that had one name are told apart"


async def test_markup_in_a_name_stays_text(client, collector, tmp_path):
    http = await show(client, collector, tmp_path, node(1, name=HOSTILE, public_name=HOSTILE))

    page = http.get("/").text
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;") == 2


async def test_a_pool_of_many_nodes_is_cut_on_the_page(client, collector, tmp_path):
    http = await show(client, collector, tmp_path, *map(node, range(30)))

    assert http.get("/").text.count('<th scope="row">') == 24
    assert "6 more nodes shared less" in http.get("/").text


def test_without_a_pool_nothing_is_counted_and_that_is_said(collector):
    http = TestClient(create_app(collector, Path("/none"), Path("/none")))

    assert http.get("/api/v2/credits").json() == {"counted": False, "nodes": []}
    assert "Credits" not in http.get("/").text
    assert "calyx_node_" not in http.get("/metrics").text


def test_the_endpoint_s_metrics_are_understood():
    registry, served = CollectorRegistry(), ServedTokens()
    watch_process(registry)
    registry.register(ServedMetrics(served))
    served.add("owner/name", "peer", tokens=5, blocks=15)
    served.add("owner/name", "peer", tokens=2, blocks=10)

    meter = parse_meter(generate_latest(registry).decode())

    assert meter.served == {("owner/name", "peer"): Served(7, 95)}
    assert meter.run > 0


@pytest.mark.parametrize("text", ["", "hello", "# TYPE x counter\nx_total nonsense\n", "a 1\n"])
def test_other_texts_are_no_counts(text):
    with pytest.raises(ValueError, match=r"."):
        parse_meter(text)


def test_an_endpoint_that_is_not_there_is_said_to_be_so():
    with pytest.raises(Unavailable, match="asking the endpoint for its counts of tokens"):
        read_meter("http://127.0.0.1:1/metrics")
