"""The chart as it is rendered in its examples, its values, and what else there is for Kubernetes.

`make test-deploy` says that the examples are what Helm makes of the chart today, and that Kubernetes knows all fields.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner

from collector.cli import main
from collector.config import load, merge
from collector.doors.exposure import exposed, ingest_needs_key
from collector.doors.keys import Keys, Scope, keys_file
from tests import forked
from tests.deploy.manifests import SECRETS, check, parse, read, settings_of, workloads
from tests.deploy.render import CHART, EXAMPLES
from tests.deploy.values import table, undocumented, values
from tests.server import COMMAND, TOKEN, Server

DEPLOY = CHART.parents[1]
KEYS = {"auth": {"existingSecret": "keys"}}
SERVER = {"clickhouse": {"url": "http://clickhouse:8123", "existingSecret": "clickhouse"}}


def refused(given: dict[str, Any]) -> list[str]:
    """What the schema says against these values, over those of the chart."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return [
        error.message for error in jsonschema_rs.validator_for(schema).iter_errors(merge(values(), given))
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_what_an_example_makes_is_hardened_and_fits_together(example: Path) -> None:
    check(read(example / "rendered.yaml"))


def test_the_examples_cover_every_mode_and_kind() -> None:
    rendered = {example.name: read(example / "rendered.yaml") for example in EXAMPLES}
    modes = {yaml.safe_load((example / "values.yaml").read_text())["mode"] for example in EXAMPLES}
    assert modes == {"standalone", "gateway", "statefulset", "daemonset"}
    kinds = {manifest["kind"] for manifests in rendered.values() for manifest in manifests}
    assert kinds == {
        "ConfigMap", "DaemonSet", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PersistentVolumeClaim",
        "Pod", "PodDisruptionBudget", "PrometheusRule", "Service", "ServiceAccount", "ServiceMonitor", "StatefulSet",
    }  # fmt: skip
    assert all(any(manifest["kind"] == "NetworkPolicy" for manifest in found) for found in rendered.values())


@pytest.fixture(autouse=True)
def _nothing_else_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EDDYLINE_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_configuration_of_an_example_passes_validate(example: Path, tmp_path: Path) -> None:
    manifests = read(example / "rendered.yaml")
    [config] = [item["data"]["config.yaml"] for item in manifests if item["kind"] == "ConfigMap"]
    file = tmp_path / "config.yaml"
    file.write_text(config)
    environ = {"EDDYLINE_AUTH__KEYS__INGEST__KEY": SECRETS["ingest-key"], "EDDYLINE_TOKEN": SECRETS["token"]}
    [workload] = workloads(manifests)
    if url := settings_of(manifests, workload).sinks.clickhouse.url:
        environ["EDDYLINE_SINKS__CLICKHOUSE__URL"] = url
    result = CliRunner().invoke(main, ["validate", "--no-environment", f"--config=file:{file}"], env=environ)
    assert (result.exit_code, result.output) == (0, "the configuration can be used\n")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_values_of_an_example_fit_the_schema(example: Path) -> None:
    assert refused(yaml.safe_load((example / "values.yaml").read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({**KEYS}, id="no-mode"),
        pytest.param({**KEYS, "mode": "deployment"}, id="unknown-mode"),
        pytest.param({"mode": "standalone"}, id="no-keys"),
        pytest.param({**KEYS, "mode": "standalone", "replicaCount": 2}, id="two-embedded"),
        pytest.param(
            {**KEYS, "mode": "standalone", "autoscaling": {"enabled": True}}, id="embedded-autoscaled"
        ),
        pytest.param({**KEYS, **SERVER, "mode": "standalone"}, id="standalone-with-a-server"),
        pytest.param({**KEYS, "mode": "statefulset", "replicaCount": 2}, id="two-embedded-with-volumes"),
        pytest.param({**KEYS, "mode": "gateway"}, id="gateway-without-a-server"),
        pytest.param({**KEYS, "mode": "daemonset"}, id="daemonset-without-a-server"),
        pytest.param(
            {**KEYS, **SERVER, "mode": "daemonset", "autoscaling": {"enabled": True}},
            id="daemonset-autoscaled",
        ),
        pytest.param({**KEYS, "mode": "standalone", "image": {"tag": "latest"}}, id="latest"),
        pytest.param({**KEYS, "mode": "standalone", "replicas": 1}, id="unknown-value"),
        pytest.param(
            {**KEYS, "mode": "standalone", "podSecurityContext": {"runAsNonRoot": False}}, id="root"
        ),
        pytest.param(
            {**KEYS, "mode": "gateway", "clickhouse": {"url": "http://user:secret@clickhouse:8123"}},
            id="password-in-the-open",
        ),
    ],
)
def test_values_that_can_not_work_are_refused(given: dict[str, Any]) -> None:
    assert refused(given)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"mode": "standalone", "auth": {"insecure": True}}, id="insecure-on-purpose"),
        pytest.param(
            {**KEYS, **SERVER, "mode": "statefulset", "replicaCount": 9}, id="statefulset-with-a-server"
        ),
        pytest.param({**KEYS, "mode": "standalone", "replicaCount": 0}, id="stopped"),
    ],
)
def test_values_that_work_are_taken(given: dict[str, Any]) -> None:
    assert refused(given) == []


