"""Where a model comes from: folders, and names on the hub, of which nothing is fetched that is there already."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import CheckpointError
from core.origin import Origin, folder_of
from tests.tiny import tiny_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FIND = "import sys; from core.origin import folder_of; print(folder_of(sys.argv[1]))"


def found(cache: Path, name: str) -> subprocess.CompletedProcess[str]:
    """What a process without a network finds, whose hub cache this is."""
    there = os.environ | {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-c", FIND, name], env=there, capture_output=True, text=True, check=False)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A hub cache with one repository in it, as the hub's own library lays it out."""
    repository = tmp_path / "hub" / "models--owner--base"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    tiny_folder(tmp_path / "tiny")
    (repository / "snapshots").mkdir()
    (tmp_path / "tiny" / "base").rename(repository / "snapshots" / COMMIT)
    return tmp_path


@pytest.mark.parametrize("name", ["owner/base", "owner/base@main", f"owner/base@{COMMIT}"])
def test_what_the_hub_gave_before_is_found_without_it(cache: Path, name: str) -> None:
    ran = found(cache, name)
    assert ran.stdout.strip() == str(cache / "hub" / "models--owner--base" / "snapshots" / COMMIT), ran.stderr


def test_a_cache_with_no_weights_in_it_is_not_taken_for_the_whole(cache: Path) -> None:
    (weights,) = (cache / "hub" / "models--owner--base" / "snapshots" / COMMIT).glob("*.safetensors")
    weights.unlink()
    assert "CheckpointError: owner/base has no weights in safetensors" in found(cache, "owner/base").stderr


def test_what_cannot_be_fetched_is_said_in_one_sentence(cache: Path) -> None:
    ran = found(cache, "owner/other")
    assert "CheckpointError: owner/other is no folder here and cannot be fetched" in ran.stderr


def test_a_folder_is_itself_and_what_is_neither_is_refused(tmp_path: Path) -> None:
    assert folder_of(str(tmp_path)) == tmp_path
    for name in (str(tmp_path / "nowhere"), "../up", "word"):
        with pytest.raises(CheckpointError, match="There is no model folder at"):
            folder_of(name)


def test_parts_are_in_one_folder_or_each_in_its_own(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    parts = Origin(str(folder)).parts()
    assert parts == {"base": folder / "base", "generator": folder / "generator"}
    apart = Origin(str(folder / "base"), str(folder / "generator"), str(tmp_path))
    assert apart.parts() == parts | {"lora": tmp_path}


def test_a_base_alone_needs_a_generator(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    with pytest.raises(CheckpointError, match="a base alone needs --generator"):
        Origin(str(folder / "base")).parts()


def test_a_base_is_named_to_others_without_a_path(tmp_path: Path) -> None:
    assert Origin("owner/base@main").base_name == "owner/base"
    assert Origin(str(tmp_path)).base_name == tmp_path.name


def test_a_revision_is_not_in_the_name() -> None:
    assert Origin("mistralai/Mistral-7B-Instruct-v0.2@main").name == "Mistral-7B-Instruct-v0.2"
