"""API keys: who may do what, in which project. A file in the data directory, so that they hold while the store is away.

A key is `edl_`, eight hex digits that name it, and 256 random bits. The file (0600) has only a keyed BLAKE2b of it.
Beside these there are the keys of the configuration, which collectors that share a store have in common.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collector.config import GivenKey

log = logging.getLogger(__name__)

PREFIX = "edl_"
LOOK_EVERY_S = 1.0
"""How often the file is looked at for changes: a revoked key is refused within so much."""


class Scope(StrEnum):
    INGEST = "ingest"
    """Send telemetry, and use the proxy."""
    READ = "read"
    """Read runs, without what was said in them."""
    CONTENT = "content"
    """Read inputs, outputs and attributes, too."""
    DELETE = "delete"
    ADMIN = "admin"
    """Everything, keys included."""


class KeysError(Exception):
    """The file of keys can not be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept. Times are seconds since 1970."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    digest: str
    project: str = ""
    """What it sends and reads belongs to this project; any if empty."""
    tenant: str = ""
    created_at: float = 0.0
    last_used_at: float | None = None

    def document(self) -> dict[str, Any]:
        """What may be shown of it."""
        return {
            "id": self.id,
            "prefix": f"{PREFIX}{self.id}",
            "name": self.name,
            "scopes": list(self.scopes),
            "project": self.project or None,
            "tenant": self.tenant or None,
            "created_at": _rfc3339(self.created_at),
            "last_used_at": None if self.last_used_at is None else _rfc3339(self.last_used_at),
        }


class Keys:
    """The keys in a file. Several processes may change it; each sees the others' changes within a second.

    Args:
        given: keys of the configuration by name: they hold as long as they stand there, and are in no file.
        look_every_s: how often the file is looked at for what others changed, if not every `LOOK_EVERY_S`.

    Raises:
        KeysError: the file is there and can not be read.
    """

    def __init__(
        self,
        file: Path,
        given: Mapping[str, GivenKey] | None = None,
        *,
        look_every_s: float | None = None,
    ) -> None:
        self._file = file
        self._look_every_s = look_every_s
        self._given_pepper = secrets.token_bytes(32)
        self.give(given or {})
        self._lock = threading.Lock()
        self._pepper = b""
        self._keys: dict[str, Key] = {}
        self._used: dict[str, float] = {}
        self._stamp: tuple[int, int] | None = None
        self._looked_at = time.monotonic()
        self._load()

    def __len__(self) -> int:
        self._refresh()
        return len(self._keys) + len(self._given)

    def give(self, given: Mapping[str, GivenKey]) -> None:
        """From now on these keys of the configuration hold, and no others of it."""
        found = {}
        for name, entry in given.items():
            digest = _digest(entry.key, self._given_pepper)
            scopes = tuple(Scope(scope) for scope in entry.scopes)
            # The same in every collector that has the key; it tells nothing of 256 bits.
            key_id = blake2b(entry.key.encode(), digest_size=4).hexdigest()
            found[digest] = Key(key_id, name, scopes, digest, entry.project, entry.tenant)
        self._given = found

    def find(self, secret: str) -> Key | None:
        """The key with this text; None if there is none. The time does not depend on how much of it is right."""
        if given := self._given.get(_digest(secret, self._given_pepper)):
            return given
        self._refresh()
        key = self._keys.get(secret[len(PREFIX) : len(PREFIX) + 8])
        digest = self._digest(secret) if self._pepper else ""
        if not hmac.compare_digest(digest, key.digest if key else "-" * 64) or key is None:
            return None
        self._used[key.id] = time.time()
        return key

    def create(
        self, name: str, scopes: Collection[Scope], *, project: str = "", tenant: str = ""
    ) -> tuple[Key, str]:
        """A new key, and its text, which is shown this once.

        Raises: KeysError.
        """
        key_id = secrets.token_hex(4)
        secret = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
        with self._changing() as keys:
            key = Key(
                key_id,
                name,
                tuple(sorted(set(scopes))),
                self._digest(secret),
                project,
                tenant,
                round(time.time(), 3),
            )
            keys[key_id] = key
        return key, secret

    def all(self) -> list[Key]:
        """Every key of the file, oldest first."""
        with self._changing() as keys:
            return sorted(keys.values(), key=lambda key: key.created_at)

    def revoke(self, key_id: str) -> bool:
        """Whether there was such a key; there is none any more."""
        with self._changing() as keys:
            return keys.pop(key_id.removeprefix(PREFIX)[:8], None) is not None

    def note_use(self) -> None:
        """Writes down when keys were last used."""
        if self._used:
            with self._changing():
                pass

    def uses(self) -> dict[str, float]:
        """When keys were last used, by their ids, since this was last asked; another process is to write it down."""
        used, self._used = self._used, {}
        return used

    def used(self, uses: Mapping[str, float]) -> None:
        """Keys were used elsewhere."""
        self._used.update(uses)

    # ------------------------------------------------------------------- the file

    def _digest(self, secret: str) -> str:
        return _digest(secret, self._pepper)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """The keys as they are now; what is changed is written, in one step.

        Raises: KeysError.
        """
        lock_file = self._file.with_suffix(".lock")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise KeysError(f"{self._file}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with self._lock:
                self._load()
                self._pepper = self._pepper or secrets.token_bytes(32)
                before = dict(self._keys)
                used, self._used = self._used, {}
                for key_id, used_at in used.copy().items():  # requests may still note theirs
                    if key := self._keys.get(key_id):
                        self._keys[key_id] = replace(key, last_used_at=round(used_at, 3))
                yield self._keys
                if self._keys != before:
                    self._save()
        finally:
            os.close(descriptor)

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < (LOOK_EVERY_S if self._look_every_s is None else self._look_every_s):
            return
        self._looked_at = now
        with self._lock:
            try:
                self._load()
            except KeysError as error:
                # Whoever has a key keeps it: refusing all of them would cost data that can not be sent again.
                log.error("the keys stay as they were: %s", error)

    def _load(self) -> None:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            self._keys, self._stamp = {}, None
            return
        except OSError as error:
            raise KeysError(f"{self._file}: {error.strerror}") from None
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp == self._stamp:
            return
        try:
            document = json.loads(self._file.read_text(encoding="utf-8"))
            self._pepper = bytes.fromhex(document["pepper"])
            self._keys = {
                item["id"]: Key(**item | {"scopes": tuple(Scope(scope) for scope in item["scopes"])})
                for item in document["keys"]
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KeysError(f"{self._file} can not be read: {error}") from None
        self._stamp = stamp

    def _save(self) -> None:
        """Raises: KeysError; what is kept is then read from the file again."""
        document = {"pepper": self._pepper.hex(), "keys": [asdict(key) for key in self._keys.values()]}
        staged = self._file.with_suffix(".new")
        try:
            descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(document, stream, indent=2)
                stream.flush()
                os.fsync(descriptor)
            staged.replace(self._file)
            found = self._file.stat()
        except OSError as error:
            self._stamp = None
            raise KeysError(f"{self._file} can not be written: {error.strerror}") from None
        self._stamp = (found.st_mtime_ns, found.st_ino)


def _digest(secret: str, pepper: bytes) -> str:
    return blake2b(secret.encode(), key=pepper, digest_size=32).hexdigest()


def keys_file(data_dir: Path) -> Path:
    return data_dir / "keys.json"


def _rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
