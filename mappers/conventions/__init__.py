"""The conventions that come with the package: each module here that defines a `CONVENTION`."""

from importlib import import_module
from pkgutil import iter_modules

from mappers.conventions.base import Convention

BUILTIN: tuple[Convention, ...] = tuple(
    sorted(
        (
            module.CONVENTION
            for module in (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
            if hasattr(module, "CONVENTION")
        ),
        key=lambda convention: convention.priority,
    )
)
"""In the order in which they are read."""

__all__ = ["BUILTIN", "Convention"]
