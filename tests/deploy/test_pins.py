"""What the image is made of is pinned: each version with the hashes of its files, from whichever index they come."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.deploy.test_hosts import ROOT, of

DEPLOY = ROOT / "deploy"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINNED = {
    "requirements.txt": [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["cbor"],
        *PROJECT["project"]["optional-dependencies"]["mcp"],
    ],
    "build-requirements.txt": PROJECT["build-system"]["requires"],
}
FILES = pytest.mark.parametrize("name", PINNED)


def pins(file: Path) -> Iterator[Requirement]:
    """What is pinned, each with at least one hash and nothing else that pip would read."""
    for block in re.split(r"\n(?=\S)", file.read_text(encoding="utf-8").strip()):
        requirement, *hashes = block.split(" \\\n")
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}", line) for line in hashes), requirement
        yield Requirement(requirement)


@FILES
def test_whatever_is_needed_is_pinned_at_a_version_that_will_do(name: str) -> None:
    pinned: dict[str, list[str]] = {}
    for pin in pins(DEPLOY / name):
        [specifier] = pin.specifier
        assert (specifier.operator, pin.url) == ("==", None)
        pinned.setdefault(canonicalize_name(pin.name), []).append(specifier.version)
    for text in PINNED[name]:
        needed = Requirement(text)
        versions = pinned[canonicalize_name(needed.name)]
        assert all(needed.specifier.contains(Version(version)) for version in versions), text


def test_what_builds_the_project_is_what_is_pinned_for_it() -> None:
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]


def test_the_image_takes_from_an_index_only_what_has_its_hash() -> None:
    commands = [command.strip() for run in of("RUN") for command in run.split("&&")]
    asking = [command for command in commands if re.match(r"pip .*(install|wheel)", command)]
    assert len(asking) > 3
    for command in asking:
        assert "--no-index" in command or {"--require-hashes", "--only-binary=:all:"} <= {*command.split()}
