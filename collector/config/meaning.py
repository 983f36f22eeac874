"""Settings that only the parts which use them understand: looked at before anything is opened, the same way by
`serve`, `proxy` and `validate`.

Where all is as it comes nothing can be wrong, and the part is not asked: it would have to be imported before any door
is open.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from collector.config import ConfigError, ProxySettings, Settings


def not_understood(settings: Settings) -> list[str]:
    """What is wrong, each with its setting; [] if nothing is."""
    checks: tuple[Callable[[Settings], None], ...] = (
        _grpc,
        _proxy,
        _capture,
        _loops,
        _metrics,
        _traces,
        _forwards,
    )
    found = []
    for check in checks:
        try:
            check(settings)
        except ValueError as error:
            found.append(str(error))
    return found


def no_engine(settings: Settings) -> list[str]:
    """What is wrong if the store is to be embedded, and this installation has no engine; [] otherwise."""
    if settings.sinks.clickhouse.embedded and find_spec("chdb") is None:
        return [
            "sinks.clickhouse.url: there is no embedded engine in this installation (chdb-core): name a server"
        ]
    return []


def _grpc(settings: Settings) -> None:
    """Raises: ValueError."""
    if settings.receivers.otlp.protocols.grpc.reflection and find_spec("grpc_reflection") is None:
        name = "receivers.otlp.protocols.grpc.reflection"
        raise ValueError(f"{name}: it needs a package: pip install 'eddyline[reflection]'")


def _proxy(settings: Settings) -> None:
    """Raises: ValueError."""
    if settings.proxy.model_copy(update={"endpoint": None}) == ProxySettings(endpoint=None):
        return
    from collector.proxy.gate import Gate
    from collector.proxy.plugins import checked
    from collector.proxy.routes import Routes

    try:
        checked(settings.proxy.plugins)
    except ValueError as error:
        raise ValueError(f"proxy.plugins: {error}") from None
    gate = Gate(allow=settings.proxy.local.allow, paths=settings.proxy.local.paths)
    Routes(settings.proxy, gate)


def _capture(settings: Settings) -> None:
    """Raises: ValueError."""
    logging = settings.logging
    if logging.capture_file and logging.capture_format == "cbor" and find_spec("cbor2") is None:
        raise ValueError("logging.capture_format: cbor needs a package: pip install 'eddyline[cbor]'")


def _loops(settings: Settings) -> None:
    """Raises: ValueError."""
    if settings.loops.detectors or settings.loops.disabled:
        from collector.understanding.plugins import load_detectors
        from mappers.loops.configure import configured

        others, _ = load_detectors()
        try:
            configured(settings.loops.detectors, settings.loops.disabled, others)
        except ValueError as error:
            raise ValueError(f"loops: {error}") from None
    if settings.loops.replicas > 1 and not settings.sinks.clickhouse.url:
        raise ValueError(
            "loops.replicas: the embedded database belongs to one collector; several need sinks.clickhouse.url"
        )


def _metrics(settings: Settings) -> None:
    """Raises: ValueError."""
    if settings.service.telemetry.metrics.endpoint:
        from collector.doors.exposure import endpoints_of
        from collector.telemetry.pushing import plan_of

        try:
            plan_of(settings.service.telemetry.metrics, endpoints_of(settings))
        except ConfigError as error:
            raise ValueError(str(error)) from None


def _traces(settings: Settings) -> None:
    """Raises: ValueError."""
    if settings.service.telemetry.traces.endpoint:
        from collector.doors.exposure import endpoints_of
        from collector.telemetry.tracing import plan_of

        try:
            plan_of(settings.service.telemetry.traces, endpoints_of(settings))
        except ConfigError as error:
            raise ValueError(str(error)) from None


def _forwards(settings: Settings) -> None:
    """Raises: ValueError."""
    if settings.sinks.otlp:
        from collector.doors.circles import own_door_of
        from collector.doors.exposure import endpoints_of

        doors = endpoints_of(settings)
        for name, sink in settings.sinks.otlp.items():
            where = f"sinks.otlp.{name}.endpoint"
            try:
                door = own_door_of(sink.endpoint, sink.protocol, doors)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            if door:
                raise ValueError(f"{where}: that is this collector itself ({door})")
