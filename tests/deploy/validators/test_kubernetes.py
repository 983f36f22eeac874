"""What Kubernetes and Helm themselves say of the manifests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml
from helm_python import Chart, HelmValuesError, lint
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.deploy.manifests import Manifest, check, parse, read
from tests.deploy.render import CHART, EXAMPLES, NAMESPACE, RELEASE, rendered

DEPLOY = CHART.parents[1]
VERSIONS = ("1.29", "1.32", "1.37")
KUSTOMIZATIONS = sorted(file.parent for file in DEPLOY.glob("kustomize/**/kustomization.yaml"))
OF_OPERATORS: dict[str, dict[str, Any]] = {
    "ServiceMonitor": {
        "type": "object",
        "additionalProperties": False,
        "required": ["selector", "endpoints"],
        "properties": {
            "jobLabel": {"type": "string"},
            "namespaceSelector": {"required": ["matchNames"]},
            "selector": {"required": ["matchLabels"]},
            "endpoints": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["port"],
                    "properties": {
                        "port": {"type": "string"},
                        "path": {"type": "string"},
                        "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
                    },
                },
            },
        },
    },
    "PrometheusRule": {
        "type": "object",
        "additionalProperties": False,
        "required": ["groups"],
        "properties": {
            "groups": {
                "type": "array",
                "items": {"type": "object", "required": ["name", "rules"]},
            }
        },
    },
}
"""Kinds that Kubernetes does not know: what of their `spec` we use, as their operator's documentation has it."""


def validate(manifests: list[Manifest]) -> None:
    """Raises on a field that a version of Kubernetes does not know, or a value that it does not take."""
    for manifest in manifests:
        if schema := OF_OPERATORS.get(manifest["kind"]):
            assert manifest["apiVersion"] == "monitoring.coreos.com/v1"
            jsonschema_rs.validate(schema, manifest["spec"])
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_is_what_helm_makes_today_and_kubernetes_takes_it(example: Path) -> None:
    text = rendered(example / "values.yaml")
    assert (example / "rendered.yaml").read_text(encoding="utf-8") == text, "python -m tests.deploy.render"
    validate(parse(text))


def test_helm_finds_nothing_to_say() -> None:
    values = yaml.safe_load((EXAMPLES[0] / "values.yaml").read_text(encoding="utf-8"))
    found = lint(CHART, values=values, strict=True, kube_version="v1.32.0")
    told = [message for message in found["messages"] if "icon is recommended" not in message["error"]]
    assert (told, found["errors"]) == ([], [])


def test_no_mode_is_an_error_that_names_it() -> None:
    with Chart.load(CHART) as chart, pytest.raises(HelmValuesError, match="mode"):
        chart.validate_schema({"auth": {"existingSecret": "keys"}})


def test_two_embedded_pods_are_refused_by_helm() -> None:
    values = {"mode": "standalone", "replicaCount": 2, "auth": {"existingSecret": "keys"}}
    with Chart.load(CHART) as chart, pytest.raises(HelmValuesError, match="replicaCount"):
        chart.render(values, name=RELEASE, namespace=NAMESPACE)


def test_the_sidecar_is_taken() -> None:
    validate(read(DEPLOY / "kubernetes/sidecar.yaml"))


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_a_kustomization_builds_and_fits_together(folder: Path) -> None:
    built = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""
    manifests = parse(built.stdout)
    validate(manifests)
    check(manifests)


SECRET = st.sampled_from(["", "some-secret"])
SWITCH = st.booleans()
VALUES = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["standalone", "gateway", "statefulset", "daemonset"]),
        "replicaCount": st.integers(1, 5),
        "auth": st.fixed_dictionaries({"existingSecret": SECRET, "insecure": SWITCH}),
        "clickhouse": st.fixed_dictionaries(
            {
                "url": st.sampled_from(["", "https://clickhouse:8443"]),
                "username": st.sampled_from(["", "eddyline"]),
                "existingSecret": SECRET,
            }
        ),
        "persistence": st.fixed_dictionaries({"enabled": SWITCH, "existingClaim": SECRET}),
        "listenAddress": st.sampled_from(["0.0.0.0", "[::]"]),
        "autoscaling": st.fixed_dictionaries({"enabled": SWITCH}),
        "networkPolicy": st.fixed_dictionaries({"enabled": SWITCH}),
        "serviceMonitor": st.fixed_dictionaries({"enabled": SWITCH}),
        "prometheusRule": st.fixed_dictionaries({"enabled": SWITCH}),
        "serviceAccount": st.fixed_dictionaries({"create": SWITCH, "name": st.sampled_from(["", "mine"])}),
        "hostPorts": st.fixed_dictionaries({"enabled": SWITCH}),
        "secretConfig": st.fixed_dictionaries({"existingSecret": SECRET}),
        "fullnameOverride": st.sampled_from(["", "telemetry"]),
        "image": st.fixed_dictionaries(
            {
                "digest": st.sampled_from(["", "sha256:" + "0" * 64]),
                "pullSecrets": st.sampled_from([[], ["mine"]]),
            }
        ),
        "extraEnv": st.sampled_from([[], [{"name": "EDDYLINE_JOURNAL__ACK", "value": "sink"}]]),
    }
)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_whatever_the_schema_takes_is_hardened_and_fits_together(given_values: dict[str, Any]) -> None:
    with Chart.load(CHART) as chart:
        try:
            chart.validate_schema(given_values)
        except HelmValuesError:
            event("refused by the schema")
            return
        documents = chart.render(given_values, name=RELEASE, namespace=NAMESPACE)
    event("taken by the schema")
    manifests = [
        manifest for path, text in documents.items() if path.endswith(".yaml") for manifest in parse(text)
    ]
    check(manifests)
    validate(manifests)
