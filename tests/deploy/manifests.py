"""What must hold of every set of Kubernetes manifests that belongs together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from pydantic import ByteSize, TypeAdapter

from collector.api.base import Api
from collector.api.health import AdminRoutes, HealthRoutes
from collector.config import Settings, load
from collector.config.meaning import not_understood
from collector.doors.exposure import endpoints_of, ingest_needs_key
from collector.doors.listening import REQUEST_GRACE_S

Manifest = dict[str, Any]

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
SECRETS = {
    "token": "t" * 32,
    "ingest-key": "edl_" + "k" * 40,
    "password": "p" * 20,
}
"""What the secrets that manifests name would hold, by entry."""


def read(file: Path) -> list[Manifest]:
    return parse(file.read_text(encoding="utf-8"))


def parse(text: str) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(text) if document]


def workloads(manifests: list[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in WORKLOADS]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod that they make, with what makes it: its labels are in `metadata`."""
    for manifest in manifests:
        name = f"{manifest['kind']}/{manifest['metadata']['name']}"
        if manifest["kind"] in WORKLOADS:
            yield name, manifest["spec"]["template"]
        elif manifest["kind"] == "Pod":
            yield name, manifest


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def check(manifests: list[Manifest]) -> None:
    """Raises AssertionError, with what is wrong."""
    for name, pod in pods(manifests):
        _hardened(name, pod)
        _mounted(name, pod)
    for workload in workloads(manifests):
        _selected(manifests, workload)
        if workload["spec"]["template"]["spec"]["containers"][0]["name"] == "eddyline":
            _configured(manifests, workload)
    _targets(manifests)


def settings_of(manifests: list[Manifest], workload: Manifest) -> Settings:
    """The configuration that its collector would read."""
    container = workload["spec"]["template"]["spec"]["containers"][0]
    environ = {
        entry["name"]: entry["value"]
        if "value" in entry
        else SECRETS[entry["valueFrom"]["secretKeyRef"]["key"]]
        for entry in container.get("env", [])
    }
    maps = {item["metadata"]["name"]: item["data"] for item in manifests if item["kind"] == "ConfigMap"}
    volumes = {volume["name"]: volume for volume in workload["spec"]["template"]["spec"]["volumes"]}
    sources = []
    for argument in container["args"]:
        if not argument.startswith("--config="):
            continue
        path = Path(argument.removeprefix("--config=").removeprefix("file:"))
        [mount] = [item for item in container["volumeMounts"] if item["mountPath"] == str(path.parent)]
        if "configMap" in volumes[mount["name"]]:
            sources.append("yaml:" + maps[volumes[mount["name"]]["configMap"]["name"]][path.name])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EDDYLINE_")}
    with mock.patch.dict(os.environ, kept | environ, clear=True):
        return load(sources)


def _hardened(name: str, pod: Manifest) -> None:
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False, name
    assert spec["securityContext"]["runAsNonRoot"] is True, name
    assert spec["securityContext"]["runAsUser"] == 65532, name
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
    assert not spec.get("hostNetwork"), name
    assert not spec.get("hostPID"), name
    for container in containers(pod):
        where = f"{name}/{container['name']}"
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, where
        assert context["readOnlyRootFilesystem"] is True, where
        assert context["capabilities"]["drop"] == ["ALL"], where
        assert not context.get("privileged"), where
        image = container["image"]
        assert "@sha256:" in image or ":" in image.rpartition("/")[2], f"{where}: no tag"
        assert not image.endswith(":latest"), where
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), where
        assert "memory" in container["resources"]["limits"], where


def _mounted(name: str, pod: Manifest) -> None:
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    for volume in volumes.values():
        assert "hostPath" not in volume, name
        assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""}), (
            f"{name}: {volume['name']} has no bound"
        )
    for container in containers(pod):
        for mount in container.get("volumeMounts", []):
            claimed = name.startswith("StatefulSet") and mount["name"] == "data"
            assert claimed or mount["name"] in volumes, f"{name}: no volume {mount['name']}"


def _selected(manifests: list[Manifest], workload: Manifest) -> None:
    """The workload's selector fits its pods, and only they."""
    selector = workload["spec"]["selector"]["matchLabels"]
    fitting = [name for name, pod in pods(manifests) if selector.items() <= pod["metadata"]["labels"].items()]
    assert fitting == [f"{workload['kind']}/{workload['metadata']['name']}"]


