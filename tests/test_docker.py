"""The container's files name what is there: nothing builds them here."""

from __future__ import annotations

import re
from pathlib import Path

from app.settings import PREFIX, Settings

HOME = Path(__file__).parent.parent
DOCKERFILE = (HOME / "Dockerfile").read_text(encoding="utf-8")


def copied() -> list[str]:
    return re.findall(r"^COPY (\S+) ", DOCKERFILE, re.MULTILINE)


def test_everything_that_is_copied_is_there_and_is_not_ignored() -> None:
    kept = {line.removeprefix("!") for line in (HOME / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert copied()
    assert [name for name in copied() if not (HOME / name).exists()] == []
    assert set(copied()) == kept


def test_every_package_that_runs_is_copied() -> None:
    packages = {path.parent.name for path in HOME.glob("*/__init__.py")}
    assert packages - set(copied()) == {"training", "benchmarks", "tests"}


def test_every_variable_that_is_set_is_a_setting() -> None:
    names = re.findall(rf"{PREFIX}(\w+)=", DOCKERFILE)
    assert names
    assert {name.lower() for name in names} <= set(Settings.model_fields)


def test_the_port_is_the_one_that_is_served() -> None:
    port = str(Settings.model_fields["port"].default)
    assert f"EXPOSE {port}" in DOCKERFILE
    assert f":{port}/readyz" in DOCKERFILE
    assert f":{port}:{port}" in (HOME / "compose.yaml").read_text(encoding="utf-8")
