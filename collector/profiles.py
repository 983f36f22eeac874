"""Collectors by name, with the tokens that they are asked with: `$XDG_CONFIG_HOME/eddyline/profiles.json` (0600)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_URL = re.compile(r"https?://[^\s/]+(/\S*)?")


class ProfileError(ValueError):
    """Why a profile can not be kept or read."""


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    url: str
    token: str
    """"": none."""


class Profiles:
    """The profiles of one file, read when it is made."""

    def __init__(self, file: Path) -> None:
        self._file = file
        document: dict[str, Any] = {}
        try:
            document = json.loads(file.read_bytes())
            self._profiles = {
                name: Profile(name, told["url"], told["token"])
                for name, told in document.get("profiles", {}).items()
            }
        except FileNotFoundError:
            self._profiles = {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProfileError(f"{file} can not be read: {error}") from None
        self.used: str = document.get("use") or ""
        """Name of the one that is asked where nothing else is said."""

    @classmethod
    def kept(cls) -> Profiles:
        """Those of this user. Raises: ProfileError."""
        base = os.environ.get("XDG_CONFIG_HOME", "")
        root = Path(base) if Path(base).is_absolute() else Path.home() / ".config"
        return cls(root / "eddyline" / "profiles.json")

    def all(self) -> Sequence[Profile]:
        return sorted(self._profiles.values(), key=lambda profile: profile.name)

    def get(self, name: str) -> Profile | None:
        return self._profiles.get(name)

    def put(self, profile: Profile) -> None:
        """Raises: ProfileError."""
        if not _NAME.fullmatch(profile.name):
            raise ProfileError("a profile's name is up to 64 letters, digits, dots, dashes and underscores")
        if not _URL.fullmatch(profile.url):
            raise ProfileError(f"{profile.url!r} is no address such as http://127.0.0.1:4320")
        self._profiles[profile.name] = profile
        self._write()

    def remove(self, name: str) -> None:
        del self._profiles[name]
        self.used = "" if self.used == name else self.used
        self._write()

    def use(self, name: str) -> None:
        """ "" for none."""
        self.used = name
        self._write()

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        document = {
            "use": self.used,
            "profiles": {one.name: {"url": one.url, "token": one.token} for one in self.all()},
        }
        staged = self._file.with_suffix(".new")
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            json.dump(document, file, indent=2)
        staged.replace(self._file)