def _configured(manifests: list[Manifest], workload: Manifest) -> None:
    """Ports, probes, time to end, replicas and volume are what the configuration needs."""
    settings = settings_of(manifests, workload)
    spec = workload["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert not_understood(settings) == []
    ingest_needs_key(settings, keys=len(settings.auth.keys))  # raises if the doors would not open
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    doors = {name: int(where.rpartition(":")[2]) for name, where in endpoints_of(settings).items() if where}
    assert ports == {
        "otlp-grpc": doors["grpc"], "otlp-http": doors["http"], "api": doors["api"], "admin": doors["admin"],
    }  # fmt: skip
    paths = {route.path for route in HealthRoutes(Api.__new__(Api), None).table()}  # type: ignore[arg-type]  # nothing is asked
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in paths
        assert asked["port"] == "admin"
    shutdown = settings.service.shutdown
    ends_s = shutdown.drain_delay + shutdown.timeout + REQUEST_GRACE_S
    assert spec["terminationGracePeriodSeconds"] >= ends_s
    started_s = container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"]
    assert started_s >= 60, "a schema may take a minute to come up to date"
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert {str(settings.data_dir), "/tmp"} <= set(mounts), "the root is read-only"
    scaled = any(item["kind"] == "HorizontalPodAutoscaler" for item in manifests)
    if settings.sinks.clickhouse.embedded:
        assert workload["kind"] != "DaemonSet"
        assert workload["spec"]["replicas"] == 1
        assert not scaled
        assert settings.loops.replicas == 1
        if workload["kind"] == "Deployment":
            assert workload["spec"]["strategy"] == {"type": "Recreate"}, "two would be there during an update"
    else:
        assert settings.loops.replicas > 1, "during an update two are there"
    [data] = [volume for volume in spec["volumes"] if volume["name"] == mounts[str(settings.data_dir)]] or [
        {}
    ]
    of_pod = TypeAdapter(ByteSize).validate_python(f"{container['resources']['limits']['memory']}B")
    assert settings.memory.limit in (None, of_pod), "requests would be refused too late"
    if "emptyDir" in data and not settings.sinks.clickhouse.embedded:
        assert settings.journal.ack == "sink", "what is acknowledged would be lost with the pod"


def _targets(manifests: list[Manifest]) -> None:
    """What refers to something refers to something that is there."""
    named = {(item["kind"], item["metadata"]["name"]) for item in manifests}
    by_labels = [(pod["metadata"]["labels"], containers(pod)) for _, pod in pods(manifests)]

    def ports_of(selector: dict[str, str]) -> set[str]:
        found = [has for labels, has in by_labels if selector.items() <= labels.items()]
        assert found, f"nothing has {selector}"
        return {port["name"] for has in found for container in has for port in container.get("ports", [])}

    for item in manifests:
        spec = item.get("spec", {})
        match item["kind"]:
            case "Service":
                assert {port["targetPort"] for port in spec["ports"]} <= ports_of(spec["selector"])
            case "PodDisruptionBudget":
                ports_of(spec["selector"]["matchLabels"])
            case "NetworkPolicy":
                known = ports_of(spec["podSelector"]["matchLabels"])
                open_ports = {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
                assert open_ports == known
                assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
                assert all(rule["ports"] for rule in spec["egress"]), "everything would be let out"
                assert all(rule["from"] for rule in spec["ingress"]), "everybody would be let in"
            case "HorizontalPodAutoscaler":
                target = spec["scaleTargetRef"]
                assert (target["kind"], target["name"]) in named
                [workload] = [other for other in workloads(manifests) if other["kind"] == target["kind"]]
                assert "replicas" not in workload["spec"], "both would say how many pods there are"
            case "ServiceMonitor":
                selector = spec["selector"]["matchLabels"].items()
                [service] = [
                    other
                    for other in manifests
                    if other["kind"] == "Service" and selector <= other["metadata"]["labels"].items()
                ]
                paths = {route.path for route in AdminRoutes(Api.__new__(Api), None).table()}  # type: ignore[arg-type]  # nothing is asked
                for endpoint in spec["endpoints"]:
                    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
                    assert endpoint["path"] in paths
            case "StatefulSet":
                assert ("Service", spec["serviceName"]) in named
