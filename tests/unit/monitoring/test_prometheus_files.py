"""Prometheus' own tool takes what it is configured with, and what it is told."""

import subprocess

import httpx
import pytest
import yaml

from tests.unit.monitoring.conftest import FOLDER, Prometheus


def judge(promtool: str, *words: str, told: str | None = None) -> str:
    """Return what it complains about, or what it says when all is well."""
    done = subprocess.run(
        [promtool, *words], input=told, cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_configuration_can_be_read_with_its_alerts(promtool: str) -> None:
    assert "1 rule files found" in judge(promtool, "check", "config", "prometheus.yml")


def test_alerts_fire_when_they_shall(promtool: str) -> None:
    judge(promtool, "test", "rules", "alerts.test.yml")


def test_each_alert_is_seen_to_fire_and_not_to() -> None:
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
    well, ill = (
        case["alert_rule_test"] for case in yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]
    )
    alerts = {rule["alert"] for rule in rules}

    assert {case["alertname"] for case in ill if "exp_alerts" in case} == alerts
    assert {case["alertname"] for case in well} == alerts


@pytest.mark.parametrize("job", ["calyx-health", "calyx-endpoint"])
def test_metrics_are_named_as_prometheus_wants_them(
    promtool: str, exporters: dict[str, str], job: str
) -> None:
    metrics = httpx.get(f"http://{exporters[job]}/metrics", trust_env=False).text

    assert "calyx_" in metrics
    assert judge(promtool, "check", "metrics", told=metrics) == ""


def test_prometheus_itself_evaluates_the_alerts(prometheus: Prometheus) -> None:
    (group,) = prometheus.get("rules")["groups"]

    assert len(group["rules"]) > 5
    assert {(rule["name"], rule["health"]) for rule in group["rules"]} == {
        (rule["name"], "ok") for rule in group["rules"]
    }
