"""Alerts ask for metrics that a running collector tells, with labels that they have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.render import CHART
from tests.deploy.told import BY_PROMETHEUS, NOT_OURS, asked


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((CHART / "files/alerts.yaml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


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


def test_every_alert_is_tried_by_promtool() -> None:
    text = (Path(__file__).parent / "validators/alerts.yaml").read_text(encoding="utf-8")
    for alert in alerts():
        assert f"alertname: {alert['alert']}}}" in text
        assert f'{{alertname="{alert["alert"]}"}}' in text