def test_every_value_is_in_the_readme_with_its_default_and_meaning() -> None:
    assert undocumented() == []
    text = (CHART / "README.md").read_text(encoding="utf-8")
    assert table() == text.split("## Values\n", 1)[1].strip(), "write it anew: python -m tests.deploy.values"


def test_what_helm_test_runs_succeeds_on_a_collector(server: Server) -> None:
    _, key = Keys(keys_file(server.data_dir)).create("helm test", [Scope.INGEST])
    time.sleep(1.1)  # until the collector looks at the file again
    manifests = read(CHART / "examples/gateway/rendered.yaml")
    [pod] = [item for item in manifests if item["kind"] == "Pod"]
    [container] = [item for item in pod["spec"]["containers"] if item["name"] == "grpc"]
    ports = {"4320": server.endpoints["api"], "4317": f"http://{server.endpoints['grpc']}"}
    arguments = [
        re.sub(r"http://[\w.]+:(\d+)", lambda found: ports[found[1]], argument)
        for argument in container["args"]
    ]
    environ = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environ.keys() >= {"EDDYLINE_TOKEN", "INGEST_KEY"}
    environ |= {"EDDYLINE_TOKEN": TOKEN, "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={key}", "INGEST_KEY": key}
    done = forked.run([*COMMAND, *arguments], environ=os.environ | environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a span came through" in done.stdout


def test_the_base_of_the_kustomizations_is_hardened_and_fits_together() -> None:
    base = DEPLOY / "kustomize/base"
    kustomization = yaml.safe_load((base / "kustomization.yaml").read_text(encoding="utf-8"))
    manifests = [manifest for file in kustomization["resources"] for manifest in read(base / file)]
    [generated] = kustomization["configMapGenerator"]
    data = {name: (base / name).read_text(encoding="utf-8") for name in generated["files"]}
    [image] = kustomization["images"]
    for workload in workloads(manifests):
        [container] = workload["spec"]["template"]["spec"]["containers"]
        assert container["image"] == image["name"]
        container["image"] += f":{image['newTag']}"
    check([*manifests, {"kind": "ConfigMap", "metadata": {"name": generated["name"]}, "data": data}])


def test_the_sidecar_is_hardened_and_its_settings_exist() -> None:
    manifests = parse((DEPLOY / "kubernetes/sidecar.yaml").read_text(encoding="utf-8"))
    check(manifests)
    [sidecar] = manifests[0]["spec"]["template"]["spec"]["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    command, *arguments = sidecar["args"]
    proxy = main.get_command(main.make_context("eddyline", ["proxy"], resilient_parsing=True), command)
    assert proxy is not None
    options = {option for parameter in proxy.params for option in parameter.opts}
    assert {argument.partition("=")[0] for argument in arguments} <= options
    environ = {
        entry["name"]: entry["value"].replace("$(INGEST_KEY)", SECRETS["ingest-key"])
        for entry in sidecar["env"]
        if "value" in entry
    }
    result = CliRunner().invoke(main, ["validate", "--no-environment"], env=environ)
    assert result.exit_code == 0, result.output


def test_the_configuration_that_the_operator_injects_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    [manifest] = read(DEPLOY / "kubernetes/opentelemetry-operator.yaml")
    spec = manifest["spec"]
    for entry in spec["env"]:
        value = entry.get("value") or SECRETS[entry["valueFrom"]["secretKeyRef"]["key"]]
        monkeypatch.setenv(entry["name"], value)
    monkeypatch.setenv("OTEL_CONFIG", yaml.safe_dump(spec["config"]))
    result = CliRunner().invoke(main, ["validate", "--no-environment", "--config=env:OTEL_CONFIG"])
    assert (result.exit_code, result.output) == (0, "the configuration can be used\n")
    settings = load(["env:OTEL_CONFIG"])
    assert ingest_needs_key(settings, keys=len(settings.auth.keys))
    assert settings.journal.ack == "sink", "there is no volume that outlives the pod"
    assert settings.loops.replicas == spec["replicas"]
    mounted = {mount["mountPath"] for mount in spec["volumeMounts"]}
    assert {str(settings.data_dir), "/tmp"} <= mounted
    assert set(exposed(settings)) == {"grpc", "http", "api", "admin"}
