"""The dashboard asks for what is there; Grafana itself is not run here."""

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from tests.unit.monitoring.conftest import ROOT, Prometheus

GRAFANA = ROOT / "config/grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards/calyx.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel.get("targets", ())]
FILLED_IN = {"$__rate_interval": "1m", "$model": ".*"}
"""What Grafana puts in the place of variables, when all models are chosen."""
OWN = {"ALERTS", "up"}
"""Series that Prometheus makes itself."""


def names(expression: str) -> set[str]:
    """Return the metrics of an expression: words in front of a selector, or with an underscore."""
    bare = re.sub(r'"[^"]*"|\b(by|on|without) \([^)]*\)', "", expression)
    return {
        word
        for word in re.findall(r"[a-zA-Z_]\w*", bare)
        if word in OWN or word.startswith(("calyx_", "process_"))
    }


def filled_in(expression: str) -> str:
    for variable, value in FILLED_IN.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


@pytest.mark.parametrize(("title", "expression"), QUERIES, ids=[title for title, _ in QUERIES])
def test_a_query_is_answered(prometheus: Prometheus, title: str, expression: str) -> None:
    assert prometheus.query(filled_in(expression))


def test_every_metric_exists_and_every_panel_shows_some(prometheus: Prometheus) -> None:
    there = {*prometheus.get("label/__name__/values"), *OWN}

    for panel in PANELS:
        if panel["type"] != "row":
            shown = set().union(*(names(target["expr"]) for target in panel["targets"]))
            assert shown, panel["title"]
            assert shown <= there, panel["title"]


def test_models_can_be_chosen(prometheus: Prometheus) -> None:
    (variable,) = (one for one in DASHBOARD["templating"]["list"] if one["name"] == "model")
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()

    assert variable["allValue"] == FILLED_IN["$model"]
    assert prometheus.get(f"label/{label}/values", **{"match[]": metric}) == ["test/parrot"]


def test_legends_name_labels_that_are_there(prometheus: Prometheus) -> None:
    for panel in PANELS:
        for target in panel.get("targets", ()):
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            for series in prometheus.query(filled_in(target["expr"])):
                assert wanted <= series["metric"].keys(), panel["title"]


def test_panels_lie_beside_each_other_and_are_told_apart() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations((panel["gridPos"] for panel in PANELS), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)


def test_grafana_is_told_where_both_are() -> None:
    (source,) = yaml.safe_load((GRAFANA / "datasources/calyx.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "dashboards/calyx.yaml").read_text())["providers"]
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    port = services["prometheus"]["ports"][0].rpartition(":")[2]

    assert source["url"] == f"http://prometheus:{port}"
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"
