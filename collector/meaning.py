"""Settings that only the parts which use them understand: looked at before anything is opened, the same way by
`serve`, `proxy` and `validate`."""

from __future__ import annotations

from collections.abc import Callable

from collector.config import Settings


def not_understood(settings: Settings) -> list[str]:
    """What is wrong, each with its setting; [] if nothing is."""
    checks: tuple[Callable[[Settings], None], ...] = (_proxy, _loops)
    found = []
    for check in checks:
        try:
            check(settings)
        except ValueError as error:
            found.append(str(error))
    return found


def _proxy(settings: Settings) -> None:
    """Raises: ValueError."""
    from collector.proxy.gate import Gate
    from collector.proxy.routes import Routes

    gate = Gate(allow=settings.proxy.local.allow, paths=settings.proxy.local.paths)
    Routes(settings.proxy, gate)


def _loops(settings: Settings) -> None:
    """Raises: ValueError."""
    from collector.plugins import load_detectors
    from mappers.loops.configure import configured

    others, _ = load_detectors()
    try:
        configured(settings.loops.detectors, settings.loops.disabled, others)
    except ValueError as error:
        raise ValueError(f"loops: {error}") from None
