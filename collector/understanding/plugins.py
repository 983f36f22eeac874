"""What other packages add: conventions under the entry point `eddyline.mappers`, loop detectors under
`eddyline.detectors`, observers of the proxy's calls under `eddyline.observers`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mappers.conventions.base import Convention
from mappers.loops.detectors import BUILTIN, Detector

log = logging.getLogger(__name__)

MAPPERS = "eddyline.mappers"
DETECTORS = "eddyline.detectors"
OBSERVERS = "eddyline.observers"

_MEMBERS = ("name", "category", "suggestion", "kinds", "look", "describe")


def _installed(group: str) -> list[EntryPoint]:
    """What packages declare in that group. The metadata of all that is installed is read once: it takes a tenth of a
    start."""
    return [entry_point for entry_point in _declared(tuple(sys.path)) if entry_point.group == group]


@cache
def _declared(path: tuple[str, ...]) -> Sequence[EntryPoint]:
    """What packages on `path`, which is `sys.path`, declare for us."""
    declared = entry_points()
    return [
        entry_point
        for group in (MAPPERS, DETECTORS, OBSERVERS)
        for entry_point in declared.select(group=group)
    ]


def load_conventions(found: Iterable[EntryPoint] | None = None) -> tuple[list[Convention], dict[str, str]]:
    """Conventions of installed packages, and why each one that failed could not be loaded, by its name.

    An entry point leads to a `Convention` or to a list of them. One that fails is logged and left out.
    """
    conventions: list[Convention] = []
    failures: dict[str, str] = {}
    for entry_point in _installed(MAPPERS) if found is None else found:
        try:
            loaded = entry_point.load()
            several = loaded if isinstance(loaded, (list, tuple)) else [loaded]
            wrong = [item for item in several if not isinstance(item, Convention)]
            if wrong:
                raise TypeError(f"it is {type(wrong[0]).__name__}, not a Convention")
        except Exception as error:
            failures[entry_point.name] = f"{type(error).__name__}: {error}"
            log.exception("convention %s of %s is left out", entry_point.name, entry_point.value)
        else:
            conventions += several
    return conventions, failures


def load_detectors(found: Iterable[EntryPoint] | None = None) -> tuple[list[Detector], dict[str, str]]:
    """Loop detectors of installed packages, and why each one that failed could not be loaded, by its name.

    An entry point leads to an object with the members of `Detector`. One that fails, or that has the name of
    another detector, is logged and left out.
    """
    detectors: list[Detector] = []
    failures: dict[str, str] = {}
    for entry_point in _installed(DETECTORS) if found is None else found:
        try:
            loaded = entry_point.load()
            missing = [name for name in _MEMBERS if not hasattr(loaded, name)]
            if missing:
                raise TypeError(f"it has no {', '.join(missing)}")
            if loaded.name in {detector.name for detector in (*BUILTIN, *detectors)}:
                raise ValueError(f"there is a detector {loaded.name!r} already")
            if loaded.category not in ("loop", "waste"):
                raise ValueError(f"its category is {loaded.category!r}, neither loop nor waste")
        except Exception as error:
            failures[entry_point.name] = f"{type(error).__name__}: {error}"
            log.exception("detector %s of %s is left out", entry_point.name, entry_point.value)
        else:
            detectors.append(loaded)
    return detectors, failures


def load_observers(found: Iterable[EntryPoint] | None = None) -> dict[str, Callable[[Any], None]]:
    """Observers of installed packages, by name: what an entry point leads to is called with each `Observed` call. One
    that can not be loaded is logged and left out."""
    observers: dict[str, Callable[[Any], None]] = {}
    for entry_point in _installed(OBSERVERS) if found is None else found:
        try:
            loaded = entry_point.load()
            if not callable(loaded):
                raise TypeError(f"it is {type(loaded).__name__}, which can not be called")
        except Exception:
            log.exception("observer %s of %s is left out", entry_point.name, entry_point.value)
        else:
            observers[entry_point.name] = loaded
    return observers
