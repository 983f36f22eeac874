"""Alerts and dashboards ask for metrics that a running collector tells, with labels that they have."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from collector.demo import captured
from tests.deploy.render import CHART
from tests.sending import http_protobuf
from tests.server import Server

NOT_OURS = {"up": {"job", "instance"}}
"""What Prometheus tells by itself."""
BY_PROMETHEUS = {"job", "instance", "le"}


@pytest.fixture(scope="module")
def told(server: Server) -> dict[str, set[str]]:
    """Names of samples as Prometheus knows them, and their labels."""
    _, body = captured()
    http_protobuf(server, body, "alerts")
    server.settled()
    labels: dict[str, set[str]] = {}
    text = httpx.get(f"{server.endpoints['admin']}/metrics").text
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels.setdefault(name, set())  # what did not happen yet has no sample
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((CHART / "files/alerts.yaml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def asked(expression: str) -> dict[str, set[str]]:
    """Metrics in a PromQL expression, and the labels by which they are chosen or grouped."""
    grouped = {
        label for found in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.split(r"[\s,]+", found)
    }
    bare = re.sub(r"\bby \([^)]*\)|\"[^\"]*\"", "", expression)
    metrics = {}
    for name, selector in re.findall(r"\b((?:eddyline|otelcol)_\w+|up\b)(\{[^}]*\})?", bare):
        metrics[name] = grouped | set(re.findall(r"(\w+)\s*[=!]", selector))
    return metrics


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_asks_for_what_is_told(alert: dict[str, Any], told: dict[str, set[str]]) -> None:
    metrics = asked(alert["expr"])
    assert metrics
    for name, labels in metrics.items():
        known = NOT_OURS[name] if name in NOT_OURS else told[name]
        assert labels - BY_PROMETHEUS <= known, name
    said = " ".join(alert["annotations"].values())
    for label in set(re.findall(r"\$labels\.(\w+)", said)) - BY_PROMETHEUS:
        assert any(label in (told.get(name) or ()) for name in metrics), label
    assert alert["labels"]["severity"] in ("info", "warning", "critical")
